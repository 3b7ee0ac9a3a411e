"""The command line: exit status, what goes to stdout and what to stderr."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import jsonschema
import pytest

from natop import __version__, cli, feed
from natop.cli import live
from natop.collect.engine import Target
from natop.collect.netns import NoSuchNetns
from natop.demo.engine import EngineServer
from natop.demo.inventory import Inventory
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoPort
from natop.export import snapshots
from natop.feed import Source
from natop.model import Sample
from tests.unit import netlink
from tests.unit.ended import Ended, refused
from tests.unit.hosts import CONTAINERS, observed, sample
from tests.unit.plain import flow

SCHEMA = json.loads((Path(__file__).parent.parent / "data" / "snapshot.schema.json").read_text())
FLOWS = [
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=1, state=7, timeout_s=119),
    flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", id=2),
]


class Reader:
    """In place of HostReader: one prepared sample after the other, the last for ever."""

    def __init__(self, samples: Sequence[Sample | BaseException]) -> None:
        self.samples = list(samples)
        self.number = 0

    def sample(self, **_: object) -> Sample:
        found = self.samples[min(self.number, len(self.samples) - 1)]
        self.number += 1
        if isinstance(found, BaseException):
            raise found
        return found

    def wait_for_answers(self, timeout_s: float) -> None:
        """It has answered already."""

    def close(self) -> None:
        """There is nothing to close."""


Natop = Callable[..., Ended]


@pytest.fixture
def opened() -> list[Source]:
    """The sources that were opened."""
    return []


@pytest.fixture
def natop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[Source]) -> Natop:
    """Runs the command line in this process, on samples of the test's own and without waiting."""

    def run(*arguments: str, samples: Sequence[Sample | BaseException] = ()) -> Ended:
        reader = Reader(samples or [sample(FLOWS, at=at, containers=CONTAINERS) for at in range(9)])

        def open_source(source: Source, *, follow: bool) -> Any:
            opened.append(source)
            del follow
            return reader

        monkeypatch.setattr(Source, "open", open_source)
        monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None))
        capsys.readouterr()
        status = cli._run(list(arguments))
        return Ended(status, *capsys.readouterr())

    return run


def test_a_defect_is_told_in_two_lines_and_is_no_finding(natop: Natop) -> None:
    lines = refused(natop("snapshot", samples=[ZeroDivisionError("by zero\x1b[31m")]), 3)
    assert "ZeroDivisionError: by zero" in lines[0]
    assert "\x1b" not in lines[0]
    assert "place" in lines[1]


# What goes out


def test_a_snapshot_is_json_where_no_terminal_is(natop: Natop) -> None:
    ended = natop("snapshot")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    jsonschema.validate(found, SCHEMA)
    assert ended.out.count("\n") == 1
    assert (found["natop"], found["conntrack"]["flows"]) == (__version__, 2)
    assert "flows" not in found


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("json", '{"natop":'),
        ("csv", "taken_at,id,name,"),
        ("md", "### natop: natter\n"),
        ("text", "host        natter"),
    ],
)
def test_every_format(natop: Natop, form: str, start: str) -> None:
    ended = natop("snapshot", "--format", form)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(start)


def test_flows_on_request(natop: Natop) -> None:
    found = json.loads(natop("snapshot", "--flows").out)
    jsonschema.validate(found, SCHEMA)
    assert [each["id"] for each in found["flows"]] == [1, 2]
    assert natop("snapshot", "--flows", "--format", "csv").out.count("\n") == 3
    assert "100.64.0.9:51234" in natop("snapshot", "--flows", "--format", "text").out


def test_json_repeats_as_one_document_a_line(natop: Natop) -> None:
    lines = natop("snapshot", "--every", "1", "--count", "3").out.splitlines()
    assert [json.loads(line)["interval_s"] for line in lines] == [None, 1.0, 1.0]


def test_csv_repeats_without_repeating_its_header(natop: Natop) -> None:
    rows = list(csv.reader(io.StringIO(natop("snapshot", "--format", "csv", "--count", "2").out)))
    assert len(rows) == 1 + 2 * 5
    assert [row[0] for row in rows].count("taken_at") == 1


@pytest.mark.parametrize("arguments", [("-b", "-n", "2"), ("-b", "-n2", "-d", "1"), ("-bn2",)])
def test_batch_is_text_again_and_again(natop: Natop, arguments: tuple[str, ...]) -> None:
    ended = natop(*arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("host        natter") == 2
    assert "\n\nhost        natter" in ended.out


def test_batch_and_snapshot_are_the_same_text(natop: Natop) -> None:
    assert natop("-b", "-n", "2").out == natop("snapshot", "--format", "text", "--count", "2").out


def test_doctor_watches_and_checks(natop: Natop) -> None:
    """Two readings at least; the exit status tells of findings only where it is asked for."""
    ended = natop("doctor", "--for", "1", "--format", "json")
    document = json.loads(ended.out)
    assert ended.status == 0
    assert document["verdict"]["severity"] is None
    assert document["findings"] == [] or {each["severity"] for each in document["findings"]} == {"info"}


def test_a_check_of_what_cannot_be_read_is_not_passed(natop: Natop) -> None:
    """Else a check without rights would be green for ever; without --check it is a report as any other."""
    blind = [sample(dump=[netlink.error(1)], at=at, containers=CONTAINERS) for at in range(9)]
    first, *others = refused(natop("doctor", "--for", "1", "--check", samples=blind), 3)
    assert first == "natop: no verdict: nothing seen wrong in 1 s, but flows could not be read"
    assert any("CAP_NET_ADMIN" in line for line in others)
    told = natop("doctor", "--for", "1", samples=blind)
    assert (told.status, told.err) == (0, "")
    assert "UNKNOWN: nothing seen wrong" in told.out


def test_a_check_finds_what_is_wrong_though_flows_cannot_be_read(natop: Natop) -> None:
    rising = [sample(dump=[netlink.error(1)], at=at, containers=CONTAINERS, stats=_lost(100 * at)) for at in range(9)]
    ended = natop("doctor", "--for", "1", "--check", samples=rising)
    assert (ended.status, ended.err) == (1, "")
    assert "WARNING: " in ended.out


def _lost(number: int) -> bytes:
    counters = {"insert_failed": number, "drop": number, "chain_toolong": 0, "found": 0}
    return netlink.stats_global(1, 1000) + netlink.stats_cpu(0, counters) + netlink.done()


def test_a_check_of_a_healthy_host_is_passed(natop: Natop) -> None:
    ended = natop("doctor", "--for", "1", "--check")
    assert (ended.status, ended.err) == (0, "")


def test_doctor_watches_long_enough_to_judge(natop: Natop) -> None:
    assert "0.5 is not in the range" in refused(natop("doctor", "--for", "0.5"), 2)[0]


def test_filter_and_sort(natop: Natop) -> None:
    rows = natop("snapshot", "--format", "csv", "--filter", "project:shop", "--sort", "-name").out.splitlines()
    assert [row.split(",")[2] for row in rows] == ["name", "web", "app"]
    rows = natop("--filter", "project:shop", "snapshot", "--format", "csv", "--sort", "name").out.splitlines()
    assert [row.split(",")[2] for row in rows] == ["name", "app", "web"]


def test_options_before_and_after_the_command(natop: Natop, opened: list[Source]) -> None:
    natop("--no-docker", "snapshot")
    natop("snapshot", "--no-docker")
    natop("--netns", "a", "snapshot", "--netns", "b")
    natop("snapshot", "--docker-host", "unix:///x.sock")
    natop("snapshot", "--context", "default")
    assert opened == [
        Source(None, None),
        Source(None, None),
        Source("b", Target()),
        Source(None, Target("unix:///x.sock")),
        Source(None, Target(None, "default")),
    ]


@pytest.mark.parametrize("command", [("snapshot",), ("doctor",), ("probe", "127.0.0.1:1")])
def test_a_context_that_is_named_and_does_not_exist(
    natop: Natop, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (line,) = refused(natop(*command, "--context", "no\x1b[31mne"), 3)
    assert line == "natop: no Docker context 'no\\x1b[31mne'; `docker context ls` lists them"


def test_what_could_not_be_read_is_a_gap_and_no_failure(natop: Natop) -> None:
    ended = natop("snapshot", samples=[sample(dump=[netlink.error(1)], containers=None)])
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert (found["conntrack"]["flows"], found["host"]["docker"]) == (None, None)
    assert [gap["source"] for gap in found["gaps"]] == ["flows"]


@pytest.mark.parametrize("arguments", [("--version",), ("snapshot", "--version"), ("--help",), ("-h",)])
def test_answers_about_natop_itself(natop: Natop, arguments: tuple[str, ...]) -> None:
    ended = natop(*arguments)
    if arguments == ("snapshot", "--version"):
        refused(ended, 2)
    elif arguments == ("--version",):
        assert ended == (0, f"natop {__version__}\n", "")
    else:
        assert (ended.status, ended.err) == (0, "")
        for word in ("Usage: natop", "snapshot", "demo", "--netns", "--docker-host", "--no-docker", "--filter", "-b"):
            assert word in ended.out


def test_help_of_a_command(natop: Natop) -> None:
    ended = natop("snapshot", "--help")
    assert (ended.status, ended.err) == (0, "")
    for word in ("--format", "json|csv|md|text", "--output", "--flows", "--every", "--count", "--context"):
        assert word in ended.out


# Usage: status 2

COMMANDS = ("snapshot", "doctor", "probe", "diff", "explain", "demo")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("snapshot", "--bogus"), "No such option"),
        (("snapshot", "extra"), "unexpected extra argument"),
        (("snapshot", "--format", "xml"), "'xml' is not one of"),
        (("snapshot", "--sort", "bogus"), "no column 'bogus'; there are name flows established"),
        (("snapshot", "--sort", "--flows"), "no column '--flows'"),
        (("snapshot", "--sort", "dst"), "no column 'dst'"),
        (("snapshot", "--every", "0.1"), "not in the range"),
        (("snapshot", "--every", "86401"), "not in the range"),
        (("snapshot", "--every", "nan"), "not a number of seconds"),
        (("snapshot", "--every", "soon"), "not a valid float"),
        (("snapshot", "--count", "0"), "not in the range"),
        (("--interval", "nan"), "not a number of seconds"),
        (("-n", "3"), "-n and -d go with -b"),
        (("-d", "3", "snapshot"), "-n and -d go with -b"),
        (("-b", "snapshot"), "-b goes without a command"),
        (("-b", "-n", "0"), "not in the range"),
        (("snapshot", "--no-docker", "--docker-host", "unix:///x"), "--no-docker does not go with"),
        (("snapshot", "--no-docker", "--context", "lab"), "--no-docker does not go with"),
        (("--no-docker", "snapshot", "--docker-host", "unix:///x"), "--no-docker does not go with"),
        (("snapshot", "--context", "lab", "--docker-host", "unix:///x"), "not both"),
        (("snapshot", "--docker-host", "bogus"), "'bogus' is no URL of a Docker Engine"),
        (("snapshot", "-o", "/"), "is a directory"),
        (("snapshot", "-o", ""), "Invalid value for '-o' / '--output': it is empty."),
        (("snapshot", "--netns", ""), "Invalid value for '--netns': it is empty."),
        (("snapshot", "--netns", " "), "Invalid value for '--netns': it is empty."),
        (("snapshot", "--sort", ""), "Invalid value for '--sort': it is empty."),
        (("snapshot", "--config", ""), "Invalid value for '--config': it is empty."),
        (("snapshot", "--context", ""), "Invalid value for '--context': it is empty."),
        (("doctor", "--docker-host", ""), "Invalid value for '--docker-host': it is empty."),
        (("doctor", "--filter", "web"), "No such option '--filter'"),
        (("--filter", "web", "doctor"), "doctor takes no --filter"),
        (("--sort", "name", "doctor"), "doctor takes no --sort"),
        (("probe", "--sort", "name", "web:1"), "No such option '--sort'"),
        (("--interval", "1", "probe", "web:1"), "probe takes no --interval"),
        (("--ascii", "snapshot"), "snapshot takes no --ascii"),
        (("--ascii", "probe", "web:1"), "probe takes no --ascii"),
        (("--netns", "x", "diff", "a", "b"), "diff takes no --netns"),
        (("--config", "x", "diff", "a", "b"), "diff takes no --config"),
        (("--filter", "x", "explain"), "explain takes no --filter"),
        (("--no-docker", "explain"), "explain takes no --no-docker"),
        (("--ascii", "explain", "table-full"), "explain takes no --ascii"),
        (("--ascii", "demo"), "options go behind `demo`"),
        (("--sort", "name", "demo", "snapshot"), "options go behind `demo`"),
    ],
)
def test_usage(natop: Natop, arguments: tuple[str, ...], words: str) -> None:
    lines = refused(natop(*arguments), 2)
    assert words in lines[0]
    of = next((f" {each}" for each in arguments if each in COMMANDS), "")
    assert lines[-1] == f"try: natop{'' if arguments[0] in ('-b', '-d') else of} --help"


def test_a_filter_s_mistake_is_pointed_at(natop: Natop) -> None:
    lines = refused(natop("snapshot", "--filter", "web stat:x"), 2)
    assert lines[1] == "web stat:x"
    assert lines[2].startswith("    ^ no field 'stat'")


def test_the_mistake_of_a_long_filter_is_pointed_at_too(natop: Natop) -> None:
    lines = refused(natop("snapshot", "--filter", f"container:{'a' * 300} foo:bar"), 2)
    assert lines[1].endswith("a foo:bar")
    assert lines[2].startswith(" " * 311 + "^ no field 'foo'")
    assert "image" in refused(natop("snapshot", "--sort", "nope"), 2)[0], "all columns are named"


def test_an_empty_filter_is_none(natop: Natop) -> None:
    assert natop("snapshot", "--no-docker", "--filter", "").status == 0


def test_a_live_view_needs_a_terminal(natop: Natop) -> None:
    lines = refused(natop(), 2)
    assert "needs a terminal" in lines[0]
    assert "natop snapshot" in " ".join(lines)


# Unreadable: status 3


def test_an_unknown_namespace(natop: Natop) -> None:
    lines = refused(natop("snapshot", samples=[NoSuchNetns("no network namespace 'x'")]), 3)
    assert "no network namespace 'x'" in lines[0]


def test_flows_that_may_not_be_read(natop: Natop) -> None:
    taken = sample(dump=[netlink.error(1)], containers=CONTAINERS)
    lines = refused(natop("snapshot", "--flows", samples=[taken]), 3)
    assert lines == ["natop: reading conntrack needs CAP_NET_ADMIN; run: sudo natop"]


def test_flows_that_the_kernel_does_not_have(natop: Natop) -> None:
    lines = refused(natop("snapshot", "--flows", samples=[sample(None)]), 3)
    assert lines == ["natop: the flows could not be read"]


def test_what_is_said_on_stderr_is_harmless(natop: Natop) -> None:
    ended = natop("snapshot", samples=[NoSuchNetns("\x1b[2J")])
    assert "\x1b" not in ended.err
    assert refused(ended, 3)


def test_interrupted(natop: Natop) -> None:
    ended = natop("snapshot", samples=[KeyboardInterrupt()])
    assert (ended.status, ended.out, ended.err.strip()) == (130, "", "")


# Files


def test_a_file_instead_of_stdout(natop: Natop, tmp_path: Path) -> None:
    target = tmp_path / "natop.json"
    assert natop("snapshot", "-o", str(target)) == (0, "", "")
    assert json.loads(target.read_text())["schema"] == 1
    assert natop("snapshot", "-o", str(target), "--format", "text") == (0, "", "")
    assert target.read_text().startswith("host        natter")
    assert [path.name for path in tmp_path.iterdir()] == ["natop.json"]


@pytest.mark.parametrize(
    ("arguments", "taken", "status"),
    [
        (("--flows",), sample(dump=[netlink.error(1)]), 3),
        (("--filter", "stat:x"), sample(FLOWS), 2),
        ((), NoSuchNetns("gone"), 3),
        (("--no-docker", "--context", "x"), sample(FLOWS), 2),
    ],
)
def test_a_file_is_left_alone_by_a_command_that_fails(
    natop: Natop, tmp_path: Path, arguments: tuple[str, ...], taken: Sample | Exception, status: int
) -> None:
    target = tmp_path / "natop.json"
    target.write_text("old")
    refused(natop("snapshot", "-o", str(target), *arguments, samples=[taken]), status)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["natop.json"]


def test_an_interrupted_file_keeps_what_was_read(natop: Natop, tmp_path: Path) -> None:
    target = tmp_path / "natop.json"
    samples: list[Sample | BaseException] = [sample(FLOWS), KeyboardInterrupt()]
    ended = natop("snapshot", "--every", "1", "-o", str(target), samples=samples)
    assert (ended.status, ended.out, ended.err.strip()) == (130, "", "")
    assert len(target.read_text().splitlines()) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("half", [False, True])
def test_an_interrupt_before_the_first_snapshot_is_written_leaves_the_file_alone(
    natop: Natop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: BaseException, half: bool
) -> None:
    target = tmp_path / "natop.json"
    target.write_text("old")

    def interrupted(*_: Any) -> Iterator[str]:
        if half:
            yield "half"
        raise interrupt

    monkeypatch.setattr(snapshots, "as_json", interrupted)
    with suppress(SystemExit):  # a signal's own
        assert natop("snapshot", "-o", str(target)).status == 130
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["natop.json"]


def test_a_file_that_cannot_be_written(natop: Natop, tmp_path: Path) -> None:
    target = tmp_path / "no" / "natop.json"
    assert refused(natop("snapshot", "-o", str(target)), 3) == [f"natop: {target}: No such file or directory"]
    full = refused(natop("snapshot", "-o", "/dev/full"), 3)
    assert full == ["natop: /dev/full: No space left on device"]


def test_saving_from_the_screen_never_overwrites(tmp_path: Path) -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS))
    first, second = live.save(taken, tmp_path), live.save(taken, tmp_path)
    assert [path.name for path in (*first, *second)] == [
        "natop-natter-20261122T211000Z.md",
        "natop-natter-20261122T211000Z.json",
        "natop-natter-20261122T211000Z-2.md",
        "natop-natter-20261122T211000Z-2.json",
    ]
    assert first[0].read_text().startswith("### natop: natter")
    jsonschema.validate(json.loads(first[1].read_text()), SCHEMA)


# As a process


PROGRAM = (sys.executable, "-m", "natop")
ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
"""For what must happen, on a machine however slow."""


def ran(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, **options
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    café = DemoContainer(
        "web",
        pid=os.getpid(),
        endpoints=(DemoEndpoint("bridge", "172.17.0.2"),),
        ports=(DemoPort(80, 8080),),
        labels={"com.docker.compose.project": "café"},
    )
    with EngineServer(tmp_path / "d.sock", Inventory([café])) as server:
        yield server


@pytest.mark.slow
def test_a_real_snapshot_of_this_host(engine: EngineServer) -> None:
    ended = ran("snapshot", "--docker-host", engine.url)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["host"]["netns"] == os.readlink("/proc/self/ns/net")
    assert [each["name"] for each in found["containers"]] == ["web"]


@pytest.mark.slow
def test_a_real_unknown_namespace() -> None:
    ended = ran("snapshot", "--no-docker", "--netns", "no-such-namespace")
    assert refused(Ended(ended.returncode, ended.stdout, ended.stderr), 3) == [
        "natop: no network namespace 'no-such-namespace': /run/netns/no-such-namespace does not exist",
        "give --netns a name of `ip netns`, a path or a pid",
    ]


@pytest.mark.slow
def test_without_a_terminal_the_process_refuses_the_live_view() -> None:
    ended = ran(stdin=subprocess.DEVNULL)
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), 2)


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_process() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "-b", "-d", "0.5", "--no-docker"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"host")
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 128 + signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


SMALL_OUTPUTS = (
    ("explain",),
    ("explain", "table-full"),
    ("probe", "127.0.0.1:1", "--count", "1", "--no-docker"),
    ("doctor", "--for", "1", "--no-docker"),
    ("snapshot", "--no-docker"),
)


ABOUT_ITSELF = (("--help",), ("--version",), *((name, "--help") for name in COMMANDS))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [*SMALL_OUTPUTS, *ABOUT_ITSELF])
def test_a_full_disk_is_told_once(arguments: tuple[str, ...]) -> None:
    """Also what is so little that it is all written at the end; Python's own word on it would be a status of 120."""
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, cwd=ROOT
        )
    assert (ended.returncode, ended.stderr) == (3, "natop: stdout: No space left on device\n")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [*SMALL_OUTPUTS, *ABOUT_ITSELF])
def test_a_reader_that_has_gone_already_is_no_error(arguments: tuple[str, ...]) -> None:
    with unread() as closed:
        ended = subprocess.run(
            [*PROGRAM, *arguments], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, cwd=ROOT
        )
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("bogus",), ("diff", "/no/such", "/no/such"), ("--filter", "x", "explain")])
def test_nobody_who_reads_what_is_wrong_is_no_defect(arguments: tuple[str, ...]) -> None:
    with unread() as closed:
        ended = subprocess.run([*PROGRAM, *arguments], stdout=closed, stderr=closed, timeout=PATIENCE_S, cwd=ROOT)
    assert ended.returncode == 128 + signal.SIGPIPE


@contextmanager
def unread() -> Iterator[IO[str]]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        yield closed


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_without_a_trace(number: signal.Signals, status: int, tmp_path: Path) -> None:
    target = tmp_path / "natop.json"
    process = subprocess.Popen(
        [*PROGRAM, "snapshot", "--every", "0.5", "--no-docker", "-o", str(target)],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background job is born deaf to SIGINT
    )
    deadline = time.monotonic() + PATIENCE_S
    while not any(path.read_bytes().count(b"\n") > 1 for path in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == status
    assert process.stderr is not None
    assert process.stderr.read().strip() == b""
    process.stderr.close()
    assert [path.name for path in tmp_path.iterdir()] == ["natop.json"]
    assert {json.loads(line)["schema"] for line in target.read_text().splitlines()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "text"])
def test_an_encoding_that_lacks_letters_is_no_failure(engine: EngineServer, form: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = subprocess.run(
        [*PROGRAM, "snapshot", "--docker-host", engine.url, "--format", form],
        capture_output=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        env=environment,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert "café" in run.stdout.decode()


def without(descriptor: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """The command with a standard descriptor closed, as `>&-` of the shell."""
    command = ["sh", "-c", f'exec "$@" {descriptor}&-', "sh", *PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [*SMALL_OUTPUTS, ("--help",), ("snapshot", "--flows", "--help")])
def test_a_closed_stdout_is_told_once(arguments: tuple[str, ...]) -> None:
    run = without(">", *arguments)
    assert (run.returncode, run.stderr) == (3, b"natop: stdout: it is closed\n")


@pytest.mark.slow
def test_a_file_needs_no_stdout(tmp_path: Path) -> None:
    run = without(">", "snapshot", "--no-docker", "-o", str(tmp_path / "natop.json"))
    assert (run.returncode, run.stderr) == (0, b"")
    assert json.loads((tmp_path / "natop.json").read_text())["schema"] == 1


@pytest.mark.slow
def test_with_a_closed_stderr_messages_do_not_go_among_the_data() -> None:
    run = without("2>", "explain", "no-such-rule")
    assert (run.returncode, run.stdout) == (2, b"")


@pytest.mark.slow
def test_a_closed_stdin_is_an_empty_file(tmp_path: Path) -> None:
    run = without("<", "diff", "-", str(tmp_path))
    assert (run.returncode, run.stdout) == (3, b"")
    assert run.stderr.startswith(b"natop: stdin: it is empty\n")


def shown(*arguments: str, **environment: str) -> str:
    """What a command writes on a terminal."""
    master, slave = pty.openpty()
    told = b""
    try:
        with os.fdopen(slave, "wb") as screen:
            command = [*PROGRAM, *arguments]
            subprocess.run(command, stdout=screen, timeout=PATIENCE_S, cwd=ROOT, env=os.environ | environment)
        with suppress(OSError):  # EIO: all is read, and nobody writes any more
            while piece := os.read(master, 1 << 16):
                told += piece
    finally:
        os.close(master)
    return told.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_on_a_terminal_a_snapshot_is_text_that_fits() -> None:
    lines = shown("snapshot", "--no-docker", COLUMNS="60").splitlines()
    assert lines[0].startswith("host        ")
    table = next(line for line in lines if line.startswith("CONTAINER"))
    assert len(table) <= 60


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("C", "caf?"), ("C.UTF-8", "café")])
def test_a_terminal_is_written_to_in_the_user_s_locale(engine: EngineServer, name: str, expected: str) -> None:
    text = shown("snapshot", "--docker-host", engine.url, "--format", "text", LC_ALL=name, COLUMNS="200")
    assert expected in text
    assert text.isascii() == (name == "C")


CUT_OFF = """
import signal
from natop.cli.output import standard_output
signal.signal(signal.SIGALRM, lambda *_: print("came", file=__import__("sys").stderr, flush=True))
signal.setitimer(signal.ITIMER_REAL, 0.5)
out = standard_output()
out.writelines(["x" * 300_000, "END"])
out.flush()
"""
"""A signal comes while a full pipe holds up the first write."""


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_signal_in_the_middle_of_a_write_loses_nothing(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", CUT_OFF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout
        assert run.stderr
        assert run.stderr.readline() == "came\n"
        told = run.stdout.read()
    assert (len(told), told[-3:]) == (300_003, "END")
