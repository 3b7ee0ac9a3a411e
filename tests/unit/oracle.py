"""Whose a flow is and the way it takes, by plain loops over one flow after the other; and the names of TCP's states."""

from collections.abc import Sequence

from natop.model import Container, Kind
from tests.unit.plain import DST_NAT, SRC_NAT, Flow

STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"),
    *("LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
"""linux/netfilter/nf_conntrack_tcp.h, by number."""


def judged(
    flow: Flow, containers: tuple[Container, ...], host: tuple[str, ...]
) -> tuple[Container | None, Container | None, Kind]:
    """What the words of the model say of one flow, by its addresses alone."""

    def owner(address: str) -> Container | None:
        return next((c for c in containers for p in c.networks if address in (p.ipv4, p.ipv6)), None)

    client, server = owner(flow.orig.src), owner(flow.reply.src)
    dnat, snat = flow.status & DST_NAT, flow.status & SRC_NAT
    if server and dnat:
        return client, server, Kind.HAIRPIN if snat else Kind.PUBLISHED
    if client and snat:
        return client, server, Kind.MASQUERADED
    if client and server:
        return client, server, Kind.INTERNAL
    if client or server:
        return client, server, Kind.ROUTED
    of_host = set(host) - {address for address in host if owner(address)}
    if flow.orig.src in of_host and snat and not dnat and flow.reply.dst == flow.orig.src:
        return None, None, Kind.REMAPPED
    ends = [end for end in (flow.orig.src, flow.orig.dst, flow.reply.src) if not owner(end)]
    return None, None, Kind.HOST if set(ends) & set(host) else Kind.FORWARDED


class History:
    """Judges one dump after the other, and so knows who is gone.

    A flow is known again by its id and the client's address and port.
    """

    def __init__(self) -> None:
        self._containers: Sequence[Container] = ()
        self._former: set[str] = set()
        """Addresses that were a container's and are not the same one's any more."""
        self._gone: set[tuple[int, str, int, str]] = set()
        """Which ends of which flows were of somebody gone at the dump before."""
        self._sure: set[tuple[int, str, int]] = set()
        """The flows of that dump but those first seen when nobody had their address: they may be its next owner's."""

    def judged(
        self, flows: Sequence[Flow], containers: tuple[Container, ...], host: tuple[str, ...]
    ) -> list[tuple[Container | None, Container | None, Kind]]:
        had, have = _addresses(self._containers), _addresses(containers)
        self._former |= {address for address, _ in had - have}
        self._containers = containers
        found = [self._one(flow, containers, host) for flow in flows]
        self._gone = {(*_key(flow), end) for flow, (_, ends) in zip(flows, found, strict=True) for end in ends}
        ownerless = self._former - {address for address, _ in have} - set(host)
        self._sure = {
            _key(flow) for flow in flows if _key(flow) in self._sure or not ownerless & {flow.orig.src, flow.reply.src}
        }
        return [parties for parties, _ in found]

    def _one(
        self, flow: Flow, containers: tuple[Container, ...], host: tuple[str, ...]
    ) -> tuple[tuple[Container | None, Container | None, Kind], set[str]]:
        """Its parties, and which of its ends are of somebody gone."""
        client, server, kind = judged(flow, containers, host)
        owned = {address for address, _ in _addresses(containers)}
        gone = set()
        for end, owner, address in (("client", client, flow.orig.src), ("server", server, flow.reply.src)):
            known = (*_key(flow), end) in self._gone and _key(flow) in self._sure
            if (owner and known) or address in self._former - owned - set(host):
                gone.add(end)
        if not gone:
            return (client, server, kind), gone
        return (None if "client" in gone else client, None if "server" in gone else server, Kind.STALE), gone


def _key(flow: Flow) -> tuple[int, str, int]:
    return flow.id, flow.orig.src, flow.orig.sport


def _addresses(containers: Sequence[Container]) -> set[tuple[str, str]]:
    """Each address with the id of the container that has it."""
    places = ((container.id, place) for container in containers for place in container.networks)
    return {(address, identity) for identity, place in places for address in (place.ipv4, place.ipv6) if address}
