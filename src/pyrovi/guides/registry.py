"""The families by name: what SVI, a file, the command line, the docs and the tests read."""

from pyrovi.errors import GuideError
from pyrovi.guides.family import Family
from pyrovi.lazy import exported
from pyrovi.registry import Registry

FAMILIES: Registry[Family] = Registry(
    "guide family",
    exported(f"{__package__}.families"),
    group="pyrovi.guides",
    accepts=lambda member: isinstance(member, Family),
    asked="a Family",
    unknown=GuideError,
)
