"""What holds of the verdict on every host, however made up: causes exclude each other, and nothing is told twice."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from natop.diagnose import diagnose
from natop.model import (
    COUNTER_NAMES,
    Conntrack,
    Finding,
    Mark,
    Severity,
    Snapshot,
)
from tests.unit.scenarios import Toml, snapshot

CAPACITY = 64_512
OF_CONNTRACK = {
    *("snat-race", "nat-port-exhaustion", "udp-port-clash", "unexplained-loss", "table-full", "hash-chains"),
}
OLD = ("5.4.0", "4.19.0", "4.4.0")
"""They count clashes that were resolved under insert_failed."""
CAME_LATER = ("chaintoolong", "clash_resolve")
KERNELS = st.sampled_from(("6.18.44", "6.5.0", "6.1.0-18-amd64", *OLD, "custom", ""))
SMALL = st.sampled_from((0, 0, 1, 4, 5, 20, 41, 300))
PILE = {"what": "198.51.100.53:53/udp", "count": 8, "owners": ["c0", "c1"]}


@st.composite
def pools(draw: st.DrawFn) -> Toml:
    """One that may have been fuller or emptier at the beginning and half-way."""

    def state() -> Toml:
        used = draw(st.sampled_from((0, 2_000, 51_000, 52_000, 58_000, 58_100, 61_500, 64_000, CAPACITY)))
        soft = draw(st.sampled_from((0, 0, used // 2, used)))
        return {"used": used, "soft": soft, "loss": draw(st.sampled_from((0.0, 0.0, 0.004, 0.015, 0.4)))}

    remote = draw(st.sampled_from(("198.51.100.7", "198.51.100.8")))
    return {"nat": "203.0.113.10", "remote": remote, **state(), "before": state(), "halfway": state()}


@st.composite
def containers(draw: st.DrawFn, number: int) -> Toml:
    if draw(st.integers(0, 9)) == 0:
        tcp: Any = "unread"
    else:
        names = ("syn_retrans", "active_opens", "passive_opens", "listen_overflows")
        tcp = {name: draw(SMALL) for name in names}
    return {"name": f"c{number}", "addresses": [f"172.18.0.{number + 2}"], "tcp": tcp}


@st.composite
def hosts(draw: st.DrawFn) -> Toml:
    """Any scenario about lost packets, as TOML would tell it."""
    counters = {
        name: draw(SMALL)
        for name in ("insert_failed", "drop", "chaintoolong", "early_drop", "clash_resolve", "invalid")
    }
    counters["found"] = draw(st.sampled_from((0, 300, 9_000, 200_000)))
    # A chain that is too long counts as a failed insertion too.
    counters["chaintoolong"] = min(counters["chaintoolong"], counters["insert_failed"])
    shares = st.sampled_from((0.0, 0.5, 1.0))
    kernel = draw(KERNELS)
    return {
        "kernel": kernel,
        "counters": _old(counters) if kernel in OLD else counters,
        "halfway": {name: round(draw(shares) * counters[name]) for name in ("insert_failed", "drop")},
        "new_per_s": draw(st.sampled_from((None, 0.0, 0.1, 20.0))),
        "host": {"tcp": {"syn_retrans": draw(SMALL), "active_opens": draw(SMALL), "listen_overflows": draw(SMALL)}},
        "container": [draw(containers(number)) for number in range(draw(st.integers(0, 3)))],
        "pool": "unread" if draw(st.integers(0, 5)) == 0 else draw(st.lists(pools(), max_size=2)),
        "conntrack": {"count": draw(st.sampled_from((500, 200_000, 262_144)))},
        "facts": {name: [PILE] for name in ("udp_shared", "dns") if draw(st.booleans())},
    }


@st.composite
def racing(draw: st.DrawFn) -> Toml:
    """A host where what conntrack lost is TCP's, so that only the pools decide."""
    host, lost = draw(hosts()), 20

    def state() -> Toml:
        used = draw(st.sampled_from((2_000, 52_000, 58_000, 58_100, 64_000)))
        return {"used": used, "soft": draw(st.sampled_from((0, used)))}

    pool = {"nat": "203.0.113.10", "remote": "198.51.100.9", **state(), "before": state(), "halfway": state()}
    halfway = draw(st.sampled_from((0, lost // 2, lost)))
    caller = {"name": "caller", "addresses": ["172.18.0.90"], "tcp": {"syn_retrans": lost, "active_opens": 900}}
    return {
        **host,
        "counters": {"insert_failed": lost, "drop": lost},
        "halfway": {"insert_failed": halfway, "drop": halfway},
        "container": [*host["container"], caller],
        "pool": [pool],
    }


def _old(counters: Toml) -> Toml:
    return {name: count for name, count in counters.items() if name not in CAME_LATER}


def _is_old(host: Toml) -> bool:
    return host["kernel"] in OLD


def rules_of(host: Toml) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in diagnose(snapshot(host)):
        found.setdefault(finding.rule, []).append(finding)
    return found


def lost_in(host: Toml) -> tuple[bool, bool]:
    """Whether anything may have been lost to a clash in the first half, and in the second."""
    halfway, whole = host["halfway"], host["counters"]
    first = min(halfway["insert_failed"], halfway["drop"])
    second = min(*(whole[name] - halfway[name] for name in ("insert_failed", "drop")))
    return first > 0, second > 0


@settings(max_examples=200)
@given(racing())
def test_no_race_beside_or_before_a_pool_that_is_90_percent_used(host: Toml) -> None:
    if "snat-race" not in rules_of(host):
        return
    first, second = lost_in(host)
    for pool in host["pool"]:
        # What was lost in a half was lost beside the pools at both of its ends, or before those of later.
        ends = ([pool["before"], pool["halfway"], pool] if first else []) + ([pool["halfway"], pool] if second else [])
        assert all(end["used"] < 0.9 * CAPACITY for end in ends), pool
    assert host["pool"] != "unread"


@settings(max_examples=200)
@given(hosts() | racing())
def test_conntrack_s_losses_have_one_cause_each(host: Toml) -> None:
    found = rules_of(host)
    assert len(found.keys() & {"snat-race", "nat-port-exhaustion"}) < 2
    assert len(found.keys() & {"snat-race", "udp-port-clash"}) < 2
    told = sum(finding.lost for name in OF_CONNTRACK & found.keys() for finding in found[name])
    counted = host["counters"]
    assert told <= max(counted["insert_failed"], counted["drop"] + counted.get("chaintoolong", 0))


@given(hosts())
def test_what_is_lost_elsewhere_is_not_lost_here(host: Toml) -> None:
    """SYNs sent again, less what this host is known to have lost."""
    found = rules_of(host).get("syn-loss-elsewhere", [])
    namespaces = [each["tcp"] for each in (*host["container"], host["host"]) if each["tcp"] != "unread"]
    again = sum(tcp["syn_retrans"] for tcp in namespaces if tcp["active_opens"])
    here: int = max(host["counters"][name] for name in ("insert_failed", "drop") if name == "drop" or not _is_old(host))
    here += sum(tcp["listen_overflows"] for tcp in namespaces)
    assert sum(finding.lost for finding in found) <= max(0, again - here)


@given(hosts(), st.booleans())
def test_a_loss_that_conntrack_counted_is_told_by_some_rule(host: Toml, is_fill_known: bool) -> None:
    """Unless ports are random, of which no host here has any; and what was resolved on an old kernel is no loss."""
    if not is_fill_known:
        host = {**host, "conntrack": {**host["conntrack"], "unread": ["count"]}}
    if host["counters"]["drop"] or (host["counters"]["insert_failed"] and not _is_old(host)):
        assert OF_CONNTRACK & rules_of(host).keys()


@given(hosts(), st.integers(1, 500))
def test_a_server_s_answers_change_nothing(host: Toml, answers: int) -> None:
    server = {"name": "public", "addresses": ["172.18.0.99"], "tcp": {"syn_retrans": answers, "passive_opens": 900}}
    more = {**host, "container": [*host["container"], server]}

    def judged(host: Toml) -> list[tuple[str, str, int]]:
        # Where no flow is counted, connections accepted stand for new ones.
        return [
            (each.rule, each.severity, each.lost) for each in diagnose(snapshot(host)) if "found" not in each.summary
        ]

    if host["new_per_s"] is not None and host["container"]:
        assert judged(more) == judged(host)


@given(hosts())
def test_without_a_loss_and_with_room_nothing_is_above_info(host: Toml) -> None:
    still = {
        **host,
        "counters": {
            **host["counters"],
            **dict.fromkeys(("insert_failed", "drop", "early_drop", "invalid", "found"), 0),
        },
        "halfway": {},
        "host": {},
        "container": [{**each, "tcp": "unread" if each["tcp"] == "unread" else {}} for each in host["container"]],
        "pool": "unread" if host["pool"] == "unread" else [_roomy(each) for each in host["pool"]],
        "conntrack": {"count": 500},
    }
    assert {finding.severity for finding in diagnose(snapshot(still))} <= {Severity.INFO}


def _roomy(pool: Toml) -> Toml:
    return {**pool, "used": pool["used"] // 2, "soft": 0, "loss": 0.0}


@st.composite
def nonsense(draw: st.DrawFn) -> Snapshot:
    """Counters that fall or are missing, CPUs that come and go, containers that start anew, namespaces that vanish."""
    taken = snapshot(draw(hosts()))
    marks = tuple(_disturbed(draw, mark) for mark in taken.marks)
    parts = ("pools", "facts", "whole", "inventory", "firewall", "time_wait", "port_choice")
    missing: Mapping[str, Any] = dict.fromkeys(draw(st.lists(st.sampled_from(parts), unique=True)))
    return replace(taken, marks=marks, conntrack=marks[-1].conntrack, **missing)


def _disturbed(draw: st.DrawFn, mark: Mark) -> Mark:
    names = draw(st.lists(st.sampled_from(COUNTER_NAMES), unique=True))
    standing = mark.conntrack.counters
    counters = {name: draw(st.sampled_from((0, 5, 2**32 - 1, standing.get(name, 0)))) for name in names}
    cpus = tuple(counters for _ in range(draw(st.integers(0, 2))))
    number = st.none() | st.sampled_from((0, 1, 500, 300_000))
    tcp = {key: each for key, each in mark.tcp.items() if draw(st.integers(0, 3))}
    anew = {key: replace(each, netns=draw(st.sampled_from((each.netns, "net:[9]")))) for key, each in tcp.items()}
    conntrack = Conntrack(draw(number), draw(number), draw(number), counters, cpus)
    return replace(mark, conntrack=conntrack, tcp=anew, pools=draw(st.sampled_from((None, (), mark.pools))))


@given(nonsense())
def test_a_host_that_makes_no_sense_is_judged_without_an_error(taken: Snapshot) -> None:
    findings = diagnose(taken)
    for finding in findings:
        texts = (finding.summary, *finding.evidence)
        assert not any(word in text.split() for text in texts for word in ("None", "nan", "inf"))
    assert len({finding.rule for finding in findings} & {"snat-race", "nat-port-exhaustion"}) < 2
