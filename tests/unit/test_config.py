"""The configuration file: what it may say, mistakes by their place, and that the command line goes before it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.cli import settings
from natop.cli.commands import probe, program
from natop.cli.live import _chosen
from natop.cli.options import Common, Exit, Refused
from natop.collect.prober import Manners
from natop.config import MOST_BYTES, BadConfig, Config, Probes, load, parse

FULL = """
interval = 1
filter = "state:time_wait"
sort = "-time_wait"
context = "far"
netns = "blue"
ascii = true

[probe]
targets = ["198.51.100.7:443", "http://example.org/x"]
from = ["app1", "app2"]
published = true
polite = true
every = 5
timeout = 3.5
"""


def parsed(text: str) -> Config:
    return parse(text.encode(), "natop.toml")


def test_all_that_it_may_say() -> None:
    probe = Probes(("198.51.100.7:443", "http://example.org/x"), ("app1", "app2"), True, True, 5.0, 3.5)
    assert parsed(FULL) == Config(
        interval=1.0, filter="state:time_wait", sort="-time_wait", context="far", netns="blue", ascii=True, probe=probe
    )
    assert parsed('docker_host = "unix:///x"').docker_host == "unix:///x"
    assert parsed("no_docker = true").no_docker is True
    assert parsed("") == Config() == parsed("# nothing\n[probe]\n")


@pytest.mark.parametrize(
    ("line", "command", "option"),
    [
        ("interval = {}", program, "interval"),
        ("probe.every = {}", probe, "every_s"),
        ("probe.timeout = {}", probe, "timeout_s"),
    ],
)
def test_seconds_are_bounded_as_those_of_the_option(line: str, command: click.Command, option: str) -> None:
    (bounds,) = (each.type for each in command.params if each.name == option)
    assert isinstance(bounds, click.FloatRange)
    assert bounds.min is not None
    assert bounds.max is not None
    for inside in (bounds.min, bounds.max):
        parsed(line.format(inside))
    for outside in (bounds.min - 0.01, bounds.max + 0.01):
        with pytest.raises(BadConfig):
            parsed(line.format(outside))


def test_what_is_not_given_is_what_the_prober_does_of_its_own() -> None:
    assert settings.manners(Probes()) == Manners()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval = \n", "line 1, column 12: invalid value"),
        ("\n\n[probe\n", "line 3, column 7: expected ']' at the end of a table declaration"),
        ('x = "abc', "line 1, at the end: unterminated string"),
        ("interval = 'a'", "line 1: interval: expected a number, got text in quotes"),
        ("interval = true", "line 1: interval: expected a number, got true or false"),
        ("interval = 0.1", "line 1: interval: 0.1 is not from 0.5 to 60 seconds"),
        ("interval = nan", "line 1: interval: nan is not from 0.5 to 60 seconds"),
        ("[probe]\nevery = 1.9", "line 2: [probe] every: 1.9 is not from 2 to 86400 seconds"),
        ("[probe]\ntimeout = inf", "line 2: [probe] timeout: inf is not from 0.1 to 120 seconds"),
        ("probe.every = 1", "[probe] every: 1 is not from 2 to 86400 seconds"),
        ("interva = 3", "line 1: interva: no such key; do you mean interval?"),
        ("\n[probes]\nevery = 3", "line 2: probes: no such key; do you mean probe?"),
        ("every = 3\n[probe]", "line 1: every: no such key; there are interval context docker_host no_docker netns"),
        ("[probe]\n\nevry = 3", "line 3: [probe] evry: no such key; do you mean every?"),
        ("[probe]\nsources = []", "line 2: [probe] sources: no such key; there are targets from published polite"),
        ("[probe]\nfrom = 'x'", "line 2: [probe] from: expected a list, got text in quotes"),
        ("[probe]\nfrom = [3]", "line 2: [probe] from: expected text in quotes, got a number"),
        ("[probe]\ntargets = ['a:1', 'b']", "line 2: [probe] targets: 'b' has no port: give HOST:PORT"),
        ("[probe]\ntargets = ['https://b']", "line 2: [probe] targets: 'https://b': only http:// is asked"),
        ("[probe]\nfrom = ['a\u202e']", "line 2: [probe] from: a container's name has no such characters"),
        ("probe = 3", "line 1: probe: expected a table, got a number"),
        ("sort = 'nothing'", "line 1: sort: no column 'nothing'; there are name"),
        ("context = 'a'\ndocker_host = 'b'", "line 1: context: it does not go with docker_host"),
        ("no_docker = true\ncontext = 'a'", "line 1: no_docker: it does not go with context"),
        ("interval = 1\ninterval = 2", "line 2, at the end: cannot overwrite a value"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(text: str, said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        parsed(text)
    assert str(caught.value).startswith(f"natop.toml: {said}")
    assert "\n" not in str(caught.value)


def test_a_filter_s_mistake_is_pointed_at() -> None:
    with pytest.raises(BadConfig) as caught:
        parsed("filter = 'stat:x'")
    lines = str(caught.value).splitlines()
    assert lines[:2] == ["natop.toml: line 1: filter: it cannot be read", "stat:x"]
    assert lines[2].startswith("^ no field 'stat'")
    assert len(lines) == 3


def test_what_is_no_text_says_where() -> None:
    with pytest.raises(BadConfig, match=r"natop\.toml: line 2: not UTF-8"):
        parse(b"interval = 1\n\xff", "natop.toml")


def test_what_is_nested_too_deep_is_a_mistake() -> None:
    with pytest.raises(BadConfig, match=r"natop\.toml: it is nested too deep"):
        parsed("a = " + "[" * 100_000)


def test_a_number_of_too_many_digits_is_a_mistake() -> None:
    with pytest.raises(BadConfig, match=r"natop\.toml: a number in it has too many digits"):
        parsed(f"interval = {'1' * 5_000}")


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as large:
        large.truncate(1 << 40)
    with pytest.raises(BadConfig, match=f"more than {MOST_BYTES:,} bytes"):
        load(tmp_path / "large")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """But the null device, which is how programs are told to take no file."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    before = os.listdir("/proc/self/fd")
    for name in (tmp_path / "fifo", tmp_path / "link", Path("/dev/zero"), tmp_path / "socket", tmp_path):
        with pytest.raises(Refused) as caught:
            settings.settled(Common(config=name))
        assert caught.value.status == Exit.UNREADABLE
        assert re.fullmatch(
            rf"cannot read the configuration {name}: (it is no regular file|Is a directory|No such device or address)",
            str(caught.value),
        )
    assert os.listdir("/proc/self/fd") == before
    assert load(Path(os.devnull)) == Config()


@given(st.one_of(st.text(), st.dictionaries(st.text(), st.integers()).map(lambda found: "\n".join(
    f"{key} = {value}" for key, value in found.items()
))))  # fmt: skip
def test_whatever_stands_in_it_is_a_configuration_or_a_mistake(text: str) -> None:
    said = ""
    try:
        parse(text.encode(errors="replace"), "natop.toml")
    except BadConfig as error:
        said = str(error)
    assert said == "" or said.startswith("natop.toml: ")
    assert all(letter.isprintable() for letter in said if letter != "\n")


# Beside the command line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "natop" / "config.toml"


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_the_command_line_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    written(file, FULL)
    common, config = settings.settled(Common(config=file))
    assert (common.interval, common.docker_context, common.netns) == (1.0, "far", "blue")
    assert (common.filter, common.sort) == (None, None), "scripts see all there is"
    assert config.probe.polite
    mine = Common(interval=3.0, netns="red", filter="", config=file)
    given_too = settings.settled(mine)
    assert (given_too.common.interval, given_too.common.netns) == (3.0, "red")
    live = settings.for_live_view(given_too)
    assert (live.filter, live.sort) == ("", "-time_wait")


@pytest.mark.parametrize(
    ("given_options", "environment", "expected"),
    [
        (Common(), {}, (None, "unix:///file", None)),
        (Common(docker_host="unix:///mine"), {}, (None, "unix:///mine", None)),
        (Common(docker_context="mine"), {}, ("mine", None, None)),
        (Common(no_docker=True), {}, (None, None, True)),
        (Common(), {"DOCKER_HOST": "unix:///environment"}, (None, None, None)),
        (Common(), {"DOCKER_CONTEXT": "environment"}, (None, None, None)),
    ],
)
def test_an_engine_that_is_named_elsewhere_is_not_the_file_s(
    given_options: Common,
    environment: dict[str, str],
    expected: tuple[str | None, str | None, bool | None],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written(file, 'docker_host = "unix:///file"')
    common = settings.settled(given_options.over(Common(config=file))).common
    assert (common.docker_context, common.docker_host, common.no_docker) == expected


def test_where_the_file_is_looked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(file.parent.parent)
    assert settings.default_file({"XDG_CONFIG_HOME": folder}) is None
    written(file, "interval = 7")
    assert settings.default_file({"XDG_CONFIG_HOME": folder}) == file
    home = file.parent / "home"
    monkeypatch.setenv("HOME", str(home))
    assert settings.default_file({}) is None
    own = home / ".config" / "natop" / "config.toml"
    own.parent.mkdir(parents=True)
    own.symlink_to(file)
    assert settings.default_file({}) == own
    assert settings.default_file({"XDG_CONFIG_HOME": "relative"}) == own
    monkeypatch.setenv("XDG_CONFIG_HOME", folder)
    assert settings.settled(Common()).common.interval == 7.0
    assert settings.settled(Common(interval=2.0)).common.interval == 2.0


def test_without_a_file_nothing_is_set() -> None:
    assert settings.settled(Common()) == settings.Settings(Common(), Config())


def test_what_cannot_be_read_is_another_failure_than_a_mistake(file: Path) -> None:
    with pytest.raises(Refused) as missing:
        settings.settled(Common(config=file))
    assert missing.value.status == Exit.UNREADABLE
    assert str(missing.value) == f"cannot read the configuration {file}: No such file or directory"
    with pytest.raises(Refused) as folder:
        settings.settled(Common(config=file.parent.parent))
    assert folder.value.status == Exit.UNREADABLE
    with pytest.raises(Refused) as mistaken:
        settings.settled(Common(config=written(file, "x = 1")))
    assert (mistaken.value.status, str(mistaken.value).splitlines()[0].endswith("ascii probe")) == (Exit.USAGE, True)


def test_what_the_live_view_probes_from_the_start() -> None:
    assert not _chosen(Probes()).is_on
    assert _chosen(Probes()).wish is None
    published = _chosen(Probes(published=True))
    assert published.wish is not None
    assert (published.wish.published, published.wish.targets) == (True, ())
    named = _chosen(Probes(targets=("198.51.100.7:443", "198.51.100.7:443"), sources=("app1",)))
    assert named.wish is not None
    assert (named.wish.published, [each.text for each in named.wish.targets]) == (False, ["198.51.100.7:443"])
    assert named.wish.targets[0].sources == ("app1",)
    assert _chosen(Probes(sources=("app1",))).wish is None


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "natop", *arguments],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_a_process_says_it_on_stderr_and_nothing_on_stdout(file: Path) -> None:
    written(file, "[probe]\nevry = 3\n")
    for done in (
        run("--config", str(file), "snapshot"),
        run("snapshot", "--config", str(file)),
        run("doctor", XDG_CONFIG_HOME=str(file.parent.parent)),
        run(XDG_CONFIG_HOME=str(file.parent.parent)),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"natop: {file}: line 2: [probe] evry: no such key; do you mean every?\n"
    gone = run("snapshot", "--config", str(file.parent / "none.toml"))
    assert (gone.returncode, gone.stdout) == (3, "")
    assert "No such file" in gone.stderr


@pytest.mark.slow
def test_probe_takes_its_targets_and_its_manners_from_the_file(file: Path) -> None:
    written(file, '[probe]\ntargets = ["127.0.0.1:1"]\npolite = true\n')
    done = run("probe", "--count", "1", "--no-docker", "--config", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert "127.0.0.1:1" in done.stdout
    named = run("probe", "127.0.0.1:2", "--count", "1", "--no-docker", "--config", str(file))
    assert "127.0.0.1:2" in named.stdout
    assert "127.0.0.1:1 " not in named.stdout
    nothing = run("probe", "--no-docker")
    assert (nothing.returncode, "TARGET" in nothing.stderr) == (2, True)
