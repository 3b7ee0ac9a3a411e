"""Every rule against two hosts: one where it must speak, one like it where it must not."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from natop.columns.filters import parse
from natop.diagnose import RULES, diagnose
from natop.diagnose.evidence import address_of, few, listed, percent_of
from natop.model import HOST_MARK, Finding, OwnFlow, ProbePath, ProbeResult, Snapshot
from natop.summarise.probed import with_results
from natop.summarise.window import mark_of
from tests.unit.scenarios import FOLDER, read, snapshot

SCENARIOS = sorted(FOLDER.glob("*/*.toml"))


def test_each_rule_has_a_pair() -> None:
    for name in RULES:
        kinds = {path.stem.partition("-")[0] for path in (FOLDER / name).glob("*.toml")}
        assert kinds == {"fires", "quiet"}, name
    assert {path.parent.name for path in SCENARIOS} == set(RULES)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scenario(path: Path) -> None:
    scenario = read(path)
    assert scenario["story"]
    findings = diagnose(snapshot(scenario))
    mine = [finding for finding in findings if finding.rule == path.parent.name]
    if path.stem.startswith("quiet"):
        assert not mine
        assert "expect" not in scenario or "others" in scenario["expect"]
    else:
        assert len(mine) == scenario["expect"].get("times", 1)
        _check(mine[0], scenario["expect"])
    if "others" in scenario.get("expect", {}):
        assert {finding.rule for finding in findings} - {path.parent.name} == set(scenario["expect"]["others"])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_lead_is_a_filter_that_parses(path: Path) -> None:
    for finding in diagnose(snapshot(read(path))):
        terms = parse(finding.lead.filter if finding.lead else "").terms
        assert all(value.text for term in terms for value in term.values), finding.lead


def _check(finding: Finding, expected: Mapping[str, Any]) -> None:
    assert finding.severity == expected["severity"]
    assert finding.subject == expected["subject"]
    assert finding.summary == expected["summary"]
    for text in expected.get("evidence", ()):
        assert any(text in each for each in finding.evidence), (text, finding.evidence)
    for text in expected.get("remedies", ()):
        assert any(text in remedy.text for remedy in finding.remedies), (text, finding.remedies)
    commands = [command for remedy in finding.remedies for command in remedy.commands]
    assert expected.get("commands") != [] or not commands
    for text in expected.get("commands", ()):
        assert any(text in each for each in commands), (text, commands)
    for text in expected.get("absent", ()):
        assert not any(text in each for each in (*commands, *finding.evidence)), (text, commands, finding.evidence)
    lines = [snippet.text for remedy in finding.remedies for snippet in remedy.snippets]
    for text in expected.get("lines", ()):
        assert any(text in each for each in lines), (text, lines)
    undo = [command for remedy in finding.remedies for command in remedy.undo]
    for text in expected.get("undo", ()):
        assert any(text in each for each in undo), (text, undo)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_whatever_rose_rose_in_a_time_that_is_told(path: Path) -> None:
    scenario = read(path)
    span = f" in {scenario.get('seconds', 60.0):.0f} s"
    for finding in diagnose(snapshot(scenario)):
        for text in (finding.summary, *finding.evidence):
            if re.search(r" \+\d|for each new flow|a second", text) and not text.startswith("measured: "):
                assert span in text, text


def lost_elsewhere(taken: Snapshot) -> list[tuple[str, ...]]:
    return [each.evidence[:1] for each in diagnose(taken) if each.rule == "syn-loss-elsewhere"]


def test_what_natop_s_own_probes_sent_again_is_no_fault_of_the_host() -> None:
    """A target that does not answer, called from inside `api`: the namespace's counters have natop's SYNs too."""
    taken = replace(snapshot(read(FOLDER / "syn-loss-elsewhere" / "fires.toml")), taken_at=1_000.0)
    api = taken.containers[0].container
    hung = ProbeResult("198.51.100.7:81", ProbePath.NETNS, 950.0, api.id, "api", None, 6, linear_timeouts=4)
    assert lost_elsewhere(taken) == [("SYN retransmits +14 in 60 s: api (14)",)]
    assert lost_elsewhere(replace(taken, probes=with_results((), [hung]))) == [("SYN retransmits +8 in 60 s: api (8)",)]
    twice = with_results((), [hung, replace(hung, at=980.0)])
    assert lost_elsewhere(replace(taken, probes=twice)) == [], "2 are weather"
    old = with_results((), [replace(hung, at=100.0)])
    by_others = with_results((), [replace(hung, container="other"), replace(hung, path=ProbePath.CONTAINER)])
    assert lost_elsewhere(replace(taken, probes=old)) == lost_elsewhere(replace(taken, probes=by_others))
    assert lost_elsewhere(replace(taken, probes=old)) == [("SYN retransmits +14 in 60 s: api (14)",)]


def test_who_lost_most_is_named_first_without_natop_s_own_probes() -> None:
    web = {"name": "web", "addresses": ["172.18.0.9"], "tcp": {"syn_retrans": 10, "active_opens": 90}}
    scenario = read(FOLDER / "syn-loss-elsewhere" / "fires.toml")
    taken = replace(snapshot({**scenario, "container": [*scenario["container"], web]}), taken_at=1_000.0)
    api = taken.containers[0].container
    hung = ProbeResult("198.51.100.7:81", ProbePath.NETNS, 950.0, api.id, "api", None, 6, linear_timeouts=4)
    assert [each.subject for each in diagnose(taken)] == ["api"]
    assert [each.subject for each in diagnose(replace(taken, probes=with_results((), [hung])))] == ["web"]


def test_probes_that_hang_have_sent_syns_that_nobody_knows_of_yet() -> None:
    taken = snapshot(read(FOLDER / "syn-loss-elsewhere" / "fires.toml"))
    assert taken.reading is not None
    address = taken.containers[0].container.networks[0].ipv4
    assert address is not None
    waiting = [frozenset(OwnFlow(address, port, "198.51.100.7", 81) for port in range(n)) for n in (1, 2)]
    told = [lost_elsewhere(replace(taken, reading=replace(taken.reading, waiting=each))) for each in waiting]
    assert told == [[("SYN retransmits +7 in 60 s: api (7)",)], []]


def test_a_pool_with_ports_left_is_not_full() -> None:
    assert [percent_of(part, 64_512) for part in (0, 62_577, 64_286, 64_475, 64_511, 64_512)] == [
        "0",
        "97",
        "99.6",
        "99.9",
        "99.9",
        "100",
    ]


def test_names_are_listed_as_people_do() -> None:
    names = ["web", "app", "php"]
    assert [listed(names[:number]) for number in range(4)] == ["", "web", "web and app", "web, app and php"]
    assert few([*names, "db"]) == "web, app, php and 1 more"


def test_the_address_of_an_end() -> None:
    ends = ("198.51.100.7:443/tcp", "[2001:db8::7]:443/tcp", "198.51.100.7/icmp", "2001:db8::7/icmpv6")
    assert [address_of(end) for end in ends] == ["198.51.100.7", "2001:db8::7", "198.51.100.7", "2001:db8::7"]


def test_a_race_that_a_remedy_ended_leaves_no_alarm_behind() -> None:
    """The losses of the minute before are still in the window when NAT chooses ports at random."""
    taken = snapshot(read(FOLDER / "unexplained-loss" / "fires.toml"))
    first, last = taken.marks[0], taken.marks[-1]
    after_6s, after_3s = (
        replace(taken, marks=(first, replace(last, monotonic_s=last.monotonic_s - ago), last)) for ago in (6.0, 3.0)
    )
    assert [finding.rule for finding in diagnose(after_6s)] == []
    assert [finding.rule for finding in diagnose(after_3s)] == ["unexplained-loss"]


def test_time_wait_is_called_harmless_only_where_the_table_s_fill_is_known() -> None:
    taken = snapshot(read(FOLDER / "time-wait-buildup" / "fires.toml"))
    assert "time-wait-buildup" in {each.rule for each in diagnose(taken)}
    blind = replace(taken, conntrack=replace(taken.conntrack, max=None))
    assert "time-wait-buildup" not in {each.rule for each in diagnose(blind)}


def test_what_accounts_for_more_lost_packets_comes_first() -> None:
    """And what accounts for next to none of them is no alarm."""
    findings = diagnose(snapshot(read(FOLDER / "syn-loss-elsewhere" / "fires-beside-a-clash.toml")))
    assert [(each.rule, each.severity, each.lost) for each in findings] == [
        ("syn-loss-elsewhere", "warning", 300),
        ("snat-race", "info", 1),
    ]
    findings = diagnose(snapshot(read(FOLDER / "syn-loss-elsewhere" / "fires-beside-a-queue.toml")))
    assert [(each.rule, each.lost) for each in findings] == [("syn-loss-elsewhere", 28), ("accept-queue-overflow", 12)]


def test_pools_of_an_old_dump_say_nothing_of_the_last_minute() -> None:
    taken = snapshot(read(FOLDER / "snat-race" / "fires.toml"))
    reading = taken.reading
    assert reading
    assert mark_of(taken).pools
    assert mark_of(replace(taken, reading=replace(reading, monotonic_s=taken.monotonic_s - 61))).pools is None
    assert mark_of(replace(taken, reading=None)).pools is None


def test_a_race_is_none_where_the_last_dump_is_old() -> None:
    taken = snapshot(read(FOLDER / "snat-race" / "fires.toml"))
    stale = replace(taken, marks=tuple(replace(mark, pools=None) for mark in taken.marks))
    assert {each.rule for each in diagnose(stale)} == {"unexplained-loss"}


def test_a_dump_is_asked_that_comes_after_the_loss() -> None:
    """Between dumps the marks have the pools of the one before: a loss there lies between it and the next."""
    taken = snapshot(read(FOLDER / "snat-race" / "fires.toml"))
    first, second, last = taken.marks
    full = tuple(replace(pool, used=64_500) for pool in last.pools or ())
    no_dump = replace(second, pools=first.pools, dumped_s=first.dumped_s)
    filled = replace(last, pools=full)
    assert {each.rule for each in diagnose(replace(taken, marks=(first, no_dump, filled)))} == {"nat-port-exhaustion"}


def test_containers_that_came_and_went_have_lost_their_syns_too() -> None:
    """A job that ended within the minute: its namespace is no more when the clashes are judged."""
    taken = snapshot(read(FOLDER / "snat-race" / "fires.toml"))
    first, second, last = taken.marks
    emptied = replace(last, tcp={key: each for key, each in last.tcp.items() if key == HOST_MARK})
    gone = replace(taken, marks=(first, replace(second, tcp=last.tcp), emptied), containers=())
    (race,) = diagnose(gone)
    assert race.rule == "snat-race"
    assert any("containers that are gone" in text for text in race.evidence)
