"""Which units get Firth's fit; the fit itself is tested in tests/fitting/test_firth.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from firthmodels import FirthLogisticRegression
from helpers import synthetic
from scipy.stats import chi2

from tl_negation import STATUSES
from tl_negation.fitting import engine, newton
from tl_negation.inference.infer import infer
from tl_negation.inference.penalised import penalise
from tl_negation.probing.probe import probe

FIRTH = [f"firth_{name}" for name in ("intercept", "beta", "se", "lr", "p", "beta_per_sd")]
FIRTH += ["firth_accuracy", "firth_balanced_accuracy"]


def with_outcomes():
    """Layer 1: units 0 separated, 1 quasi, 2 constant, 3 not finite; layer 2: 26 separated."""
    values, labels, words = synthetic.small(seed=7)
    rng = np.random.default_rng(0)
    values[1, :, 0] = 4 * labels + rng.uniform(-1, 1, 61)
    values[1, :, 1] = np.where(labels, rng.uniform(2, 4, 61), rng.uniform(-1, 1, 61))
    values[1, [np.flatnonzero(labels)[0], np.flatnonzero(labels == 0)[0]], 1] = 1.5
    values[1, :, 2] = -3.0
    values[1, 11, 3] = np.nan
    values[2, :, 26] = -labels - rng.uniform(0, 0.5, 61)
    return values, labels, words


def codes(result, *names):
    return torch.isin(result.status, torch.tensor([STATUSES.index(name) for name in names]).char())


def test_by_default_only_units_without_an_ordinary_estimate_are_fitted():
    result = penalise(synthetic.result(*with_outcomes()))
    wanted = codes(result, "separated", "quasi_separated")
    assert wanted.sum() == 3
    assert wanted[[1, 1, 2], [0, 1, 26]].all()
    for name in FIRTH:
        assert torch.equal(torch.isfinite(result.columns[name]), wanted), name
    assert result.provenance["firth"] == {"units": "invalid", "fitted": 3}


def test_nonconverged_units_are_fitted_too(monkeypatch):
    values, labels, words = synthetic.small(seed=7)
    acts = synthetic.activations(values, synthetic.contexts(labels, words))

    def lost_by_the_fast_way(x, n1, scratch):
        solved = engine.ROWS.solve(x, n1, scratch)
        return solved._replace(done=solved.b.abs() < 0.5)

    with monkeypatch.context() as patch:
        losing = engine.ROWS._replace(solve=lost_by_the_fast_way)
        patch.setitem(engine.ENGINES, "cpu", losing)
        patch.setattr(newton, "GUARDED_ITERATIONS", 1)
        result = probe(acts, progress=False)
    lost = codes(result, "nonconverged")
    assert 0 < lost.sum() < lost.numel()
    assert torch.equal(torch.isfinite(penalise(result).firth_beta), lost)


def test_all_means_every_unit_that_is_finite_and_not_constant():
    result = penalise(synthetic.result(*with_outcomes()), units="all")
    assert torch.equal(~torch.isfinite(result.firth_p), codes(result, "constant", "nonfinite"))
    assert result.provenance["firth"] == {"units": "all", "fitted": 103}
    ok = codes(result, "ok")
    assert (result.firth_beta[ok].abs() < result.beta[ok].abs()).double().mean() > 0.9  # shrunk


@pytest.mark.slow  # firthmodels compiles itself in each process
def test_every_column_stands_at_its_unit():
    """Against firthmodels, unit by unit, on labels in random order."""
    values, labels, words = with_outcomes()
    result = penalise(synthetic.result(values, labels, words))
    for layer, unit in [(1, 0), (1, 1), (2, 26)]:
        x = np.float64(np.float32(values[layer, :, unit]))
        peer = FirthLogisticRegression(max_iter=2000, gtol=1e-6, xtol=1e-6)
        peer.fit(x[:, None] / x.std(), labels)
        peer.lrt(0)
        got = {name: result.columns[name][layer, unit].item() for name in FIRTH}
        assert got["firth_beta_per_sd"] == pytest.approx(peer.coef_[0], rel=1e-6)
        assert got["firth_beta"] == pytest.approx(peer.coef_[0] / x.std(), rel=1e-6)
        assert got["firth_intercept"] == pytest.approx(peer.intercept_, rel=1e-6)
        assert got["firth_p"] == pytest.approx(peer.lrt_pvalues_[0], rel=1e-5)
        assert got["firth_p"] == pytest.approx(chi2.sf(got["firth_lr"], 1), rel=1e-9)
        assert got["firth_balanced_accuracy"] >= (1 if unit != 1 else 0.95)
    assert result.firth_accuracy[1, 0] == 1


def test_p_of_separated_units_is_small_where_wald_has_none():
    result = penalise(synthetic.result(*with_outcomes()))
    gap = codes(result, "separated")
    assert torch.isnan(result.p[gap]).all()
    assert (result.firth_p[gap] < 1e-10).all()
    assert result.significant[gap].all()
    by_wald = synthetic.result(*with_outcomes(), test="wald")
    assert not by_wald.significant[gap].any()  # the notebook's test throws its best units away


def test_the_plain_columns_stay():
    result = synthetic.result(*with_outcomes())
    after = penalise(result)
    for name, column in result.columns.items():
        torch.testing.assert_close(after.columns[name], column, equal_nan=True)


def test_chunks_do_not_matter(monkeypatch):
    result = synthetic.result(*with_outcomes())
    whole = penalise(result, units="all")
    monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(units=5))
    cut = penalise(result, units="all")
    for name in FIRTH:
        torch.testing.assert_close(
            whole.columns[name], cut.columns[name], rtol=1e-9, atol=1e-12, equal_nan=True
        )


def test_infer_runs_all_that_a_claim_needs():
    result = infer(synthetic.result(*with_outcomes()), tasks=2, progress=False)
    for name in ("firth_p", "words_p_maxt", "held_out_accuracy", "selectivity"):
        assert result.columns[name].shape == (3, synthetic.WIDTH)
        assert torch.isfinite(result.columns[name]).any()
    assert {"firth", "word_test", "held_out_word", "selectivity"} <= set(result.provenance)


def test_unknown_units_and_no_activations_are_refused():
    result = synthetic.result(*synthetic.small())
    with pytest.raises(ValueError, match="units must be 'invalid' or 'all'; got 'separated'"):
        penalise(result, units="separated")
    with pytest.raises(ValueError, match="penalise needs the activations"):
        penalise(replace(result, activations=None))
