"""R-hat and effective draws of chains whose autocorrelation is known."""

import numpy as np
import pytest

from forametric.analysis.convergence import effective_draws, r_hat


def _autoregressive(phi, chains=4, draws=4000, seed=0):
    rng = np.random.default_rng(seed)
    values = np.empty((chains, draws))
    values[:, 0] = rng.normal(0, 1 / np.sqrt(1 - phi**2), chains)
    for step in range(1, draws):
        values[:, step] = phi * values[:, step - 1] + rng.normal(size=chains)
    return values


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.95])
def test_an_autoregressive_chain_has_as_many_effective_draws_as_theory_says(phi):
    expected = 16000 * (1 - phi) / (1 + phi)
    found = [effective_draws(_autoregressive(phi, seed=seed)) for seed in range(5)]
    assert np.mean(found) == pytest.approx(expected, rel=0.15)
    assert r_hat(_autoregressive(phi)) == pytest.approx(1, abs=0.02)


def test_alternating_draws_are_worth_more_than_independent_ones():
    assert effective_draws(_autoregressive(-0.5)) > 2 * 16000


def test_chains_in_different_places_have_not_converged():
    chains = _autoregressive(0.0)
    chains[0] += 1
    assert r_hat(chains) > 1.1
    assert effective_draws(chains) < 50
    drifting = _autoregressive(0.0) + np.linspace(0, 3, 4000)
    assert r_hat(drifting) > 1.2, "halves of one chain differ"


def test_r_hat_by_hand():
    # Halves (0, 2), (4, 6), (0, 2), (4, 6): variance within 2, of the means (1, 5, 1, 5) 16/3.
    chains = np.array([[0.0, 2.0, 4.0, 6.0], [0.0, 2.0, 4.0, 6.0]])
    assert r_hat(chains) == pytest.approx(np.sqrt(1 / 2 + (16 / 3) / 2))


def test_a_constant_has_converged():
    assert r_hat(np.ones((4, 100))) == 1
    assert effective_draws(np.ones((4, 100))) == 400
