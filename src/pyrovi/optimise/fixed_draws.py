"""The objective of deterministic ADVI, its derivatives, and what follows from them.

With standard-normal draws ``z`` taken once, minus the ELBO of a mean-field Gaussian is an ordinary
function of its means and log scales,

    F(m, s) = -mean_z log p(m + exp(s) z) - sum(s) - dim / 2 log(2 pi e).

Its second derivatives ``H`` at the optimum say two things more.

- Linear response: tilting the posterior by ``t' theta`` moves the optimal means by ``H^-1 t``, so
  the block of ``H^-1`` for the means estimates the posterior covariance (Giordano, Broderick and
  Jordan 2018, https://jmlr.org/papers/v19/17-670.html).
- Other draws would have moved the optimum by about ``H^-1 g``, with ``g`` the change in the
  gradient: its covariance is the sandwich ``H^-1 Cov(g) H^-1 / draws`` (Giordano, Ingram and
  Broderick 2024, https://arxiv.org/abs/2304.05527).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.density import LogDensity

MAX_SOBOL_DIM = torch.quasirandom.SobolEngine.MAXDIM
FEW_SETS_DIM = 100
CURVATURE_WORK = 500_000  # numbers worked out for an average curvature, if it is to be cheap
MOST_FOR_CURVATURE = 2048  # draws
TINY = torch.finfo(torch.float64).tiny
ENTRIES = 4_000_000  # of matrices of second derivatives held at once, a bound on memory


class FixedDraws:
    """The objective over means and log scales, in a space that may be turned and shifted.

    Args:
        density: The density to approximate.
        noise: The draws, ``(draw, dim)``.
        paired: Whether the second half of the draws mirrors the first.
        turn: By what the space is turned; None for not at all.
        centre: What the origin of the turned space is, in the flat space.
    """

    def __init__(
        self,
        density: LogDensity,
        noise: Float[Tensor, "draw dim"],
        *,
        paired: bool = True,
        turn: Float[Tensor, "dim dim"] | None = None,
        centre: Float[Tensor, "dim"] | None = None,
    ) -> None:
        self.density, self.noise, self.paired, self.turn = density, noise, paired, turn
        self.centre = torch.zeros_like(noise[0]) if centre is None else centre

    def evaluate(
        self, parameters: Float[Tensor, "parameter"]
    ) -> tuple[float, Float[Tensor, "parameter"]]:
        """The loss, in nats, and its gradient."""
        loss, parts = self._parts(parameters)
        return float(loss), parts.mean(0)

    def flat(self, turned: Float[Tensor, "*draw dim"]) -> Float[Tensor, "*draw dim"]:
        """Points of the turned space, in the flat space of the density."""
        return self.centre + (turned if self.turn is None else turned @ self.turn.T)

    def average_curvature(
        self, parameters: Float[Tensor, "parameter"], seed: int
    ) -> Float[Tensor, "dim dim"]:
        """The curvature averaged over the Gaussian, in units of its scales, by gradients alone.

        For a Gaussian the mean of a gradient times a standard draw is that of the curvature
        (Stein 1981, https://doi.org/10.1214/aos/1176345632), and draws of exact moments, which
        ``seed`` makes anew, give it with no error where the gradient is linear. Off the diagonal
        it is shrunk towards zero by the share of its squares that is error, as Ledoit and Wolf
        (2004) do with covariances (https://doi.org/10.1016/S0047-259X(03)00096-4).
        """
        loc, log_scale = parameters.chunk(2)
        scale, dim = log_scale.exp(), len(loc)
        cheap = CURVATURE_WORK // self.density.work
        count = min(MOST_FOR_CURVATURE, max(64, 16 * dim, cheap - cheap % 2))
        noise = fixed_noise(count, dim, seed + 1)
        pulled = -scale * self._turned(loc + scale * noise)[1]
        mean = pulled.T @ noise / len(noise)
        mean = (mean + mean.T) / 2
        diagonal = torch.diag(mean.diagonal())
        left = (pulled - noise @ mean).square().T @ noise.square()
        error = float(left.sum() - left.diagonal().sum()) / len(noise) ** 2
        squares = float((mean - diagonal).square().sum())
        return diagonal + max(0.0, 1 - error / max(squares, error, TINY)) * (mean - diagonal)

    def hessian(
        self, parameters: Float[Tensor, "parameter"]
    ) -> Float[Tensor, "parameter parameter"]:
        """The second derivatives of the loss."""
        loc, log_scale = parameters.chunk(2)
        stretched = log_scale.exp() * self.noise
        dim = len(loc)
        total = torch.zeros(2 * dim, 2 * dim, dtype=loc.dtype)
        for stretch in stretched.split(max(1, ENTRIES // dim**2)):
            curvature = -self.density.hessian(self.flat(loc + stretch))
            if self.turn is not None:
                curvature = self.turn.T @ curvature @ self.turn
            crossed = curvature * stretch[:, None, :]
            total[:dim, :dim] += curvature.sum(0)
            total[:dim, dim:] += crossed.sum(0)
            total[dim:, dim:] += (crossed * stretch[:, :, None]).sum(0)
        total /= len(self.noise)
        total[dim:, :dim] = total[:dim, dim:].T
        # The scale itself bends with its logarithm.
        total[dim:, dim:] += torch.diag(self.evaluate(parameters)[1][dim:] + 1)
        return total

    def hessian_product(
        self, parameters: Float[Tensor, "parameter"], direction: Float[Tensor, "parameter"]
    ) -> Float[Tensor, "parameter"]:
        """The second derivatives of the loss times a direction, in a few evaluations."""
        loc, log_scale = parameters.chunk(2)
        along_loc, along_log_scale = direction.chunk(2)
        stretched = log_scale.exp() * self.noise
        moved = self.flat(along_loc + stretched * along_log_scale) - self.centre
        product = -self.density.hessian_product(self.flat(loc + stretched), moved)
        if self.turn is not None:
            product = product @ self.turn
        bent = (self.evaluate(parameters)[1][len(loc) :] + 1) * along_log_scale
        return torch.cat([product.mean(0), (product * stretched).mean(0) + bent])

    def error(self, parameters: Float[Tensor, "parameter"], seed: int) -> Float[Tensor, "dim"]:
        """About how far other draws would move each flat mean, in its standard deviations.

        With the curvature that the optimum tells of, one over the squared scales;
        `linear_response` takes the whole curvature, at its cost. Draws that are moved to match
        moments err far less than their spread says, so other sets of them, by ``seed``, are tried.
        """
        scale = parameters.chunk(2)[1].exp()
        if self.paired:
            sets = 4 if len(scale) <= FEW_SETS_DIM else 1  # the largest of many needs fewer
            others = range(seed + 1, seed + 1 + sets)
            moved = torch.stack([self._gradient_with(parameters, each) for each in others])
            root = math.sqrt(sets)
        else:
            moved = self._parts(parameters)[1][:, : len(scale)]
            moved, root = moved - moved.mean(0), float(len(moved))
        moved, sd = moved * scale**2, scale
        if self.turn is not None:
            moved, sd = moved @ self.turn.T, (self.turn * scale).square().sum(-1).sqrt()
        return moved.square().sum(0).sqrt() / root / sd

    def _gradient_with(self, parameters: Tensor, seed: int) -> Tensor:
        """The gradient in the means, with another set of draws."""
        count, dim = self.noise.shape
        return self._parts(parameters, fixed_noise(count, dim, seed))[1].mean(0)[:dim]

    def linear_response(
        self, parameters: Float[Tensor, "parameter"]
    ) -> tuple[Float[Tensor, "dim dim"], Float[Tensor, "dim"]]:
        """The linear-response covariance of the flat vector, and the standard error of its mean.

        The error is by the choice of the draws; those moved to match moments err less.
        """
        dim = self.noise.shape[1]
        inverse = torch.linalg.inv(self.hessian(parameters))
        parts = self._parts(parameters)[1]
        if self.paired:  # draws that mirror each other count as one
            parts = (parts[: len(parts) // 2] + parts[len(parts) // 2 :]) / 2
        moved = (parts - parts.mean(0)) @ inverse[:, :dim]
        turn = torch.eye(dim, dtype=inverse.dtype) if self.turn is None else self.turn
        error = (moved @ turn.T).square().sum(0).sqrt() / math.sqrt(len(parts) * (len(parts) - 1))
        return turn @ inverse[:dim, :dim] @ turn.T, error

    def _parts(self, parameters: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, and each draw's part of its gradient: their mean is the gradient."""
        noise = self.noise if noise is None else noise
        loc, log_scale = parameters.chunk(2)
        scale = log_scale.exp()
        entropy = log_scale.sum() + 0.5 * len(loc) * math.log(2 * math.pi * math.e)
        value, gradient = self._turned(loc + scale * noise)
        loss = (-value.mean() - entropy).nan_to_num(torch.inf, torch.inf)
        return loss, torch.cat([-gradient, -gradient * noise * scale - 1], dim=-1)

    def _turned(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self.density.value_and_gradient(self.flat(rows))
        if self.turn is None:
            return value, gradient
        return value + self.turn.diagonal().abs().log().sum(), gradient @ self.turn


def fixed_noise(particles: int, dim: int, seed: int) -> Float[Tensor, "draw dim"]:
    """Antithetic standard-normal points, from a Sobol sequence that ``seed`` scrambles.

    Half of them mirror the other half, so that their mean is zero. Their second moment matrix is
    the identity if there are at least twice as many points as dimensions; else its diagonal is.
    """
    half = particles // 2
    if dim <= MAX_SOBOL_DIM:
        sobol = torch.quasirandom.SobolEngine(dim, scramble=True, seed=seed)
        uniform = sobol.draw(half, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        points = torch.special.ndtri(uniform)
    else:
        generator = torch.Generator().manual_seed(seed)
        points = torch.randn(half, dim, generator=generator, dtype=torch.float64)
    if half >= dim:
        moments = torch.linalg.cholesky(points.T @ points / half)
        points = torch.linalg.solve_triangular(moments, points.T, upper=False).T
    else:
        points = points / points.square().mean(0).sqrt()
    return torch.cat([points, -points])
