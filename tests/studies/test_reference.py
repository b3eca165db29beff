"""The references of the shelf are there for who installs pyrovi, too."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = """
import pyrovi
from pyrovi.models import get
from pyrovi.studies import reference_of
print(pyrovi.__file__)
print(reference_of(get("eight_schools")).about)
"""


def test_a_wheel_has_the_references_of_the_zoo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        env={"PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    home, about = ran.stdout.splitlines()
    assert home.startswith(str(tmp_path))
    assert about == "NUTS, 4 chains of 5000 draws"
