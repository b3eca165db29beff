"""What starting costs: processor time of fresh interpreters, in turn, as medians.

    python benchmarks/startup.py                 five rounds
    python benchmarks/startup.py --rounds 15

``import pyrovi`` and ``pyrovi --help`` load neither torch nor ArviZ (the tests hold that), so both
should cost a small share of ``import pyro``. Then each stage of eight schools, the first and the
second time in a process: the first pays for what is loaded and recorded.
"""

import argparse
import subprocess
import sys
from statistics import median

STARTS = {
    "import pyro": "import pyro",
    "import pyrovi": "import pyrovi",
    "pyrovi --help": "from pyrovi.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
}
STAGES = """
import pyro, pyrovi as vi
entry = vi.models.get("eight_schools")
data = entry.load()
def timed(deed, *given):
    began = time.process_time()
    made = deed(*given)
    print(time.process_time() - began)
    return made
for _ in range(2):
    fit = timed(lambda: vi.fit(entry.model, data, seed=0))
    tree = timed(lambda: vi.draw(fit))
    tree = timed(lambda: vi.check(tree))
    timed(lambda: str(vi.verdict(tree)))
"""
NAMES = ("fit", "draw", "check", "verdict")


def numbers(script: str) -> list[float]:
    """What a script prints in an interpreter of its own, the processor time of all last."""
    script = f"import time\n{script}\nprint(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split() if _is_number(word)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken = [{name: numbers(code)[-1] for name, code in STARTS.items()} for _ in range(rounds)]
    medians = {name: median(each[name] for each in taken) for name in STARTS}
    for name, value in medians.items():
        print(f"{name:16}{value:7.2f} s  {value / medians['import pyro']:5.2f} of import pyro")
    stages = [numbers(STAGES)[:-1] for _ in range(rounds)]
    middle = [median(column) for column in zip(*stages, strict=True)]
    print(f"{'eight schools':16}{'first':>7}  {'second':>8}")
    for name, first, second in zip(NAMES, middle[: len(NAMES)], middle[len(NAMES) :], strict=True):
        print(f"{name:16}{first:7.2f} s{second:8.2f} s")


if __name__ == "__main__":
    main()
