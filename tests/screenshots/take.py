"""`python -m tests.screenshots.take FOLDER SET`: the live view on the host around this process, as SVG pictures."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natop.collect.engine import Target
from natop.feed import LiveFeed, Source
from natop.model import Snapshot
from natop.tui.app import NatopApp

INTERVAL_S = 1.0
AGE_S = 40
"""How long the live view reads before its pictures, so that trends and rates have something to show."""


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    size: tuple[int, int]
    keys: Sequence[str]
    back: Sequence[str] | None = None
    """The keys that undo that; None is Esc for each, or the first view."""


LAB = (
    Picture("containers", (160, 50), ()),
    Picture("containers-80x24", (80, 24), ()),
    Picture("projects-80x24", (80, 24), ("g",), ("g", "g", "g")),
    Picture("destinations", (160, 50), ("g", "g", "g"), ("g",)),
    Picture("namespace", (160, 50), ("N", "down", "enter"), ("N",)),
    Picture("flows", (160, 50), ("2",)),
    Picture("container-flows", (120, 36), ("enter",)),
    Picture("flow", (120, 36), ("enter", "G", "enter"), ("escape", "escape")),
    Picture("help", (120, 36), ("question_mark",)),
    Picture("pools", (120, 36), ("3",)),
    Picture("counters", (120, 36), ("5",)),
    Picture("trends-80x24", (80, 24), ("7",)),
    Picture("probes", (120, 36), ("P", "4"), ("1", "P")),
)
SETS = {
    "lab": LAB,
    "race": (Picture("race", (120, 36), ("6", "enter"), ("escape", "1")),),
    "exhaustion": (Picture("exhaustion", (120, 36), ("6", "enter"), ("escape", "1")),),
    "timewait": (Picture("timewait", (120, 36), ("6",)),),
}
"""What is taken of the lab, and of each of the demo's hosts in trouble."""
SETTLE_S = 6.0
"""After the keys of a picture that shows what comes of them only with time."""
SLOW_KEYS = frozenset(("P",))


def save_nothing(_snapshot: Snapshot, _folder: Path) -> tuple[Path, ...]:
    return ()


async def take(folder: Path, pictures: Sequence[Picture]) -> None:
    """All pictures of one size from one run of the live view."""
    app = NatopApp(
        lambda namespace: LiveFeed(Source(namespace, Target()), INTERVAL_S),
        interval_s=INTERVAL_S,
        save_dir=folder,
        save=save_nothing,
    )
    app.theme = "natop-dark"  # whatever the terminal here can show
    async with app.run_test(size=pictures[0].size) as pilot:
        await pilot.pause(AGE_S)
        for picture in pictures:
            for key in picture.keys:
                await pilot.press(key)
                await pilot.pause(SETTLE_S if key in SLOW_KEYS else 1.5)
            svg = app.export_screenshot(title="natop")
            (folder / f"{picture.name}.svg").write_text(svg.replace("<svg ", '<svg xml:space="preserve" ', 1))
            for key in picture.back or ["1" if each.isdigit() else "escape" for each in picture.keys]:
                await pilot.press(key)
                await pilot.pause(0.5)


async def main() -> None:
    folder, pictures = Path(sys.argv[1]), SETS[sys.argv[2]]
    for size in dict.fromkeys(picture.size for picture in pictures):
        await take(folder, [picture for picture in pictures if picture.size == size])


if __name__ == "__main__":
    asyncio.run(main())
