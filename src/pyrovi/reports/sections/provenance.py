"""What it takes to get this answer again."""

import importlib.metadata

import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports.parts import Column, Section, Table, present
from pyrovi.reports.sections.groups import attrs
from pyrovi.tree import json_attr


def provenance_section(tree: xr.DataTree, _verdict: Verdict) -> Section:
    """Seed, engine, versions and time."""
    record = attrs(tree)
    facts = {
        "Engine": record.get("engine"),
        "Seed": record.get("seed"),
        "Drawn": record.get("created"),
        "Report by": _own_version(),
        "Groups of the tree": ", ".join(map(str, tree.children)),
    }
    versions = json_attr(tree, "versions", {})
    rows = ((str(name), str(version)) for name, version in versions.items())
    table = Table.capped("Versions at the fit", (Column("Package"), Column("Version")), rows)
    return Section(
        id="provenance",
        title="Provenance",
        facts=present(facts),
        tables=(table,) if table.rows else (),
    )


def _own_version() -> str:
    try:
        return f"pyrovi {importlib.metadata.version('pyrovi')}"
    except importlib.metadata.PackageNotFoundError:
        return "pyrovi, not installed"
