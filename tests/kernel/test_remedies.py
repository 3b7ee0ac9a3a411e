"""What rules print, run by the shell as it is printed, and undone. The judges are `nft`, `sysctl` and `conntrack`.

Each scenario that fires is fitted to the lab: its numbers of before and its addresses are those of the namespace.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from natop.model import Remedy
from natop.sysctls import CHAIN_CRITICAL
from tests.kernel.conftest import GLOBAL, Machine, values
from tests.kernel.test_nat_rules import BRIDGE, CHOSEN, DOCKERS, ROUTER, SERVER, SUBNET, Router
from tests.lab import oracle, printed
from tests.lab.inject import TCP_STATES, Entry, inject
from tests.lab.layers import lack
from tests.lab.netns import Namespace, entered
from tests.unit import remedies
from tests.unit.remedies import MACHINE, NAMESPACE, Case, Scenario, kind_of

SETTING = re.compile(r"sysctl -w '?([\w.-]+)=([^']*)'?$")
READING = {"conntrack -L", "ip6tables-save -c", "iptables-save -c", "nft list ruleset", "ss -ltnp"}
FOR_A_MINUTE = "net.netfilter.nf_conntrack_log_invalid"
"""What is switched on to look, and off again."""
DRAWN = {
    case for case in remedies.cases(NAMESPACE) if any(each.startswith("nft delete") for each in case.remedy().undo)
}
OF_HERE = [case for case in remedies.cases(NAMESPACE) if case.needs == {NAMESPACE}]
SET = [case for case in OF_HERE if all(map(SETTING.match, case.remedy().commands))]
READ = [case for case in OF_HERE if not case.remedy().undo and set(map(kind_of, case.remedy().commands)) <= READING]


def parameters(commands: Iterable[str]) -> dict[str, str]:
    """The sysctls that these commands set, and to what."""
    return {found[1]: found[2] for found in map(SETTING.match, commands) if found}


def with_sysctls(place: Namespace | None, case: Case) -> Any:
    """A scenario's host with the values that the parameters it sets have there."""
    names = parameters(case.remedy().commands)

    def fit(scenario: Scenario) -> Scenario:
        told = {
            name.rpartition(".")[2]: [int(word) for word in text.split()] for name, text in values(place, names).items()
        }
        now = {name: numbers if len(numbers) > 1 else numbers[0] for name, numbers in told.items()}
        return scenario | {"sysctls": scenario.get("sysctls", {}) | now}

    return fit


def ruleset(place: Namespace) -> str:
    return place.run("nft", "list", "ruleset").stdout


@pytest.mark.parametrize("case", SET, ids=str)
def test_parameters_of_a_namespace(namespace: Namespace, case: Case) -> None:
    """In one that is as the scenario's host was, as far as that tells."""
    told = remedies.scenario(case.path).get("sysctls", {})
    for name in parameters(case.remedy().commands):
        value = told.get(name.rpartition(".")[2])
        if value is not None:
            namespace.sysctl(name, " ".join(map(str, value)) if isinstance(value, list) else value)
    remedy = case.remedy(with_sysctls(namespace, case))
    before = values(namespace, parameters(remedy.commands))
    for command in remedy.commands:
        printed.shell(namespace, command)
    wanted = parameters(remedy.commands)
    assert values(namespace, before) == wanted != before
    assert parameters(remedy.undo).keys() == before.keys()
    for command in remedy.undo:
        printed.shell(namespace, command)
    assert values(namespace, before) == before
    assert list(parameters(remedy.undo)) == list(reversed(wanted))
    lasting = kept(remedy)
    assert len(lasting) == (FOR_A_MINUTE not in wanted)
    for text in lasting:
        printed.shell(namespace, f"sysctl --load - <<'END'\n{text}\nEND")
        assert values(namespace, before) == wanted


def kept(remedy: Remedy) -> list[str]:
    """The lines that set the same at every boot."""
    return [each.text for each in remedy.snippets if each.place.startswith("/etc/sysctl.d/")]


@pytest.mark.parametrize("case", remedies.cases(MACHINE), ids=str)
def test_parameters_of_the_machine(machine: Machine, case: Case) -> None:
    """Where this is not the first network namespace, the kernel takes no value."""
    before, remedy = values(None, GLOBAL), case.remedy(sized_as(machine, case))
    wanted = parameters(remedy.commands)
    assert wanted
    if machine.is_writable:
        for command in remedy.commands:
            printed.shell(None, command)
        now = values(None, wanted)
        assert all(int(now[name]) >= int(value) > int(before[name]) for name, value in wanted.items())
        for command in remedy.undo:
            printed.shell(None, command)
    else:
        for command in remedy.commands:
            with suppress(AssertionError):  # some versions of sysctl(8) call a refusal a success
                printed.shell(None, command)
    assert values(None, GLOBAL) == before


def sized_as(machine: Machine, case: Case) -> remedies.Fit:
    """Tables as full as the scenario's, or chains as long, in tables of the machine's size.

    Where buckets matter, the limit allows chains that are too long: no remedy of those changes it.
    """
    buckets, measure = machine.buckets, "buckets" if case.path.parent.name == "hash-chains" else "max"

    def fit(scenario: Scenario) -> Scenario:
        told = {"count": 500, "max": 262_144, "buckets": 65_536} | scenario.get("conntrack", {})
        most = max(machine.most, (CHAIN_CRITICAL + 1) * buckets) if measure == "buckets" else machine.most
        sizes = {"max": most, "buckets": buckets}
        counts = {name: told[name] * sizes[measure] // told[measure] for name in ("count", "peak") if name in told}
        grown = told | sizes | counts
        own = [each | ({"own_table": most} if "own_table" in each else {}) for each in scenario.get("container", ())]
        now = {"nf_conntrack_max": most, "nf_conntrack_buckets": buckets}
        return scenario | {"conntrack": grown, "container": own, "sysctls": scenario.get("sysctls", {}) | now}

    return fit


@pytest.mark.parametrize("case", sorted(DRAWN, key=str), ids=str)
def test_tables_of_nftables(namespace: Namespace, case: Case) -> None:
    """Beside rules that are there already, which stay as they are."""
    namespace.nft("table ip other { chain post { type nat hook postrouting priority 100; masquerade; }\n}")
    before, remedy = ruleset(namespace), case.remedy()
    for command in remedy.commands:
        printed.shell(namespace, command)
    after = ruleset(namespace)
    for command in remedy.commands:
        printed.shell(namespace, command)
    assert ruleset(namespace) == after, "pasted a second time"
    made = re.findall(r"^table (\S+ natop_\w+) \{$", after, re.M)
    assert made
    assert before in after
    if remedies.checking(remedy):
        assert made[0].split()[1] in printed.shell(namespace, remedies.checking(remedy))
    for command in remedy.undo:
        printed.shell(namespace, command)
    assert ruleset(namespace) == before
    for snippet in remedy.snippets:
        if snippet.place.endswith(".nft"):
            for _ in range(2):
                namespace.nft(snippet.text)
                assert ruleset(namespace) == after


# What they do to connections


@pytest.fixture
def router() -> Iterator[Router]:
    for tool in ("iptables-nft", "ip6tables-nft"):
        if not shutil.which(tool):
            lack(f"{tool} is not installed")
    with Router() as made:
        yield made


def race_of(**network: Any) -> Any:
    """The race's remedy for the router's own network."""
    network = {"name": "lab", "subnet": SUBNET[0], "bridge": BRIDGE} | network
    (case,) = [each for each in remedies.cases(of="snat-race") if each.path.stem == "fires" and each.place[1] == 0]
    return case.remedy(lambda scenario: scenario | {"network": [network]})


def ports(table: Iterable[Mapping[str, Any]]) -> list[bool]:
    """Of each flow, whether NAT kept its port."""
    return [flow["orig"]["sport"] == flow["reply"]["dport"] for flow in table]


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_ports_are_chosen_at_random(router: Router, six: bool) -> None:
    """Before a MASQUERADE that was there first, as Docker's is."""
    subnet = SUBNET[six]
    masquerade = f"{'ip6' if six else 'ip'}tables-nft -t nat -A POSTROUTING -s {subnet} ! -o {BRIDGE} -j MASQUERADE"
    router.load(masquerade)
    before = ruleset(router.place)
    assert all(ports(router.call(six)))
    remedy = race_of(subnet=subnet)
    for command in remedy.commands:
        printed.shell(router.place, command)
    table = router.call(six)
    assert sum(ports(table)) <= 2
    assert {flow["reply"]["dst"] for flow in table} <= set(ROUTER) | set(CHOSEN)
    family = "ip6" if six else "ip"
    listing = printed.shell(router.place, remedies.checking(remedy).replace(" ip ", f" {family} "))
    assert f"counter packets {len(table)} " in listing
    for command in remedy.undo:
        printed.shell(router.place, command)
    assert without_counts(ruleset(router.place)) == without_counts(before)
    assert all(ports(router.call(six)))


def test_ports_of_a_network_with_an_address_of_its_own(router: Router) -> None:
    router.load(f"iptables-nft -t nat -A POSTROUTING -s {SUBNET[0]} ! -o {BRIDGE} -j SNAT --to-source {CHOSEN[0]}")
    assert {flow["reply"]["dst"] for flow in router.call()} == {CHOSEN[0]}
    remedy = race_of(to_address=CHOSEN[0])
    for command in remedy.commands:
        printed.shell(router.place, command)
    table = router.call()
    assert {flow["reply"]["dst"] for flow in table} == {CHOSEN[0]}
    assert sum(ports(table)) <= 2


def test_an_address_that_random_ports_hid(router: Router) -> None:
    """The network got it after the table was made; the table that natop prints then has a line for it."""
    place = router.place
    for command in race_of().commands:
        printed.shell(place, command)
    router.load(f"iptables-nft -t nat -A POSTROUTING -s {SUBNET[0]} ! -o {BRIDGE} -j SNAT --to-source {CHOSEN[0]}")
    assert {flow["reply"]["dst"] for flow in router.call()} == {ROUTER[0]}
    (case,) = [each for each in remedies.cases(of="hidden-snat") if each.path.stem == "fires"]
    told = {"203.0.113.11": CHOSEN[0], "172.19.0.0/16": SUBNET[0], "br-000000000002": BRIDGE}
    remedy = case.remedy(remedies.renamed(lambda text: told.get(text, text)))
    for command in (*remedy.commands, *remedy.commands):
        printed.shell(place, command)
    flows = router.call()
    assert {flow["reply"]["dst"] for flow in flows} == {CHOSEN[0]}
    assert sum(ports(flows)) <= 2
    for command in remedy.undo:
        printed.shell(place, command)
    flows = router.call()
    assert {flow["reply"]["dst"] for flow in flows} == {CHOSEN[0]}
    assert all(ports(flows))


def test_an_address_of_its_own_beside_random_ports(router: Router) -> None:
    """The table for random ports takes any bridge of Docker's naming, one of a network with an address of its own too:
    that needs the bridge's name and the table that natop prints then. Docker's own rule does once that table is gone.
    """
    place, snat = router.place, f"-j SNAT --to-source {CHOSEN[0]}"
    for command in race_of().commands:
        printed.shell(place, command)
    router.load(f"iptables-nft -t nat -A POSTROUTING -s {SUBNET[0]} ! -o {BRIDGE} {snat}")
    assert {flow["reply"]["dst"] for flow in router.call()} == {ROUTER[0]}
    (case,) = [
        case
        for case in remedies.cases(of="nat-port-exhaustion")
        if case.path.stem == "fires-random-table" and "network create" in " ".join(case.remedy().commands)
    ]
    remedy = case.remedy(remedies.renamed(lambda text: {"203.0.113.11": CHOSEN[0]}.get(text, text)))
    made, table, _ = remedy.commands
    (bridge,) = re.findall(r"bridge\.name=(\S+)", made)
    for words in (["down"], ["name", bridge]):
        place.run("ip", "link", "set", BRIDGE, *words)
    place.run("ip", "link", "set", bridge, "up")
    place.run("ip", "route", "replace", "default", "via", SERVER[0])
    router.load(f"iptables-nft -t nat -A POSTROUTING -s {SUBNET[0]} ! -o {bridge} {snat}")
    before = without_counts(ruleset(place))
    printed.shell(place, table)
    once = without_counts(ruleset(place))
    printed.shell(place, table)
    assert without_counts(ruleset(place)) == once, "pasted a second time"
    flows = router.call()
    assert {flow["reply"]["dst"] for flow in flows} == {CHOSEN[0]}
    assert sum(ports(flows)) <= 2
    printed.shell(place, next(each for each in remedy.undo if each.startswith("nft ")))
    assert without_counts(ruleset(place)) == before
    assert {flow["reply"]["dst"] for flow in router.call()} == {CHOSEN[0]}


def without_counts(text: str) -> str:
    return re.sub(r"packets \d+ bytes \d+", "", text)


INSERTED = [
    case
    for case in remedies.cases(NAMESPACE)
    if "iptables -t nat -C POSTROUTING" in map(kind_of, case.remedy().commands)
]


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("case", INSERTED, ids=str)
def test_rules_of_iptables_before_those_there_are(router: Router, case: Case, six: bool) -> None:
    """For a kernel that has NAT by nft or by iptables, not both."""
    router.load(*DOCKERS, f"ip6tables-nft -t nat -A POSTROUTING -s {SUBNET[1]} ! -o {BRIDGE} -j MASQUERADE")
    before = without_counts(ruleset(router.place))
    assert all(ports(router.call(six)))
    networks = [{"name": "lab", "subnet": SUBNET[six], "bridge": BRIDGE}]
    remedy = case.remedy(lambda scenario: scenario | {"network": networks})
    for command in (*remedy.commands, *remedy.commands):
        printed.shell(router.place, command)
    table = router.call(six)
    assert sum(ports(table)) <= 2
    listing = printed.shell(router.place, remedies.checking(remedy))
    assert re.search(rf"^ *{len(table)} .*MASQUERADE .*random-fully", listing, re.M)
    for command in remedy.undo:
        printed.shell(router.place, command)
    assert without_counts(ruleset(router.place)) == before
    assert all(ports(router.call(six)))


STALE = [case for case in remedies.cases(NAMESPACE, "stale-mapping") if case.remedy().commands]


@pytest.mark.parametrize("case", STALE, ids=str)
def test_entries_that_are_deleted_and_no_others(namespace: Namespace, case: Case) -> None:
    """Those that the scenario tells of, beside others to the same end that another container answers."""
    (pile,) = remedies.scenario(case.path)["facts"]["stale"]
    end, _, proto = pile["what"].rpartition("/")
    address, port = (end.rpartition(":")[0].strip("[]"), int(end.rpartition(":")[2])) if proto != "icmp" else (end, 0)
    six = ":" in address
    senders = [f"2001:db8:1::{n + 1:x}" if six else f"198.51.100.{n + 1}" for n in range(pile["count"])]
    healthy, gone = ("fd00:18::9", pile.get("answering")) if six else ("172.18.0.99", pile.get("answering"))
    entries = [Entry(src=each, dst=address, dport=port, proto=proto, dnat=gone or "") for each in senders]
    others = [Entry(src=each, dst=address, dport=port, sport=40001, proto=proto, dnat=healthy) for each in senders]
    inject(namespace, [*entries, *others])
    for command in case.remedy().commands:
        printed.shell(namespace, command)
    left = oracle.flows(namespace)
    assert [flow["reply"]["src"] for flow in left] == [healthy] * len(others)
    assert printed.shell(namespace, remedies.checking(case.remedy())) == ""


ABANDONED = [
    case
    for case in remedies.cases(NAMESPACE, "established-zombies")
    if set(map(kind_of, case.remedy().commands)) == {"conntrack -D"}
]


@pytest.mark.parametrize("case", ABANDONED, ids=str)
def test_entries_of_a_container_that_is_gone(namespace: Namespace, case: Case) -> None:
    """Those in ESTABLISHED that it opened, and neither its others nor those of a neighbour."""
    pile = remedies.scenario(case.path)["facts"]["zombies_of"][0]
    gone = pile["calling"]
    neighbour, far = ("fd00:18::9", "2001:db8::7") if ":" in gone else ("172.18.0.9", "198.51.100.7")
    standing, waiting = (TCP_STATES.index(name) for name in ("ESTABLISHED", "TIME_WAIT"))
    inject(
        namespace,
        [
            *(Entry(src=gone, dst=far, sport=40_000 + n, dport=443, state=standing) for n in range(3)),
            Entry(src=gone, dst=far, sport=41_000, dport=443, state=waiting),
            Entry(src=neighbour, dst=far, sport=40_000, dport=443, state=standing),
        ],
    )
    for command in case.remedy().commands:
        printed.shell(namespace, command)
    left = {(flow["orig"]["src"], flow["orig"]["sport"]) for flow in oracle.flows(namespace)}
    assert left == {(gone, 41_000), (neighbour, 40_000)}
    assert printed.shell(namespace, remedies.checking(case.remedy())) == ""


@pytest.mark.parametrize("case", READ, ids=str)
def test_what_only_looks(router: Router, case: Case) -> None:
    """It says what it is asked for, and changes nothing. What drops stands in a table that is not filter."""
    drops = "-t raw -A PREROUTING -d 192.0.2.1 -j DROP"
    router.load(*DOCKERS, f"iptables {drops}", f"iptables-nft {drops}")
    router.load("ip6tables -t raw -A PREROUTING -d 2001:db8::1 -j DROP")
    with entered(router.place), socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen(7)
        inject(
            router.place,
            [Entry(src="198.51.100.9", dst="198.51.100.7", dport=5432, state=TCP_STATES.index("LAST_ACK"))],
        )
        before = ruleset(router.place)
        told = "".join(printed.shell(router.place, command) for command in case.remedy().commands)
        wanted = {
            "ss -ltnp": rf"LISTEN +0 +7 .*:{listener.getsockname()[1]} ",
            "conntrack -L": r"LAST_ACK src=198.51.100.9 dst=198.51.100.7 ",
            "ip6tables-save -c": r"\[0:0\] -A PREROUTING -d 2001:db8::1/128 -j DROP",
            "iptables-save -c": r"\[0:0\] -A PREROUTING -d 192\.0\.2\.1/32 -j DROP",
            "nft list ruleset": r"ip daddr 192\.0\.2\.1 counter packets 0 bytes 0 drop",
        }
    for kind in map(kind_of, case.remedy().commands):
        assert re.search(wanted[kind], told), told
    assert ruleset(router.place) == before


def test_a_card_s_statistics(router: Router) -> None:
    if not shutil.which("ethtool"):
        lack("ethtool is not installed")
    texts = [case.remedy().text for case in remedies.cases(of="syn-loss-elsewhere")]
    (command,) = {words for text in texts for words in printed.quoted(text) if words.startswith("ethtool")}
    assert "statistics" in printed.shell(router.client, f"{command} eth0")


def test_no_case_is_left_out() -> None:
    """Every remedy whose commands a namespace suffices for is run by one of these."""
    assert set(OF_HERE) == {*SET, *DRAWN, *INSERTED, *STALE, *ABANDONED, *READ}
