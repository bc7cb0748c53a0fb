"""Ridge-penalised logistic regression of several units at once.

Batched over heads under one labeling (:func:`fit`), or over labelings of one set of units
(:func:`fit_labelings`).
"""

from collections.abc import Callable

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 100
TOLERANCE = 1e-9
#: A Newton step of :func:`fit_labelings` is solved to this share of the gradient, in at most this
#: many products.
RESIDUAL, PRODUCTS = 1e-4, 200


def fit(
    x: Float[Tensor, "head example d_head"], y: Float[Tensor, " example"], penalty: float
) -> tuple[Float[Tensor, "head d_head"], Float[Tensor, " head"]]:
    """Minimise the logistic loss plus ``penalty / 2 * |weights|**2`` for every head.

    The intercept is not penalised, as in scikit-learn's ``LogisticRegression(C=1 / penalty)``.
    Newton's iteration with step-halving in the dtype of ``x``; the ridge makes the objective
    strictly convex, so that it arrives under separation, too.

    Parameters
    ----------
    x
        Activations of the heads.
    y
        Class of each example, 0.0 or 1.0.
    penalty
        Strength of the ridge, above 0.

    Returns
    -------
    weights, intercept
    """
    heads, _, d_head = x.shape
    design = torch.cat([x, torch.ones_like(x[..., :1])], dim=2)
    ridge = torch.full((d_head + 1,), penalty, dtype=x.dtype, device=x.device)
    ridge[-1] = 0
    # One vector of parameters per head: the weights, and last the intercept, without a penalty.
    theta = torch.zeros(heads, d_head + 1, dtype=x.dtype, device=x.device)
    active = torch.arange(heads, device=x.device)
    for _ in range(ITERATIONS):
        here, rows = theta[active], design[active]
        step = _newton_step(rows, y, here, ridge)
        theta[active] = _shorten(rows, y, here, step, ridge)
        active = active[step.abs().amax(dim=1) > TOLERANCE * (1 + here.abs().amax(dim=1))]
        if not len(active):
            break
    return theta[:, :-1], theta[:, -1]


def fit_labelings(
    x: Float[Tensor, "example unit"], y: Float[Tensor, "labeling example"], penalty: float
) -> tuple[Float[Tensor, "labeling unit"], Float[Tensor, " labeling"]]:
    """Minimise the loss of :func:`fit` for the same units under each of several labelings.

    Newton's steps are solved by conjugate gradients, all labelings in the same two matrix products,
    so that no matrix of units by units is made or factored for each of them.

    Parameters
    ----------
    x
        Activations; along principal axes the steps need the fewest products.
    y
        Class of each example, 0.0 or 1.0, under each labeling.
    penalty
        Strength of the ridge, above 0.

    Returns
    -------
    weights, intercept
    """
    design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    ridge = torch.full((design.shape[1],), penalty, dtype=x.dtype, device=x.device)
    ridge[-1] = 0
    theta = torch.zeros(len(y), design.shape[1], dtype=x.dtype, device=x.device)
    active = torch.arange(len(y), device=x.device)
    for _ in range(ITERATIONS):
        here, labels = theta[active], y[active]
        p = torch.sigmoid(here @ design.T)
        gradient = (labels - p) @ design - ridge * here
        step = _conjugate_gradients(design, p * (1 - p), ridge, gradient)

        def loss(theta: Tensor, labels: Tensor = labels) -> Tensor:
            return _loss(theta @ design.T, labels, theta, ridge)

        theta[active] = _shortened(loss, here, step)
        active = active[step.abs().amax(dim=1) > TOLERANCE * (1 + here.abs().amax(dim=1))]
        if not len(active):
            break
    return theta[:, :-1], theta[:, -1]


def decide(
    x: Float[Tensor, "head example d_head"],
    weights: Float[Tensor, "head d_head"],
    intercept: Float[Tensor, " head"],
) -> Float[Tensor, "head example"]:
    """Log-odds of class 1."""
    return einsum(x, weights, "head example d_head, head d_head -> head example") + rearrange(
        intercept, "head -> head 1"
    )


def _newton_step(design: Tensor, y: Tensor, theta: Tensor, ridge: Tensor) -> Tensor:
    """Newton step of every head."""
    p = torch.sigmoid(einsum(design, theta, "head example d, head d -> head example"))
    gradient = einsum(design, y - p, "head example d, head example -> head d") - ridge * theta
    weighted = design * (p * (1 - p))[..., None]
    information = design.transpose(1, 2) @ weighted + torch.diag(ridge)
    return torch.linalg.solve(information, gradient)


def _conjugate_gradients(
    design: Float[Tensor, "example d"],
    weight: Float[Tensor, "labeling example"],
    ridge: Float[Tensor, " d"],
    gradient: Float[Tensor, "labeling d"],
) -> Float[Tensor, "labeling d"]:
    """Solve the Newton system of every labeling, preconditioned by its diagonal."""
    smallest = torch.finfo(design.dtype).tiny
    diagonal = (weight @ design.square() + ridge).clamp_min(smallest)
    step, residual = torch.zeros_like(gradient), gradient.clone()
    wanted = RESIDUAL * gradient.norm(dim=1)
    conditioned = residual / diagonal
    along, size = conditioned.clone(), (residual * conditioned).sum(dim=1)
    for _ in range(PRODUCTS):
        if (residual.norm(dim=1) <= wanted).all():
            break
        product = (weight * (along @ design.T)) @ design + ridge * along
        length = size / (along * product).sum(dim=1).clamp_min(smallest)
        step += length[:, None] * along
        residual -= length[:, None] * product
        conditioned = residual / diagonal
        size, before = (residual * conditioned).sum(dim=1), size
        along = conditioned + (size / before.clamp_min(smallest))[:, None] * along
    return step


def _loss(eta: Tensor, y: Tensor, theta: Tensor, ridge: Tensor) -> Tensor:
    """Logistic loss at the log-odds ``eta``, and the ridge, of every row."""
    loss = torch.nn.functional.softplus(eta) - y * eta
    return loss.sum(dim=1) + (ridge * theta.square()).sum(dim=1) / 2


def _shorten(design: Tensor, y: Tensor, theta: Tensor, step: Tensor, ridge: Tensor) -> Tensor:
    """Take the step, halved for heads whose loss would rise."""

    def loss(theta: Tensor) -> Tensor:
        eta = einsum(design, theta, "head example d, head d -> head example")
        return _loss(eta, y, theta, ridge)

    return _shortened(loss, theta, step)


def _shortened(loss: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor) -> Tensor:
    """Take the step, halved in rows where the loss would rise."""
    before = loss(theta)
    size = torch.ones_like(before)
    for _ in range(30):
        worse = loss(theta + size[:, None] * step) > before + 1e-12 * (1 + before.abs())
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    return theta + size[:, None] * step
