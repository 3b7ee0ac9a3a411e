"""Probes on a real Docker host: published ports by all their ways, and calls from inside containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from natop.collect.engine import Target
from natop.feed import LiveFeed, Source
from natop.model import Snapshot
from natop.probing import ProbeWish, parse_target
from tests.docker.line import network, running, snapshot, to
from tests.kernel import product
from tests.lab import oracle
from tests.lab.dockerhost import HOST, HOST_6, OUTSIDE, SILENT_PORT, DockerHost
from tests.lab.netns import wait_until
from tests.tui.emulator import NATOP, terminal

SIX = "fd00:19::2"
"""web6's, the first of its network."""
WITHOUT_SYS_ADMIN = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--")


def options(host: DockerHost) -> tuple[str, ...]:
    return "--netns", host.namespace.name, "--docker-host", host.url


def probe(host: DockerHost, *arguments: str, status: int = 0) -> dict[str, Any]:
    """The document that `natop probe ARGUMENTS…` prints on the lab's host."""
    done = product.natop(None, "probe", "--format", "json", *options(host), *arguments)
    assert (done.returncode, done.stderr) == (status, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ways(probes: list[dict[str, Any]], container: str) -> Counter[tuple[str, str, str | None]]:
    return Counter((each["path"], each["target"], each["error"]) for each in probes if each["container"] == container)


def test_a_snapshot_with_probes_knows_every_way_to_published_ports(docker_host: DockerHost) -> None:
    document = snapshot(*options(docker_host), "--probe", "--count", "2")
    address = docker_host.address("webserver", "bridge")
    expected = {
        (path, target, None): 2
        for port, inside in ((8080, 80), (8443, 443))
        for path, target in (
            ("container", f"{address}:{inside}"),
            ("published", f"{HOST}:{port}"),
            ("proxy", f"127.0.0.1:{port}"),
        )
    }
    assert ways(document["probes"], "webserver") == expected
    by_name = {each["name"]: each["probes"] for each in document["containers"]}
    assert ways(by_name["webserver"], "webserver") == expected
    assert (by_name["app1"], by_name["hostnet"], by_name["nonet"]) == ([], [], [])
    lost = [each for each in document["probes"] if each["syns_lost"]]
    assert {each["container"] for each in lost} <= {"web6"}, "IPv6 may need a second to find its neighbours"
    for each in document["probes"]:
        assert 0 < each["rtt_ms"] <= each["connect_ms"] + 1
    if docker_host.ipv6:
        assert {path for path, _, _ in ways(by_name["web6"], "web6")} == {"container", "published", "proxy"}
        assert f"[{HOST_6}]:8086" in {each["target"] for each in by_name["web6"]}


def test_without_docker_proxy_nat_answers_at_the_loopback_address(without_proxy: DockerHost) -> None:
    """And nobody at ::1, which is no failure: there is no such way."""
    document = snapshot(*options(without_proxy), "--probe")
    flows = without_proxy.quiet()
    address = without_proxy.address("webserver", "bridge")
    assert ways(document["probes"], "webserver") == {
        (path, target, None): 1
        for port, inside in ((8080, 80), (8443, 443))
        for path, target in (
            ("container", f"{address}:{inside}"),
            ("published", f"{HOST}:{port}"),
            ("loopback", f"127.0.0.1:{port}"),
        )
    }
    led_on = to(flows, dst="127.0.0.1", dport=8080)
    assert [(flow["reply"]["src"], oracle.nat(flow)) for flow in led_on] == [(address, {"dnat", "snat"})]
    assert document["conntrack"]["own_flows"] == len(document["probes"]) == len(flows)
    if without_proxy.ipv6:
        listening = without_proxy.namespace.run("ss", "-Hltn", "sport = :8086").stdout
        assert "[::]:8086" in listening, "the engine keeps the port, but nobody accepts"
        called = {(target.rpartition(":")[0], error) for _, target, error in ways(document["probes"], "web6")}
        own = [without_proxy.address("web6", "six"), HOST, "127.0.0.1", f"[{SIX}]", f"[{HOST_6}]"]
        assert called == {(each, None) for each in own}


def test_who_answers_at_the_loopback_address_is_not_claimed_where_rules_cannot_be_read(docker_host: DockerHost) -> None:
    arguments = ("--docker-host", docker_host.url, "--probe")
    document = product.snapshot(docker_host.namespace, *arguments, by=product.WITHOUT_NET_ADMIN)
    found = {path for path, _, _ in ways(document["probes"], "webserver")}
    assert found == {"container", "published", "loopback"}
    assert document["host"]["docker"]["userland_proxy"] is None


def test_flows_of_natop_s_own_are_in_no_count(docker_host: DockerHost) -> None:
    """natop ends its own by RST. docker-proxy's own calls, which a probe of it causes, are docker-proxy's and stay."""
    document = snapshot(*options(docker_host), "--probe")
    table = docker_host.quiet()
    by_proxy = {flow["id"] for flow in table if flow["state"] != "CLOSE"}
    assert len(by_proxy) == sum(each["path"] == "proxy" for each in document["probes"])
    assert {each["id"] for each in document["flows"]} <= by_proxy, "its last call may come a moment later"
    assert document["conntrack"]["own_flows"] == len(document["probes"]) == len(table) - len(by_proxy)


def test_natop_s_own_flows_count_on_request(docker_host: DockerHost) -> None:
    document = snapshot(*options(docker_host), "--probe", "--own-flows")
    own = {flow["id"] for flow in docker_host.quiet() if flow["state"] == "CLOSE"}
    assert document["conntrack"]["own_flows"] == 0
    assert len(own) == len(document["probes"])
    assert own <= {each["id"] for each in document["flows"]}


def test_a_target_from_the_host_and_from_inside_a_container(docker_host: DockerHost) -> None:
    found = probe(
        docker_host, f"{OUTSIDE}:443", f"http://{OUTSIDE}/", "--from", "app1", "--from", "app2", "--count", "1"
    )
    assert Counter((each["target"], each["path"], each["container"], each["error"]) for each in found["probes"]) == {
        (target, path, container, None): 1
        for target in (f"{OUTSIDE}:443", f"http://{OUTSIDE}/")
        for path, container in (("host", None), ("netns", "app1"), ("netns", "app2"))
    }
    moments = [datetime.fromisoformat(each["at"]) for each in found["probes"] if each["target"] == f"{OUTSIDE}:443"]
    assert (max(moments) - min(moments)).total_seconds() < 1
    asked = [each for each in found["probes"] if each["target"].startswith("http")]
    assert {each["http_status"] for each in asked} == {200}
    assert all(each["first_byte_ms"] > 0 for each in asked)
    sources = {flow["orig"]["src"] for flow in to(oracle.flows(docker_host.namespace), dst=OUTSIDE, dport=443)}
    assert sources == {HOST, *(docker_host.address(app, "internal") for app in ("app1", "app2"))}


def test_what_hangs_fails_by_name_and_by_exit_status(docker_host: DockerHost) -> None:
    found = probe(
        docker_host, f"{OUTSIDE}:{SILENT_PORT}", "--from", "app1", "--count", "1", "--timeout", "1.5", status=1
    )
    assert {(each["path"], each["error"], each["syns_lost"]) for each in found["probes"]} == {
        ("host", "timed out", 1),
        ("netns", "timed out", 1),
    }


def test_a_container_without_a_network_cannot_reach_anything(docker_host: DockerHost) -> None:
    found = probe(docker_host, f"{OUTSIDE}:443", "--from", "nonet", "--from", "hostnet", "--count", "1", status=1)
    assert {each["container"]: each["error"] for each in found["probes"]} == {
        None: None,
        "hostnet": None,
        "nonet": "unreachable",
    }


def test_a_container_that_stops_in_mid_probe_is_an_error_by_name(docker_host: DockerHost) -> None:
    with running(docker_host, "leaver", "internal"):
        command = [sys.executable, "-m", "natop", "probe", *options(docker_host), "--format", "json"]
        command += [f"{OUTSIDE}:443", "--from", "leaver", "--count", "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as natop:
            inside = docker_host.address("leaver", "internal")
            table = lambda: to(oracle.flows(docker_host.namespace), src=inside)  # noqa: E731  # polled below
            wait_until(table, what="the first call from inside")
            docker_host.docker("stop", "leaver")
            out, err = natop.communicate(timeout=60)
    assert (natop.returncode, err) == (1, "")
    by_path: dict[str, list[str | None]] = {"host": [], "netns": []}
    for each in sorted(json.loads(out)["probes"], key=lambda each: str(each["at"])):
        by_path[each["path"]].append(each["error"])
    assert by_path["host"] == [None] * 4
    assert by_path["netns"][0] is None
    assert by_path["netns"][-1] == "namespace gone"
    assert set(by_path["netns"]) <= {None, "namespace gone", "unreachable"}


def test_a_container_that_stops_while_a_connect_hangs_is_an_error_by_name(docker_host: DockerHost) -> None:
    """The socket outlives the container, cut off; its probe ends in time, no SYN having been sent since."""
    with running(docker_host, "leaver", "internal"):
        inside = docker_host.address("leaver", "internal")
        silent = f"{OUTSIDE}:{SILENT_PORT}"
        command = ("--format", "json", silent, "--from", "leaver", "--count", "2", "--timeout", "6")
        started = time.monotonic()

        def calls() -> Any:
            return to(oracle.flows(docker_host.namespace), src=inside, dport=SILENT_PORT)

        with product.start(None, "probe", *options(docker_host), *command) as natop:
            wait_until(calls, what="the call from inside")
            assert [(flow["state"], flow["replied"]) for flow in calls()] == [("SYN_SENT", False)]
            docker_host.docker("stop", "leaver")
            assert natop.poll() is None, "it hangs still"
            out, err = natop.communicate(timeout=60)
    assert (natop.returncode, err) == (1, "")
    assert time.monotonic() - started > 12, "the host's own call hung as long as it may"
    told: dict[str, list[tuple[str, int | None]]] = {"host": [], "netns": []}
    for each in sorted(json.loads(out)["probes"], key=lambda each: str(each["at"])):
        told[each["path"]].append((each["error"], each["syns_lost"]))
    assert told["host"] == [("timed out", 5), ("timed out", 5)]
    assert [error for error, _ in told["netns"]] == ["namespace gone", "namespace gone"]
    sent_again, none_sent = (lost for _, lost in told["netns"])
    assert sent_again is not None
    assert sent_again < 5
    assert none_sent is None


@pytest.mark.parametrize(("name", "said"), [("nobody", "no such container"), ("leaver", "the container is exited")])
def test_a_container_that_is_unknown_or_stopped_cannot_be_called_from(
    docker_host: DockerHost, name: str, said: str
) -> None:
    with running(docker_host, "leaver", "internal", command="exit 0"):
        wait_until(
            lambda: docker_host.docker("inspect", "--format", "{{.State.Status}}", "leaver") == "exited",
            what="the container's end",
        )
        done = product.natop(None, "probe", *options(docker_host), f"{OUTSIDE}:443", "--from", name)
    assert (done.returncode, done.stdout) == (3, "")
    assert said in done.stderr


def test_without_the_right_to_enter_namespaces_only_the_host_calls(docker_host: DockerHost) -> None:
    arguments = ("--docker-host", docker_host.url)
    done = product.natop(
        docker_host.namespace, "probe", *arguments, f"{OUTSIDE}:443", "--from", "app1", by=WITHOUT_SYS_ADMIN
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "CAP_SYS_ADMIN" in done.stderr
    document = product.snapshot(docker_host.namespace, *arguments, "--probe", by=WITHOUT_SYS_ADMIN)
    assert {each["error"] for each in document["probes"]} == {None}


def test_the_live_feed_follows_containers_that_come_and_go(docker_host: DockerHost) -> None:
    source = Source(str(docker_host.namespace.path), Target(docker_host.url))
    live = LiveFeed(source, 0.5)

    def series(taken: Snapshot) -> dict[str | None, set[str]]:
        found: dict[str | None, set[str]] = {}
        for each in taken.probes or ():
            found.setdefault(each.last.container_name, set()).add(each.last.path)
        return found

    def until(wanted: str, timeout_s: float = 60.0) -> Snapshot:
        deadline = time.monotonic() + timeout_s
        for taken in live:
            if len(series(taken).get(wanted, ())) == 3:
                return taken
            assert time.monotonic() < deadline, series(taken)
        raise AssertionError("the feed ended")

    with closing(live):
        first = next(iter(live))
        assert (first.probes, first.is_probing) == (None, False)
        live.probe(ProbeWish())
        assert until("webserver").is_probing
        with running(docker_host, "comer", "internal", "-p", "8099:80", command="exec httpd -f -p 80 -h /www"):
            taken = until("comer")
            assert taken.whole is not None
        app = next(each for each in taken.inventory.containers if each.name == "app1") if taken.inventory else None
        assert app is not None
        live.probe(ProbeWish(published=False, targets=(replace(parse_target(f"{OUTSIDE}:443"), sources=(app.id,)),)))
        deadline = time.monotonic() + 10
        for taken in live:
            if {"host", "netns"} <= {each.last.path for each in taken.probes or ()}:
                break
            assert time.monotonic() < deadline
        live.probe(None)
        assert not next(iter(live)).is_probing


def test_the_live_view_calls_nobody_before_its_key_is_pressed_nor_after_it_is_pressed_again(
    docker_host: DockerHost,
) -> None:
    """Judged by the kernel's table; the screen says `probing` meanwhile, and names every way."""

    def calls() -> set[int]:
        return {flow["id"] for flow in to(oracle.flows(docker_host.namespace), dport=8080)}

    with terminal((*NATOP, *options(docker_host), "--config", os.devnull, "--interval", "0.5"), 120, 40) as screen:
        screen.until(lambda shown: "webserver" in shown.text).type("4")
        screen.until(lambda shown: "nothing is probed" in shown.text).watch(5)
        assert oracle.flows(docker_host.namespace) == []
        screen.type("P")
        screen.until(lambda shown: "probing" in shown.lines[0] and "proxy webserver" in shown.text)
        for way in ("container webserver", "published webserver"):
            assert way in screen.text
        screen.until(lambda _: len(calls()) >= 4)
        screen.type("P")
        screen.until(lambda shown: "not probing" in shown.text).watch(1)
        assert "probing" not in screen.lines[0]
        before = calls()
        screen.watch(5)
        assert calls() <= before
        screen.type("q")
        assert screen.wait() == 0


def test_the_live_view_names_whom_the_host_cannot_call(docker_host: DockerHost) -> None:
    lan = ("--driver", "macvlan", "--subnet", "198.18.0.0/24", "--opt", "parent=pub0")
    command = (*NATOP, *options(docker_host), "--config", os.devnull, "--interval", "0.5")
    with (
        network(docker_host, "lan", *lan),
        running(docker_host, "wired", "lan", "--ip", "198.18.0.77"),
        terminal(command, 160, 50) as screen,
    ):
        screen.until(lambda shown: "wired" in shown.text).type("4P")
        screen.until(lambda shown: "this host cannot call" in shown.text and "proxy webserver" in shown.text)
        [said] = [line.strip() for line in screen.lines if "this host cannot call" in line]
        assert {"nonet (no network)", "wired (macvlan)"} <= set(
            said.removeprefix("this host cannot call ").split(" · ")
        )
        screen.type("q")
        assert screen.wait() == 0
