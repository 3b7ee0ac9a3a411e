"""Whose a flow is and the way it takes, by a plain loop over one flow; and the names of TCP's states."""

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
    """What the words of the model say of one flow."""

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
    ends = [end for end in (flow.orig.src, flow.orig.dst, flow.reply.src) if not owner(end)]
    return None, None, Kind.HOST if set(ends) & set(host) else Kind.FORWARDED
