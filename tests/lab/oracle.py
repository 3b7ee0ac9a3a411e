"""Judges that share no code with natop: what conntrack-tools and plain loops say about the same table.

A flow is a plain dict: `proto` (name or "unknown"), `number` (of the protocol), `family` (4 or 6), `orig` and `reply`
(dicts of src, dst; sport, dport, or type, code, id, or srckey, dstkey; packets, bytes where the kernel counts), `state`
(or None), `timeout_s`, `zone`, `mark`, `id`, `assured`, `replied`, `started_ns` (or None).
"""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.lab.netns import Namespace, namespace_path

Flow = dict[str, Any]
Place = Namespace | Path | str | int
NSTAT = {
    "TcpExtTCPSynRetrans": "syn_retrans",
    "TcpRetransSegs": "retrans_segs",
    "TcpOutSegs": "out_segs",
    "TcpAttemptFails": "attempt_fails",
    "TcpExtListenOverflows": "listen_overflows",
    "TcpExtListenDrops": "listen_drops",
    "TcpExtTCPTimeouts": "timeouts",
    "TcpActiveOpens": "active_opens",
    "TcpPassiveOpens": "passive_opens",
    "TcpExtTCPTimeWaitOverflow": "time_wait_overflow",
}
LAYER3 = {"2": 4, "10": 6}  # AF_INET, AF_INET6


def flows(namespace: Namespace) -> list[Flow]:
    """Every entry of the namespace's table, of both families, as `conntrack -L -o xml` tells it.

    The XML has neither ICMP's numbers nor SCTP's states (it names them by TCP's table); both are taken from the text.
    """
    text = namespace.run("conntrack", "-L", "-o", "xml,id,ktimestamp", timeout_s=120).stdout
    table = [_flow(element) for element in ElementTree.fromstring(text)] if text.strip() else []
    for proto in {flow["proto"] for flow in table} & {"icmp", "icmpv6", "sctp"}:
        details = _details(namespace, proto)
        for flow in table:
            if flow["proto"] == proto and flow["id"] in details:
                state, orig, reply = details[flow["id"]]
                flow |= {"state": state, "orig": flow["orig"] | orig, "reply": flow["reply"] | reply}
    return table


def state_counts(namespace: Namespace) -> dict[str, int]:
    """TCP states as `conntrack -L -p tcp | awk '{print $4}' | sort | uniq -c` counts them."""
    script = "conntrack -L -p tcp 2>/dev/null | awk '{print $4}' | sort | uniq -c"
    lines = namespace.run("sh", "-c", script, timeout_s=120).stdout.splitlines()
    return {state: int(count) for count, state in (line.split() for line in lines)}


def cpu_counters(namespace: Namespace) -> list[dict[str, int]]:
    """`conntrack -S`, a line a processor."""
    lines = namespace.run("conntrack", "-S").stdout.splitlines()
    return [{name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line) if name != "cpu"} for line in lines]


def counters(namespace: Namespace) -> dict[str, int]:
    """`conntrack -S`, summed over the processors."""
    total: Counter[str] = Counter()
    for cpu in cpu_counters(namespace):
        total.update(cpu)
    return dict(total)


def tcp_counters(place: Place) -> dict[str, int]:
    """What `nstat` tells of the TCP of a namespace, by natop's names."""
    command = ["nsenter", f"--net={namespace_path(place)}", "nstat", "-a", "-s", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    told = {words[0]: int(words[1]) for words in map(str.split, listing.splitlines()) if words[0] in NSTAT}
    return {NSTAT[name]: number for name, number in told.items()}


def sockets(place: Place) -> tuple[int, int]:
    """TCP sockets in use, and in TIME_WAIT, as `ss` lists them."""
    command = ["nsenter", f"--net={namespace_path(place)}", "ss", "-H", "-t", "-a", "-n"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    states = [line.split()[0] for line in listing.splitlines()]
    return len(states) - states.count("TIME-WAIT"), states.count("TIME-WAIT")


def count(namespace: Namespace) -> int:
    """`conntrack -C`: the number of entries of this namespace."""
    return int(namespace.run("conntrack", "-C").stdout)


def owners(table: Iterable[Flow], inspected: Sequence[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Flows by TCP state of each container: those with one of its addresses as original source or reply source.

    `inspected` is the JSON of `docker inspect`. Every flow counts once for a container; flows without a TCP state
    count under their protocol's name. A container without an address of its own (host or no network) has none.
    """
    result: dict[str, dict[str, int]] = {}
    entries = list(table)
    for container in inspected:
        mine = container_addresses(container)
        states: Counter[str] = Counter()
        for flow in entries:
            if flow["orig"]["src"] in mine or flow["reply"]["src"] in mine:
                states[flow["state"] if flow["proto"] == "tcp" else flow["proto"]] += 1
        result[container["Name"].lstrip("/")] = dict(states)
    return result


def directions(table: Iterable[Flow], inspected: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """(inbound, outbound) of each container: flows it serves (reply source) and flows it began (original source)."""
    entries = list(table)
    result = {}
    for container in inspected:
        mine = container_addresses(container)
        inbound = sum(1 for flow in entries if flow["reply"]["src"] in mine)
        outbound = sum(1 for flow in entries if flow["orig"]["src"] in mine)
        result[container["Name"].lstrip("/")] = (inbound, outbound)
    return result


def unowned(table: Iterable[Flow], inspected: Sequence[dict[str, Any]]) -> list[Flow]:
    """The flows of which neither end is the address of a container: the host's own and strangers'."""
    taken = {address for container in inspected for address in container_addresses(container)}
    return [flow for flow in table if flow["orig"]["src"] not in taken and flow["reply"]["src"] not in taken]


def container_addresses(container: dict[str, Any]) -> set[str]:
    """All addresses of a container on all its networks, both families, from its inspect JSON."""
    networks = (container["NetworkSettings"].get("Networks") or {}).values()
    texts = [network.get(key) for network in networks for key in ("IPAddress", "GlobalIPv6Address")]
    return {str(ipaddress.ip_address(text)) for text in texts if text}


def inspect(docker_json: str) -> list[dict[str, Any]]:
    """The parsed output of `docker inspect ID…`."""
    parsed: list[dict[str, Any]] = json.loads(docker_json)
    return parsed


def nat(flow: Flow) -> set[str]:
    """Which ends NAT rewrote ("dnat", "snat"): the reply tuple is not the plain inversion of the original one."""
    orig, reply = flow["orig"], flow["reply"]
    rewritten = set()
    if (orig["dst"], orig.get("dport")) != (reply["src"], reply.get("sport")):
        rewritten.add("dnat")
    if (orig["src"], orig.get("sport")) != (reply["dst"], reply.get("dport")):
        rewritten.add("snat")
    if orig.get("id") != reply.get("id"):
        rewritten.add("snat")
    return rewritten


def quiet(namespace: Namespace, still_s: float = 0.4, timeout_s: float = 30, margin_s: int = 5) -> list[Flow]:
    """Wait until the table stands still and nothing in it expires within `margin_s`; return its flows.

    After this, two readers that look within `margin_s` of each other see the same flows in the same states.
    """
    deadline = time.monotonic() + timeout_s
    before = flows(namespace)
    while True:
        time.sleep(still_s)
        after = flows(namespace)
        if _identities(before) == _identities(after) and all(flow["timeout_s"] > margin_s for flow in after):
            return after
        if time.monotonic() > deadline:
            raise TimeoutError(f"the table did not come to rest within {timeout_s} s ({len(after)} flows)")
        before = after


def _identities(table: Iterable[Flow]) -> set[tuple[int, str | None, bool, bool]]:
    """What must not change on a quiet table: who is there, in which state."""
    return {(flow["id"], flow["state"], flow["assured"], flow["replied"]) for flow in table}


def _details(namespace: Namespace, proto: str) -> dict[int, tuple[str | None, dict[str, int], dict[str, int]]]:
    """By conntrack id: the state and each direction's numbers, from the text output for one protocol."""
    families = {"icmp": ("ipv4",), "icmpv6": ("ipv6",)}.get(proto, ("ipv4", "ipv6"))
    lines: list[str] = []
    for name in families:
        listing = namespace.run("conntrack", "-L", "-f", name, "-p", proto, "-o", "id", timeout_s=120)
        lines += listing.stdout.splitlines()
    details = {}
    for line in lines:
        state = re.match(r"\S+ +\d+ \d+ ([A-Z_]+) ", line)
        first, second = line.split(" src=")[1:]
        identity = int(line.rsplit(" id=", 1)[1])
        details[identity] = (state[1] if state else None, _text_numbers(first), _text_numbers(second))
    return details


def _text_numbers(part: str) -> dict[str, int]:
    """ICMP's type, code and id in one direction of a line; the first `id` is ICMP's, a later one is the entry's."""
    found: dict[str, int] = {}
    for name, value in re.findall(r"\b(type|code|id)=(\d+)", part):
        if name != "id" or "type" in found:
            found.setdefault(name, int(value))
    return found


def _flow(element: ElementTree.Element) -> Flow:
    """One <flow> of the XML output."""
    parts = {meta.get("direction", ""): meta for meta in element.findall("meta")}
    common = parts["independent"]
    layer3, layer4 = _child(parts["original"], "layer3"), _child(parts["original"], "layer4")
    started = common.findtext("timestamp/start")
    return {
        "family": LAYER3[layer3.get("protonum", "")],
        "proto": layer4.get("protoname"),
        "number": int(layer4.get("protonum", "0")),
        "orig": _tuple(parts["original"]),
        "reply": _tuple(parts["reply"]),
        "state": common.findtext("state"),
        "timeout_s": int(common.findtext("timeout", "0")),
        "zone": int(common.findtext("zone", "0")),
        "mark": int(common.findtext("mark", "0")),
        "id": int(common.findtext("id", "0")),
        "assured": common.find("assured") is not None,
        "replied": common.find("unreplied") is None,
        "started_ns": int(started) if started else None,
    }


def _tuple(meta: ElementTree.Element) -> dict[str, Any]:
    """Addresses, and whatever numbers the protocol and the accounting give, of one direction."""
    layer3 = _child(meta, "layer3")
    values: dict[str, Any] = {end: str(ipaddress.ip_address(layer3.findtext(end, ""))) for end in ("src", "dst")}
    counted = meta.find("counters")
    numbers = [*_child(meta, "layer4"), *([] if counted is None else list(counted))]
    return values | {number.tag: int(number.text or "0", 0) for number in numbers}


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element:
    child = element.find(name)
    assert child is not None, f"<{element.tag}> has no <{name}>"
    return child
