"""`python -m tests.screenshots`: the lab with traffic, aged a little, and its pictures taken. Needs root; 5 minutes."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "screenshots"
WARM_S = 45
"""Traffic before the first picture, so that TIME_WAIT has something to show."""


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    lab = [sys.executable, "-m", "tests.lab", "--rate", "60", "--warm", str(WARM_S), "--for", "400"]
    return subprocess.call([*lab, "--", sys.executable, "-m", "tests.screenshots.take", str(FOLDER)])


if __name__ == "__main__":
    sys.exit(main())
