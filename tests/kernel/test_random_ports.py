"""The table that natop prints against races, loaded as printed: ports become random, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from natop.diagnose.evidence import Evidence
from natop.diagnose.randomports import fully_random
from natop.model import Firewall, Inventory, Remedy
from tests.kernel.test_nat_rules import BRIDGE, CHOSEN, CLIENT, LAB, PORT, SERVER, SUBNET, Router, iptables, proves
from tests.lab import oracle
from tests.lab.traffic import exchange
from tests.unit.scenarios import snapshot

FOUR, SIX = (f"-A POSTROUTING -s {subnet} ! -o {BRIDGE}" for subnet in SUBNET)
BOTH = (*iptables(f"{FOUR} -j MASQUERADE"), *iptables(f"{SIX} -j MASQUERADE", tool="ip6tables-nft"))
IN_PORTS = "20000-20999"
NAT = {
    "MASQUERADE": iptables(f"{FOUR} -j MASQUERADE"),
    "by legacy tools": iptables(f"{FOUR} -j MASQUERADE", tool="iptables-legacy"),
    "SNAT": iptables(f"{FOUR} -j SNAT --to-source {CHOSEN[0]}"),
    "a range of ports": iptables(f"{FOUR} -p tcp -j MASQUERADE --to-ports {IN_PORTS}", f"{FOUR} -j MASQUERADE"),
    "SNAT to a range": iptables(f"{FOUR} -p tcp -j SNAT --to-source {CHOSEN[0]}:{IN_PORTS}", f"{FOUR} -j MASQUERADE"),
    "both families": BOTH,
    "SNAT of both": (
        *iptables(f"{FOUR} -j SNAT --to-source {CHOSEN[0]}"),
        *iptables(f"{SIX} -p tcp -j SNAT --to-source [{CHOSEN[1]}]:{IN_PORTS}", tool="ip6tables-nft"),
    ),
    "IPv6 alone": iptables(f"{SIX} -j MASQUERADE", tool="ip6tables-nft"),
    "TCP alone": iptables(f"{FOUR} -p tcp -j MASQUERADE"),
    "no NAT": (),
}


@pytest.fixture
def router() -> Iterator[Router]:
    with Router() as made:
        yield made


def printed(firewall: Firewall, kernel: str) -> Remedy:
    told = snapshot({"kernel": kernel})
    assert told.inventory
    inventory: Inventory = replace(told.inventory, networks=(LAB,))
    return fully_random(Evidence(replace(told, firewall=firewall, inventory=inventory)))


@pytest.mark.parametrize("kernel", ["6.18", "5.4"])
@pytest.mark.parametrize("name", NAT)
def test_ports_are_random_and_nothing_else_changes(router: Router, name: str, kernel: str) -> None:
    """As a kernel that can ask for bridges by name has it, and one that cannot."""
    router.load(*NAT[name])
    before = router.read()
    remedy = printed(before, kernel)
    for command in remedy.commands:
        router.place.run("sh", "-c", command)
    after = router.read()
    for was, place in zip(before.networks, after.networks, strict=True):
        six = ":" in place.subnet
        if was.rule is None:
            assert place.rule is None
            table = f"table ip{'6' if six else ''} "
            if any(table in command and "counter" in command for command in remedy.commands):  # else nothing is tracked
                assert all(flow["reply"]["dst"] == CLIENT[six] for flow in router.call(six))
            continue
        assert place.rule
        assert (place.rule.to_address, place.rule.ports) == (was.rule.to_address, was.rule.ports)
        assert place.rule.fully_random
        proves(place.rule, router.call(six), six)
    for command in remedy.undo:
        router.place.run("sh", "-c", command)
    assert router.read() == before


def test_what_only_tcp_s_nat_takes_leaves_udp_alone(router: Router) -> None:
    router.load(*NAT["TCP alone"])
    for command in printed(router.read(), "6.18").commands:
        router.place.run("sh", "-c", command)
    assert exchange(router.client, SERVER[0], PORT, 3) == 3
    table = [flow for flow in oracle.flows(router.place) if flow["proto"] == "udp" and flow["orig"]["src"] == CLIENT[0]]
    assert [flow["reply"]["dst"] for flow in table] == [CLIENT[0]] * 3
