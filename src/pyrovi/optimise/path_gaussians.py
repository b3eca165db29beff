"""The Gaussian at each point of a quasi-Newton path: an inverse Hessian from the last few steps.

With steps ``s`` and changes of gradient ``z``, the inverse Hessian is that of limited-memory BFGS
from a diagonal ``alpha``, in its compact form,

    H = diag(alpha) + beta gamma beta',  beta = [diag(alpha) Z, S],
    gamma = [[0, -R^-1], [-R^-T, R^-T (E + Z' diag(alpha) Z) R^-1]],

with ``R`` the upper triangle of ``S' Z`` and ``E`` its diagonal (Byrd, Nocedal and Schnabel 1994,
https://doi.org/10.1007/BF01582063). The diagonal is that of Gilbert and Lemaréchal (1989,
https://doi.org/10.1007/BF01589113), which learns a scale of its own for each entry.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyrovi.optimise.linalg import lower_factor

SMALLEST_CURVATURE = 1e-12  # of a step, beside the change in the gradient it made


@dataclass(frozen=True)
class PathGaussians:
    """A Gaussian for each point: ``loc + scale * (u + Q (L - I) Q' u)`` for standard normal ``u``.

    Attributes:
        loc: The means.
        scale: The square roots of ``alpha``.
        basis: ``Q``, with orthonormal columns.
        inner: ``L``, lower triangular.
    """

    loc: Float[Tensor, "point dim"]
    scale: Float[Tensor, "point dim"]
    basis: Float[Tensor, "point dim rank"]
    inner: Float[Tensor, "point rank rank"]

    def draw(
        self, noise: Float[Tensor, "draw dim"]
    ) -> tuple[Float[Tensor, "point draw dim"], Float[Tensor, "point draw"]]:
        """Each Gaussian's draws made of the same standard-normal ``noise``, and their log density.

        The density of a point whose covariance is not positive definite is not a number.
        """
        turned = (noise @ self.basis) @ self._less_one().mT @ self.basis.mT
        normal = torch.distributions.Normal(noise.new_zeros(()), 1.0, validate_args=False)
        log_det = self.scale.log().sum(-1) + self.inner.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_prob = normal.log_prob(noise).sum(-1) - log_det[:, None]
        return self.loc[:, None] + self.scale[:, None] * (noise + turned), log_prob

    def scale_tril(self, point: int) -> Float[Tensor, "dim dim"]:
        """The lower Cholesky factor of one point's covariance."""
        basis, eye = self.basis[point], torch.eye(self.loc.shape[1], dtype=self.loc.dtype)
        root = self.scale[point, :, None] * (eye + basis @ self._less_one()[point] @ basis.T)
        return lower_factor(root)

    def split(self, points: int) -> Iterator["PathGaussians"]:
        """The same in parts of so many points."""
        parts = (each.split(points) for each in vars(self).values())
        return (PathGaussians(*each) for each in zip(*parts, strict=True))

    def after(self, points: int) -> "PathGaussians":
        """The same without the first so many points."""
        return PathGaussians(*(each[points:] for each in vars(self).values()))

    def _less_one(self) -> Tensor:
        return self.inner - torch.eye(self.inner.shape[-1], dtype=self.inner.dtype)


def gaussians_along(
    points: Float[Tensor, "point dim"], gradients: Float[Tensor, "point dim"], history: int
) -> PathGaussians:
    """The Gaussian at each point of a path but the first, where no step tells of the curvature.

    Args:
        points: Where the search has been.
        gradients: Of minus the log density there.
        history: How many steps to remember.
    """
    alpha, steps, changes = _remembered(points, gradients, history)
    beta, gamma = inverse_hessian(alpha, steps, changes)
    basis, upper = torch.linalg.qr(beta / alpha.sqrt()[..., None])
    eye = torch.eye(upper.shape[-2], dtype=upper.dtype)
    inner, failed = torch.linalg.cholesky_ex(eye + upper @ gamma @ upper.mT)
    inner = torch.where(failed[:, None, None] > 0, torch.nan, inner)
    gradient = gradients[1:]
    newton = alpha * gradient + (beta @ (gamma @ (beta.mT @ gradient[..., None])))[..., 0]
    return PathGaussians(points[1:] - newton, alpha.sqrt(), basis, inner)


def inverse_hessian(
    alpha: Float[Tensor, "point dim"],
    steps: Float[Tensor, "point dim history"],
    changes: Float[Tensor, "point dim history"],
) -> tuple[Float[Tensor, "point dim 2*history"], Float[Tensor, "point 2*history 2*history"]]:
    """``beta`` and ``gamma`` of the compact form; columns of zeros stand for no step at all."""
    products = steps.mT @ changes
    upper = products.triu()
    lengths = upper.diagonal(dim1=-2, dim2=-1)
    absent = (lengths == 0).to(upper.dtype)
    upper = upper + torch.diag_embed(absent)
    eye = torch.eye(upper.shape[-1], dtype=upper.dtype).expand_as(upper)
    inverse = torch.linalg.solve_triangular(upper, eye, upper=True)
    scaled = alpha[..., None] * changes
    middle = torch.diag_embed(lengths) + changes.mT @ scaled
    below = torch.cat([-inverse.mT, inverse.mT @ middle @ inverse], dim=-1)
    above = torch.cat([torch.zeros_like(inverse), -inverse], dim=-1)
    return torch.cat([scaled, steps], dim=-1), torch.cat([above, below], dim=-2)


def _remembered(points: Tensor, gradients: Tensor, history: int) -> Iterator[Tensor]:
    """The diagonal, and the last steps with their changes of gradient, at points but the first."""
    alpha = torch.ones_like(points[0])
    steps = changes = points.new_zeros(points.shape[1], history)
    met = []
    for step, change in zip(points.diff(dim=0), gradients.diff(dim=0), strict=True):
        if float(step @ change) > SMALLEST_CURVATURE * float(change @ change):
            alpha = _diagonal(alpha, step, change)
            steps = torch.cat([steps[:, 1:], step[:, None]], dim=-1)
            changes = torch.cat([changes[:, 1:], change[:, None]], dim=-1)
        met.append((alpha, steps, changes))
    return map(torch.stack, zip(*met, strict=True))


def _diagonal(alpha: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """The diagonal after one more step, by Gilbert and Lemaréchal's formula."""
    before = (change.square() * alpha).sum()
    product = step @ change
    length = (step.square() / alpha).sum()
    inverse = (
        before / (product * alpha)
        + change.square() / product
        - before * step.square() / (product * length * alpha.square())
    )
    usable = bool((inverse > 0).all() and inverse.isfinite().all())
    return 1 / inverse if usable else alpha
