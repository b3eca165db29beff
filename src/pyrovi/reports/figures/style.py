"""What figures share: colours, sizes, settings, labels, and trees for ArviZ to draw."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

# Each colour of the light rendering is told apart from all others, so that one pass of
# replacement gives the dark one.
INK, MUTED, PAPER = "#1f2933", "#5c6773", "#fffffe"
BLUE, ORANGE, BAND = "#1d6fb8", "#c2410c", "#dde3ea"
SERIES = (BLUE, ORANGE, "#2e8540", "#8a4fbe", "#98700a", "#0f8490", "#b8346f", MUTED)
NIGHT = {
    INK: "#e3e8ee",
    "#000000": "#f4f6f8",
    MUTED: "#a3aebb",
    PAPER: "#171b21",
    BLUE: "#6cb2f0",
    ORANGE: "#fb9a4b",
    BAND: "#343c47",
    "#2e8540": "#67c27c",
    "#8a4fbe": "#c39bec",
    "#98700a": "#dcb64b",
    "#0f8490": "#59c5d1",
    "#b8346f": "#f08ab8",
}

LABEL_CHARACTERS = 26
WIDTH = 4.7
HEIGHT = 2.7
HAIRLINE = 0.8


@contextlib.contextmanager
def own_settings() -> Iterator[Any]:
    """Our rcParams, inside this block only, and no window even where figures are interactive."""
    from matplotlib import pyplot as plt

    with (
        warnings.catch_warnings(),
        plt.style.context(["default", _settings()]),
        plt.ioff(),
    ):
        # Glyphs that the font lacks, and kinds of data that a plot would rather not have:
        # the user did not choose either.
        warnings.simplefilter("ignore")
        yield plt


def _settings() -> dict[str, Any]:
    from cycler import cycler

    return {
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "axes.linewidth": HAIRLINE,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.facecolor": PAPER,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.facecolor": "none",
        "savefig.transparent": True,
        "svg.fonttype": "path",
        "svg.hashsalt": "pyrovi",
        "text.color": INK,
        "text.parse_math": False,
        "xtick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.color": MUTED,
        "ytick.labelcolor": INK,
    }


def group(**groups: Mapping[str, np.ndarray]) -> xr.DataTree:
    """A tree with names of our own: a user's name can mean something to a plotting library."""
    return xr.DataTree.from_dict(
        {
            name: xr.Dataset({key: _variable(name, array) for key, array in arrays.items()})
            for name, arrays in groups.items()
        }
    )


def _variable(group: str, array: np.ndarray) -> xr.DataArray:
    sample = [] if group == "observed_data" else ["chain", "draw"]
    dims = [*sample, *["observation"][: array.ndim - len(sample)]]
    coords = {dim: np.arange(size) for dim, size in zip(dims, array.shape, strict=True)}
    return xr.DataArray(array, dims=dims, coords=coords)


def blank(width: float = WIDTH, height: float = HEIGHT) -> tuple[Any, Any]:
    """A figure of our own, and its axes."""
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(width, height))


def arviz(plot: str, tree: xr.DataTree, **options: Any) -> Any:
    """The figure that a plot of ArviZ makes of ``tree``."""
    from pyrovi import az

    options = {"figure_kwargs": {"figsize": (WIDTH, HEIGHT)}} | options
    collection = getattr(az, plot)(tree, backend="matplotlib", **options)
    return collection.viz["figure"].item()


def short_label(text: str) -> str:
    """``text`` on one line, printable, and short enough to stand beside an axis."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    if len(plain) <= LABEL_CHARACTERS:
        return plain
    half = LABEL_CHARACTERS // 2
    return f"{plain[:half]}\N{HORIZONTAL ELLIPSIS}{plain[1 - half :]}"


def relabelled(figure: Any, xlabel: str, ylabel: str) -> Any:
    """The figure without a title, and with other words at its axes."""
    figure.axes[0].set(title="", xlabel=xlabel, ylabel=ylabel)
    return figure
