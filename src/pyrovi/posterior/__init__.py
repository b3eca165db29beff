"""From a fit to the grown tree."""

from pyrovi.posterior.drawing import draw as draw
from pyrovi.posterior.predicting import predict as predict
