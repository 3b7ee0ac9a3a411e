"""The lines about one container: what becomes of its source address on each of its networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from natop.columns.containers import container_rows
from natop.model import Firewall, NatRule, NetworkNat
from natop.tui.containerfacts import Around, container_lines
from natop.tui.glyphs import UNICODE
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
