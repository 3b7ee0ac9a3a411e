"""Hypothesis strategies for flows: of every protocol and family, with and without what a kernel may leave out."""

from hypothesis import strategies as st

from tests.unit.netlink import WITHOUT_PORTS
from tests.unit.plain import DCCP, GRE, ICMP, ICMPV6, SCTP, TCP, UDP, Ends, Flow, text

PORTS = st.integers(0, 0xFFFF)
BITS32 = st.integers(0, 0xFFFF_FFFF)
IPV4 = st.integers(0, 0xFFFF_FFFF).map(lambda number: text(0xFFFF << 32 | number))
IPV6 = st.integers(0, 2**128 - 1).filter(lambda number: number >> 32 != 0xFFFF).map(text)
PROTOS = (TCP, UDP, ICMP, ICMPV6, DCCP, GRE, SCTP, 136, *WITHOUT_PORTS)
STATES = {TCP: 9, DCCP: 9, SCTP: 8}


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any entry that ctnetlink can tell of."""
    proto = draw(st.sampled_from(PROTOS))
    address = draw(st.sampled_from((IPV4, IPV6)))
    offloaded = draw(st.booleans())
    state = draw(st.integers(0, STATES[proto])) if proto in STATES and not offloaded else None
    counted = draw(st.booleans())
    octets = st.integers(0, 2**63)
    return Flow(
        orig=draw(_ends(address, proto)),
        reply=draw(_ends(address, proto)),
        proto=proto,
        state=state,
        status=draw(BITS32),
        timeout_s=None if offloaded else draw(st.integers(0, 2**32 - 2)),
        zone=draw(PORTS),
        mark=draw(BITS32),
        id=draw(BITS32),
        packets=draw(octets) if counted else None,
        bytes=draw(octets) if counted else None,
        started_ns=draw(st.none() | octets),
        closed_by=draw(st.integers(0, 3)) if proto == TCP and state is not None else 0,
    )


def _ends(address: st.SearchStrategy[str], proto: int) -> st.SearchStrategy[Ends]:
    port = st.just(0) if proto in WITHOUT_PORTS else PORTS
    return st.builds(Ends, address, address, port, port)
