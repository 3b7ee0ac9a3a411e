"""What natop says of each network's NAT on a real engine, and what connections leave in the host's table."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natop.collect.engine import EngineWatcher, Target
from natop.collect.host import HostReader
from natop.collect.rules import RulesReader
from natop.decode.counters import PROC_FILES
from natop.model import Snapshot
from natop.observe import observe
from tests.docker.line import network, running, to
from tests.kernel import product
from tests.lab import oracle, traffic
from tests.lab.dockerhost import HOST, OUTSIDE, DockerHost
from tests.lab.engine import IMAGE, Engine
from tests.lab.layers import lack
from tests.lab.netns import Namespace, wait_until

CHOSEN = "198.18.0.77"
RANDOM = """
table ip natop_random {
  chain postrouting {
    type nat hook postrouting priority 90; policy accept;
    iifname { "docker0", "br-*" } oifname != { "docker0", "br-*" } counter masquerade fully-random
  }
}
"""
"""The table that natop's remedy for the race makes."""


def told(host: DockerHost) -> dict[str, Any]:
    """The document of one reading."""
    return product.snapshot(host.namespace, "--docker-host", host.url)


def network_of(document: dict[str, Any], name: str, six: bool = False) -> dict[str, Any]:
    """What it says of a network's IPv4 or IPv6 subnet."""
    (found,) = [
        each for each in document["nat_rules"]["networks"] if each["name"] == name and (":" in each["subnet"]) == six
    ]
    return dict(found)


def entries(host: DockerHost, name: str, count: int = 12) -> list[oracle.Flow]:
    """The entries of a container's connections to the world outside, some milliseconds each."""
    host.namespace.settle()
    with traffic.hold(host.inside(name), OUTSIDE, 5432, count):
        found: list[oracle.Flow] = to(oracle.flows(host.namespace), dst=OUTSIDE, dport=5432)
    assert len(found) == count
    return found


def test_the_lab_s_networks(docker_host: DockerHost) -> None:
    document = told(docker_host)
    for name, bridge in (("bridge", "docker0"), ("internal", None), ("six", None)):
        found = network_of(document, name)
        assert found["rule"]["action"] == "MASQUERADE"
        assert (found["rule"]["sources"], found["internal"]) == ([found["subnet"]], False)
        assert (found["rule"]["random"], found["rule"]["fully_random"], found["rule"]["ports"]) == (False, False, None)
        identity = docker_host.docker("network", "inspect", "--format", "{{.Id}}", name)
        assert found["bridge"] == bridge or f"br-{identity[:12]}"
    if docker_host.ipv6:
        six = network_of(document, "six", six=True)
        assert (six["rule"]["backend"].split("-")[0], six["rule"]["sources"]) == ("ip6tables", [six["subnet"]])
    engine = document["host"]["docker"]
    assert engine["firewall_backend"] == network_of(document, "bridge")["rule"]["backend"]
    assert engine["userland_proxy"] is True
    flows = entries(docker_host, "webserver")
    assert all((flow["reply"]["dst"], flow["reply"]["dport"]) == (HOST, flow["orig"]["sport"]) for flow in flows)


def test_a_network_that_leaves_by_an_address_of_its_own(docker_host: DockerHost) -> None:
    docker_host.namespace.run("ip", "address", "add", f"{CHOSEN}/24", "dev", "pub0")
    try:
        with (
            network(docker_host, "chosen", "-o", f"com.docker.network.host_ipv4={CHOSEN}"),
            running(docker_host, "leaver", "chosen"),
        ):
            rule = network_of(told(docker_host), "chosen")["rule"]
            assert (rule["action"], rule["to_address"]) == ("SNAT", CHOSEN)
            assert {flow["reply"]["dst"] for flow in entries(docker_host, "leaver")} == {CHOSEN}
    finally:
        docker_host.namespace.run("ip", "address", "del", f"{CHOSEN}/24", "dev", "pub0")


def test_a_network_without_masquerade(docker_host: DockerHost) -> None:
    options = ("com.docker.network.bridge.enable_ip_masquerade=false", "com.docker.network.bridge.name=plain0")
    with (
        network(docker_host, "plain", *(part for option in options for part in ("-o", option))),
        running(docker_host, "plainly", "plain"),
    ):
        found = network_of(told(docker_host), "plain")
        assert (found["bridge"], found["rule"], found["udp_rule"], found["internal"]) == ("plain0", None, None, False)
        own = docker_host.address("plainly", "plain")
        assert {flow["reply"]["dst"] for flow in entries(docker_host, "plainly")} == {own}


def test_an_internal_network(docker_host: DockerHost) -> None:
    docker_host.namespace.nft(RANDOM)
    try:
        with network(docker_host, "inner", "--internal"), running(docker_host, "insider", "inner"):
            found = network_of(told(docker_host), "inner")
            assert (found["rule"], found["internal"]) == (None, True)
            with pytest.raises(OSError, match=r"nreachable|timed out"):
                traffic.hold(docker_host.inside("insider"), OUTSIDE, 5432, 1)
    finally:
        docker_host.namespace.run("nft", "delete", "table", "ip", "natop_random")


def test_the_table_for_random_ports_wins_while_it_is_there(docker_host: DockerHost) -> None:
    docker_host.namespace.nft(RANDOM)
    try:
        document = told(docker_host)
        for name, container in (("bridge", "webserver"), ("internal", "app1")):
            rule = network_of(document, name)["rule"]
            assert (rule["fully_random"], rule["priority"], rule["chain"]) == (True, 90, "ip natop_random postrouting")
            kept = [flow["orig"]["sport"] == flow["reply"]["dport"] for flow in entries(docker_host, container)]
            assert sum(kept) <= 2
    finally:
        docker_host.namespace.run("nft", "delete", "table", "ip", "natop_random")
    assert network_of(told(docker_host), "bridge")["rule"]["fully_random"] is False
    assert all(flow["orig"]["sport"] == flow["reply"]["dport"] for flow in entries(docker_host, "app1"))


def test_each_container_tells_whether_its_ports_are_random(docker_host: DockerHost) -> None:
    """One network's rule says random: of the pool that both containers share, about half of the ports are kept."""
    only = RANDOM.replace('{ "docker0", "br-*" } oifname', '"docker0" oifname')
    docker_host.namespace.nft(only)
    try:
        docker_host.namespace.settle()
        with (
            traffic.hold(docker_host.inside("webserver"), OUTSIDE, 5432, 12),
            traffic.hold(docker_host.inside("app1"), OUTSIDE, 5432, 12),
        ):
            table = to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=5432)
            document = told(docker_host)
    finally:
        docker_host.namespace.run("nft", "delete", "table", "ip", "natop_random")
    kept: dict[str, int] = {}
    for flow in table:
        network = ".".join(flow["orig"]["src"].split(".")[:2])
        kept[network] = kept.get(network, 0) + (flow["orig"]["sport"] == flow["reply"]["dport"])
    nat = {each["name"]: each["nat"] for each in document["containers"]}
    random, usual = nat["webserver"]["port_choice"], nat["app1"]["port_choice"]
    assert sorted((random["kept"], usual["kept"])) == sorted(kept.values())
    assert (random["kept"] + random["rewritten"], usual["kept"] + usual["rewritten"]) == (12, 12)
    assert random["kept_share"] < 0.2
    assert usual["kept_share"] == 1.0
    (pool,) = (each for each in document["nat_pools"] if each["remote_port"] == 5432)
    assert pool["port_choice"]["kept"] == random["kept"] + usual["kept"]
    assert nat["app1"]["busiest_pool"] == nat["webserver"]["busiest_pool"]


def test_networks_that_come_and_go_are_followed(docker_host: DockerHost) -> None:
    """Long before the rules would be read again by themselves."""
    watcher = EngineWatcher(Target(docker_host.url), follow=True)
    place = docker_host.namespace.path
    reader = HostReader(PROC_FILES, place, watcher, rules=RulesReader(place, follow=True))
    taken: list[Snapshot] = []

    def nat(name: str) -> str | None:
        taken.append(observe(taken[-1] if taken else None, reader.sample(dump=False)))
        firewall = taken[-1].firewall
        found = [each for each in firewall.networks if each.network == name] if firewall else []
        return (found[0].rule.action if found[0].rule else "none") if found else None

    try:
        reader.wait_for_answers(10)
        wait_until(lambda: nat("bridge") == "MASQUERADE", what="the first reading")
        with network(docker_host, "passing"):
            wait_until(lambda: nat("passing") == "MASQUERADE", what="the new network's rule")
        wait_until(lambda: nat("passing") is None, what="the network's end")
    finally:
        reader.close()


def test_reading_changes_nothing_on_the_host(docker_host: DockerHost) -> None:
    def state() -> tuple[str, ...]:
        commands = (("nft", "-a", "list", "ruleset"), ("iptables-save",), ("ip6tables-save",))
        texts = [docker_host.namespace.run(*command).stdout for command in commands]
        names = [docker_host.namespace.run("cat", f"/proc/net/{name}_tables_names").stdout for name in ("ip", "ip6")]
        modules = Path("/proc/modules")
        loaded = sorted(line.split()[0] for line in modules.open()) if modules.exists() else []
        return (*(re.sub("^#.*$", "", text, flags=re.M) for text in texts), *names, " ".join(loaded))

    before = state()
    assert told(docker_host)["nat_rules"]["rules"]
    assert state() == before


# Engines of another kind


@pytest.fixture(scope="module")
def without_proxy() -> Iterator[DockerHost]:
    with DockerHost(settings={"userland-proxy": False}) as host:
        yield host


def test_without_the_proxy_calls_are_turned_back(without_proxy: DockerHost) -> None:
    """The rule that is named is the one whose counter moves when a container calls its own published port."""
    document = told(without_proxy)
    assert document["host"]["docker"]["userland_proxy"] is False
    rule = network_of(document, "bridge")["hairpin"]

    def count() -> int:
        text = without_proxy.namespace.run("iptables-save", "-c", "-t", "nat").stdout
        (found,) = re.findall(rf"^\[(\d+):\d+\] {re.escape(rule['text'])}$", text, re.M)
        return int(found)

    before = count()
    port = 8443 if "--dport 443" in rule["text"] else 8080
    with contextlib.closing(traffic.connect(without_proxy.inside("webserver"), HOST, port)):
        (flow,) = to(oracle.flows(without_proxy.namespace), dst=HOST, dport=port)
    assert oracle.nat(flow) == {"dnat", "snat"}
    assert count() == before + 1


def test_an_engine_that_uses_iptables_legacy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dockerd runs what is called iptables in its PATH."""
    for family in ("iptables", "ip6tables"):
        legacy = shutil.which(f"{family}-legacy")
        if legacy is None:
            lack(f"{family}-legacy is not installed")
        (tmp_path / family).symlink_to(str(legacy))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with Namespace("legacy") as place, Engine(place) as engine:
        engine.docker("run", "--detach", "--name", "web", "-p", "8080:80", IMAGE, "sleep", "1000000")
        document = product.snapshot(place, "--docker-host", engine.url)
    assert document["host"]["docker"]["firewall_backend"] == "iptables-legacy"
    assert document["host"]["docker"]["userland_proxy"] is True
    rule = network_of(document, "bridge")["rule"]
    assert (rule["backend"], rule["action"], rule["sources"]) == ("iptables-legacy", "MASQUERADE", ["172.17.0.0/16"])
