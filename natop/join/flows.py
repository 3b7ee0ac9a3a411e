"""What a flow is called: its ends, its state, its way through NAT, and the names of its owners."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from natop.formats import host_port
from natop.model import (
    NO_STATE,
    U8,
    U32,
    Attachment,
    Attribution,
    Container,
    DockerProxy,
    FlowReading,
    FlowTable,
    Mask,
    Snapshot,
)
from natop.uapi import PORTED, IpProto, Ips, proto_name, state_name

UNKNOWN = "unknown"
"""Who is at an end where nobody is known to be."""


class Flows(NamedTuple):
    """A flow table and the containers that its attribution names."""

    table: FlowTable
    attribution: Attribution
    containers: Sequence[Container]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Flows | None":
        reading: FlowReading | None = snapshot.reading
        containers = snapshot.inventory.containers if snapshot.inventory else ()
        return cls(reading.flows, reading.attribution, containers) if reading else None

    def client(self, row: int) -> str | None:
        return self._name(int(self.attribution.client[row]))

    def server(self, row: int) -> str | None:
        return self._name(int(self.attribution.server[row]))

    def _name(self, code: int) -> str | None:
        return self.container(code) or self.other(code)

    def container(self, code: int) -> str | None:
        """The name of the container that a code of the attribution stands for."""
        return self.containers[code].name if code >= 0 else None

    def other(self, code: int) -> str | None:
        """The name of whom a code stands for who is no container."""
        return self.attribution.others[-2 - code] if code < -1 else None

    def proxy(self, row: int) -> DockerProxy | None:
        """The docker-proxy that copies the flow, where one does and its process is known."""
        halves = self.attribution.halves
        index = int(halves.proxy[row]) if halves else -1
        return halves.proxies[index] if halves and index >= 0 else None

    def other_half(self, row: int) -> int | None:
        """The row of the other flow of a connection through docker-proxy, where it is known."""
        other = int(self.attribution.halves.other[row]) if self.attribution.halves else -1
        return other if other >= 0 else None

    def is_dialled(self, row: int) -> bool:
        """Whether docker-proxy opened the flow."""
        return bool(self.attribution.halves and self.attribution.halves.dialled[row])

    def copied(self) -> Mask:
        """Which flows docker-proxy is known to copy."""
        halves = self.attribution.halves
        if halves is None:
            return np.zeros(len(self.table), np.bool_)
        copied: Mask = (halves.proxy >= 0) | halves.dialled
        return copied

    def is_copied(self, row: int) -> bool:
        return self.proxy(row) is not None or self.is_dialled(row)

    def network(self, row: int) -> str | None:
        """The network of the client container that the flow left by, else of the server's that it came in by."""
        ends = (
            (int(self.attribution.client[row]), self.table.orig_src),
            (int(self.attribution.server[row]), self.table.reply_src),
        )
        for code, addresses in ends:
            if code >= 0:
                address = addresses.text(row)
                for place in self._places(self.containers[code]):
                    if address in (place.ipv4, place.ipv6):
                        return place.network
        return None

    def _places(self, container: Container) -> Sequence[Attachment]:
        """Its own places on networks, or those of the container whose namespace it joined."""
        seen: set[str] = set()
        while container.joined and container.id not in seen:
            seen.add(container.id)
            container = next((each for each in self.containers if each.id == container.joined), container)
        return container.networks


def has_ports(proto: int) -> bool:
    """False for ICMP, whose port columns hold id, type and code; those of an unknown protocol hold 0."""
    return proto not in (IpProto.ICMP, IpProto.ICMPV6)


def endpoint(address: str, port: int, proto: int) -> str:
    """address:port, an IPv6 address in brackets; the address alone where the protocol has no ports."""
    return host_port(address, port) if proto in PORTED else address


def service(address: str, port: int, proto: int) -> str:
    """An endpoint with its protocol, as `198.51.100.7:443/tcp`."""
    return f"{endpoint(address, port, proto)}/{proto_name(proto)}"


def status_names(status: int) -> tuple[str, ...]:
    """The names of the IPS bits that are set, lowest bit first."""
    return tuple(flag.name for flag in Ips if status & flag and flag.name)


def flow_state(table: FlowTable, row: int) -> str:
    """State as `conntrack -L` shows it; where there is none, the word of STATELESS that the status bits give."""
    state = int(table.state[row])
    if state != NO_STATE:
        return state_name(int(table.proto[row]), state) or str(state)
    return STATELESS[int(stateless(table.status[row : row + 1])[0])]


STATELESS = ("OFFLOAD", "ASSURED", "SEEN_REPLY", "UNREPLIED")
"""What stands for a state where conntrack has, or tells, none: by the IPS bits, the first that holds."""


def stateless(status: U32) -> U8:
    """The index in STATELESS for each row's status bits."""
    bits = [(status & bit) != 0 for bit in (Ips.OFFLOAD, Ips.ASSURED, Ips.SEEN_REPLY)]
    return np.select(bits, [np.uint8(index) for index in range(len(bits))], np.uint8(len(bits)))


def nat_text(table: FlowTable, row: int) -> str:
    status = int(table.status[row])
    return "+".join(name for flag, name in ((Ips.DST_NAT, "DNAT"), (Ips.SRC_NAT, "SNAT")) if status & flag)


def client_end(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.orig_src.text(row), int(table.orig_sport[row]), int(table.proto[row]))


def called_end(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.orig_dst.text(row), int(table.orig_dport[row]), int(table.proto[row]))


def answering_end(flows: Flows, row: int) -> str:
    table = flows.table
    return endpoint(table.reply_src.text(row), int(table.reply_sport[row]), int(table.proto[row]))


def proxy_name(proxy: DockerProxy | None) -> str:
    return f"docker-proxy[{proxy.pid}]" if proxy else "docker-proxy"


def path_text(flows: Flows, row: int) -> str:
    """The whole way in one line; of a connection through docker-proxy both its flows, ⇄ where that copies them."""
    if not flows.is_copied(row):
        return way_text(flows, row)
    proxy, other = flows.proxy(row), flows.other_half(row)
    accepted, dialled = (other, row) if flows.is_dialled(row) else (row, other)
    before = "" if accepted is None else f"{way_text(flows, accepted)} ⇄ "
    after = f" → {proxy.target}" if proxy else ""
    if dialled is not None:
        after = f" ⇄ {way_text(flows, dialled)}"
    return before + proxy_name(proxy) + after


def way_text(flows: Flows, row: int) -> str:
    """The way of one flow: client (⇒ as NATed) → called (⇒ who answers)."""
    table, proto = flows.table, int(flows.table.proto[row])
    status = int(table.status[row])
    source, target = client_end(flows, row), called_end(flows, row)
    if status & Ips.SRC_NAT:
        source += f" ⇒ {endpoint(table.reply_dst.text(row), int(table.reply_dport[row]), proto)}"
    if status & Ips.DST_NAT:
        target += f" ⇒ {answering_end(flows, row)}"
    return f"{source} → {target}"
