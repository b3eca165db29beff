r"""The exact posterior of a linear inverse problem with a Gaussian prior, worked in data space.

With the prior density = T z and z standard normal, A = G T, regional trends B, and noise R,

.. math::
   S &= A A' + B B' + R, \\
   \operatorname{E}(\rho \mid g) &= T A' S^{-1} g, \\
   \operatorname{Cov}(\rho \mid g) &= T T' - T A' S^{-1} A T', \\
   \log p(g) &= -\tfrac12 (g' S^{-1} g + \log\det 2 \pi S).

S has a row for each station; T is a cosine transform. So n cells under m stations cost m^2 n
operations and m n numbers, and no array is n x n unless a covariance is asked for. A draw is one
of the prior, moved by what the surprise in its simulated data says (Matheron's rule).

Reference: Tarantola (2005), "Inverse Problem Theory", SIAM, section 3.2.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from pyrovi.bound import bind
from pyrovi.errors import DataError
from pyrovi.models.gravity_inversion.smooth_field import SmoothField, mode_scale

MOST_CELLS = 5000  # above it a dense covariance is refused: 200 MB


@dataclass(frozen=True, eq=False)
class Exact:
    """The posterior of ``whitened`` and ``centered``.

    Attributes:
        gravity: Data in mGal.
        sensitivity: In mGal for 1 kg/m3.
        sigma: Noise in mGal.
        field: The prior of the density.
        basis: Regional trends at one prior sd, in mGal; may have no terms.
    """

    gravity: Float[Tensor, " station"]
    sensitivity: Float[Tensor, "station depth northing easting"]
    sigma: Float[Tensor, " station"]
    field: SmoothField
    basis: Float[Tensor, "station term"]

    @classmethod
    def of(cls, data: xr.DataTree | Mapping[str, Any]) -> "Exact":
        """Of the model's data: a tree, or the arguments by name.

        Raises:
            DataError: If the data are no whole gravity survey.
        """
        arguments = bind(cls._from, data)
        if arguments.missing:
            raise DataError(
                "The exact posterior needs gravity at all stations, and some are masked."
            )
        return cls._from(**arguments.kwargs)

    @classmethod
    def _from(
        cls,
        gravity: Tensor,
        sensitivity: Tensor,
        sigma: Tensor,
        weight: Tensor,
        reach: Tensor,
        strength: Tensor | float,
        basis: Tensor | None = None,
    ) -> "Exact":
        strength = torch.as_tensor(strength, dtype=torch.float64)
        scale = mode_scale(sensitivity.shape[1:], reach, strength)
        basis = sensitivity.new_zeros(len(sensitivity), 0) if basis is None else basis
        return cls(gravity, sensitivity, sigma, SmoothField(scale, weight), basis)

    @functools.cached_property
    def _whitened(self) -> Float[Tensor, "station cell"]:
        return self.field.colour_back(self.sensitivity).flatten(1)

    @functools.cached_property
    def _factor(self) -> Float[Tensor, "station station"]:
        """The Cholesky factor of S, in mGal."""
        covariance = self._whitened @ self._whitened.T + self.basis @ self.basis.T
        covariance.diagonal().add_(self.sigma.square())
        return torch.linalg.cholesky(covariance)

    @functools.cached_property
    def _gain(self) -> Float[Tensor, "station cell"]:
        """A T': what one mGal of weighted surprise at a station does to each cell."""
        shaped = self._whitened.unflatten(1, self.sensitivity.shape[1:])
        return self.field.colour(shaped).flatten(1)

    def _solve(self, data: Tensor) -> Tensor:
        """S^-1 times each column, or times one vector."""
        columns = data if data.ndim > 1 else data[:, None]
        return torch.cholesky_solve(columns, self._factor).reshape(data.shape)

    @property
    def log_evidence(self) -> float:
        """log p(gravity), in nats."""
        gravity = self.gravity[:, None]
        whitened = torch.linalg.solve_triangular(self._factor, gravity, upper=False)
        log_det = 2 * self._factor.diagonal().log().sum()
        constant = len(self.gravity) * np.log(2 * np.pi)
        return float(-0.5 * (whitened.square().sum() + log_det + constant))

    @functools.cached_property
    def mean(self) -> Float[np.ndarray, "depth northing easting"]:
        """Posterior mean of the density, in kg/m3."""
        return self._shaped(self._solve(self.gravity) @ self._gain)

    @functools.cached_property
    def sd(self) -> Float[np.ndarray, "depth northing easting"]:
        """Posterior standard deviation of the density, in kg/m3."""
        explained = torch.linalg.solve_triangular(self._factor, self._gain, upper=False)
        variance = self.field.variance.flatten() - explained.square_().sum(0)
        return self._shaped(variance.clamp_min(0.0).sqrt())

    @property
    def prior_sd(self) -> Float[np.ndarray, "depth northing easting"]:
        """Prior standard deviation of the density, in kg/m3."""
        return self.field.variance.sqrt().numpy()

    @property
    def trend(self) -> Float[np.ndarray, " term"]:
        """Posterior mean of the coefficients of the regional trends, in prior sds."""
        return (self._solve(self.gravity) @ self.basis).numpy()

    @property
    def resolution(self) -> Float[np.ndarray, "depth northing easting"]:
        """Diagonal of the resolution matrix, which without noise takes the truth to the mean."""
        kernel = self._solve(self.sensitivity.flatten(1))
        return self._shaped((self._gain * kernel).sum(0))

    def draws(self, count: int, seed: int) -> Float[np.ndarray, "draw depth northing easting"]:
        """Independent draws of the density, in kg/m3, by Matheron's rule."""
        field, _, surprise = self._perturbed(count, seed)
        density = self.field.colour(field).flatten(1)
        density += self._solve(surprise.T).T @ self._gain
        return density.unflatten(1, self.sensitivity.shape[1:]).numpy()

    def trend_draws(self, count: int, seed: int) -> Float[np.ndarray, "draw term"]:
        """Coefficients of the trends, in prior sds, that go with `draws` of the same seed."""
        _, trend, surprise = self._perturbed(count, seed)
        return (trend + self._solve(surprise.T).T @ self.basis).numpy()

    def _perturbed(self, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Field and trend of the prior, and the data less what is simulated from the two."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=generator, dtype=self.gravity.dtype)

        field, trend = normal(*self.sensitivity.shape[1:]), normal(self.basis.shape[1])
        simulated = field.flatten(1) @ self._whitened.T + trend @ self.basis.T
        simulated += normal(len(self.gravity)) * self.sigma
        return field, trend, self.gravity - simulated

    def covariance(self) -> Float[np.ndarray, "cell cell"]:
        """Posterior covariance of the density, dense, in (kg/m3)^2.

        Raises:
            DataError: If there are too many cells for a dense matrix.
        """
        identity = torch.eye(self._dense(), dtype=self.gravity.dtype)
        identity = identity.unflatten(1, self.sensitivity.shape[1:])
        prior = self.field.colour(self.field.colour_back(identity)).flatten(1)
        return (prior - self._gain.T @ self._solve(self._gain)).numpy()

    def whitened(self) -> tuple[Float[Tensor, " flat"], Float[Tensor, "flat flat"]]:
        """Mean and covariance of the sites of ``whitened``: the field, then the trend if any.

        Raises:
            DataError: If there are too many cells for a dense matrix.
        """
        self._dense()
        both = torch.cat([self._whitened, self.basis], dim=1)
        identity = torch.eye(both.shape[1], dtype=both.dtype)
        return self._solve(self.gravity) @ both, identity - both.T @ self._solve(both)

    def kl_from(self, loc: Float[Tensor, " flat"], factor: Float[Tensor, "flat flat"]) -> float:
        """KL(q to p), in nats, of the Gaussian q over the sites of ``whitened``.

        Args:
            loc: Its mean.
            factor: Any square factor F of its covariance F F'.
        """
        mean, covariance = self.whitened()
        exact = torch.linalg.cholesky(covariance)
        spread = torch.linalg.solve_triangular(exact, factor, upper=False)
        shift = torch.linalg.solve_triangular(exact, (loc - mean)[:, None], upper=False)
        squares = spread.square().sum() + shift.square().sum() - len(loc)
        return float(0.5 * squares - torch.linalg.slogdet(spread).logabsdet)

    def _dense(self) -> int:
        size = self._whitened.shape[1]
        if size > MOST_CELLS:
            raise DataError(
                f"A dense covariance is for up to {MOST_CELLS} cells, and there are {size}. "
                "Use mean, sd and draws, which need none."
            )
        return size

    def _shaped(self, cells: Tensor) -> np.ndarray:
        return cells.unflatten(0, self.sensitivity.shape[1:]).numpy()
