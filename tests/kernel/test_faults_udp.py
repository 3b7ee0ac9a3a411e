"""UDP's faults on the real kernel: containers that race for a source port, and flows that lead where nobody is.

The judges are `conntrack -S`, `conntrack -L`, what the clients had to ask again, and what the servers got.
"""

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from natop.demo.shapes import make_id
from tests.kernel import twins
from tests.kernel.faulthost import (
    ADDRESSES,
    BRIDGE,
    DNS_PORT,
    FAR,
    HOST,
    OUTSIDE,
    FaultHost,
    Watch,
    grave,
    number_behind,
    quiet,
    rules,
    the,
)
from tests.lab import oracle
from tests.lab.netns import Namespace, entered, wait_until
from tests.lab.traffic import Responder

ENOUGH, RACES = 5, 24
"""Datagrams that a test wants to see lost, and the races at most to that end."""
QUESTIONS = 16
ANEW = "172.31.0.9"
PATIENCE_S = 0.3


def race(
    made: FaultHost, names: list[str], races: int = RACES, counter: str = "insert_failed", enough: int = ENOUGH
) -> int:
    """Races of such containers until conntrack has counted enough; how many questions were sent again."""
    askers = [(made.inside[name].path, ADDRESSES[name]) for name in names]
    asked_again = 0
    for number in range(races):
        first = 40_000 + number * QUESTIONS
        asked_again += twins.race(askers, (FAR, 53), range(first, first + QUESTIONS))
        if oracle.counters(made.host)[counter] >= enough:
            break
    return asked_again


def test_containers_that_ask_from_one_port_at_once(made: FaultHost) -> None:
    """What is lost is told as UDP's, not as a race of SYNs; the remedy as printed ends it, until it is undone."""
    with Responder(made.outside, [FAR], [53]):
        with Watch(made) as watch:
            asked_again = race(made, ["web", "app"])
            told = watch.verdict()
        judged = oracle.counters(made.host)
        lost = judged["insert_failed"]
        assert judged["drop"] == lost >= ENOUGH
        assert asked_again >= lost
        assert grave(told) == [("udp-port-clash", HOST)]
        finding = the(told, "udp-port-clash")
        assert f": about {lost} datagrams lost" in finding["summary"]
        assert number_behind(finding, "insert_failed") == lost
        assert any(f"to {FAR}:53/udp" in each and "web" in each and "app" in each for each in finding["evidence"])
        remedy = finding["remedies"][0]
        for command in remedy["commands"]:
            made.host.run("sh", "-c", command)
        made.host.flush()
        with Watch(made) as watch:
            race(made, ["web", "app"], races=4, enough=lost + ENOUGH)
            quiet(watch.verdict())
        assert oracle.counters(made.host)["insert_failed"] == lost
        for command in remedy["undo"]:
            made.host.run("sh", "-c", command)
        made.host.flush()
        race(made, ["web", "app"], enough=lost + ENOUGH)
        assert oracle.counters(made.host)["insert_failed"] >= lost + ENOUGH


def test_twins_of_one_socket_are_harmless(made: FaultHost) -> None:
    """As a resolver's A and AAAA: the kernel counts their clashes apart and loses nothing."""
    with Responder(made.outside, [FAR], [53]), Watch(made) as watch:
        race(made, ["app"], counter="clash_resolve")
        told = watch.verdict()
    judged = oracle.counters(made.host)
    assert judged["clash_resolve"] >= ENOUGH
    assert judged["insert_failed"] == judged["drop"] == 0
    quiet(told, but=["clash-resolve"])
    assert number_behind(the(told, "clash-resolve"), "clash_resolve") == judged["clash_resolve"]


# Flows that lead where nobody is


def udp(place: Namespace, address: str, port: int) -> socket.socket:
    with entered(place):
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind((address, port))
    own.settimeout(PATIENCE_S)
    return own


def heard(server: socket.socket) -> bool:
    """Whether a datagram comes to a server in time."""
    try:
        return bool(server.recv(64))
    except TimeoutError:
        return False


@contextlib.contextmanager
def web_anew(made: FaultHost, address: str) -> Iterator[socket.socket]:
    """Web created anew with that address and with what was published; the socket that serves it."""
    made.unplug(ADDRESSES["web"])
    made.inside["web"].close()
    made.engine.inventory.remove("web")
    with Namespace("anew") as anew:
        made.plug(anew, address)
        made.host.run("ip", "neighbour", "flush", "dev", BRIDGE)  # the address answers from another link now
        with udp(anew, address, 53) as server:
            now = datetime.now(UTC).isoformat()
            made.run("web", anew, address, id=make_id("web anew"), started_at=now)
            made.publish(address)
            yield server


def test_a_flow_that_keeps_to_a_container_that_is_gone(made: FaultHost) -> None:
    """Each packet refreshes the entry, so what has taken the container's place hears nothing until it is deleted."""
    with udp(made.outside, FAR, 40_000) as client, udp(made.inside["web"], ADDRESSES["web"], 53) as server:
        client.connect((OUTSIDE, DNS_PORT))
        with Watch(made) as watch:
            client.send(b"question")
            assert heard(server)
            assert rules(watch.verdict()) == []
            with web_anew(made, ANEW) as other:
                client.send(b"question")
                assert not heard(other)
                wait_until(lambda: "stale-mapping" in rules(watch.verdict()), what="the flow to be stale")
                told = watch.verdict()
                stale = [each for each in oracle.flows(made.host) if each["reply"]["src"] == ADDRESSES["web"]]
                assert [each["proto"] for each in stale] == ["udp"]
                finding = the(told, "stale-mapping")
                assert finding["severity"] == "warning"
                assert finding["subject"] == "gone: web"
                assert grave(told) == [("stale-mapping", "gone: web")]
                assert f"{OUTSIDE}:{DNS_PORT}/udp" in finding["summary"]
                for command in finding["remedies"][0]["commands"]:
                    made.host.run("sh", "-c", command)
                client.send(b"question")
                assert heard(other)
                quiet(watch.verdict())


def test_a_service_created_anew_at_its_old_address(made: FaultHost) -> None:
    """Old entries lead to the right place, and nothing is wrong."""
    with udp(made.outside, FAR, 40_000) as client, udp(made.inside["web"], ADDRESSES["web"], 53) as server:
        client.connect((OUTSIDE, DNS_PORT))
        with Watch(made) as watch:
            client.send(b"question")
            assert heard(server)
            assert rules(watch.verdict()) == []
            with web_anew(made, ADDRESSES["web"]) as other:
                wait_until(lambda: knows(watch, make_id("web anew")), what="natop to know of it")
                client.send(b"question")
                assert heard(other)
                quiet(watch.verdict())


def test_a_machine_on_the_bridge_that_is_no_container(made: FaultHost) -> None:
    """As a virtual machine there: what DNAT leads to it is no concern while ARP finds it, and stale once it is gone."""
    with udp(made.outside, FAR, 40_000) as client, Namespace("machine") as machine:
        client.connect((OUTSIDE, DNS_PORT))
        made.plug(machine, ANEW)
        made.publish(ANEW)
        with udp(machine, ANEW, 53) as server:
            client.send(b"question")
            assert heard(server)
            quiet(made.doctor())
            made.unplug(ANEW)
            made.host.run("ip", "neighbour", "flush", "dev", BRIDGE)  # as a minute without an answer does
            client.send(b"question")
            told = made.doctor()
            assert grave(told) == [("stale-mapping", f"gone: {ANEW}")]
            finding = the(told, "stale-mapping")
            assert (
                finding["summary"] == f"{OUTSIDE}:{DNS_PORT}/udp still leads to {ANEW}, which no container has: 1 flow"
            )
            for command in finding["remedies"][0]["commands"]:
                made.host.run("sh", "-c", command)
            quiet(made.doctor())


def knows(watch: Watch, identity: str) -> bool:
    return any(each.container.id == identity for each in watch.look().containers)
