"""What one more of each kind costs is what CONTRIBUTING says: its files, and one line.

For each kind a toy member (those of `tests/third_party`) is put into a copy of the package as the
list says, and a fresh interpreter uses it.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOYS = Path(__file__).parent / "third_party" / "pyrovi_toys"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Kind:
    """One of the lists: its heading, and what a member of it takes.

    Attributes:
        heading: Of its section.
        toy: The file of the toy member.
        anchor: In the registry's file, the text behind which the line goes.
        line: The line.
        use: What to run, to see that it is there; it prints what follows.
        prints: What that prints last.
    """

    heading: str
    toy: str
    anchor: str
    line: str
    use: str
    prints: str


FIT = """
import pyrovi as vi
entry = vi.models.get("quadratic_observation")
def tree(engine="laplace"):
    fit = vi.fit(entry.model, entry.simulate(1), engine, seed=0, progress=False)
    return vi.check(vi.draw(fit, draws=200))
"""

KINDS = [
    Kind(
        "A model",
        "toy_coin",
        '        "eight_schools": "pyrovi.models.eight_schools:EIGHT_SCHOOLS",\n',
        '        "toy_coin": "pyrovi.models.toy_coin:TOY_COIN",\n',
        "import pyrovi as vi\n"
        "print(vi.models.get('toy_coin').load()['observed_data'].sizes['toss'])",
        "4040",
    ),
    Kind(
        "An engine",
        "toy_sampler",
        "from pyrovi.infer.engines.nuts import NUTS as NUTS\n",
        "from pyrovi.infer.engines.toy_sampler import ToySampler as ToySampler\n",
        FIT + "made = tree('toy_sampler')\n"
        "print(vi.ToySampler(), 'rhat' in made['diagnostics/convergence'])",
        "True",
    ),
    Kind(
        "A guide",
        "toy_diagonal",
        "",
        "from pyrovi.guides.families.toy_diagonal import toy_diagonal as toy_diagonal\n",
        FIT + "made = tree(vi.SVI(guide=vi.guides.toy_diagonal, max_steps=300))\n"
        "print(made['sample_stats'].attrs['engine'])",
        "SVI(guide='toy_diagonal', max_steps=300)",
    ),
    Kind(
        "A diagnostic",
        "toy_symmetry",
        '"loo"',
        ', "toy_symmetry"',
        FIT + "print('toy_symmetry' in set(vi.verdict(tree()).table['check']))",
        "True",
    ),
    Kind(
        "A section of the report",
        "toy_words",
        '"provenance"',
        ', "toy_words"',
        FIT + "print(vi.report(tree()).sections[-1].title)",
        "Last words",
    ),
]


def files_of(heading: str) -> list[str]:
    """The files that the list under a heading names first in each of its items."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, flags=re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.toy)
def test_one_more_costs_what_contributing_says(kind: Kind, tmp_path: Path) -> None:
    file, registry, *_ = files_of(kind.heading)
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src" / "pyrovi", source / "pyrovi")
    shutil.copy(TOYS / f"{kind.toy}.py", tmp_path / file.replace("NAME", kind.toy))
    lists = tmp_path / registry
    before = lists.read_text(encoding="utf-8")
    assert before.count(kind.anchor) == 1 or not kind.anchor
    place = before.index(kind.anchor) + len(kind.anchor) if kind.anchor else len(before)
    lists.write_text(before[:place] + kind.line + before[place:], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", kind.use],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{source}:{':'.join(sys.path)}", "PATH": ""},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(kind.prints)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.toy)
def test_every_file_that_contributing_names_has_a_place(kind: Kind) -> None:
    for name in files_of(kind.heading):
        assert (ROOT / name.replace("NAME", kind.toy)).parent.is_dir(), name
