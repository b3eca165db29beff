"""Render the zoo's published reports: ``diagnostics/<name>.html`` and their index.

Every entry is fitted to its default data with the default engine and a fixed seed, through the
command line, as a reader would do it. Without ``--write`` the verdicts are printed and nothing is
kept, so that ``make bench`` shows whether what is published still holds.

    python benchmarks/render_reports.py --write
"""

import argparse
import hashlib
import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyrovi as vi
from pyrovi.models import ZOO

ROOT = Path(__file__).parents[1]
SHELF, REPORTS = ROOT / "models", ROOT / "diagnostics"
SEED = "0"
COLOURS = {"ok": "#1a7f37", "warn": "#9a6700", "fail": "#cf222e"}


def card_digest(name: str) -> str:
    """What the published index says of the card that a report was rendered with."""
    return hashlib.sha256((SHELF / name / "README.md").read_bytes()).hexdigest()


def render(name: str, folder: Path) -> vi.Verdict:
    """Run one entry into ``folder``, and judge it."""
    command = [sys.executable, "-m", "pyrovi", "run", name, "--seed", SEED]
    subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    return vi.verdict(vi.open_tree(folder / "posterior.nc"))


def index(verdicts: dict[str, vi.Verdict]) -> str:
    """The page that lists the reports, with the digest of each entry's card."""
    rows = "\n".join(
        f'<li data-card="{card_digest(name)}"><a href="{name}.html">{name}</a>: '
        f"{html.escape(ZOO[name].title)}. "
        f'<strong style="color:{COLOURS[verdict.status]}">{verdict.status}</strong></li>'
        for name, verdict in verdicts.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>The reports of pyrovi's zoo</title>\n"
        "<style>body{font:1rem/1.6 system-ui,sans-serif;max-width:44rem;margin:2rem auto;"
        "padding:0 1rem}li{margin:.5rem 0}</style>\n"
        "<h1>The reports of pyrovi's zoo</h1>\n"
        "<p>Each is what <code>pyrovi run NAME --seed 0</code> writes.</p>\n"
        f"<ul>\n{rows}\n</ul>\n</html>\n"
    )


def main() -> None:
    """Render every entry; keep the pages with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace what is published")
    write = parser.parse_args().write
    verdicts = {}
    with tempfile.TemporaryDirectory() as place:
        for name in ZOO.members:
            folder = Path(place) / name
            verdicts[name] = render(name, folder)
            print(f"{name}: {verdicts[name].summary()}")
            if write:
                REPORTS.mkdir(exist_ok=True)
                shutil.copy(folder / "report.html", REPORTS / f"{name}.html")
    if write:
        (REPORTS / "index.html").write_text(index(verdicts), encoding="utf-8")


if __name__ == "__main__":
    main()
