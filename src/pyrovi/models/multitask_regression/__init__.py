"""Multi-task regression: related tasks that lend each other strength."""

from pyrovi.models.entry import ZooModel, variants_of
from pyrovi.models.multitask_regression.data import (
    anes96,
    grunfeld,
    linnerud,
    linnerud_above,
    read,
    read_binary,
    read_new,
    simulate as simulate,
)
from pyrovi.models.multitask_regression.model import (
    FORMS as FORMS,
    centered as centered,
    complete_pooling as complete_pooling,
    partial as partial,
)

ZEROS_AND_ONES = {
    "loaders": {"linnerud_above": linnerud_above, "anes96": anes96},
    "reader": read_binary,
}
MULTITASK_REGRESSION = ZooModel(
    name="multitask_regression",
    title="Multi-task regression: related tasks that lend each other strength",
    model=partial,
    simulate=simulate,
    loaders={"linnerud": linnerud, "grunfeld": grunfeld},
    variants=variants_of(FORMS, simulate, binary=ZEROS_AND_ONES),
    reader=read,
    reader_of_new=read_new,
)
