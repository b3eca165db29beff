"""A network's last layer in full, and a point for everything below it.

With the features held, a regression's output is linear in the last layer's weights: given them,
the Gaussian posterior is exact (for known Gaussian noise), and what the point leaves out is the
uncertainty of the features and the noise. Reference: Snoek et al. (2015), "Scalable Bayesian
optimization using deep neural networks", https://arxiv.org/abs/1502.05700
"""

from collections.abc import Callable, Sequence
from typing import Any

from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoGuideList, AutoMultivariateNormal, init_to_sample

from pyrovi.errors import GuideError
from pyrovi.guides.families.mc_dropout import has_columns, is_real
from pyrovi.guides.family import Family


class AutoLastLayer(AutoGuideList):
    """A multivariate normal over some sites together, and a point for each of the others.

    Args:
        model: A Pyro model.
        sites: The sites of the last layer; by default the last real-valued one that is a matrix
            (or, where none is, the last real-valued one), and the real-valued ones after it.
        init_loc_fn: Where all of them start; by default a draw from the prior.
        init_scale: The first standard deviation of the last layer's sites.

    Raises:
        GuideError: If the model has no such sites.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        sites: Sequence[str] | None = None,
        init_loc_fn: Callable[..., Any] = init_to_sample,
        init_scale: float = 0.1,
    ) -> None:
        super().__init__(model)
        self.sites = None if sites is None else tuple(sites)
        self._start = (init_loc_fn, init_scale)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        trace: Any = self.prototype_trace
        latent = dict(trace.iter_stochastic_nodes())
        chosen = self._chosen(latent)
        init_loc_fn, init_scale = self._start
        if len(chosen) < len(latent):
            self.append(AutoDelta(poutine.block(self.model, hide=chosen), init_loc_fn))
        top = poutine.block(self.model, hide=[name for name in latent if name not in chosen])
        self.append(AutoMultivariateNormal(top, init_loc_fn, init_scale))

    def _chosen(self, latent: dict[str, Any]) -> list[str]:
        if self.sites is None:
            return _last_layer(latent)
        if absent := [name for name in self.sites if name not in latent]:
            raise GuideError(
                f"The model has no site {absent[0]!r} for the last layer. "
                f"It has: {', '.join(latent)}."
            )
        return list(self.sites)


def _last_layer(latent: dict[str, Any]) -> list[str]:
    """The last real-valued matrix, or the last real-valued site, and the real ones after it."""
    real = [name for name, site in latent.items() if is_real(site)]
    if not real:
        raise GuideError(
            "The model has no real-valued site, and so no last layer. Name its sites: "
            "last_layer.with_options(sites=[...])."
        )
    matrices = [name for name in real if has_columns(latent[name])]
    return real[real.index((matrices or real)[-1]) :]


last_layer = Family("last_layer", AutoLastLayer, density=False)
