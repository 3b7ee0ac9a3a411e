"""Two snapshots side by side: numbers, rises, facts, containers, findings, and how all that is written."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.filters import parse
from natop.diff import document as diffdocument
from natop.diff import report as diffreport
from natop.diff.change import Change, Unit, Verdict
from natop.diff.compare import Comparison
from natop.diff.matching import Fate
from natop.diff.reread import NotASnapshot
from natop.diff.sections import View, duration
from natop.export import snapshots
from natop.formats import cells_of
from natop.model import Snapshot
from tests.unit import hosts, netlink
from tests.unit.plain import Flow
from tests.unit.sides import OTHER_BOOT, Json, between, container, document, over, rated
from tests.unit.strategies import flows

SCHEMA = json.loads((Path(__file__).parent.parent / "data" / "diff.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
EVERYTHING = View(all=True)


def text(comparison: Comparison, view: View | None = None, width: int | None = 80) -> str:
    return "".join(diffreport.as_text(comparison, view or View(), width))


def parsed(comparison: Comparison, view: View | None = None) -> Any:
    told = "".join(diffdocument.as_json(comparison, view or View()))
    assert told.count("\n") == 1
    found = json.loads(told)
    VALIDATOR.validate(found)
    return found


def change(comparison: Comparison, key: str) -> Change:
    return next(each for each in comparison.host if each.measure.key == key)


# A remedy that worked

RULE = {
    "backend": "nft",
    "chain": "ip nat POSTROUTING",
    "priority": 100,
    "action": "MASQUERADE",
    "text": "oifname != br0 masquerade",
}


def nat(**more: Any) -> Json:
    rule = RULE | more
    return {"networks": [{"name": "shop", "subnet": "172.18.0.0/16", "rule": rule, "udp_rule": rule}], "rules": [rule]}


def probes(container: str, *milliseconds: float, lost: int) -> list[Json]:
    at = {"at": "2026-11-22T21:00:00Z", "target": "172.18.0.2:80", "path": "container", "container": container}
    return [at | {"connect_ms": each, "syns_lost": lost, "error": None} for each in milliseconds]


RACE = {"rule": "snat-race", "severity": "critical", "subject": "host", "summary": "41 new connections lost a SYN"}
STILL = {"rule": "hairpin", "severity": "info", "subject": "web", "summary": "3 flows"}
BEFORE = rated(
    0,
    41 / 60,
    conntrack={
        "count": 6615,
        "states": {"TIME_WAIT": 5320, "ESTABLISHED": 553},
        "counters": {"insert_failed": 1000, "drop": 2**32 - 10},
    },
    containers=[
        container("web", states={"TIME_WAIT": 5000}, probes=probes("web", 3012.0, lost=2)),
        container("db"),
        container("old", flows={"total": 12}),
    ],
    nat_pools=[{"used": 1, "capacity": 100}, {"used": 99, "capacity": 100, "loss": 0.11}],
    nat_rules=nat(),
    probes=probes("web", 3012.0, lost=2),
    findings=[RACE, STILL],
    gaps=[{"source": "docker", "reason": "no answer", "remedy": None}],
)
AFTER = rated(
    60,
    0.0,
    host={"kernel": "6.19.1", "docker": {"version": "29.1.0"}, "sysctls": {"nf_conntrack_max": 524288}},
    conntrack={
        "count": 1500,
        "states": {"TIME_WAIT": 210, "ESTABLISHED": 553},
        "counters": {"insert_failed": 1020, "drop": 31},
    },
    containers=[
        container("web", states={"TIME_WAIT": 200}, image="web:2", probes=probes("web", 14.0, lost=0)),
        container("db"),
        container("young", flows={"total": 3}),
    ],
    nat_pools=[{"used": 12, "capacity": 100, "loss": 0.0}],
    nat_rules=nat(fully_random=True, text="oifname != br0 masquerade fully-random"),
    probes=probes("web", 14.0, lost=0),
    findings=[STILL],
)


def test_a_remedy_in_a_ticket() -> None:
    lines = text(between(BEFORE, AFTER)).splitlines()
    assert lines == [
        "before  2026-11-22T21:00:00.000Z  natter  1 reading over 2 s  before.json",
        "after   2026-11-22T21:01:00.000Z  natter  1 reading over 2 s  after.json",
        "        1 min later, same boot and network namespace",
        "",
        "FINDINGS",
        "gone   CRITICAL snat-race host: 41 new connections lost a SYN",
        "still  INFO hairpin web: 3 flows",
        "",
        "CHANGED",
        "kernel: 6.18.44 -> 6.19.1",
        "Docker: 29.0.0 -> 29.1.0",
        "nf_conntrack_max: 262,144 -> 524,288",
        "NAT of shop 172.18.0.0/16: MASQUERADE -> MASQUERADE fully-random",
        "rule gone: nft ip nat POSTROUTING: oifname != br0 masquerade",
        "rule new: nft ip nat POSTROUTING: oifname != br0 masquerade fully-random",
        "",
        "HOST                  BEFORE   AFTER        CHANGE               ROSE BY",
        "TIME_WAIT              5,320     210        -5,110",
        "busiest NAT pool      99.0 %  12.0 %  -87.0 points  better",
        "insert_failed         41/min   0/min       -41/min  better  +20 (20/min)",
        "its chance of a loss  11.0 %     0 %  -11.0 points  better",
        "conntrack table        2.5 %   0.6 %   -2.0 points  better",
        "entries                6,615   1,500        -5,115",
        "drop                       -       -             -          +41 (41/min)",
        "unchanged: ESTABLISHED, 9 others",
        "unknown on both sides: early_drop, SYN retransmits, SYNs that conntrack lost,",
        "  lost to a full table, 26 others",
        "",
        "CONTAINER     TIME_WAIT  CONNECT P95 ms",
        "web        5,000 -> 200   3,012 -> 14.0",
        "web: image web:1 -> web:2",
        "gone: old (12 flows)",
        "new: young (3 flows)",
        "1 container unchanged, of which nothing is known",
        "",
        "PROBED                          P50 ms         P95 ms         MAX ms  SYNS LOST",
        "172.18.0.2:80 container  3,012 -> 14.0  3,012 -> 14.0  3,012 -> 14.0     2 -> 0",
        "",
        "NOT READ",
        "BEFORE  docker: no answer",
    ]


def test_the_same_as_markdown() -> None:
    told = "".join(diffreport.as_markdown(between(BEFORE, AFTER), View()))
    lines = told.splitlines()
    assert lines[0] == "### natop diff: natter"
    for line in (
        "- **gone** CRITICAL snat-race host: 41 new connections lost a SYN",
        "- **kernel** 6.18.44 → 6.19.1",
        "- **NAT of shop 172.18.0.0/16** MASQUERADE → MASQUERADE fully-random",
        "| insert\\_failed | 41/min | 0/min | -41/min | better | +20 (20/min) |",
        "| web | 5,000 → 200 | 3,012 → 14.0 |",
        "- gone: old (12 flows)",
        "#### Not read",
        "- **BEFORE** docker: no answer",
    ):
        assert lines.count(line) == 1


def test_the_same_as_json() -> None:
    found = parsed(between(BEFORE, AFTER))
    assert (found["before"]["file"], found["after"]["file"], found["same_boot"], found["elapsed_s"]) == (
        "before.json",
        "after.json",
        True,
        60.0,
    )
    assert found["host"]["insert_failed"] == {
        "unit": "per_min",
        "before": pytest.approx(41),
        "after": 0,
        "difference": pytest.approx(-41),
        "verdict": "better",
        "rise": 20,
        "rise_per_min": 20.0,
    }
    assert found["host"]["early_drop"] == dict.fromkeys(
        ("before", "after", "difference", "verdict", "rise", "rise_per_min")
    ) | {"unit": "per_min"}
    assert {each["name"]: (each["fate"], each["changed"]) for each in found["containers"]} == {
        "web": ("stayed", True),
        "db": ("stayed", False),
        "old": ("gone", True),
        "young": ("new", True),
    }
    assert {each["key"]: each["changed"] for each in found["facts"]} == {
        "hostname": False,
        "kernel": True,
        "natop": False,
        "product": None,
        "version": True,
        "api_version": None,
        "rootless": None,
        "userland_proxy": None,
        "firewall_backend": None,
        "sysctl:nf_conntrack_max": True,
        "nat:shop:172.18.0.0/16": True,
    }
    assert [(each["fate"], each["rule"]) for each in found["findings"]] == [
        ("gone", "snat-race"),
        ("stayed", "hairpin"),
    ]
    assert [len(found["nat_rules"][name]) for name in ("gone", "new")] == [1, 1]


# Counters


@pytest.mark.parametrize(
    ("then", "now", "rise"),
    [(7, 7, 0), (7, 48, 41), (2**32 - 10, 31, 41), (0, 2**32 - 1, 2**32 - 1), (5, 3, None), (None, 3, None)],
)
def test_how_far_a_counter_rose_modulo_its_width(then: int | None, now: int | None, rise: int | None) -> None:
    before, after = (document(at, conntrack={"counters": {"drop": value}}) for at, value in ((0, then), (30, now)))
    assert change(between(before, after), "drop").rise == rise


def test_a_counter_that_fell_is_of_another_namespace() -> None:
    """Its number may have been given out again; then no counter goes on from the other."""
    before = document(0, conntrack={"counters": {"found": 900, "drop": 1}})
    found = between(before, document(30, conntrack={"counters": {"found": 3, "drop": 2}}))
    assert found.same_boot is False
    assert {each.rise for each in found.host} == {None}
    assert "began anew" in found.notes[0]


@pytest.mark.parametrize(
    ("host", "same_boot", "words"),
    [
        ({"boot_id": OTHER_BOOT}, False, "started anew"),
        ({"boot_id": OTHER_BOOT, "hostname": "other"}, False, "another host: natter, then other"),
        ({"netns": "net:[1]"}, False, "another network namespace: net:[4026531840], then net:[1]"),
        ({"boot_id": None}, None, "not known whether"),
        ({"hostname": "renamed"}, True, ""),
    ],
)
def test_counters_are_compared_within_one_boot_and_namespace(host: Json, same_boot: bool | None, words: str) -> None:
    found = between(rated(0, 1.0), rated(60, 2.0, host=host, conntrack={"counters": {"insert_failed": 9}}))
    told = change(found, "insert_failed")
    assert (found.same_boot, told.rise, told.before, told.after) == (same_boot, 2 if same_boot else None, 60.0, 120.0)
    assert [words in note and "only rates and states" in note for note in found.notes] == [True] * (not same_boot)


def test_time_between_goes_by_the_clock_that_nobody_sets() -> None:
    set_back = document(30, taken_at="2026-11-22T20:00:00Z")
    assert between(document(0), set_back).elapsed_s == 30.0
    assert between(document(0), over(set_back, {"host": {"boot_id": OTHER_BOOT}})).elapsed_s == -3600.0


def test_files_in_the_wrong_order_are_told_and_compared() -> None:
    found = between(rated(60, 0.0, conntrack={"counters": {"insert_failed": 48}}), rated(0, 1.0))
    assert found.notes == ("AFTER is older than BEFORE: were the files given the other way round?",)
    assert (found.elapsed_s, change(found, "insert_failed").rise) == (-60.0, 41)
    assert "1 min earlier" in text(found)


# What is unknown


def test_one_reading_has_no_rates_but_counters() -> None:
    found = between(document(0), document(60, conntrack={"counters": {"insert_failed": 48}}))
    told = text(found)
    assert [
        note.startswith(f"{side} has no rates") for side, note in zip(("BEFORE", "AFTER"), found.notes, strict=True)
    ]
    assert re.search(r"^insert_failed +- +- +- +\+41 \(41/min\)$", told, re.MULTILINE)
    assert change(found, "insert_failed").verdict is Verdict.UNKNOWN


def test_what_one_side_could_not_see_is_a_dash_and_a_line() -> None:
    gap = {"source": "flows", "reason": "reading conntrack needs CAP_NET_ADMIN", "remedy": "run: sudo natop"}
    blind = document(
        0,
        interval_s=2.0,
        conntrack={"flows": None, "states": None},
        containers=None,
        nat_pools=None,
        nat_rules=None,
        findings=None,
        gaps=[gap],
    )
    seeing = rated(60, 0.0, conntrack={"states": {"TIME_WAIT": 5}}, containers=[container("web")], findings=[RACE])
    found = between(blind, seeing)
    told = text(found)
    assert re.search(r"^TIME_WAIT +- +5 +-$", told, re.MULTILINE)
    assert "not judged before: CRITICAL snat-race" in told
    assert "on one side only, the other could not tell: web" in told
    assert "BEFORE  flows: reading conntrack needs CAP_NET_ADMIN" in told
    for what in ("containers", "flows", "NAT rules", "findings"):
        assert f"BEFORE has no {what}: they could not be read then" in found.notes
    assert parsed(found)["nat_rules"] is None
    assert [each.difference for each in found.host if each.measure.key == "time_wait"] == [None]


def test_a_finding_is_gone_only_where_it_could_have_been_seen() -> None:
    with_race, without = rated(0, 1.0, findings=[RACE]), rated(60, 0.0)
    assert [each.fate for each in between(with_race, without).findings] == [Fate.GONE]
    assert [each.fate for each in between(without, with_race).findings] == [Fate.NEW]
    assert [each.fate for each in between(with_race, document(60)).findings] == [Fate.UNKNOWN]
    graver = rated(60, 1.0, findings=[RACE | {"severity": "warning"}])
    assert "still  CRITICAL -> WARNING snat-race" in text(between(with_race, graver))


def test_gaps_of_both_sides_are_told_once() -> None:
    gap = {"source": "docker", "reason": "no answer"}
    assert "BEFORE and AFTER: docker: no answer" in text(between(document(0, gaps=[gap]), document(9, gaps=[gap])))


# Containers


def fates(before: Sequence[Json], after: Sequence[Json], **more: Any) -> dict[str, str]:
    found = between(document(0, containers=list(before)), document(60, containers=list(after), **more))
    return {each.name: each.fate for each in found.containers}


def test_what_became_of_containers() -> None:
    before = [container("stays"), container("restarts"), container("anew"), container("goes"), container("renamed")]
    after = [
        container("stays"),
        container("restarts", pid=43),
        container("anew", id="another"),
        container("comes"),
        container("by another name", id="renamed-id"),
    ]
    assert fates(before, after) == {
        "stays": "stayed",
        "restarts": "restarted",
        "anew": "recreated",
        "goes": "gone",
        "comes": "new",
        "by another name": "stayed",
    }
    assert fates([container("web")], [container("web", id="x")], host={"hostname": "other"}) == {"web": "namesake"}


def test_containers_of_one_name_are_paired_once() -> None:
    assert fates([container("a"), container("a", id="b")], [container("a", id="c")]) == {"a": "gone"}


@pytest.mark.parametrize(("pid", "rise"), [(42, 41), (43, None), (None, None)])
def test_a_container_s_counters_rise_while_it_runs(pid: int | None, rise: int | None) -> None:
    before, after = (
        document(at, containers=[container("web", tcp={"syn_retrans": number}, pid=pid if at else 42)])
        for at, number in ((0, 1), (60, 42))
    )
    (web,) = between(before, after).containers
    assert [each.rise for each in web.changes if each.measure.key == "syn_retrans"] == [rise]


def busy(name: str, waiting: int, **more: Any) -> Json:
    return container(
        name, states={"TIME_WAIT": waiting}, nat={"busiest_pool": {"used": waiting, "capacity": 100}}, **more
    )


MANY = between(
    document(0, containers=[busy("a", 5), busy("b", 90), busy("c", 10), busy("d", 7)]),
    document(60, containers=[busy("a", 6), busy("b", 10), busy("c", 80), busy("d", 7)]),
)


def names(view: View) -> list[str]:
    return [each.name for each in view.containers(MANY)]


def test_what_got_worse_comes_first_then_what_changed_most() -> None:
    assert names(View()) == ["c", "b", "a", "d"]
    lines = text(MANY).splitlines()
    assert lines[-1] == "1 container unchanged"
    assert not [line for line in lines if line.startswith("d ")]
    assert [line for line in text(MANY, EVERYTHING).splitlines() if re.match(r"d +7 +7", line)]


def test_sorting_and_filtering() -> None:
    assert names(View(sort="time_wait")) == ["c", "a", "d", "b"]
    assert names(View(sort="-time_wait")) == ["b", "d", "a", "c"]
    assert names(View(sort="name")) == ["a", "b", "c", "d"]
    assert names(View(sort="-name")) == ["d", "c", "b", "a"]
    assert names(View(sort="syn_retrans")) == ["a", "b", "c", "d"], "of none is it known"
    assert names(View(filter=parse("container:b,c"))) == ["c", "b"]
    assert names(View(filter=parse("!image:c*"))) == ["b", "a", "d"]
    assert [each["name"] for each in parsed(MANY, View(filter=parse("container:d"), sort="name"))["containers"]] == [
        "d"
    ]


def test_networks_ports_and_own_sysctls_of_a_container() -> None:
    place = {"name": "shop", "ipv4": "172.18.0.2"}
    port = {"proto": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80}
    found = between(
        document(0, containers=[container("web", networks=[place], published=[port], sysctls={"somaxconn": 128})]),
        document(9, containers=[container("web", networks=[place | {"ipv4": "172.18.0.3"}], sysctls={})]),
    )
    lines = text(found).splitlines()
    assert "web: networks shop 172.18.0.2 -> shop 172.18.0.3" in lines
    assert "web: published 8080→80 -> nothing" in lines
    assert "web: somaxconn 128 -> as the host's" in lines


def test_ways_to_one_target_stand_together() -> None:
    at = {"at": "2026-11-22T21:00:00Z", "connect_ms": 1.0}
    told = [
        at | {"subject": target, "target": target, "path": path, "container": source}
        for target in ("198.51.100.7:443", "198.51.100.8:443")
        for path, source in (("host", None), ("netns", "web"))
    ]
    assert [each.name for each in between(document(probes=told), document(60, probes=told)).ways] == [
        "198.51.100.7:443 host",
        "198.51.100.7:443 netns from web",
        "198.51.100.8:443 host",
        "198.51.100.8:443 netns from web",
    ]


# Any snapshot

TAKEN = {
    "with nothing": hosts.observed(hosts.sample(None, proc={}, addresses=())),
    "refused": hosts.observed(hosts.sample(dump=[netlink.error(1)], containers=hosts.CONTAINERS, proc={})),
    "empty": hosts.observed(hosts.sample([], containers=())),
}


def written(taken: Snapshot) -> Json:
    found: Json = json.loads("".join(snapshots.as_json(taken, snapshots.View())))
    return found


def assert_unchanged(one: Json) -> None:
    found = between(one, one)
    assert "nothing changed" in text(found)
    told = parsed(found, EVERYTHING)
    assert {each["verdict"] for each in told["host"].values()} <= {"same", None}
    assert not any(each["changed"] for each in (*told["facts"], *told["containers"]))
    assert {each["fate"] for each in told["findings"]} <= {"stayed"}


@pytest.mark.parametrize("name", TAKEN)
def test_a_snapshot_beside_itself(name: str) -> None:
    assert_unchanged(written(TAKEN[name]))


@given(st.lists(flows(), max_size=6), st.lists(flows(), max_size=6))
def test_any_snapshot_beside_itself_has_not_changed(first: list[Flow], second: list[Flow]) -> None:
    samples = [hosts.sample(some, at=at, containers=hosts.CONTAINERS) for at, some in ((0, first), (2, second))]
    assert_unchanged(written(hosts.observed(*samples)))


@given(st.lists(flows(), max_size=6), st.lists(flows(), max_size=6))
def test_swapped_files_are_mirrored(first: list[Flow], second: list[Flow]) -> None:
    one, other = (
        written(hosts.observed(hosts.sample([]), hosts.sample(some, at=at, containers=hosts.CONTAINERS)))
        for at, some in ((5, first), (9, second))
    )
    there, back = parsed(between(one, other)), parsed(between(other, one))
    assert there["elapsed_s"] == -back["elapsed_s"]
    opposite = {"worse": "better", "better": "worse"}
    for found, mirrored in [(there, back), *zip(*(by_name(each) for each in (there, back)), strict=True)]:
        for key, number in (found.get("host") or found["numbers"]).items():
            twin = (mirrored.get("host") or mirrored["numbers"])[key]
            assert (number["before"], number["after"]) == (twin["after"], twin["before"])
            assert number["difference"] == (twin["difference"] if twin["difference"] is None else -twin["difference"])
            assert number["verdict"] == opposite.get(twin["verdict"], twin["verdict"])
            assert number["rise"] == twin["rise"]


def by_name(told: Any) -> list[Any]:
    return sorted(told["containers"], key=lambda each: str(each["name"]))


# Anybody's files

EVIL = "\x1b[2J<b>|*\u202ex"
MARKUP = re.compile(r"(?<!\\)[<*]")


def evil_host(**more: Any) -> Json:
    rule = RULE | {"text": EVIL, "chain": EVIL}
    parts = {
        "natop": EVIL,
        "host": {"hostname": EVIL, "kernel": EVIL, "netns": EVIL, "boot_id": EVIL, "sysctls": {EVIL: 1}},
        "containers": [container(EVIL, image=EVIL, networks=[{"name": EVIL}])],
        "nat_rules": {"networks": [{"name": EVIL, "subnet": EVIL, "rule": rule}], "rules": [rule]},
        "findings": [{"rule": EVIL, "severity": EVIL, "subject": EVIL, "summary": EVIL}],
        "gaps": [{"source": EVIL, "reason": EVIL, "remedy": EVIL}],
        "probes": [{"target": EVIL, "path": EVIL, "at": "2026-11-22T21:00:00Z", "error": EVIL}],
    }
    return over(document(0, **parts), more)


@pytest.mark.parametrize("other", [document(60), evil_host(host={"sysctls": {EVIL: 2}}, interval_s=2.0)])
@pytest.mark.parametrize("is_first", [False, True])
def test_nothing_from_a_file_acts_on_a_terminal_or_as_markup(other: Json, is_first: bool) -> None:
    found = between(evil_host(), other) if is_first else between(other, evil_host())
    markdown = "".join(diffreport.as_markdown(found, EVERYTHING))
    for told in (text(found, EVERYTHING), markdown):
        assert not [letter for letter in told if letter in "\x1b\u202e\x9b\r"]
    assert "�" in markdown
    for line in markdown.splitlines():
        assert not MARKUP.search(re.sub(r"^- \*\*(.*?)\*\* ", r"\1 ", line)), line
    parsed(found)


def test_numbers_as_large_as_they_come() -> None:
    most = 2**63 - 1
    huge = {"count": most, "max": 1, "states": {"TIME_WAIT": most}, "counters": {"insert_failed": most}}
    rates = {"insert_failed": 1e15, "new": -1e15}
    large = document(60, interval_s=1e12, conntrack=huge | {"rates": rates}, nat_pools=[{"used": most, "capacity": 0}])
    for found in (between(document(0), large), between(large, document(0)), between(large, large)):
        assert text(found, EVERYTHING)
        assert "".join(diffreport.as_markdown(found, EVERYTHING))
        assert "".join(diffdocument.as_json(found, EVERYTHING))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(BEFORE)), VALUES)
def test_any_value_in_any_place_is_refused_in_a_line_or_compared(key: str, value: Any) -> None:
    refusals: list[str] = []
    try:
        found = between(BEFORE | {key: value}, AFTER)
        assert text(found)
        assert parsed(found)
    except NotASnapshot as refusal:
        refusals.append(str(refusal))
    assert not any("\n" in each for each in refusals)


# How it is written


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_text_fits_the_width_that_is_given(width: int) -> None:
    long = "a-very-long-name-of-a-container-" * 4
    pair = [
        over(each, {"containers": [busy(long, 9 * n, id="x"), busy("店舗" * 30, n, id="y")]})
        for n, each in enumerate((BEFORE, AFTER), 1)
    ]
    for view in (View(), EVERYTHING):
        for line in text(between(*pair), view, width).splitlines():
            assert cells_of(line) <= width or "店" in line, line


def test_a_wider_terminal_shows_more_and_a_narrow_one_says_so() -> None:
    narrow, wide = (text(between(BEFORE, AFTER), EVERYTHING, width) for width in (60, 200))
    assert "in a wider terminal: ROSE BY" in narrow
    assert "in a wider terminal" not in wide


@pytest.mark.parametrize(
    ("unit", "value", "told"),
    [
        (Unit.PER_MINUTE, 41.2, "41/min"),
        (Unit.PER_MINUTE, 0.4, "0.4/min"),
        (Unit.PER_MINUTE, 0.01, "<0.1/min"),
        (Unit.PER_MINUTE, 0, "0/min"),
        (Unit.PER_SECOND, 0.01, "<0.1/s"),
        (Unit.PER_SECOND, 2000.0, "2,000/s"),
        (Unit.PERCENT, 99.99, "99.9 %"),
        (Unit.PERCENT, 100.0, "100 %"),
        (Unit.PERCENT, 0.001, "<0.1 %"),
        (Unit.PERCENT, 0.0, "0 %"),
        (Unit.COUNT, 5320, "5,320"),
        (Unit.MILLISECONDS, 3012.4, "3,012 ms"),
    ],
)
def test_numbers_as_people_write_them(unit: Unit, value: float, told: str) -> None:
    assert unit.told(value) == told


def test_differences_have_a_sign() -> None:
    assert Unit.PERCENT.signed(-87.0) == "-87.0 points"
    assert Unit.PER_MINUTE.signed(41.0) == "+41/min"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3_900, "1 h 5 min"), (200_000, "2 d 7 h")]
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
