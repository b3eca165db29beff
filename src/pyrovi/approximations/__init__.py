"""What a fit leaves behind: something that can be drawn from, and written to a file."""

from pyrovi.approximations.base import (
    Approximation as Approximation,
    Draws as Draws,
    restored as restored,
)
from pyrovi.approximations.coordinates import Sweeper as Sweeper, unconstrained as unconstrained
from pyrovi.approximations.empirical import Empirical as Empirical
from pyrovi.approximations.factors import Factors as Factors
from pyrovi.approximations.gaussian import Gaussian as Gaussian, GaussianMixture as GaussianMixture
from pyrovi.approximations.guide import GuideDraws as GuideDraws
from pyrovi.approximations.nested import (
    Nested as Nested,
    Polynomials as Polynomials,
    smooth_rest as smooth_rest,
    terms_of as terms_of,
)
from pyrovi.approximations.points import Points as Points
from pyrovi.approximations.resampled import POOL as POOL, Resampled as Resampled
from pyrovi.approximations.rest import (
    CLOSE as CLOSE,
    Conditional as Conditional,
    Rest as Rest,
    Split as Split,
    together as together,
)
from pyrovi.approximations.student import StudentMixture as StudentMixture
from pyrovi.approximations.transported import (
    CONSTANT as CONSTANT,
    Transported as Transported,
    TriangularMap as TriangularMap,
    sinh_arcsinh as sinh_arcsinh,
)
