"""p values far out in the tails, where the numbers themselves would be 0."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log10_p_of_z(z: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Logarithm to base 10 of the two-sided p value of a standard normal statistic."""
    return (math.log(2) + torch.special.log_ndtr(-z.abs())) / math.log(10)


def log10_p_of_chi_square(statistic: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Logarithm to base 10 of the p value of a chi-square statistic, 1 degree of freedom."""
    return log10_p_of_z(statistic.clamp_min(0).sqrt())


def log10_p_of_t(t: Float[Tensor, "..."], degrees_of_freedom: int) -> Float[Tensor, "..."]:
    """Logarithm to base 10 of the two-sided p value of a t statistic.

    p is the incomplete beta function I_x(df / 2, 1 / 2) at x = df / (df + t^2). Where that is too
    small for a number, its hypergeometric series is taken, whose leading factor has a logarithm
    (Abramowitz & Stegun 1964, 6.6.8).
    """
    from scipy.special import betainc, betaln, hyp2f1

    a = degrees_of_freedom / 2
    squared = t.double().square().cpu()
    x = (degrees_of_freedom / (degrees_of_freedom + squared)).numpy()
    p = torch.from_numpy(betainc(a, 0.5, x))
    far = p < 1e-290
    log10_p = p.log10()
    if far.any():
        # I_x(a, 1/2) = x^a hyp2f1(1/2, a; a + 1; x) / (a B(a, 1/2))
        log_x = -torch.log1p(squared[far] / degrees_of_freedom)
        series = torch.from_numpy(hyp2f1(0.5, a, a + 1, x[far.numpy()])).log()
        log10_p[far] = (a * log_x + series - math.log(a) - betaln(a, 0.5)) / math.log(10)
    return log10_p.to(t.device)
