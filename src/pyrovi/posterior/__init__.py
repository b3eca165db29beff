"""From a fit to the grown tree."""

from pyrovi.posterior.drawing import draw as draw, tree_of as tree_of
from pyrovi.posterior.predicting import predict as predict
