"""`natop diff` on the command line: what it reads, how it ends, what goes to stdout and what to stderr."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from natop import cli
from tests.unit.ended import Ended, refused
from tests.unit.sides import container, document, rated

REMEDY = "make one with: natop snapshot --format json --every 2 --count 30 -o FILE"


Diff = Callable[..., Ended]


@pytest.fixture
def diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Diff:
    """Runs `natop diff` in a folder with before.json and after.json; `stdin` is what it is given there."""
    monkeypatch.chdir(tmp_path)
    made = {"before": rated(0, 41 / 60), "after": rated(60, 0.0)}
    for number, (name, each) in enumerate(made.items()):
        each["containers"] = [container("web", own_table=number), container("app", own_table=9 * number)]
        Path(f"{name}.json").write_text(json.dumps(each))

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        status = cli._run(["diff", *arguments])
        return Ended(status, *capsys.readouterr())

    return run


FILES = ("before.json", "after.json")


@pytest.mark.parametrize(
    ("form", "start"), [("text", "before  2026-"), ("md", "### natop diff: natter\n"), ("json", '{"natop":')]
)
def test_every_format(diff: Diff, form: str, start: str) -> None:
    ended = diff(*FILES, "--format", form)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(start)
    assert "insert" in ended.out


def test_text_where_no_format_is_asked_for(diff: Diff) -> None:
    assert diff(*FILES) == diff(*FILES, "--format", "text")


@pytest.mark.parametrize("place", [0, 1])
def test_either_file_may_be_stdin(diff: Diff, place: int) -> None:
    names = list(FILES)
    given = Path(names[place]).read_text()
    names[place] = "-"
    ended = diff(*names, "--format", "json", stdin=given)
    sides = json.loads(ended.out)
    assert (sides["before"]["file"], sides["after"]["file"]) == tuple(name.replace("-", "stdin") for name in names)


def test_order_filter_and_all(diff: Diff) -> None:
    def rows(*arguments: str) -> list[str]:
        found = json.loads(diff(*FILES, "--format", "json", *arguments).out)
        return [each["name"] for each in found["containers"]]

    assert rows() == ["app", "web"]
    assert rows("--sort", "-own_table") == ["web", "app"]
    assert rows("--filter", "container:web") == ["web"]
    assert "unchanged: " in diff(*FILES).out
    assert "unchanged: " not in diff(*FILES, "--all").out


@pytest.mark.usefixtures("diff")
def test_options_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["--filter", "container:app", "diff", *FILES]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("web ", "app "))] == ["app"]


def test_the_wrong_order_is_a_note_and_no_failure(diff: Diff) -> None:
    ended = diff("after.json", "before.json")
    assert (ended.status, ended.err) == (0, "")
    assert "note    AFTER is older than BEFORE" in ended.out


# Usage: status 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'BEFORE'"),
        (("before.json",), "Missing argument 'AFTER'"),
        ((*FILES, "third.json"), "unexpected extra argument"),
        (("-", "-"), "only one of BEFORE and AFTER may be stdin"),
        ((*FILES, "--format", "csv"), "'csv' is not one of"),
        ((*FILES, "--sort", "dst"), "no column 'dst'; there are name flows"),
        ((*FILES, "--filter", "state:time_wait"), "--filter names containers here"),
        ((*FILES, "--netns", "x"), "No such option"),
    ],
)
def test_usage(diff: Diff, arguments: tuple[str, ...], words: str) -> None:
    lines = refused(diff(*arguments), 2)
    assert words in lines[0]
    assert lines[-1] == "try: natop diff --help"


def test_a_filter_s_mistake_is_pointed_at(diff: Diff) -> None:
    assert refused(diff(*FILES, "--filter", "stat:x"), 2)[2].startswith("^ no field 'stat'")


def test_options_that_say_what_to_read_have_no_meaning_here(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli._run(["--netns", "x", "diff", *FILES])
    assert "diff takes no --netns" in refused(Ended(status, *capsys.readouterr()), 2)[0]


# Unreadable: status 3


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        ("", "it is empty"),
        ("host  natter\n", "it is no snapshot of natop: JSON is malformed"),
        (json.dumps(document(schema=2)), "it is of schema 2, and this natop reads schema 1; a newer natop made it"),
        (json.dumps(document())[:-9], "it is no snapshot of natop: input data was truncated"),
    ],
)
def test_a_file_that_is_no_snapshot(diff: Diff, place: int, content: str | None, words: str) -> None:
    names = list(FILES)
    names[place] = "wrong.json"
    if content is not None:
        Path("wrong.json").write_text(content)
    lines = refused(diff(*names), 3)
    assert lines[0].startswith(f"natop: wrong.json: {words}")
    assert lines[1:] == [REMEDY]


@pytest.mark.parametrize(("name", "words"), [(".", "Is a directory"), ("\0", "null byte"), ("/proc/self/mem", "rror")])
def test_what_is_no_file(diff: Diff, name: str, words: str) -> None:
    assert words in refused(diff(name, FILES[1]), 3)[0]


def test_stdin_is_named(diff: Diff) -> None:
    assert refused(diff("-", FILES[1], stdin="[]"), 3)[0].startswith("natop: stdin: it is no snapshot")


def test_names_of_files_are_harmless(diff: Diff) -> None:
    assert "\x1b" not in "".join(refused(diff("\x1b[2J", FILES[1]), 3))
