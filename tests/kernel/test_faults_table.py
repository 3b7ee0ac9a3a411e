"""A full conntrack table on the real kernel: the host's, with and without flows to throw out, and a container's.

The limit is one number for the machine and is compared with each namespace's own count, so filling a namespace of the
test's own to it by injected entries harms nobody else. One test fills a table by connections alone: it lowers the
limit, and puts it back. The judges are `conntrack -S`, `conntrack -C` and `conntrack -L`.
"""

import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from tests.kernel.conftest import Machine
from tests.kernel.faulthost import (
    ADDRESSES,
    FAR,
    HOST,
    FaultHost,
    Watch,
    connected,
    grave,
    knocking,
    listener,
    number_behind,
    quiet,
    the,
)
from tests.lab import oracle, printed
from tests.lab.fill import stamped
from tests.lab.inject import REPLIED, TCP_STATES, UNREPLIED, Entry, inject_messages, table_limit
from tests.lab.layers import lack
from tests.lab.netns import Namespace, wait_until

LIMIT = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
FREE = 8
"""Places left for real flows, which fill the table to the last."""
PER_REMOTE = 20_000
"""Flows towards one remote end, fewer than a container has local ports."""
REMOTE = "198.18.64.0"
FRESH_S = 432_000
"""The whole timeout of ESTABLISHED, so that no flow counts as idle."""
WAITED_S = 100
"""What is left of a SYN's 120 s when it has waited for 20."""
ESTABLISHED = Entry(src=ADDRESSES["web"], dst=REMOTE, dport=5432, timeout_s=FRESH_S, status=REPLIED)
BLOCKED = """
table ip own {
    chain out {
        type filter hook output priority 0
        ct state established accept
    }
}
"""
"""Like Docker's NAT of its DNS inside a container: whatever asks for a state has the namespace track its flows."""


def crowd(place: Namespace, entry: Entry, count: int) -> None:
    """So many entries like this one, towards as many remote ends as they need."""
    rows = np.arange(count)
    sports = (32_768 + rows % PER_REMOTE).astype(">u2").view(np.uint8).reshape(-1, 2)
    remotes = (int(IPv4Address(entry.dst)) + rows // PER_REMOTE).astype(">u4").view(np.uint8).reshape(-1, 4)
    inject_messages(place, stamped(entry, {"sport": sports, "dst": remotes}, count))


def filled(place: Namespace, entry: Entry) -> None:
    """Fill a table with such entries up to the limit, but for FREE; none of what was there before is left to go."""
    place.settle()
    crowd(place, entry, LIMIT - FREE)


def dropped(place: Namespace) -> int:
    counters = oracle.counters(place)
    assert counters["insert_failed"] == 0
    return counters["drop"]


def test_a_full_table_refuses_new_flows(made: FaultHost) -> None:
    """The flows in it live on; SYNs of others are dropped, and that is neither a race nor the world outside."""
    filled(made.host, ESTABLISHED)
    with listener(made.outside, (FAR, 81)):
        with Watch(made) as watch:
            before = dropped(made.host)
            with knocking(made.inside["app"], (FAR, 81), 30) as callers:
                wait_until(lambda: dropped(made.host) - before >= 40, what="SYNs to be dropped, and once more")
                answered = connected(callers)
                most = oracle.count(made.host)
            told = watch.verdict()
            refused = dropped(made.host) - before
        assert 0 < answered <= FREE
        assert grave(told) == [("table-full", HOST)]
        finding = the(told, "table-full")
        assert finding["severity"] == "critical"
        assert number_behind(finding, "drop - insert_failed") == refused
        assert finding["summary"].startswith("the conntrack table is ")
        assert f": {refused} new flows refused in " in finding["summary"]
        entries = int(finding["evidence"][0].removesuffix(f" of {LIMIT:,} entries").replace(",", ""))
        assert oracle.count(made.host) <= entries <= most, "a full table forgets closed ones soon"
        assert any(each.startswith("most entries: web (") for each in finding["evidence"])
        made.host.flush()
        with Watch(made) as watch:
            with knocking(made.inside["app"], (FAR, 81), 30) as callers:
                wait_until(lambda: connected(callers) == 30, what="connections")
            quiet(watch.verdict())


SMALL = 600


def test_a_table_that_connections_have_filled(made: FaultHost, machine: Machine) -> None:
    """The remedy as it is printed lets the SYNs that come again through; undone, the table is as full as before."""
    if not machine.is_writable:
        lack("nf_conntrack_max can be set in the first network namespace only")
    end, knocks = (FAR, 81), 30
    with (
        table_limit(SMALL),
        listener(made.outside, end, backlog=4096),
        knocking(made.inside["web"], end, SMALL - FREE) as held,
    ):
        wait_until(lambda: connected(held) == SMALL - FREE, what="connections")
        with Watch(made) as watch, knocking(made.inside["app"], end, knocks) as callers:
            wait_until(lambda: dropped(made.host) >= 40, what="SYNs to be dropped, and once more")
            told, refused = watch.verdict(), dropped(made.host)
            assert 0 < connected(callers) <= FREE
            assert grave(told) == [("table-full", HOST)]
            finding = the(told, "table-full")
            assert finding["severity"] == "critical"
            assert number_behind(finding, "drop - insert_failed") <= refused
            assert f"{oracle.count(made.host):,} of {SMALL:,} entries" in finding["evidence"]
            assert any(each.startswith(f"most entries: web ({SMALL - FREE})") for each in finding["evidence"])
            (remedy,) = finding["remedies"]
            for command in remedy["commands"]:
                printed.shell(None, command)
            wait_until(lambda: connected(callers) == knocks, what="SYNs that come again")
            refused = dropped(made.host)
            with Watch(made) as later, knocking(made.inside["app"], (FAR, 81), knocks) as more:
                wait_until(lambda: connected(more) == knocks, what="connections")
                quiet(later.verdict())
            assert dropped(made.host) == refused
            for command in remedy["undo"]:
                printed.shell(None, command)
            with knocking(made.inside["app"], (FAR, 81), knocks) as more:
                wait_until(lambda: dropped(made.host) > refused, what="SYNs to be dropped")
                assert connected(more) == 0


def test_a_table_full_of_unanswered_flows_makes_room(made: FaultHost) -> None:
    """The kernel throws such flows out for new ones: nothing is refused, and early_drop says why."""
    unanswered = replace(ESTABLISHED, status=UNREPLIED, state=TCP_STATES.index("SYN_SENT"), timeout_s=WAITED_S)
    filled(made.host, unanswered)
    with listener(made.outside, (FAR, 81)), Watch(made) as watch:
        before = oracle.counters(made.host)
        with knocking(made.inside["app"], (FAR, 81), 30) as callers:
            wait_until(lambda: connected(callers) == 30, what="connections")
        told = watch.verdict()
        early = oracle.counters(made.host)["early_drop"] - before["early_drop"]
    assert early > 0
    finding = the(told, "table-full")
    assert (finding["severity"], finding["subject"]) == ("critical", HOST)
    assert number_behind(finding, "early_drop") == early
    assert {rule for rule, _ in grave(told)} == {"table-full", "unreplied-syns"}, "both are so"


def test_a_table_that_fills_up(made: FaultHost) -> None:
    """Before anything is refused: the same table at 74, 76 and 91 %."""
    with Watch(made) as watch:
        for port, (percent, severity) in enumerate([(74, None), (76, "warning"), (91, "critical")], 5432):
            crowd(made.host, replace(ESTABLISHED, dport=port), LIMIT * percent // 100 + 1 - oracle.count(made.host))
            told = watch.verdict()
            assert told["verdict"]["severity"] == severity
            assert grave(told) == ([("table-full", HOST)] if severity else [])
            if severity:
                assert the(told, "table-full")["summary"] == f"the conntrack table is {percent} % full"
                assert f"{oracle.count(made.host):,} of {LIMIT:,} entries" in the(told, "table-full")["evidence"]


def test_a_full_table_of_a_container_s_own(made: FaultHost) -> None:
    """Its own SYNs are dropped where it tracks them a second time: neither the host's table nor the world outside."""
    app = made.inside["app"]
    app.nft(BLOCKED)
    filled(app, replace(ESTABLISHED, src=ADDRESSES["app"]))
    with listener(made.outside, (FAR, 81)), Watch(made) as watch:
        before = dropped(app)
        with knocking(app, (FAR, 81), 30) as callers:
            wait_until(lambda: dropped(app) - before >= 30, what="SYNs to be dropped")
            time.sleep(1.1)
            assert connected(callers) <= FREE
        told = watch.verdict()
        assert oracle.tcp_counters(app)["syn_retrans"] >= 20
        assert dropped(made.host) == 0
    assert grave(told) == [("table-full-in-container", "app")]
    finding = the(told, "table-full-in-container")
    assert finding["severity"] == "critical"
    assert finding["evidence"] == [f"{oracle.count(app):,} of {LIMIT:,} entries in its own network namespace"]
