"""What starting costs: processor time of fresh interpreters, in turn, and the ratio of medians.

    python benchmarks/startup.py                 five rounds
    python benchmarks/startup.py --rounds 15

``import pyrovi`` and ``pyrovi --help`` load neither torch nor ArviZ (the tests hold that), so both
should cost a small share of ``import pyro``.
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


def seconds(statement: str) -> float:
    """Processor time of ``statement`` in an interpreter of its own."""
    script = f"import time\n{statement}\nprint(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken = [{name: seconds(code) for name, code in STARTS.items()} for _ in range(rounds)]
    medians = {name: median(each[name] for each in taken) for name in STARTS}
    for name, value in medians.items():
        print(f"{name:16}{value:7.2f} s  {value / medians['import pyro']:5.2f} of import pyro")


if __name__ == "__main__":
    main()
