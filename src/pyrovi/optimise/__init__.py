"""The searches, chains and objectives that engines are made of."""

from pyrovi.optimise.chains import (
    FEWEST_CHAINS,
    STEP_SIZE,
    WIDE_JITTER,
    Chains,
    chains_for,
    mass_factor,
    move,
)
from pyrovi.optimise.fixed_draws import FixedDraws, fixed_noise
from pyrovi.optimise.iterates import Iterates
from pyrovi.optimise.mode_search import (
    affordable,
    curvature_cholesky,
    find_mode,
    find_modes,
    log_evidence,
)
from pyrovi.optimise.objectives import negative_elbo
from pyrovi.optimise.path_gaussians import PathGaussians, path_gaussians
from pyrovi.optimise.quasi_newton import Asking, QuasiNewton

__all__ = [
    "Asking",
    "Chains",
    "FEWEST_CHAINS",
    "FixedDraws",
    "Iterates",
    "PathGaussians",
    "QuasiNewton",
    "STEP_SIZE",
    "WIDE_JITTER",
    "affordable",
    "chains_for",
    "curvature_cholesky",
    "find_mode",
    "find_modes",
    "fixed_noise",
    "log_evidence",
    "mass_factor",
    "move",
    "negative_elbo",
    "path_gaussians",
]
