"""`python -m tests.screenshots`: pictures of the lab, aged a little, then of the demo in trouble. Root; 8 minutes."""

import subprocess
import sys
from pathlib import Path

from natop.demo.run import run

FOLDER = Path(__file__).parents[2] / "screenshots"
TAKE = (sys.executable, "-m", "tests.screenshots.take", str(FOLDER))
WARM_S = 45
"""Traffic before the first picture, so that TIME_WAIT has something to show."""


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    lab = [sys.executable, "-m", "tests.lab", "--rate", "60", "--warm", str(WARM_S), "--for", "400"]
    ended = subprocess.call([*lab, "--", *TAKE, "lab"])
    for scene in ("race", "exhaustion", "timewait"):
        ended = ended or run((scene,), program=TAKE, scene=scene)
    return ended


if __name__ == "__main__":
    sys.exit(main())
