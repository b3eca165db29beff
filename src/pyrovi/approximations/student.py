"""A mixture of Student t distributions: it bends, and has tails that importance weights need."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

HEAVY, FREEDOMS = 5.0, (5.0, 10.0)  # degrees of freedom
DEFENCE = (
    0.1  # of a fitted mixture that is heavy in the tails, so that no weight is far beyond ten
)
LEAST_WEIGHT = 1e-3  # of a component, below which it is dropped
RIDGE = 1e-6  # of the variances, added to their matrix
REFITS = 4


@dataclass(frozen=True)
class StudentMixture:
    """Several multivariate t distributions, weighted.

    Attributes:
        weights: How much of the whole each is; they sum to one.
        locs: Where each is centred.
        scale_trils: The lower Cholesky factor of the scale matrix of each.
        freedoms: The degrees of freedom of each.
    """

    weights: Float[Tensor, "component"]
    locs: Float[Tensor, "component few"]
    scale_trils: Float[Tensor, "component few few"]
    freedoms: Float[Tensor, "component"]

    @staticmethod
    def heavy(
        weights: Float[Tensor, "component"],
        locs: Float[Tensor, "component few"],
        scale_trils: Float[Tensor, "component few few"],
    ) -> "StudentMixture":
        """One with heavy tails, where nothing is known of them."""
        return StudentMixture(weights, locs, scale_trils, torch.full_like(weights, HEAVY))

    def spread(self, draws: int, seed: int) -> Float[Tensor, "draw few"]:
        """Points of a scrambled Sobol sequence, so that few of them cover the whole evenly."""
        sobol = torch.quasirandom.SobolEngine(self.locs.shape[1] + 2, scramble=True, seed=seed)
        uniform = sobol.draw(draws, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        return self._placed(uniform[:, 0], uniform[:, 1], torch.special.ndtri(uniform[:, 2:]))

    def draw(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw few"]:
        """Independent draws."""
        uniform = torch.rand(draws, 2, generator=generator, dtype=torch.float64)
        size = self.locs.shape[1]
        noise = torch.randn(draws, size, generator=generator, dtype=torch.float64)
        return self._placed(uniform[:, 0], uniform[:, 1].clamp(1e-12, 1 - 1e-12), noise)

    def _placed(self, which: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Draws by uniform numbers, for the component and the scale, and standard normal ones."""
        from scipy.special import gammaincinv

        reached = self.weights.cumsum(0)
        component = torch.searchsorted(reached, which.contiguous()).clamp(max=len(reached) - 1)
        half = self.freedoms[component] / 2  # the square of the scale is a gamma by its quantile
        narrow = torch.as_tensor(gammaincinv(half.numpy(), level.numpy())) / half
        noise = (noise / narrow.sqrt()[:, None])[..., None]
        return self.locs[component] + (self.scale_trils[component] @ noise)[..., 0]

    def log_prob(self, rows: Float[Tensor, "row few"]) -> Float[Tensor, "row"]:
        """The log density."""
        return self._terms(rows)[0].logsumexp(-1)

    def fitted(
        self,
        rows: Float[Tensor, "row few"],
        weights: Float[Tensor, "row"],
        log_drawn: Float[Tensor, "row"],
    ) -> "StudentMixture":
        """As likely as it gets for weighted rows by a few steps, with the safest of some tails.

        Those are the tails with which most of its own draws would be effective. A tenth of it is
        heavy all the same, for what the rows may not have seen.

        Args:
            rows: What was drawn.
            weights: How much each counts; they sum to one.
            log_drawn: The log density that each was drawn from.
        """
        fits: list[StudentMixture] = []
        for freedom in FREEDOMS:
            mixture = self._with_freedom(freedom)
            for _ in range(REFITS):
                mixture = mixture._refitted(rows, weights)
            fits.append(mixture._defended(rows, weights))
        return min(fits, key=lambda each: each.unevenness(rows, weights, log_drawn))

    def unevenness(
        self,
        rows: Float[Tensor, "row few"],
        weights: Float[Tensor, "row"],
        log_drawn: Float[Tensor, "row"],
    ) -> float:
        """The log of the mean square of the weights that its own draws would have.

        Args:
            rows: What was drawn, of anything.
            weights: How much each counts.
            log_drawn: The log density that each was drawn from.
        """
        log_weights = torch.where(weights > 0, 2 * weights.log() + log_drawn, -torch.inf)
        return float((log_weights - self.log_prob(rows)).logsumexp(0))

    def _with_freedom(self, freedom: float) -> "StudentMixture":
        freedoms = torch.full_like(self.weights, freedom)
        return StudentMixture(self.weights, self.locs, self.scale_trils, freedoms)

    def _defended(self, rows: Tensor, weights: Tensor) -> "StudentMixture":
        mean = weights @ rows
        apart = (rows - mean) * weights.sqrt()[:, None]
        factor, failed = torch.linalg.cholesky_ex(_ridged(apart.T @ apart))
        if int(failed):
            return self
        heavy = self.heavy(self.weights.new_tensor([DEFENCE]), mean[None], factor[None])
        parts = zip(
            ((1 - DEFENCE) * self.weights, self.locs, self.scale_trils, self.freedoms),
            vars(heavy).values(),
            strict=True,
        )
        return StudentMixture(*(torch.cat(both) for both in parts))

    def _refitted(self, rows: Tensor, weights: Tensor) -> "StudentMixture":
        """One step of expectation maximisation (Cappe et al. 2008, section 5)."""
        terms, squares = self._terms(rows)
        share = torch.softmax(terms, -1) * weights[:, None]
        pulled = share * (self.freedoms + rows.shape[1]) / (self.freedoms + squares)
        whole = share.sum(0)
        kept = whole > LEAST_WEIGHT
        whole, pulled, freedoms = whole[kept], pulled[:, kept], self.freedoms[kept]
        locs = (pulled.T @ rows) / pulled.sum(0)[:, None]
        apart = rows[None] - locs[:, None]
        own = share[:, kept] * (freedoms - 2) / freedoms  # so that the variance is the rows' own
        matrices = torch.einsum("rc,cri,crj->cij", own, apart, apart) / whole[:, None, None]
        factors, failed = torch.linalg.cholesky_ex(_ridged(matrices))
        sound = (failed == 0) & factors.isfinite().all(-1).all(-1)
        if not bool(sound.any()):
            return self
        weights = whole[sound] / whole[sound].sum()
        return StudentMixture(weights, locs[sound], factors[sound], freedoms[sound])

    def _terms(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted log density of each component, and squared distances in its scale."""
        freedom, size = self.freedoms, rows.shape[1]
        apart = (rows[None] - self.locs[:, None]).mT
        noise = torch.linalg.solve_triangular(self.scale_trils, apart, upper=False)
        squares = noise.square().sum(1).T
        constant = torch.lgamma((freedom + size) / 2) - torch.lgamma(freedom / 2)
        constant = constant - 0.5 * size * (freedom * torch.pi).log()
        log_scale = self.scale_trils.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        bent = 0.5 * (freedom + size) * torch.log1p(squares / freedom)
        return constant - log_scale - bent + self.weights.log(), squares


def _ridged(matrix: Tensor) -> Tensor:
    return matrix + RIDGE * torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1))
