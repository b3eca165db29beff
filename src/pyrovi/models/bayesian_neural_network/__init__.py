"""Bayesian neural network: a function of unknown form, and where it is not known."""

from pyrovi.models.bayesian_neural_network.data import (
    breast_cancer,
    diabetes,
    digits,
    read,
    read_classes,
    read_new,
    simulate as simulate,
)
from pyrovi.models.bayesian_neural_network.model import (
    FORMS,
    network as network,
    propagate as propagate,
)
from pyrovi.models.entry import ZooModel, variants_of

CLASSES = {
    "loaders": {"breast_cancer": breast_cancer, "digits": digits},
    "reader": read_classes,
}
BAYESIAN_NEURAL_NETWORK = ZooModel(
    name="bayesian_neural_network",
    title="Bayesian neural network: a function of unknown form, and where it is not known",
    model=FORMS["regression"],
    simulate=simulate,
    loaders={"diabetes": diabetes},
    variants=variants_of(FORMS, simulate, classification=CLASSES),
    reader=read,
    reader_of_new=read_new,
)
