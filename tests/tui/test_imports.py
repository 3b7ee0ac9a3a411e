"""What the screen loads, and when: nothing but Textual before the first picture."""

import subprocess
import sys

PLOTS = ("textual_plot", "textual_hires_canvas", "natop.tui.plots", "natop.summarise.history")
LATER = (
    *PLOTS,
    "numpy",
    "docker",
    "pyroute2",
    "psutil",
    "lark",
    "msgspec",
    "natop.model",
    "natop.columns.containers",
    "natop.columns.filters",
    "natop.columns.terms",
)


def loaded(code: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(told.stdout.split())


def test_the_app_loads_no_data_library() -> None:
    assert not loaded("import natop.tui.app").intersection(LATER)


OPENED = """
import asyncio, sys
from pathlib import Path
from natop.tui.app import NatopApp
def never(_): raise SystemExit
async def main():
    app = NatopApp(never, interval_s=2.0, save_dir=Path("/"), save=lambda *_: ())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*KEYS)
        await pilot.pause()
        assert "conntrack" in "".join(strip.text for strip in app.screen._compositor.render_strips())
asyncio.run(main())
"""
"""The live view before its first snapshot, after KEYS."""


def test_the_first_picture_needs_no_data_library() -> None:
    assert not loaded(f"KEYS = ''{OPENED}").intersection(LATER)


def test_plots_are_loaded_when_they_are_wanted() -> None:
    assert not loaded(f"KEYS = '2'{OPENED}").intersection(PLOTS)
    found = loaded(f"KEYS = '7'{OPENED}")
    assert found.issuperset(PLOTS)
    assert not found.intersection(("docker", "pyroute2", "psutil", "lark"))


def test_making_lines_does_not_load_the_collectors() -> None:
    assert not {name for name in loaded("import natop.tui.arrange") if name.startswith(("natop.collect", "natop.feed"))}
