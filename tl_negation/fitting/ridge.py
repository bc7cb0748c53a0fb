"""Ridge-penalised logistic regression of several units at once, batched over heads."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 100
TOLERANCE = 1e-9


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


def _objective(design: Tensor, y: Tensor, theta: Tensor, ridge: Tensor) -> Tensor:
    eta = einsum(design, theta, "head example d, head d -> head example")
    loss = torch.nn.functional.softplus(eta) - y * eta
    return loss.sum(dim=1) + (ridge * theta.square()).sum(dim=1) / 2


def _shorten(design: Tensor, y: Tensor, theta: Tensor, step: Tensor, ridge: Tensor) -> Tensor:
    """Take the step, halved for heads whose loss would rise."""
    before = _objective(design, y, theta, ridge)
    size = torch.ones_like(before)
    for _ in range(30):
        after = _objective(design, y, theta + size[:, None] * step, ridge)
        worse = after > before + 1e-12 * (1 + before.abs())
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    return theta + size[:, None] * step
