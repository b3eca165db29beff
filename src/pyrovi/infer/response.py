"""`linear_response`: the standard deviations that mean field understates, for chosen quantities.

How the means would move if the posterior were tilted says how wide it is
(`pyrovi.optimise.FixedDraws`). That takes one system of linear equations a quantity, solved by
conjugate gradients with products of the second derivatives: no covariance is ever formed.

Reference: Giordano, Broderick and Jordan (2018), https://jmlr.org/papers/v19/17-670.html
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovi.approximations import Gaussian
from pyrovi.errors import EngineError
from pyrovi.infer.engines.dadvi import length_units
from pyrovi.infer.result import Fit
from pyrovi.optimise import FixedDraws, fixed_noise
from pyrovi.seeds import stream

if TYPE_CHECKING:
    import xarray as xr

PARTICLES = 128
TOLERANCE = 1e-8  # relative, of each system


def linear_response(fit: Fit, of: Sequence[str] | None = None) -> "xr.Dataset":
    """Linear-response covariances of a Gaussian fit, for chosen quantities.

    Args:
        fit: A fit by DADVI, or any other whose approximation is a Gaussian, such as SVI's with a
            Gaussian guide.
        of: Which quantities of the unconstrained space: sites (``"theta"``) or their entries
            (``"theta[3]"``); None for all of them.

    Returns:
        Per ``quantity``: ``sd``, by linear response; ``gaussian_sd``, of the fit itself; and
        ``covariance`` (quantity, other), all in the units of the unconstrained space.

    Raises:
        EngineError: If the fit's approximation is no Gaussian, or a quantity is unknown.

    >>> import pyro, pyro.distributions as dist, pyrovi as vi
    >>> def model():
    ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
    ...     pyro.sample("y", dist.Normal(x, 0.5))
    >>> fit = vi.fit(model, {}, vi.DADVI(), seed=0)  # the sd of y is the root of 1.25
    >>> vi.linear_response(fit)[["sd", "gaussian_sd"]].sel(quantity="y").to_array().values.round(3)
    array([1.118, 0.5  ])
    """
    import xarray as xr

    gaussian = fit.approximations()[0].gaussian()
    if gaussian is None:
        raise EngineError(
            f"Linear response needs a Gaussian fit, and this one is {fit.method}. "
            "Fit with pyrovi.DADVI()."
        )
    labels = fit.density.labels()
    chosen = _chosen(labels, of)
    problem, parameters = _problem(fit, gaussian)
    tilts = torch.eye(len(labels), dtype=torch.float64)[chosen]
    covariance = np.stack([_response(problem, parameters, tilt)[chosen] for tilt in tilts])
    names = [labels[index] for index in chosen]
    return xr.Dataset(
        {
            "sd": ("quantity", np.sqrt(covariance.diagonal())),
            "gaussian_sd": ("quantity", gaussian.scale[chosen].numpy()),
            "covariance": (("quantity", "other"), (covariance + covariance.T) / 2),
        },
        coords={"quantity": names, "other": names},
        attrs={"source": "Giordano, Broderick and Jordan (2018), JMLR 19(51)"},
    )


def _chosen(labels: list[str], of: Sequence[str] | None) -> list[int]:
    """The indices of the labels that are asked for, by entry or by site."""
    if of is None:
        return list(range(len(labels)))
    wanted = [of] if isinstance(of, str) else list(of)
    indices: list[int] = []
    for name in wanted:
        these = [i for i, label in enumerate(labels) if name in (label, label.partition("[")[0])]
        if not these:
            sites = ", ".join(dict.fromkeys(label.partition("[")[0] for label in labels))
            raise EngineError(
                f"There is no quantity {name!r}. The sites are {sites}; an entry is written as "
                f"{labels[-1]!r}."
            )
        indices += these
    return list(dict.fromkeys(indices))


def _problem(fit: Fit, gaussian: Gaussian) -> tuple[FixedDraws, Tensor]:
    """The objective at the fit's own optimum: in the turned space where it has correlations."""
    dim = fit.density.dim
    noise = fixed_noise(max(PARTICLES, min(512, 4 * dim)), dim, stream(fit.seed, "response"))
    if gaussian.diagonal:
        return FixedDraws(fit.density, noise), torch.cat([gaussian.loc, gaussian.scale_tril.log()])
    problem = FixedDraws(fit.density, noise, turn=gaussian.scale_tril, centre=gaussian.loc)
    return problem, torch.zeros(2 * dim, dtype=gaussian.loc.dtype)


def _response(problem: FixedDraws, parameters: Tensor, tilt: Tensor) -> np.ndarray:
    """How the means move, in the flat space, as the density is tilted by ``tilt``."""
    from scipy.sparse.linalg import LinearOperator, cg

    turn, dim = problem.turn, len(tilt)
    units = length_units(parameters.chunk(2)[1])

    def product(vector: np.ndarray) -> np.ndarray:
        moved = problem.hessian_product(parameters, units * torch.as_tensor(vector))
        return (units * moved).numpy()

    right = torch.cat([tilt if turn is None else turn.T @ tilt, torch.zeros(dim).double()])
    matrix = LinearOperator((2 * dim, 2 * dim), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    solved, failed = cg(matrix, (units * right).numpy(), rtol=TOLERANCE, maxiter=20 * dim)
    if failed:
        raise EngineError(
            "The fit is not at an optimum, so that linear response has no answer. Fit again with "
            "pyrovi.DADVI(), or a smaller tolerance."
        )
    moved = (units * torch.as_tensor(solved))[:dim]
    return (moved if turn is None else turn @ moved).numpy()
