"""What lies below, from gravity measured above: a linear inverse problem with an exact answer."""

from pyrovi.models.entry import ZooModel, variants_of
from pyrovi.models.gravity_inversion.checks import survey_checks as survey_checks
from pyrovi.models.gravity_inversion.data import (
    buried_block,
    heavy_block,
    read,
    read_new,
    simulate,
)
from pyrovi.models.gravity_inversion.exact import Exact as Exact
from pyrovi.models.gravity_inversion.horseshoe import few_bodies as few_bodies
from pyrovi.models.gravity_inversion.mesh import survey_tree as survey_tree
from pyrovi.models.gravity_inversion.model import FORMS as FORMS, whitened
from pyrovi.models.gravity_inversion.prisms import (
    Mesh as Mesh,
    prism_gravity as prism_gravity,
    sensitivity as sensitivity,
)
from pyrovi.models.gravity_inversion.survey import Survey as Survey

GRAVITY_INVERSION = ZooModel(
    name="gravity_inversion",
    title="Density below ground from gravity above it",
    model=whitened,
    simulate=simulate,
    loaders={"buried_block": buried_block},
    variants=variants_of(FORMS, simulate, positive={"loaders": {"heavy_block": heavy_block}}),
    reader=read,
    reader_of_new=read_new,
)
