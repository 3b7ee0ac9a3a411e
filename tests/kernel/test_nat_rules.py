"""Real rules in a router, real connections through it, and natop's statement of which rule takes them.

    client 10.66.0.2, fd00:66::2 ──br-lab── router ──up0── server 198.18.0.2, fd00:198:18::2

The judge is the kernel: the rule whose own packet counter moved, and conntrack's entries for the ports and addresses.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from natop.collect import rules
from natop.decode.routes import uplinks
from natop.decode.rules import decode_rules
from natop.join.firewall import judge
from natop.model import Firewall, NatRule, Network
from tests.kernel import product
from tests.lab import oracle
from tests.lab.layers import lack
from tests.lab.netns import Namespace, entered
from tests.lab.traffic import Responder, connect, exchange

CLIENT, SERVER, ROUTER = ("10.66.0.2", "fd00:66::2"), ("198.18.0.2", "fd00:198:18::2"), ("198.18.0.1", "fd00:198:18::1")
CHOSEN = ("198.18.0.11", "fd00:198:18::11")
SUBNET = ("10.66.0.0/24", "fd00:66::/64")
BRIDGE, PORT, CONNECTIONS = "br-lab", 80, 12
LAB = Network("a" * 64, "lab", "bridge", SUBNET, bridge=BRIDGE)


class Router:
    """The router of the drawing above, with its neighbours."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Router:
        with self._stack:
            self.client, self.place, server = (
                self._stack.enter_context(Namespace(label)) for label in ("client", "router", "server")
            )
            self._wire(server)
            self._stack.enter_context(Responder(server, SERVER, [PORT]))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wire(self, server: Namespace) -> None:
        self.client.link("eth0", self.place, BRIDGE)
        server.link("eth0", self.place, "up0")
        self.client.address("eth0", "10.66.0.2/24", "fd00:66::2/64")
        server.address("eth0", "198.18.0.2/24", "fd00:198:18::2/64")
        self.place.address(BRIDGE, "10.66.0.1/24", "fd00:66::1/64")
        self.place.address("up0", "198.18.0.1/24", "198.18.0.11/24", "fd00:198:18::1/64", "fd00:198:18::11/64")
        ways = ((self.client, "10.66.0.1", "fd00:66::1"), (self.place, *SERVER), (server, *ROUTER))
        for place, four, six in ways:
            place.run("ip", "-4", "route", "add", "default", "via", four)
            place.run("ip", "-6", "route", "add", "default", "via", six)
        self.place.sysctl("net.ipv4.ip_forward", 1)
        self.place.sysctl("net.ipv6.conf.all.forwarding", 1)

    def load(self, *commands: str) -> None:
        """Rules by the tools' own commands; nft's, which begin with `table`, by nft."""
        for command in commands:
            if command.startswith("table"):
                self.place.nft(command)
            else:
                self.place.run(*command.split())

    def read(self) -> Firewall:
        """natop's statement."""
        with entered(self.place):
            text = rules.read()
        ruleset, gaps = decode_rules(text)
        assert ruleset is not None
        assert gaps == ()
        return judge(ruleset, [LAB], uplinks(text.routes))

    def call(self, six: bool = False) -> list[oracle.Flow]:
        """A dozen connections from the client to the server; their entries in the router's table."""
        self.place.flush()
        held = [connect(self.client, SERVER[six], PORT) for _ in range(CONNECTIONS)]
        table = [flow for flow in oracle.flows(self.place) if flow["orig"]["src"] == CLIENT[six]]
        for each in held:
            each.close()
        assert len(table) == CONNECTIONS
        return table

    def counts(self) -> dict[str, int]:
        """Packets that each source-NAT rule has taken, by its text without them."""
        found: dict[str, int] = {}
        for family in ("", "6"):
            names = Path(f"/proc/thread-self/net/ip{family}_tables_names")
            with entered(self.place):
                legacy = "nat" in names.read_text().split() if names.exists() else False
            for tool in (f"ip{family}tables-nft-save", *([f"ip{family}tables-legacy-save"] if legacy else [])):
                text = self.place.run(tool, "-c", "-t", "nat").stdout
                found |= {
                    rule: int(n) for n, rule in re.findall(r"^\[(\d+):\d+\] (-A .*(?:MASQUERADE|SNAT).*)$", text, re.M)
                }
        for family in ("ip", "ip6", "inet"):
            for table in re.findall(rf"^table {family} (\S+)$", self.place.run("nft", "list", "tables").stdout, re.M):
                if table != "nat":
                    text = self.place.run("nft", "list", "table", family, table).stdout
                    lines = re.findall(
                        r"^\t+(.*counter) packets (\d+) bytes \d+( .*(?:masquerade|snat).*)$", text, re.M
                    )
                    found |= {before + after: int(n) for before, n, after in lines}
        return found


@pytest.fixture
def router() -> Iterator[Router]:
    for tool in ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"):
        if not shutil.which(tool):
            lack(f"{tool} is not installed")
    with Router() as made:
        yield made


@dataclass(frozen=True)
class Case:
    """Rules as they are loaded, and what the one that wins has in its text; empty where none does."""

    commands: tuple[str, ...]
    winner: str
    six: bool = False


def iptables(*rules: str, tool: str = "iptables-nft") -> tuple[str, ...]:
    return tuple(f"{tool} -t nat {rule}" for rule in rules)


def post(*rules: str, priority: int = 100, family: str = "ip", name: str = "mine", more: str = "") -> str:
    """An nft table with one postrouting chain."""
    chain = "\n".join([f"type nat hook postrouting priority {priority}; policy accept;", *rules])
    return f"table {family} {name} {{\n{more}\nchain post {{\n{chain}\n}}\n}}"


A, N = "-A POSTROUTING", f"-A POSTROUTING -s {SUBNET[0]} ! -o {BRIDGE}"
IPTABLES = {
    "masquerade": ((f"{N} -j MASQUERADE",), "MASQUERADE"),
    "random": ((f"{N} -j MASQUERADE --random",), "--random"),
    "fully-random": ((f"{N} -j MASQUERADE --random-fully",), "--random-fully"),
    "snat": ((f"{N} -j SNAT --to-source {CHOSEN[0]}", f"{A} -j MASQUERADE"), "SNAT"),
    "ports": ((f"{A} -p tcp -j MASQUERADE --to-ports 20000-20099", f"{A} -j MASQUERADE"), "--to-ports"),
    "snat-ports": ((f"{A} -p tcp -j SNAT --to-source {CHOSEN[0]}:20000-20099",), "SNAT"),
    "of-another-network": ((f"{A} -s 10.67.0.0/24 -j MASQUERADE --random", f"{N} -j MASQUERADE"), SUBNET[0]),
    "on-its-own-bridge": ((f"{A} -o {BRIDGE} -j MASQUERADE --random", f"{A} -o up0 -j MASQUERADE"), "up0"),
    "by-another-way": ((f"{A} ! -o up0 -j MASQUERADE --random", f"{A} -o up+ -j MASQUERADE"), "up+"),
    "udp-first": ((f"{A} -p udp -j MASQUERADE --random", f"{A} -p tcp -j MASQUERADE"), "-p tcp"),
    "only-the-marked": ((f"{A} -m mark --mark 0x1 -j MASQUERADE --random", f"{A} -j MASQUERADE"), "-A POSTROUTING -j"),
    "local-sources": ((f"{A} -m addrtype --src-type LOCAL -j SNAT --to-source {CHOSEN[0]}", f"{A} -j MASQUERADE"),
                      "-A POSTROUTING -j"),
    "returned": ((f"{N} -j RETURN", f"{A} -j MASQUERADE"), ""),
    "accepted": ((f"{A} -s {SUBNET[0]} -j ACCEPT", f"{A} -j MASQUERADE"), ""),
    "a-chain": (("-N MINE", f"{A} -j MINE", f"-A MINE -s {SUBNET[0]} -j SNAT --to-source {CHOSEN[0]}",
                 f"{A} -j MASQUERADE"), "-A MINE"),
    "back-from-a-chain": (("-N MINE", f"{A} -j MINE", "-A MINE -d 10.0.0.0/8 -j MASQUERADE", "-A MINE -j RETURN",
                           "-A MINE -j MASQUERADE --random", f"{A} -j MASQUERADE"), "-A POSTROUTING -j"),
    "gone-to-a-chain": (("-N MINE", f"{A} -g MINE", "-A MINE -d 10.0.0.0/8 -j MASQUERADE", f"{A} -j MASQUERADE"), ""),
}  # fmt: skip
JUMPS = (
    "map out { type ifname : verdict; elements = { "
    f'"docker0" : jump other, "{BRIDGE}" : jump lab }} }}\n'
    "chain other { counter masquerade random\n}\n"
    f'chain lab {{ oifname != "{BRIDGE}" ip saddr {SUBNET[0]} counter masquerade comment "MASQUERADE"\n}}'
)
EARLY = post(
    'iifname { "docker0", "br-*" } oifname != { "docker0", "br-*" } counter masquerade fully-random',
    priority=90,
    name="natop_random",
)
DOCKERS = iptables(f"{N} -j MASQUERADE")
SET = f"set mine {{ type ipv4_addr; flags interval; elements = {{ {SUBNET[0]}, 10.70.0.0/16 }} }}"
RULE_6 = f"-A POSTROUTING -s {SUBNET[1]} ! -o {BRIDGE}"
CASES = {
    **{f"{tool} {name}": Case(iptables(*rules, tool=tool), winner)
       for tool in ("iptables-nft", "iptables-legacy") for name, (rules, winner) in IPTABLES.items()},
    **{f"{tool} ipv6": Case(iptables(f"{RULE_6} -j MASQUERADE --random-fully", tool=tool), "--random-fully", True)
       for tool in ("ip6tables-nft", "ip6tables-legacy")},
    "ip6tables-nft snat": Case(iptables(f"{RULE_6} -j SNAT --to-source {CHOSEN[1]}", tool="ip6tables-nft"),
                               "SNAT", True),
    "nft masquerade": Case((post("counter masquerade"),), "masquerade"),
    "nft snat and ports": Case((post(f"meta l4proto tcp counter snat to {CHOSEN[0]}:20000-20099 random"),), "snat"),
    "nft verdict map": Case((post("iifname vmap @out", more=JUMPS),), "MASQUERADE"),
    "nft named set": Case((post("ip saddr @mine counter snat to 198.18.0.11", more=SET),), "@mine"),
    "nft set without it": Case((post("ip saddr != @mine counter masquerade", more=SET),), ""),
    "nft fully-random before iptables-nft": Case((*DOCKERS, EARLY), "fully-random"),
    "nft fully-random before iptables-legacy": Case((*iptables(f"{N} -j MASQUERADE", tool="iptables-legacy"), EARLY),
                                                     "fully-random"),
    "nft too late": Case((*DOCKERS, EARLY.replace("priority 90", "priority 110")), "-A POSTROUTING"),
    "nft accept in a chain before": Case((*DOCKERS, post("accept", priority=90)), "-A POSTROUTING"),
    "nft accept before masquerade": Case((post("tcp dport 80 accept", "accept", "counter masquerade"),), ""),
    "nft the newest of equals": Case((post("counter masquerade", name="old"),
                                      post(f"counter snat to {CHOSEN[0]}", name="new")), "snat"),
    "nft newer than iptables": Case((*DOCKERS, post(f"counter snat to {CHOSEN[0]}")), "snat"),
    "nft older than iptables": Case((post(f"counter snat to {CHOSEN[0]}"), *DOCKERS), "-A POSTROUTING"),
    "nft of both families, six": Case((post("ip6 saddr fd00:66::/64 counter masquerade random", family="inet"),),
                                      "masquerade", True),
    "nft of both families, four": Case((post("ip6 saddr fd00:66::/64 counter masquerade random", family="inet"),), ""),
    "nft table of ip6": Case((post("counter masquerade fully-random", family="ip6"),), "fully-random", True),
    "nft unmarked, new, from outside": Case(
        (post("fib saddr type local counter masquerade random", "meta mark 1 counter masquerade random",
              "ct state established counter masquerade random", "ct state new oif up0 counter masquerade"),),
        "ct state new"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_rule_that_takes_a_network_s_connections(router: Router, name: str) -> None:
    case = CASES[name]
    router.load(*case.commands)
    (place,) = [each for each in router.read().networks if (":" in each.subnet) == case.six]
    before = router.counts()
    table = router.call(case.six)
    moved = {text: count - before[text] for text, count in router.counts().items() if count != before[text]}
    if place.rule is None:
        assert (case.winner, moved) == ("", {})
        assert all(flow["reply"]["dst"] == CLIENT[case.six] for flow in table)
        return
    assert case.winner
    assert case.winner in place.rule.text
    assert moved == {place.rule.text: CONNECTIONS}
    proves(place.rule, table, case.six)


def proves(rule: NatRule, table: list[oracle.Flow], six: bool) -> None:
    """That the entries have the address and the ports that the rule is said to give.

    Of several IPv6 addresses MASQUERADE takes the one that the kernel prefers.
    """
    mine = {ROUTER[1], CHOSEN[1]} if six else {ROUTER[0]}
    assert {flow["reply"]["dst"] for flow in table} <= ({rule.to_address} if rule.to_address else mine)
    ports = [(flow["orig"]["sport"], flow["reply"]["dport"]) for flow in table]
    if rule.ports:
        assert all(rule.ports[0] <= given <= rule.ports[1] for _, given in ports)
    elif rule.random or rule.fully_random:
        assert sum(own == given for own, given in ports) <= 2
    else:
        assert all(own == given for own, given in ports)


def test_udp_is_told_apart_where_the_rules_do(router: Router) -> None:
    router.load(*iptables(f"{A} -p tcp -j MASQUERADE", f"{A} -p udp -j MASQUERADE --to-ports 20000-20099"))
    place = router.read().networks[0]
    assert exchange(router.client, SERVER[0], PORT, 3) == 3
    table = [flow for flow in oracle.flows(router.place) if flow["proto"] == "udp" and flow["orig"]["src"] == CLIENT[0]]
    assert len(table) == 3
    proves(place.rule_of("udp") or pytest.fail("no rule"), table, six=False)
    proves(place.rule_of("tcp") or pytest.fail("no rule"), router.call(), six=False)


def test_rules_that_take_some_packets_are_named_beside_it(router: Router) -> None:
    router.load(*iptables(f"{A} -p tcp -m tcp --dport {PORT} -j SNAT --to-source {CHOSEN[0]}", f"{A} -j MASQUERADE"))
    place = router.read().networks[0]
    assert place.rule is not None
    assert [rule.to_address for rule in place.others] == [CHOSEN[0]]
    assert {flow["reply"]["dst"] for flow in router.call()} == {CHOSEN[0]}


# Nothing is changed by asking


def state(place: Namespace) -> dict[str, str]:
    """All that reading rules could change."""
    found = {"nft": place.run("nft", "-a", "list", "ruleset").stdout}
    with entered(place):
        for name in ("net/ip_tables_names", "net/ip6_tables_names"):
            path = Path("/proc/thread-self", name)
            found[name] = path.read_text() if path.exists() else "absent"
    for tool in ("iptables-legacy-save", "ip6tables-legacy-save"):  # without -t they print the tables that there are
        found[tool] = re.sub("^#.*$", "", place.run(tool).stdout, flags=re.M)
    modules = Path("/proc/modules")
    found["modules"] = " ".join(sorted(line.split()[0] for line in modules.open())) if modules.exists() else ""
    found["lock"] = str(Path("/run/xtables.lock").exists())
    return found


RULESETS = {
    "nothing": (),
    "iptables-nft": DOCKERS,
    "iptables-legacy": iptables(f"{N} -j MASQUERADE", tool="iptables-legacy"),
    "a legacy table without NAT": ("iptables-legacy -t filter -A FORWARD -j ACCEPT",),
    "nft": (EARLY,),
    "a native table nat": (post("counter masquerade", name="nat"),),
    "all": (*DOCKERS, EARLY, *iptables(f"{RULE_6} -j MASQUERADE", tool="ip6tables-legacy")),
}


@pytest.mark.parametrize("name", RULESETS)
def test_reading_changes_nothing(router: Router, name: str) -> None:
    router.load(*RULESETS[name])
    before = state(router.place)
    document = product.snapshot(router.place, "--no-docker")
    assert state(router.place) == before
    assert document["nat_rules"]["networks"] == []
    assert len(document["nat_rules"]["rules"]) == {"nothing": 0, "a legacy table without NAT": 0, "all": 3}.get(name, 1)
    assert not [gap for gap in document["gaps"] if gap["source"] == "rules"]


def test_without_the_right_to_read_them_a_gap_says_so(router: Router) -> None:
    router.load(*DOCKERS)
    document = product.snapshot(router.place, "--no-docker", by=product.WITHOUT_NET_ADMIN)
    assert document["nat_rules"] is None
    assert [gap["reason"] for gap in document["gaps"] if gap["source"] == "rules"] == [
        "reading NAT rules needs CAP_NET_ADMIN"
    ]


def test_another_namespace_s_rules_by_its_name(router: Router) -> None:
    router.load(EARLY)
    document = product.snapshot(None, "--no-docker", "--netns", router.place.name)
    assert [rule["fully_random"] for rule in document["nat_rules"]["rules"]] == [True]
