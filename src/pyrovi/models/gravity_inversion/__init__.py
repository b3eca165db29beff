"""What lies below, from gravity measured above: a linear inverse problem with an exact answer."""

from pyrovi.models.gravity_inversion.forms import (
    GRAVITY_INVERSION,
    Exact,
    Mesh,
    Survey,
    buried_block,
    few_bodies,
    heavy_block,
    prism_gravity,
    read,
    sensitivity,
    simulate,
    survey_checks,
    survey_tree,
)

__all__ = [
    "Exact",
    "GRAVITY_INVERSION",
    "Mesh",
    "Survey",
    "buried_block",
    "few_bodies",
    "heavy_block",
    "prism_gravity",
    "read",
    "sensitivity",
    "simulate",
    "survey_checks",
    "survey_tree",
]
