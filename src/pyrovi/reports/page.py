"""Sections and their drawings as one HTML page that needs nothing but itself."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pyrovi.reports.figures import Drawing
from pyrovi.reports.parts import Plot, Section

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may load: its own styles and the images inside it, and nothing else."""

WORDS = {"ok": "OK", "warn": "Warning", "fail": "Fail", "": "Not judged"}

Drawn = tuple[Plot, Drawing | None]


def render(
    title: str, sections: Sequence[Section], drawings: Mapping[str, Sequence[Drawn]]
) -> str:
    """The whole document, with every string escaped.

    Args:
        title: The page's title and first heading.
        sections: In reading order.
        drawings: By section id, its plots and their drawings; None where one could not be drawn.
    """
    page = _environment().get_template("report.html.jinja")
    said = {"title": title, "sections": sections, "drawings": drawings}
    return page.render(said, policy=POLICY, words=WORDS)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    # Our own file, not a user's text: in <style> an escaped quote would be a broken rule.
    environment.globals["style"] = Markup(_read("report.css"))  # noqa: S704
    return environment


def _read(name: str) -> str:
    return resources.files("pyrovi.reports").joinpath("templates", name).read_text("utf-8")


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
