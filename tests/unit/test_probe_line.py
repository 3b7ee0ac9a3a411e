"""Probes on their way: from samples to snapshots, into documents and tables, and from the command line."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from natop import cli, feed
from natop.collect import probe
from natop.collect.prober import Manners
from natop.columns.containers import container_rows
from natop.export.document import document
from natop.export.snapshots import View, as_markdown, as_text, probes_as_json, probes_as_text
from natop.feed import LiveFeed, Source
from natop.model import (
    Aim,
    Container,
    EngineReading,
    FirewallText,
    Gap,
    OwnFlow,
    ProbeResult,
    ProbeTarget,
    Sample,
    Snapshot,
)
from natop.observe import observe
from natop.probefeed import CannotProbe, ProbeFeed, targets_aims
from natop.probing import ProbeWish
from natop.summarise.probed import HISTORY
from tests.unit import netlink
from tests.unit.ended import Ended, refused
from tests.unit.hosts import CONTAINERS, HOST_ADDRESSES, WEB, container, engine, observed, sample
from tests.unit.plain import flow
from tests.unit.rulesets import recorded
from tests.unit.test_cli import PATIENCE_S

pytestmark = pytest.mark.slow

SCHEMA = json.loads((Path(__file__).parent.parent / "data" / "snapshot.schema.json").read_text())
AT = 1_795_381_800.0
FAST = ProbeResult(
    *("203.0.113.10:8080", "published", AT, WEB.id, "web"),
    subject="web 8080→80",
    connect_ms=0.21234,
    syns_lost=0,
    rtt_ms=0.2,
    linear_timeouts=4,
)
SLOW = replace(FAST, connect_ms=2031.4, syns_lost=2)
DEAD = replace(FAST, path="proxy", target="127.0.0.1:8080", connect_ms=None, rtt_ms=None, error="refused")
MINE = OwnFlow("203.0.113.10", 40000, "203.0.113.10", 8080)
FLOWS = [
    flow("203.0.113.10:40000", "203.0.113.10:8080", dnat="172.18.0.2:80", id=1, state=8),
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=2),
]


def told(taken: Snapshot) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(document(taken, container_rows(taken)))
    jsonschema.validate(json.loads(msgspec.json.encode(found)), SCHEMA)
    return found


# Samples to snapshots


def test_nobody_asked_for_probes_so_there_are_none_and_they_are_null() -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS))
    assert (taken.probes, taken.is_probing) == (None, False)
    found = told(taken)
    assert found["probes"] is None
    assert {each["probes"] for each in found["containers"]} == {None}


def test_results_gather_by_way_and_stay_when_probing_ends() -> None:
    first = sample(FLOWS, containers=CONTAINERS, probes=(FAST, DEAD))
    taken = observed(first, sample(at=2, containers=CONTAINERS, probes=(SLOW,)), sample(at=4, containers=CONTAINERS))
    assert taken.probes is not None
    assert [each.results for each in taken.probes] == [(FAST, SLOW), (DEAD,)]
    assert not taken.is_probing
    assert observed(first).is_probing
    on_and_quiet = observed(sample(FLOWS, containers=CONTAINERS, probes=()))
    assert (on_and_quiet.probes, on_and_quiet.is_probing) == ((), True)
    assert told(on_and_quiet)["probes"] == []


def test_a_snapshot_keeps_so_many_results_of_a_way() -> None:
    many = tuple(replace(FAST, at=AT + number) for number in range(HISTORY + 30))
    taken = observed(sample(containers=CONTAINERS, probes=many[:100]), sample(at=2, probes=many[100:]))
    assert taken.probes is not None
    assert taken.probes[0].results == many[30:]


def test_natop_s_own_flows_are_in_no_count_and_their_number_is_told() -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS, own=(MINE,)))
    assert taken.reading is not None
    assert taken.reading.flows.id.tolist() == [2]
    found = told(taken)
    assert (found["conntrack"]["flows"], found["conntrack"]["own_flows"]) == (1, 1)
    assert found["conntrack"]["states"]["CLOSE"] == 0
    web = next(each for each in found["containers"] if each["name"] == "web")
    assert web["flows"] == {"total": 1, "inbound": 1, "outbound": 0}


def test_natop_s_own_flows_count_where_that_is_wanted() -> None:
    found = told(observed(sample(FLOWS, containers=CONTAINERS, own=None)))
    assert (found["conntrack"]["flows"], found["conntrack"]["own_flows"]) == (2, 0)


def test_own_flows_are_left_out_as_long_as_the_kernel_keeps_them() -> None:
    """Also when the prober has forgotten them; they are not new flows then."""
    first = sample(FLOWS, containers=CONTAINERS, own=(MINE,))
    taken = observed(first, sample(FLOWS, at=200, containers=CONTAINERS, own=()))
    assert taken.reading is not None
    assert taken.reading.flows.id.tolist() == [2]
    assert taken.reading.own == {MINE}
    assert taken.whole is not None
    assert taken.whole.rates is not None
    assert (taken.whole.rates.new, taken.whole.rates.gone) == (0.0, 0.0)
    gone = observe(taken, sample(FLOWS[1:], at=400, containers=CONTAINERS, own=()))
    assert gone.reading is not None
    assert gone.reading.own == frozenset()


def test_what_natop_opens_while_a_dump_is_read_is_left_out_too() -> None:
    opened: list[OwnFlow] = []

    def dump() -> Iterator[bytes]:
        opened.append(MINE)
        yield netlink.dump(FLOWS)

    taken = observed(sample(dump=dump(), containers=CONTAINERS, own=opened))
    assert taken.reading is not None
    assert taken.reading.flows.id.tolist() == [2]


def test_without_a_dump_the_number_of_own_flows_is_unknown() -> None:
    assert told(observed(sample(containers=CONTAINERS, own=(MINE,))))["conntrack"]["own_flows"] is None


def test_namespaces_that_may_not_be_entered_are_a_gap() -> None:
    forbidden = replace(FAST, path="netns", target="198.51.100.7:443", connect_ms=None, error="not permitted")
    (gap,) = [each for each in observed(sample(probes=(FAST, forbidden))).gaps if each.source == "probes"]
    assert "CAP_SYS_ADMIN" in gap.reason
    assert not [each for each in observed(sample(probes=(FAST, DEAD))).gaps if each.source == "probes"]


# Documents and tables


def test_probes_in_the_document() -> None:
    found = told(observed(sample(FLOWS, containers=CONTAINERS, probes=(FAST, SLOW, DEAD))))
    assert found["probes"][1] == {
        "subject": "web 8080→80",
        "target": "203.0.113.10:8080",
        "path": "published",
        "container": "web",
        "at": "2026-11-22T21:10:00.000Z",
        "connect_ms": 2031.4,
        "syns_lost": 2,
        "waited_ms": 2000.0,
        "rtt_ms": 0.2,
        "first_byte_ms": None,
        "later_byte_ms": None,
        "http_status": None,
        "error": None,
    }
    assert [(each["connect_ms"], each["error"]) for each in found["probes"]] == [
        (0.212, None),
        (2031.4, None),
        (None, "refused"),
    ]
    by_name = {each["name"]: each["probes"] for each in found["containers"]}
    assert by_name == {"web": found["probes"], "app": [], "db": [], "edge": []}


def test_probes_in_text_and_markdown() -> None:
    taken = observed(sample(FLOWS, containers=CONTAINERS, probes=(FAST, SLOW, DEAD)))
    text = "".join(as_text(taken, View()))
    head = next(line for line in text.splitlines() if line.startswith("TARGET"))
    assert head.split("  ")[0] == "TARGET"
    assert "FIRST ms" not in head, "no HTTP was asked for"
    assert "203.0.113.10:8080  published web" in text
    assert "refused ×1" in text
    assert "1 of 2 probes: 2 SYNs lost, sent again after 1 and 2 s" in text
    markdown = "".join(as_markdown(taken, View()))
    assert "| 203.0.113.10:8080 | published web | 2 | 0 |" in markdown
    assert "2 SYNs lost, sent again after 1 and 2 s" in markdown


def test_a_table_of_no_probes_is_nothing() -> None:
    assert "".join(probes_as_text(())) == ""
    assert json.loads("".join(probes_as_json(()))) == {"probes": [], "ways": []}


# The live feed


class Played:
    """In place of Prober: what it was aimed at, and results of the test's own."""

    made: list["Played"]

    def __init__(self, manners: Manners, home: Path | None = None) -> None:
        self.manners, self.home = manners, home
        self.aims: list[tuple[Aim, ...]] = []
        self.closed = False
        self.fault: Gap | None = None
        Played.made.append(self)

    def aim(self, aims: tuple[Aim, ...], rounds: int | None = None) -> None:
        del rounds
        self.aims.append(tuple(aims))

    def take(self) -> tuple[ProbeResult, ...]:
        return (FAST,)

    def own(self) -> tuple[OwnFlow, ...]:
        return (MINE,)

    def gap(self) -> Gap | None:
        return self.fault

    def wait(self) -> None:
        """All is measured."""

    def close(self) -> None:
        self.closed = True


UNREAD = FirewallText({}, refused={"nft": "Operation not permitted"})
"""Of a host whose NAT rules natop may not read."""
WITHOUT_PROXY = recorded("docker-29-noproxy")


def bridged(*containers: Container) -> EngineReading:
    """An engine on whose networks the host is."""
    told = engine(*containers)
    subnet = {"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}
    return replace(told, networks=tuple({**network, **subnet} for network in told.networks))


class Reader:
    """In place of HostReader."""

    def sample(self, **_: object) -> Sample:
        return sample(FLOWS, at=time.monotonic(), engine=bridged(*CONTAINERS), rules=UNREAD)

    def wait_for_answers(self, timeout_s: float) -> None:
        """It has answered already."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Played]:
    Played.made = []
    monkeypatch.setattr("natop.probefeed.Prober", Played)
    monkeypatch.setattr(feed, "Prober", Played)
    monkeypatch.setattr(Source, "open", lambda *_, **__: Reader())
    return Played.made


def test_a_live_feed_probes_only_when_it_is_told_to(played: list[Played]) -> None:
    live = LiveFeed(Source(), 0.01)
    snapshots = iter(live)
    assert all(each.probes is None and not each.is_probing for each in islice(snapshots, 3))
    assert played == []
    live.probe(ProbeWish())
    taken = list(islice(snapshots, 2))
    assert [each.is_probing for each in taken] == [True, True]
    assert taken[-1].probes is not None
    assert taken[-1].probes[0].results == (FAST, FAST)
    (prober,) = played
    assert [way.target for aim in prober.aims[-1] for way in aim.ways] == [
        "172.18.0.2:80",
        "203.0.113.10:8080",
        "127.0.0.1:8080",
    ]
    assert [way.path for aim in prober.aims[-1] for way in aim.ways][-1] == "loopback", "who answers is not known"
    assert told(taken[-1])["conntrack"]["own_flows"] == 1
    live.probe(None)
    off = next(snapshots)
    assert prober.aims[-1] == ()
    assert (off.is_probing, off.probes) == (False, taken[-1].probes)
    assert told(off)["conntrack"]["own_flows"] == 1, "those of before are still in the table"
    live.close()
    assert prober.closed


def test_probes_that_have_ended_by_themselves_are_a_gap_while_they_are_wished_for(played: list[Played]) -> None:
    live = LiveFeed(Source(), 0.01)
    live.probe(ProbeWish())
    fault = Gap("probes", "a defect of natop")
    assert fault not in next(iter(live)).gaps
    played[0].fault = fault
    assert fault in next(iter(live)).gaps
    live.probe(None)
    assert fault not in next(iter(live)).gaps


def test_a_live_feed_counts_own_flows_on_request(played: list[Played]) -> None:
    live = LiveFeed(Source(), 0.01)
    live.probe(ProbeWish(counts_own=True))
    assert told(next(iter(live)))["conntrack"]["own_flows"] == 0
    live.probe(ProbeWish())
    assert told(next(iter(live)))["conntrack"]["own_flows"] == 1
    assert len(played) == 1


def test_a_wish_is_followed_where_containers_come_and_go(played: list[Played]) -> None:
    probes = ProbeFeed(None)
    probes.wish(ProbeWish())
    for told in (None, bridged(*CONTAINERS), bridged()):
        probes.follow(observed(sample(engine=told, rules=UNREAD)), HOST_ADDRESSES)
    assert [len(aims) for aims in played[0].aims] == [0, 1, 0]


def test_published_ports_are_called_once_it_is_known_who_answers_at_the_loopback_address(played: list[Played]) -> None:
    """A way that changed its name under way would be two."""
    probes = ProbeFeed(None)
    probes.wish(ProbeWish(targets=(ProbeTarget("x:1", "x", 1),)))
    unknown = sample(engine=bridged(*CONTAINERS))
    for rules in (None, FirewallText(WITHOUT_PROXY)):
        probes.follow(observed(replace(unknown, rules=rules)), HOST_ADDRESSES)
    assert [[way.path for aim in aims for way in aim.ways] for aims in played[0].aims] == [
        ["host"],
        ["host", "container", "published", "loopback"],
    ]


# Containers to call from


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "knows no such container"),
        ("", "knows no such container"),
        ("6", "several containers"),
        ("dead", "is exited"),
        ("app", "does not tell its network namespace"),
        ("lost", "cannot enter"),
    ],
)
def test_a_container_that_cannot_be_called_from_says_why(name: str, said: str) -> None:
    dead = container("dead", "172.18.0.9", state="exited")
    lost = container("lost", "172.18.0.8", sandbox="/no/such/netns")
    inventory = observed(sample(containers=(*CONTAINERS, dead, lost))).inventory
    with pytest.raises(CannotProbe, match=said) as caught:
        targets_aims([ProbeTarget("x:1", "x", 1)], [name], inventory)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_container_on_the_host_s_network_calls_from_there() -> None:
    inventory = observed(sample(containers=CONTAINERS)).inventory
    (aim,) = targets_aims([ProbeTarget("x:1", "x", 1)], ["edge", container("edge").id, "edge"], inventory)
    assert [(way.path, way.netns) for way in aim.ways] == [("host", None), ("netns", None)]
    (by_id,) = targets_aims([ProbeTarget("x:1", "x", 1)], [container("edge").id[:20]], inventory)
    assert by_id == aim


# The command line


@pytest.fixture
def natop(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        status = cli._run(list(arguments))
        return Ended(status, *capsys.readouterr())

    return run


Natop = Callable[..., Ended]


NAMED = {"path": "host", "container": None, "container_name": None, "subject": "203.0.113.10:8080"}
QUICK, LATE = replace(FAST, **NAMED), replace(SLOW, **NAMED)  # type: ignore[arg-type]  # the names are the fields' own
FAILED = replace(QUICK, connect_ms=None, error="refused")


class Probed(Played):
    """A prober whose one way works or fails as the test says."""

    results: tuple[ProbeResult, ...] = (QUICK, LATE)

    def take(self) -> tuple[ProbeResult, ...]:
        return self.results


@pytest.fixture
def probed(played: list[Played], monkeypatch: pytest.MonkeyPatch) -> type[Probed]:
    assert played == []
    monkeypatch.setattr(feed, "Prober", Probed)
    monkeypatch.setattr(Probed, "results", (QUICK, LATE))
    return Probed


def test_probe_prints_a_table(natop: Natop, probed: type[Probed]) -> None:
    ended = natop("probe", "203.0.113.10:8080")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[0].startswith("TARGET")
    assert "2 SYNs lost, sent again after 1 and 2 s" in ended.out
    assert probed.made[0].manners == Manners(2.0, 10.0, False)
    assert probed.made[0].closed


def test_probe_prints_json(natop: Natop, probed: type[Probed]) -> None:
    ended = natop("probe", "203.0.113.10:8080", "--format", "json", "--every", "3", "--timeout", "4", "--polite")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    for each in found["probes"]:
        jsonschema.validate(each, {"$defs": SCHEMA["$defs"], "$ref": "#/$defs/probe"})
    assert [each["syns_lost"] for each in found["probes"]] == [0, 2]
    (way,) = found["ways"]
    assert (way["count"], way["failed"], way["p50_ms"], way["max_ms"], way["by_syns_lost"]) == (
        2, 0, 0.212, 2031.4, {"0": 1, "2": 1},
    )  # fmt: skip
    assert probed.made[0].manners == Manners(3.0, 4.0, True)


def test_a_failed_probe_is_exit_status_1(natop: Natop, probed: type[Probed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "results", (QUICK, FAILED))
    ended = natop("probe", "203.0.113.10:8080")
    assert (ended.status, ended.err) == (1, "")
    assert "refused ×1" in ended.out


def test_interrupted_it_prints_what_was_measured(
    natop: Natop, probed: type[Probed], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Played) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probed, "wait", interrupted)
    ended = natop("probe", "203.0.113.10:8080", "--format", "json")
    assert (ended.status, ended.err.strip()) == (130, "")
    assert len(json.loads(ended.out)["probes"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("127.0.0.1",),
        ("127.0.0.1:80", "127.0.0.1"),
        ("https://127.0.0.1/",),
        ("127.0.0.1:80", "--every", "1.9"),
        ("127.0.0.1:80", "--count", "0"),
        ("127.0.0.1:80", "--timeout", "nan"),
        ("127.0.0.1:80", "--format", "csv"),
    ],
)
def test_probe_refuses_what_makes_no_sense(natop: Natop, arguments: tuple[str, ...]) -> None:
    refused(natop("probe", *arguments), 2)


def test_probe_cannot_call_from_where_nothing_is(natop: Natop) -> None:
    lines = refused(natop("probe", "127.0.0.1:9", "--from", "web", "--no-docker"), 3)
    assert "--no-docker" in lines[0]
    lines = refused(natop("probe", "127.0.0.1:9", "--netns", "no-such"), 3)
    assert "no-such" in lines[0]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the SDK forgets the socket that it could not connect
def test_probe_from_a_container_advises_what_works(natop: Natop, tmp_path: Path) -> None:
    """Not to leave Docker out, which would be refused beside --from."""
    lines = refused(natop("probe", "127.0.0.1:9", "--from", "web", "--docker-host", f"unix://{tmp_path}/d.sock"), 3)
    assert lines == [
        "natop: --from needs Docker's containers: no Docker Engine is listening there",
        "name one by --docker-host URL",
    ]
    gc.collect()


def test_a_snapshot_with_probes_holds_them(natop: Natop, probed: type[Probed]) -> None:
    ended = natop("snapshot", "--probe", "--count", "7")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    jsonschema.validate(found, SCHEMA)
    assert [each["syns_lost"] for each in found["probes"]] == [0, 2]
    assert found["conntrack"]["own_flows"] == 1
    assert [len(aim.ways) for aim in probed.made[0].aims[0]] == [3]
    with_own = json.loads(natop("snapshot", "--probe", "--own-flows").out)
    assert with_own["conntrack"]["own_flows"] == 0


@pytest.mark.parametrize("arguments", [("--probe", "--every", "2"), ("--probe", "--no-docker"), ("--own-flows",)])
def test_what_does_not_go_together_with_probes(natop: Natop, arguments: tuple[str, ...]) -> None:
    refused(natop("snapshot", *arguments), 2)


def test_a_real_interrupt_ends_a_real_wait(natop: Natop, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT reaches the main thread while it waits for probes that hang."""
    let_go, has_returned = threading.Event(), threading.Event()

    def hanging(*_: object, **__: object) -> ProbeResult:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        let_go.wait(PATIENCE_S)
        has_returned.set()
        return DEAD

    monkeypatch.setattr(probe, "timed", hanging)
    ended = natop("probe", "127.0.0.1:9", "--format", "json")
    assert not has_returned.is_set(), "the probe still hangs"
    let_go.set()
    assert ended.status == 130
    assert json.loads(ended.out)["probes"] == []
