"""Flows as the JSON document has them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np

from natop.formats import timestamp
from natop.join.flows import Flows, has_ports, status_names
from natop.model import U16, U64, UNKNOWN32, UNKNOWN64, Addresses, Kind, Rows, address_text
from natop.uapi import PORTED, proto_name, state_name


class Icmp(msgspec.Struct, frozen=True):
    id: int
    type: int
    code: int


class End(msgspec.Struct, frozen=True):
    """One of a flow's tuples. ICMP has an id, type and code in place of ports; an unknown protocol has none."""

    src: str
    sport: int | None
    dst: str
    dport: int | None
    icmp: Icmp | None = None


class Proxy(msgspec.Struct, frozen=True):
    """What docker-proxy has to do with a flow."""

    pid: int | None
    """Null where several may have dialled it."""
    command: str | None
    half: str
    """`accepted`: the client's connection to docker-proxy; `dialled`: docker-proxy's to the container."""
    other_half: int | None
    """The id of the connection's other flow, where it is known and in the table."""


class FlowObject(msgspec.Struct, frozen=True):
    """A flow as the document has it."""

    proto: str
    state: str | None
    orig: End
    reply: End
    status: tuple[str, ...]
    timeout_s: int | None
    zone: int
    mark: int
    id: int
    packets: int | None
    bytes: int | None
    started_at: str | None
    client: str | None
    server: str | None
    client_other: str | None
    """Who the client is where it is no container: a process of the host, a container that is gone; of what docker-proxy
    dialled, the address of who called it from beyond the host."""
    server_other: str | None
    network: str | None
    """The client container's network that the flow left by, else the server's that it came in by."""
    kind: str
    proxy: Proxy | None
    """Null for flows that docker-proxy has nothing to do with."""


def flow_objects(flows: Flows, rows: Rows) -> Iterator[FlowObject]:
    """The flows of these rows of the table."""
    table = flows.table.take(rows)
    some = Flows(table, flows.attribution.take(rows), flows.containers)
    protos = table.proto.tolist()
    clients, servers = some.attribution.client.tolist(), some.attribution.server.tolist()
    packets, octets, started = (_known(c, len(rows)) for c in (table.packets, table.bytes, table.started_ns))
    proxies = _proxies(flows, rows)
    columns = zip(
        protos,
        table.state.tolist(),
        _ends(table.orig_src, table.orig_sport, table.orig_dst, table.orig_dport, protos),
        _ends(table.reply_src, table.reply_sport, table.reply_dst, table.reply_dport, protos),
        table.status.tolist(),
        table.timeout_s.tolist(),
        table.zone.tolist(),
        table.mark.tolist(),
        table.id.tolist(),
        strict=True,
    )
    for row, (proto, state, orig, reply, status, timeout, zone, mark, identity) in enumerate(columns):
        start = started[row]
        yield FlowObject(
            proto_name(proto),
            state_name(proto, state),
            orig,
            reply,
            _status(status),
            None if timeout == UNKNOWN32 else timeout,
            zone,
            mark,
            identity,
            packets[row],
            octets[row],
            None if start is None else timestamp(start // 1_000_000 / 1000),
            some.container(clients[row]),
            some.container(servers[row]),
            some.other(clients[row]),
            some.other(servers[row]),
            some.network(row),
            Kind(int(some.attribution.kind[row])).name,
            proxies[row],
        )


def _proxies(flows: Flows, rows: Rows) -> list[Proxy | None]:
    """For each of these rows what docker-proxy has to do with it."""
    found: list[Proxy | None] = [None] * len(rows)
    for place in np.flatnonzero(flows.copied()[rows]).tolist():
        row = int(rows[place])
        proxy, other = flows.proxy(row), flows.other_half(row)
        found[place] = Proxy(
            proxy.pid if proxy else None,
            proxy.command if proxy else None,
            "dialled" if flows.is_dialled(row) else "accepted",
            None if other is None else int(flows.table.id[other]),
        )
    return found


def _ends(src: Addresses, sport: U16, dst: Addresses, dport: U16, protos: Sequence[int]) -> Iterator[End]:
    columns = zip(_texts(src), sport.tolist(), _texts(dst), dport.tolist(), protos, strict=True)
    for source, source_port, target, port, proto in columns:
        if proto in PORTED:
            yield End(source, source_port, target, port)
        elif has_ports(proto):
            yield End(source, None, target, None)
        else:
            yield End(source, None, target, None, Icmp(source_port, port >> 8, port & 0xFF))


_address = lru_cache(1 << 16)(address_text)
_status = lru_cache(1 << 10)(status_names)


def _texts(addresses: Addresses) -> list[str]:
    pairs = zip(addresses.hi.tolist(), addresses.lo.tolist(), strict=True)
    return [_address(hi << 64 | lo) for hi, lo in pairs]


def _known(column: U64 | None, rows: int) -> list[int | None]:
    if column is None:
        return [None] * rows
    return [None if value == UNKNOWN64 else value for value in column.tolist()]
