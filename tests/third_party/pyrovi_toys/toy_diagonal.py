r"""Independent normals in the unconstrained space, as one vector.

.. math::  q(\theta) = \prod_i N(\theta_i; m_i, s_i)
"""

from typing import Any

from pyro.infer.autoguide import AutoDiagonalNormal
from torch.distributions import Distribution, Independent, Normal

from pyrovi.guides import Family


def flat(guide: Any) -> Distribution:
    """The distribution of the flat vector."""
    return Independent(Normal(guide.loc, guide.scale, validate_args=False), 1, validate_args=False)


toy_diagonal = Family("toy_diagonal", AutoDiagonalNormal, flat, gaussian=True, factorises=True)
