"""Claims on mixtures of t distributions, by scipy's density and known moments."""

import numpy as np
import torch
from scipy.stats import multivariate_t

from pyrovi.approximations import StudentMixture

LOCS = torch.tensor([[0.0, 1.0], [4.0, -2.0]], dtype=torch.float64)
FACTORS = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.5, 0.0], [0.0, 0.3]]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
FREEDOMS = torch.tensor([5.0, 40.0], dtype=torch.float64)
MIXTURE = StudentMixture(WEIGHTS, LOCS, FACTORS, FREEDOMS)


def test_the_density_is_scipys() -> None:
    rows = torch.randn(20, 2, dtype=torch.float64) * 3
    parts = [
        float(weight) * multivariate_t(loc, factor @ factor.T, df=float(freedom)).pdf(rows)
        for weight, loc, factor, freedom in zip(
            WEIGHTS, LOCS.numpy(), FACTORS.numpy(), FREEDOMS, strict=True
        )
    ]
    assert np.allclose(MIXTURE.log_prob(rows).exp().numpy(), np.sum(parts, axis=0))


def test_draws_and_spread_points_have_the_moments_of_the_mixture() -> None:
    mean = WEIGHTS @ LOCS
    for rows in (MIXTURE.spread(8192, seed=1), MIXTURE.draw(50_000, torch.Generator())):
        assert torch.allclose(rows.mean(0), mean, atol=0.06)
        near = (rows - LOCS[1]).square().sum(-1) < 4.0
        assert abs(float(near.double().mean()) - 0.7) < 0.02


def test_a_fit_to_weighted_rows_finds_what_they_are_of() -> None:
    generator = torch.Generator().manual_seed(2)
    rows = MIXTURE.draw(4000, generator)
    one = torch.ones(1, dtype=torch.float64)
    wide = StudentMixture.heavy(one, rows.mean(0)[None], 3 * torch.eye(2).double()[None])
    weights = torch.full((4000,), 1 / 4000, dtype=torch.float64)
    start = StudentMixture.heavy(
        torch.full((2,), 0.5, dtype=torch.float64),
        LOCS + 0.5,
        FACTORS.new_ones(2, 1, 1) * torch.eye(2).double(),
    )
    fitted = start.fitted(rows, weights, MIXTURE.log_prob(rows))
    fit, best = (float(each.log_prob(rows).mean()) for each in (fitted, MIXTURE))
    assert best - 0.1 < fit <= best + 0.01
    assert fit > float(wide.log_prob(rows).mean()) + 0.3
    assert float(fitted.freedoms.min()) == 5.0  # some of it is heavy in the tails, always
