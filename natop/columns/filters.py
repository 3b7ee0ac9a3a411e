"""Filters: what of containers and flows matches an expression as `container:web* dport:443 !src:10.0.0.0/8`.

A term is tried on whole columns at once: each value becomes a mask over the rows of the flow table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from natop.columns.containers import container_rows
from natop.columns.terms import (
    ADDRESS_FIELDS,
    CONTAINER_FIELDS,
    LARGEST,
    PORT_FIELDS,
    REPLY_PORT_FIELDS,
    WORD_FIELDS,
    Term,
    Value,
    terms_of,
)
from natop.join.flows import STATELESS, Flows, stateless
from natop.model import (
    NO_STATE,
    Addresses,
    Container,
    FlowTable,
    Kind,
    Mask,
    Snapshot,
    address_value,
    is_ipv4,
)
from natop.uapi import PORTED, STATEFUL, IpProto, Ips, proto_name

_OWN_FIELDS = ("container", "project", "service", "image", "network")
"""Fields that a container in the table must match itself, beside having the flows that are asked for."""
OTHERS_FIELDS = (None, "container", "client", "server")
"""Fields that may also name who is no container: a process of the host, a container that is gone."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed expression; the empty one matches everything."""

    text: str
    terms: tuple[Term, ...]

    @property
    def is_bare(self) -> bool:
        """Whether it has no term with a field."""
        return all(term.field is None for term in self.terms)

    def name(self, name: str) -> bool:
        """Whether something of that name, and with no other words, matches."""
        return all(_on_container(term, None, name) for term in self.terms)

    @property
    def asks_flows(self) -> bool:
        """Whether it has a term that only flows can match."""
        return any(term.field not in (None, *CONTAINER_FIELDS) for term in self.terms)

    def container(self, container: Container) -> bool:
        """Whether a container's own words match all terms."""
        return all(_on_container(term, container, container.name) for term in self.terms)

    def flows(self, snapshot: Snapshot) -> Mask:
        """Which rows of the snapshot's flow table match."""
        flows = Flows.of(snapshot)
        return np.zeros(0, np.bool_) if flows is None else self.rows(flows)

    def rows(self, flows: Flows) -> Mask:
        """Which rows of a flow table match."""
        found = np.ones(len(flows.table), np.bool_)
        for term in self.terms:
            found &= _on_flows(term, flows)
        return found

    def containers(self, snapshot: Snapshot) -> tuple[bool, ...]:
        """Which of `container_rows` match: by their own words and, where flows are asked for, by having such flows."""
        rows = container_rows(snapshot)
        of_flows = self.asks_flows
        own = [term for term in self.terms if term.field in _OWN_FIELDS or not of_flows]
        matching = tuple(all(_on_container(term, row.container, row.name) for term in own) for row in rows)
        if not of_flows:
            return matching
        flows = Flows.of(snapshot)
        if flows is None:
            return (False,) * len(rows)
        found = self.flows(snapshot)
        client, server = flows.attribution.client, flows.attribution.server
        owners = {*np.unique(client[found]).tolist(), *np.unique(server[found]).tolist()}
        host = bool((found & (client < 0) & (server < 0)).any())
        having = (*(index in owners for index in range(len(rows) - 1)), host)
        return tuple(own and has for own, has in zip(matching, having, strict=True))


def parse(text: str) -> Filter:
    """Raises FilterError."""
    return Filter(text, terms_of(text))


def _on_container(term: Term, container: Container | None, name: str) -> bool:
    words = _words(container, term.field) if container else [name] if term.field in (None, "container") else []
    found = any(value.matches(word) for value in term.values for word in words)
    if not found and container and term.field is None:
        found = any(_holds(value.network, container) for value in term.values)
    return found != term.negated


def _words(container: Container, field: str | None) -> list[str]:
    """The container's texts that a field means; all of them for a bare word."""
    texts: Mapping[str, Iterable[str | None]] = {
        "container": (container.name, container.id[:12], container.id),
        "project": (container.project,),
        "service": (container.service,),
        "image": (container.image,),
        "network": (place.network for place in container.networks),
    }
    fields = texts.keys() if field is None else ("container",) if field in ("client", "server") else (field,)
    return [word for name in fields for word in texts[name] if word]


def _holds(network: tuple[int, int] | None, container: Container) -> bool:
    if network is None:
        return False
    first, last = network
    own = map(address_value, container.addresses)
    addresses = (address for address in own if is_ipv4(address) == is_ipv4(first))
    return any(first <= address <= last for address in addresses)


def _on_flows(term: Term, flows: Flows) -> Mask:
    found = np.zeros(len(flows.table), np.bool_)
    for value in term.values:
        found |= _value_on_flows(value, term.field, flows)
    return ~found if term.negated else found


def _value_on_flows(value: Value, field: str | None, flows: Flows) -> Mask:
    table = flows.table
    if field is None:
        return _bare(value, flows)
    if field in CONTAINER_FIELDS:
        return _owned(value, field, flows)
    if field in WORD_FIELDS:
        return _named(value, field, flows)
    if field == "nat":
        return _nat(value, table)
    if field in ADDRESS_FIELDS:
        return _in_network(value.network, _ADDRESSES[field](table))
    found = _in_range(value.numbers, _NUMBERS[field](table), LARGEST.get(field, 0xFFFF), len(table))
    protos = _PROTOCOLS.get(field)
    return found if protos is None else found & np.isin(table.proto, protos)


def _bare(value: Value, flows: Flows) -> Mask:
    found = _owned(value, None, flows)
    for field in ("state", "kind", "proto"):
        found |= _named(value, field, flows)
    return found | _in_network(value.network, _ADDRESSES["addr"](flows.table))


def _owned(value: Value, field: str | None, flows: Flows) -> Mask:
    """Flows whose client or server (or the one that the field names) is a container with such a word."""
    matching = [any(value.matches(word) for word in _words(container, field)) for container in flows.containers]
    others = [value.matches(name) for name in flows.attribution.others] if field in OTHERS_FIELDS else []
    owned = np.array([*matching, *reversed(others or [False] * len(flows.attribution.others)), False], np.bool_)
    client, server = owned[flows.attribution.client], owned[flows.attribution.server]
    return client if field == "client" else server if field == "server" else client | server


def _named(value: Value, field: str, flows: Flows) -> Mask:
    table = flows.table
    if field == "kind":
        return np.isin(flows.attribution.kind, [kind for kind in Kind if value.matches(kind.name)])
    if field == "proto":
        occurring = np.unique(table.proto).tolist()
        return np.isin(table.proto, [proto for proto in occurring if value.matches(proto_name(proto))])
    if field == "status":
        bits = sum(flag for flag in Ips if flag.name and value.matches(flag.name))
        with_bits: Mask = (table.status & np.uint32(bits)) != 0
        return with_bits | ((table.status & Ips.SEEN_REPLY) == 0) if value.matches("UNREPLIED") else with_bits
    found = np.zeros(len(table), np.bool_)
    for proto, names in STATEFUL.items():
        states = [number for number, name in enumerate(names) if value.matches(name)]
        if states:
            found |= (table.proto == proto) & np.isin(table.state, states)
    words = [index for index, name in enumerate(STATELESS) if value.matches(name)]
    if words:
        found |= (table.state == NO_STATE) & np.isin(stateless(table.status), words)
    return found


def _nat(value: Value, table: FlowTable) -> Mask:
    """dnat, snat or none; or the address that SNAT gave the flow."""
    found = np.zeros(len(table), np.bool_)
    if value.network:
        found |= _in_network(value.network, [table.reply_dst]) & ((table.status & Ips.SRC_NAT) != 0)
    for name, bit in (("dnat", Ips.DST_NAT), ("snat", Ips.SRC_NAT)):
        if value.matches(name):
            found |= (table.status & bit) != 0
    if value.matches("none"):
        found |= (table.status & (Ips.SRC_NAT | Ips.DST_NAT)) == 0
    return found


def _in_network(network: tuple[int, int] | None, columns: Sequence[Addresses]) -> Mask:
    found = np.zeros(len(columns[0]), np.bool_)
    if network is None:
        return found
    for column in columns:
        within = column.within(*network)
        found |= within if is_ipv4(network[0]) else within & ~column.is_ipv4()
    return found


def _in_range(bounds: tuple[int, int] | None, columns: Sequence[np.ndarray | None], largest: int, rows: int) -> Mask:
    """Rows in which one of the columns lies within the bounds; an unknown number lies within none."""
    first, last = bounds or (1, 0)
    found = np.zeros(rows, np.bool_)
    for column in columns:
        if column is not None and first <= largest:
            found |= (column >= first) & (column <= min(last, largest))
    return found


_PROTOCOLS = dict.fromkeys(PORT_FIELDS, np.array(sorted(PORTED), np.uint8))
_PROTOCOLS |= dict.fromkeys(REPLY_PORT_FIELDS, np.array(sorted({*PORTED, IpProto.ICMP, IpProto.ICMPV6}), np.uint8))
"""Those in which a number is what its field says; the columns of all others hold something else, or 0."""
_ADDRESSES: Mapping[str, Callable[[FlowTable], Sequence[Addresses]]] = {
    "src": lambda table: [table.orig_src],
    "dst": lambda table: [table.orig_dst, table.reply_src],
    "addr": lambda table: [table.orig_src, table.orig_dst, table.reply_src, table.reply_dst],
    "rsrc": lambda table: [table.reply_src],
    "rdst": lambda table: [table.reply_dst],
}
_NUMBERS: Mapping[str, Callable[[FlowTable], Sequence[np.ndarray | None]]] = {
    "sport": lambda table: [table.orig_sport],
    "dport": lambda table: [table.orig_dport, table.reply_sport],
    "port": lambda table: [table.orig_sport, table.orig_dport, table.reply_sport, table.reply_dport],
    "rsport": lambda table: [table.reply_sport],
    "rdport": lambda table: [table.reply_dport],
    "zone": lambda table: [table.zone],
    "mark": lambda table: [table.mark],
    "timeout": lambda table: [table.timeout_s],
    "packets": lambda table: [table.packets],
    "bytes": lambda table: [table.bytes],
}
