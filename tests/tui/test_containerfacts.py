"""The lines about one container: what becomes of its source address on each network, NAT's ports, TIME_WAIT."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from natop.columns.containers import container_rows
from natop.model import TCP_NAMES, ContainerSummary, Firewall, NatRule, NetnsTcp, NetworkNat, Snapshot
from natop.tui.containerfacts import Around, container_lines, folded
from natop.tui.containernat import container_nat_lines
from natop.tui.containertcp import container_tcp_line
from natop.tui.glyphs import UNICODE
from natop.tui.tones import Tone, text_of
from tests.tui.poolhosts import three_pools
from tests.tui.worlds import container, world

MASQUERADE = NatRule("nft", "ip natop_random postrouting", 90, "MASQUERADE", fully_random=True)
SNAT = NatRule(
    "iptables-nft", "nat POSTROUTING", 100, "SNAT", to_address="203.0.113.11", ports=(20000, 29999), random=True
)


def networks_line(*places: NetworkNat) -> str:
    """The line about the networks of a container that is on two, where this is known of the rules."""
    taken = replace(world(1).snapshot(None), firewall=Firewall((), places) if places else None)
    row = next(row for row in container_rows(taken) if row.container == container(0))
    lines = ["".join(text for text, _ in line) for line in container_lines(row, Around.of(taken), UNICODE)]
    (found,) = [line for line in lines if line.startswith(" networks")]
    return " ".join(found.split())


@pytest.mark.parametrize(
    ("rule", "internal", "words"),
    [
        (MASQUERADE, False, "MASQUERADE fully-random"),
        (SNAT, False, "SNAT to 203.0.113.11 ports 20000-29999 random"),
        (None, False, "no NAT"),
        (None, True, "internal"),
    ],
)
def test_each_network_has_its_nat_beside_it(rule: NatRule | None, internal: bool, words: str) -> None:
    place = NetworkNat("front", "172.19.0.0/16", rule, internal=internal)
    assert networks_line(place) == f"networks shop_default 172.18.0.2 front 172.19.0.2 fd00:19::2 {words}"


def test_where_the_rules_are_not_known_nothing_is_said() -> None:
    assert networks_line() == "networks shop_default 172.18.0.2 front 172.19.0.2 fd00:19::2"


def nat_of(number: int, taken: Snapshot) -> list[str]:
    """The lines on NAT's ports and TIME_WAIT of the container with that number."""
    return nat_lines(taken.containers[number], taken)


def nat_lines(summary: ContainerSummary, taken: Snapshot) -> list[str]:
    return [" ".join(text_of(line).split()) for line in container_nat_lines(summary, taken, UNICODE)]


def test_a_container_s_fullest_pool_and_its_time_wait() -> None:
    ports, waiting = nat_of(2, three_pools())
    own = "its own 3 (33.3 %) of all its ports 3 rewritten, 57.1 % kept"
    assert ports == f"NAT ports 203.0.113.5 → 198.51.100.7:443/tcp 9 of 64,512 0.0 % {own}"
    assert waiting.startswith(f"TIME_WAIT 3 conntrack entries 42.9 % of TCP {UNICODE.unknown}/min ")
    assert "most to 443/tcp 3, with 198.51.100.7 3 " in waiting


def test_what_time_wait_comes_to_and_whether_it_matters() -> None:
    taken = three_pools()
    before = taken.containers[2]
    assert before.time_wait
    waiting = replace(before.time_wait, growth_per_min=12.0, steady_state=40.0, closed_by_server=3)
    told = nat_lines(replace(before, time_wait=waiting), taken)[1]
    assert "42.9 % of TCP +12/min settles at about 40 closed first by server 3 most to" in told
    assert told.endswith("with 198.51.100.7 3 harmless")
    unread = replace(taken, conntrack=replace(taken.conntrack, max=None))
    assert nat_lines(before, unread)[1].endswith("not judged: how full the table is was not told")


def test_a_container_without_nat_ports_or_time_wait() -> None:
    assert nat_of(0, three_pools()) == ["NAT ports holds none", "TIME_WAIT none"]


def test_without_flows_nothing_is_known_of_ports_and_time_wait() -> None:
    assert nat_of(0, world(1).snapshot(None)) == [f"NAT ports {UNICODE.unknown}", f"TIME_WAIT {UNICODE.unknown}"]


def test_of_a_container_whose_flows_are_elsewhere_nothing_is_known() -> None:
    """As in another container's namespace: that none of its ports are held is not known."""
    taken = three_pools()
    elsewhere = ContainerSummary(taken.containers[0].container)
    lines = [text_of(line).split() for line in container_nat_lines(elsewhere, taken, UNICODE)]
    assert lines == [["NAT", "ports", UNICODE.unknown], ["TIME_WAIT", UNICODE.unknown]]


def tcp_of(tcp: NetnsTcp | None, whose: str | None = None) -> str:
    summary = replace(world(1).snapshot(None).containers[0], tcp=tcp, tcp_of=whose)
    return " ".join(text_of(container_tcp_line(summary, UNICODE)).split())


def test_tcp_s_testimony_of_a_container() -> None:
    """What rises is told, and what always matters; what did not rise is not, and an unknown rate is a dash."""
    rates = dict.fromkeys(TCP_NAMES, 0.0) | {"active_opens": 4.0, "syn_retrans": 0.5, "listen_drops": 2.0}
    tcp = NetnsTcp("net:[1]", {}, rates, sockets_in_use=3, time_wait_sockets=7, lost_syns_per_s=0.25)
    rising = "TCP connects 4.0/s accepts 0.0/s SYN retransmits 0.5/s! SYNs lost to NAT ~0.2/s listen drops 2.0/s"
    assert tcp_of(tcp) == f"{rising} sockets 3 sockets in TIME_WAIT 7"
    bounded = replace(tcp, sysctls={"tcp_max_tw_buckets": 32_768})
    assert tcp_of(bounded).endswith("sockets in TIME_WAIT 7 of 32,768")
    first = tcp_of(replace(tcp, rates=None, lost_syns_per_s=None, sockets_in_use=None))
    assert all(
        f"{name} {UNICODE.unknown}" in first for name in ("connects", "SYN retransmits", "listen drops", "sockets")
    )
    assert tcp_of(None, "web") == "TCP counted with web, whose namespace it shares"
    assert tcp_of(None) == f"TCP {UNICODE.unknown}"


@pytest.mark.parametrize("last", ["in TIME_WAIT 12 of 131,072", "in TIME_WAIT 12 of 131,072   "])
def test_a_line_is_parted_where_its_last_fact_would_be_cut(last: str) -> None:
    """Blanks at the end of a fact need no room; where there are none, none are left out."""
    line = [(" TCP       ", Tone.QUIET), ("sockets 3  ", Tone.PLAIN), (last, Tone.PLAIN)]
    needed = 11 + len("sockets 3  ") + len(last.rstrip())
    assert [text_of(each).rstrip() for each in folded(line, needed)] == [f" TCP       sockets 3  {last.rstrip()}"]
    parted = [" TCP       sockets 3", f"           {last.rstrip()}"]
    assert [text_of(each).rstrip() for each in folded(line, needed - 1)] == parted


def test_a_sentence_that_is_too_long_for_a_line_goes_on_below() -> None:
    sentence = "the conntrack table will fill: at this rate it settles at about 903 entries, 800 of them in TIME_WAIT"
    lines = folded([("           ", Tone.QUIET), (sentence, Tone.NOTICE)], 78)
    assert all(cell_len(text_of(each).rstrip()) <= 78 for each in lines)
    assert " ".join(text_of(each).strip() for each in lines) == sentence


def test_why_time_wait_matters_stands_below() -> None:
    taken = three_pools()
    waiting = taken.containers[2].time_wait
    assert waiting is not None
    worse = replace(taken.containers[2], time_wait=replace(waiting, concern="it holds NAT ports"))
    lines = container_nat_lines(worse, taken, UNICODE)
    assert text_of(lines[-1]).strip() == "it holds NAT ports"


def test_what_is_not_in_the_table_has_no_nat() -> None:
    taken = three_pools()
    lonely = replace(taken.containers[0], untracked="no network", flows=None)
    assert container_nat_lines(lonely, taken, UNICODE) == []
