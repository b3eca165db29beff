"""The Gaussians along a path against dense BFGS, and quadratics whose inverse is known."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from pyrovi.optimise.path_gaussians import gaussians_along, inverse_hessian


def precision_of(dim: int, seed: int = 0) -> Tensor:
    """A dense positive-definite matrix."""
    root = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed)).double()
    return root @ root.T + torch.eye(dim, dtype=torch.float64)


def steps_and_changes(dim: int, count: int) -> tuple[Tensor, Tensor]:
    """Random steps on a quadratic, and the changes of gradient they make, as columns."""
    generator = torch.Generator().manual_seed(1)
    steps = torch.randn(dim, count, generator=generator, dtype=torch.float64)
    return steps, precision_of(dim) @ steps


def dense_bfgs(alpha: Tensor, steps: Tensor, changes: Tensor) -> Tensor:
    """H <- (I - s z' / s'z) H (I - z s' / s'z) + s s' / s'z, a step at a time."""
    found, eye = torch.diag(alpha), torch.eye(len(alpha), dtype=alpha.dtype)
    for step, change in zip(steps.T, changes.T, strict=True):
        product = step @ change
        if product == 0:
            continue
        left = eye - torch.outer(step, change) / product
        found = left @ found @ left.T + torch.outer(step, step) / product
    return found


@pytest.mark.parametrize(("dim", "count", "absent"), [(7, 4, 0), (7, 4, 2), (3, 6, 0), (40, 6, 3)])
def test_the_compact_inverse_hessian_is_the_dense_product(
    dim: int, count: int, absent: int
) -> None:
    steps, changes = steps_and_changes(dim, count)
    steps[:, :absent] = changes[:, :absent] = 0
    alpha = torch.linspace(0.5, 2.0, dim, dtype=torch.float64)
    beta, gamma = inverse_hessian(alpha[None], steps[None], changes[None])
    compact = torch.diag(alpha) + beta[0] @ gamma[0] @ beta[0].T
    torch.testing.assert_close(compact, dense_bfgs(alpha, steps, changes), rtol=1e-9, atol=1e-9)


def conjugate_path(precision: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """The points and gradients of conjugate gradients, each line search exact."""
    point = torch.zeros_like(mean)
    gradient = precision @ (point - mean)
    direction, points, gradients = -gradient, [point], [gradient]
    for _ in range(len(mean)):
        point = point - (gradient @ direction) / (direction @ precision @ direction) * direction
        before, gradient = gradient, precision @ (point - mean)
        direction = -gradient + (gradient @ gradient) / (before @ before) * direction
        points.append(point)
        gradients.append(gradient)
    return torch.stack(points), torch.stack(gradients)


def test_as_many_conjugate_steps_as_dimensions_give_a_gaussian_exactly() -> None:
    """BFGS ends with the inverse Hessian of a quadratic, whatever diagonal it began with."""
    precision, mean = precision_of(5), torch.arange(1.0, 6.0, dtype=torch.float64)
    points, gradients = conjugate_path(precision, mean)
    local = gaussians_along(points, gradients, history=6)
    root = local.scale_tril(4)
    torch.testing.assert_close(root @ root.T, torch.linalg.inv(precision), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(local.loc[4], mean, rtol=1e-9, atol=1e-9)


def test_the_mean_is_a_newton_step_from_the_point() -> None:
    """One step on a round bowl tells its scale, and so where its bottom is."""
    points = torch.tensor([[8.0, 1.0], [5.0, -2.0]], dtype=torch.float64)
    bottom = torch.tensor([1.0, 2.0], dtype=torch.float64)
    local = gaussians_along(points, (points - bottom) / 0.25, history=6)
    torch.testing.assert_close(local.loc[0], bottom)
    torch.testing.assert_close(local.scale_tril(0), 0.5 * torch.eye(2, dtype=torch.float64))


def test_a_step_that_is_curved_up_is_not_remembered() -> None:
    points = torch.tensor([[8.0, 1.0], [5.0, -2.0], [4.0, 0.0]], dtype=torch.float64)
    gradients = points / 0.25
    gradients[2] = gradients[1] + 3 * (points[1] - points[2])
    local = gaussians_along(points, gradients, history=6)
    assert torch.equal(local.scale_tril(1), local.scale_tril(0))


@pytest.mark.parametrize("dim", [3, 30])
def test_a_points_draws_have_the_density_they_are_given(dim: int) -> None:
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(9, dim, generator=generator, dtype=torch.float64)
    local = gaussians_along(points, points @ precision_of(dim), history=4)
    noise = torch.randn(5, dim, generator=generator, dtype=torch.float64)
    flat, log_prob = local.draw(noise)
    for point in range(8):
        own = MultivariateNormal(local.loc[point], scale_tril=local.scale_tril(point))
        torch.testing.assert_close(log_prob[point], own.log_prob(flat[point]))
