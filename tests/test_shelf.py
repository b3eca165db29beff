"""The zoo's shelf and its registry are one list, none named twice."""

import hashlib
from pathlib import Path

from pyrovi.models import ZOO

ROOT = Path(__file__).parents[1]


def test_every_entry_of_the_zoo_has_a_card_on_the_shelf_and_no_card_lacks_its_entry() -> None:
    cards = [path.parent.name for path in ROOT.glob("models/*/README.md")]
    assert sorted(cards) == sorted(ZOO.members)


def test_every_entry_of_the_zoo_has_a_rendered_report_and_no_report_lacks_its_entry() -> None:
    reports = [path.stem for path in ROOT.glob("diagnostics/*.html") if path.stem != "index"]
    assert sorted(reports) == sorted(ZOO.members)


def test_the_registry_knows_each_entry_by_its_own_name() -> None:
    assert list(ZOO.members) == [ZOO[name].name for name in ZOO.members]


def test_the_shelf_holds_no_python() -> None:
    shelf = [*ROOT.glob("models/**/*.py"), *ROOT.glob("diagnostics/**/*.py")]
    assert shelf == []


def test_each_report_was_rendered_with_the_card_that_is_on_the_shelf() -> None:
    page = (ROOT / "diagnostics" / "index.html").read_text(encoding="utf-8")
    for name in ZOO.members:
        card = (ROOT / "models" / name / "README.md").read_bytes()
        expected = f'<li data-card="{hashlib.sha256(card).hexdigest()}"><a href="{name}.html">'
        assert expected in page, f"the card of {name} has changed: make reports"
