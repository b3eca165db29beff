"""What importance weights and moments of draws say of an approximation, and by what limits."""

from pyrovi.evidence import limits as limits
from pyrovi.evidence.limits import (
    SEVERITY as SEVERITY,
    Limit as Limit,
    Status as Status,
    first_case as first_case,
    optimum_tolerance as optimum_tolerance,
    worst as worst,
)
from pyrovi.evidence.moments import (
    Difference as Difference,
    farthest_chains as farthest_chains,
    moved as moved,
    resampled as resampled,
    reweighted as reweighted,
    reweighted_alone as reweighted_alone,
)
from pyrovi.evidence.separate import (
    mixture_moments as mixture_moments,
    off_without as off_without,
    unseen as unseen,
)
from pyrovi.evidence.weights import (
    EVEN_SHAPE as EVEN_SHAPE,
    MIN_DRAWS as MIN_DRAWS,
    as_rows as as_rows,
    khat as khat,
    khat_error as khat_error,
    smooth as smooth,
    smooth_each as smooth_each,
    threshold as threshold,
)
