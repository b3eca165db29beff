"""Plots as SVG, drawn by ArviZ on matplotlib, once, in the colours of paper and of night.

The user's session is left as it was: rcParams and open figures are untouched, nothing is shown.
Whatever a user named is drawn as plain text: no mathematics in ``$``, no glyph warnings.
"""

import contextlib
import io
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from pyrovi.reports.parts import Plot, PlotKind

__all__ = ["Drawing", "draw"]

# Each colour of the light rendering is told apart from all others, so that one pass of
# replacement gives the dark one.
INK, MUTED, PAPER, BLUE, ORANGE, BAND = (
    "#1f2933",
    "#5c6773",
    "#fffffe",
    "#1d6fb8",
    "#c2410c",
    "#dde3ea",
)
NIGHT = {
    INK: "#e3e8ee",
    "#000000": "#f4f6f8",
    MUTED: "#a3aebb",
    PAPER: "#171b21",
    BLUE: "#6cb2f0",
    ORANGE: "#fb9a4b",
    BAND: "#343c47",
}
SERIES = (BLUE, ORANGE, "#2e8540", "#8a4fbe", "#98700a", "#0f8490", "#b8346f", MUTED)
NIGHT |= {
    "#2e8540": "#67c27c",
    "#8a4fbe": "#c39bec",
    "#98700a": "#dcb64b",
    "#0f8490": "#59c5d1",
    "#b8346f": "#f08ab8",
}

LABEL_CHARACTERS = 26
WIDTH = 4.7
HEIGHT = 2.7
MAP_WIDTH, MAP_HEIGHT = 3.6, 2.4
HAIRLINE = 0.8
UNROUNDED = {"round_to": "none"}
"""By default ArviZ rounds a point estimate for its label, and draws it where the label says."""


@dataclass(frozen=True)
class Drawing:
    """One figure in both colour schemes, as SVG text; width and height in CSS pixels."""

    light: str
    dark: str
    width: int
    height: int


def draw(plot: Plot) -> Drawing:
    """Draw ``plot``; the session's matplotlib settings and figures stay as they are."""
    with _own_settings() as plt:
        figure = _DRAW[plot.kind](plot)
        try:
            return _drawing(figure)
        finally:
            plt.close(figure)


@contextlib.contextmanager
def _own_settings() -> Iterator[Any]:
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


# Drawing


def _loss(plot: Plot) -> Any:
    """`arrays`: a curve each, shape (2, points), the steps and the loss at them."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    curves = zip(plot.labels, plot.arrays, itertools.cycle(SERIES), strict=False)
    for label, (steps, loss), color in curves:
        axes.plot(steps, loss, label=_label(label), color=color, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats)")
    axes.set_ylim(*_settled(plot.arrays))
    if 1 < len(plot.arrays) <= len(SERIES):
        axes.legend(loc="upper right", fontsize="small")
    return figure


def _settled(curves: Sequence[np.ndarray]) -> tuple[float, float] | tuple[None, None]:
    """Limits that show the last nine tenths of each curve: the first steps dwarf the rest."""
    tails = [loss[len(loss) // 10 :] for _, loss in curves]
    values = np.concatenate([tail[np.isfinite(tail)] for tail in tails] or [np.empty(0)])
    if values.size < 2 or np.ptp(values) == 0:
        return None, None
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _marginal(plot: Plot) -> Any:
    """`arrays`: one, shape (chain, draw)."""
    from pyrovi import az

    (values,) = plot.arrays
    collection = az.plot_dist(
        _group(posterior={"quantity": values}),
        kind="kde",
        ci_kind="eti",
        ci_prob=0.9,
        point_estimate="mean",
        stats={"point_estimate": UNROUNDED},
        backend="matplotlib",
        visuals={
            "title": False,
            "point_estimate_text": False,
            "credible_interval": {"color": MUTED, "width": 2.5},
            "point_estimate": {"color": INK},
        },
        figure_kwargs={"figsize": (0.62 * WIDTH, 0.62 * HEIGHT)},
    )
    figure = _figure(collection)
    figure.axes[0].set_title(_label(plot.title))
    return figure


def _forest(plot: Plot) -> Any:
    """`arrays`: a row each, shape (chain, draw)."""
    from pyrovi import az

    rows = {f"row{i}": values for i, values in enumerate(plot.arrays)}
    collection = az.plot_forest(
        _group(posterior=rows),
        combined=True,
        ci_kind="eti",
        ci_probs=(0.5, 0.9),
        point_estimate="median",
        stats={"point_estimate": UNROUNDED},
        backend="matplotlib",
        labels=[],
        figure_kwargs={
            "figsize": (WIDTH, 0.75 + 0.24 * len(rows)),
            "figsize_units": "inches",
            "width_ratios": [1, 1000],
        },
    )
    figure = _figure(collection)
    return _labelled_rows(figure, plot.labels)


def _labelled_rows(figure: Any, labels: Sequence[str]) -> Any:
    """Our own row labels: ArviZ's stand in a column of fixed width, and are cut when long."""
    margin, axes = figure.axes
    margin.set_axis_off()
    axes.yaxis.set_visible(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelleft=True)
    axes.set_yticks(range(len(labels))[::-1], [_label(label) for label in labels])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", color=BAND, linewidth=HAIRLINE)
    axes.set_axisbelow(True)
    return figure


def _map(plot: Plot) -> Any:
    """`arrays`: the ticks along (n) and up (m), from the bottom, and the values (m, n)."""
    from matplotlib import pyplot as plt

    along, up, values = plot.arrays
    figure, axes = plt.subplots(figsize=(MAP_WIDTH, MAP_HEIGHT))
    drawn = axes.pcolormesh(
        along, up, values, shading="nearest", rasterized=True, **_shades(values)
    )
    if up[0] > up[-1]:
        axes.invert_yaxis()
    axes.set(xlabel=_label(plot.labels[0]), ylabel=_label(plot.labels[1]))
    figure.colorbar(drawn, ax=axes, label=_label(plot.labels[2]))
    return figure


def _stations(plot: Plot) -> Any:
    """`arrays`: both coordinates and the values at them, (n) each."""
    from matplotlib import pyplot as plt

    along, up, values = plot.arrays
    figure, axes = plt.subplots(figsize=(MAP_WIDTH, MAP_HEIGHT))
    size = float(np.clip(3000 / len(values), 6, 60))
    drawn = axes.scatter(
        along, up, c=values, s=size, edgecolors=MUTED, linewidths=0.4, **_shades(values)
    )
    axes.set(xlabel=_label(plot.labels[0]), ylabel=_label(plot.labels[1]))
    axes.set_aspect("equal", adjustable="datalim")
    figure.colorbar(drawn, ax=axes, label=_label(plot.labels[2]))
    return figure


def _shades(values: np.ndarray) -> dict[str, Any]:
    """Two hues about zero where values lie on both sides of it, else one that darkens."""
    most = float(np.nanmax(np.abs(values), initial=0.0))
    if np.nanmin(values) < 0 < np.nanmax(values):
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "viridis"}


def _profile(plot: Plot) -> Any:
    """`arrays`: one, rows for the place, the data, and the prediction's mean and both ends."""
    from matplotlib import pyplot as plt

    place, observed, mean, low, high = plot.arrays[0]
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.fill_between(place, low, high, color=BAND, label="9 in 10 predicted")
    axes.plot(place, mean, color=BLUE, label="predicted mean")
    axes.plot(place, observed, "o", color=ORANGE, markersize=4, label="data")
    axes.set(xlabel=_label(plot.labels[0]), ylabel=_label(plot.labels[1]))
    axes.legend(fontsize="small")
    return figure


def _against(plot: Plot) -> Any:
    """`arrays`: one, rows for the predicted mean, the data, and the prediction's both ends."""
    from matplotlib import pyplot as plt

    mean, observed, low, high = plot.arrays[0]
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.vlines(mean, low, high, color=BAND, linewidth=2.0)
    axes.plot(mean[[0, -1]], mean[[0, -1]], color=MUTED, linewidth=HAIRLINE)
    size = float(np.clip(40 / np.sqrt(len(mean)), 1.5, 5))
    axes.plot(mean, observed, "o", color=ORANGE, markersize=size, alpha=0.8, markeredgewidth=0)
    axes.set(xlabel="predicted mean", ylabel="data")
    return figure


def _parts(plot: Plot) -> Any:
    """`arrays`: the aleatoric and the epistemic part of each prediction's spread, (n)."""
    from matplotlib import pyplot as plt

    noise, ignorance = plot.arrays
    place = np.arange(1, len(noise) + 1)
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    axes.fill_between(place, 0, noise, color=BLUE, linewidth=0, label="noise (aleatoric)")
    top = noise + ignorance
    axes.fill_between(place, noise, top, color=ORANGE, linewidth=0, label="ignorance (epistemic)")
    axes.set(xlabel="predictions, from the surest", ylabel=plot.labels[0], xlim=(1, len(noise)))
    axes.set_ylim(bottom=0)
    figure.legend(fontsize="small", loc="outside upper center", ncols=2)
    return figure


def _density(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    # Without a bound at zero, a curve that ends where the data do ends in mid-air.
    bounded = min(float(values.min()) for values in plot.arrays) >= 0
    tails = {"bound_correction": bounded, "extend_fct": 1.0}
    return _distributions(plot, kind="kde", label="value", of_each=tails)


def _ecdf(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n)."""
    figure = _distributions(plot, kind="ecdf", label="value")
    figure.axes[0].set_ylabel("share at or below")
    return figure


def _distributions(
    plot: Plot, *, kind: str, label: str, of_each: Mapping[str, Any] | None = None
) -> Any:
    from pyrovi import az

    of_each = of_each or {}

    collection = az.plot_ppc_dist(
        _beside(plot),
        kind=kind,
        num_samples=len(plot.arrays[1]),
        stats={"predictive_dist": dict(of_each), "observed_dist": dict(of_each)},
        backend="matplotlib",
        visuals={"title": False, "observed_dist": {"color": ORANGE, "width": 2.2}},
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    figure = _figure(collection)
    figure.axes[0].set_xlabel(label)
    return figure


def _counts(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), whole numbers."""
    from pyrovi import az

    collection = az.plot_ppc_rootogram(
        _beside(plot),
        backend="matplotlib",
        visuals={
            "title": False,
            "observed_markers": {"color": ORANGE},
            "grid": {"color": BAND},
        },
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    return _relabelled(_figure(collection), "count", "how often")


def _calibration(plot: Plot) -> Any:
    """`arrays`: observed (n) and predictive (draw, n), zeros and ones."""
    from pyrovi import az

    collection = az.plot_ppc_pava(
        _beside(plot),
        backend="matplotlib",
        visuals={"title": False},
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    return _relabelled(_figure(collection), "predicted probability", "observed share")


def _beside(plot: Plot) -> xr.DataTree:
    observed, predictive = plot.arrays
    return _group(posterior_predictive={"y": predictive[None]}, observed_data={"y": observed})


def _relabelled(figure: Any, xlabel: str, ylabel: str) -> Any:
    figure.axes[0].set(title="", xlabel=xlabel, ylabel=ylabel)
    return figure


def _pit(plot: Plot) -> Any:
    """`arrays`: one, the PIT values (n)."""
    from pyrovi import az

    (values,) = plot.arrays
    collection = az.plot_ecdf_pit(
        _group(prior_sbc={"pit": values[None]}),
        backend="matplotlib",
        visuals={
            **dict.fromkeys(("title", "xlabel", "ylabel", "remove_axis"), False),
            "credible_interval": {"color": MUTED, "alpha": 0.25},
        },
        figure_kwargs={"figsize": (WIDTH, HEIGHT)},
    )
    figure = _relabelled(_figure(collection), "PIT value", "ECDF minus uniform")
    figure.axes[0].set_xlim(-0.02, 1.02)
    return figure


_DRAW: dict[PlotKind, Callable[[Plot], Any]] = {
    "loss": _loss,
    "marginal": _marginal,
    "forest": _forest,
    "map": _map,
    "profile": _profile,
    "stations": _stations,
    "against": _against,
    "parts": _parts,
    "density": _density,
    "ecdf": _ecdf,
    "counts": _counts,
    "calibration": _calibration,
    "pit": _pit,
}


def _group(**groups: Mapping[str, np.ndarray]) -> xr.DataTree:
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


def _figure(collection: Any) -> Any:
    return collection.viz["figure"].item()


def _label(text: str) -> str:
    """``text`` on one line, printable, and short enough to stand beside an axis."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    if len(plain) <= LABEL_CHARACTERS:
        return plain
    half = LABEL_CHARACTERS // 2
    return f"{plain[:half]}\N{HORIZONTAL ELLIPSIS}{plain[1 - half :]}"


# SVG


def _drawing(figure: Any) -> Drawing:
    from matplotlib.text import Text

    # ArviZ writes some labels in a black of its own, which no night can show.
    for text in figure.findobj(Text):
        text.set_color(INK)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    light = _compact(buffer.getvalue())
    dark = re.sub("|".join(NIGHT), lambda match: NIGHT[match.group()], light)
    width, height = figure.get_size_inches() * 96
    return Drawing(light=light, dark=dark, width=round(width), height=round(height))


def _compact(svg: str) -> str:
    """Without comments, metadata and the digits that no eye can see."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda path: _rounded(path.group()), svg)
    return re.sub(r">\s+<", "><", svg)


def _rounded(path: str) -> str:
    rounded = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number.group()):.1f}", path)
    return rounded.replace(".0 ", " ").replace("\n", "")
