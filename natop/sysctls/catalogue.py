"""The sysctls that natop knows, each declared once."""

from collections.abc import Mapping

from natop.sysctls import judging
from natop.sysctls.judging import BACKLOG, LOCAL_PORTS, means, switch
from natop.sysctls.kinds import About, Area, Judgement, Scope, Sysctl, Value

_ALWAYS = (0, 0)


def _timeout(name: str, seconds: int, sentence: str) -> Sysctl:
    return Sysctl(f"net/netfilter/nf_conntrack_{name}", Area.TABLE, means(sentence), ((_ALWAYS, seconds),), "s")


CATALOGUE = (
    Sysctl("net/netfilter/nf_conntrack_max", Area.TABLE, judging.fill, unit="entries", scope=Scope.GLOBAL),
    Sysctl("net/netfilter/nf_conntrack_buckets", Area.TABLE, judging.buckets, unit="buckets", scope=Scope.GLOBAL),
    Sysctl(
        "net/netfilter/nf_conntrack_tcp_timeout_established",
        Area.TABLE,
        judging.established,
        ((_ALWAYS, 432_000),),
        "s",
    ),
    Sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", Area.TABLE, judging.time_wait, ((_ALWAYS, 120),), "s"),
    _timeout("tcp_timeout_close_wait", 60, "entries stay for so long after the first FIN was acknowledged"),
    _timeout("tcp_timeout_fin_wait", 120, "entries stay for so long after the first FIN"),
    _timeout("tcp_timeout_last_ack", 30, "entries stay for so long after the second FIN"),
    _timeout("tcp_timeout_syn_sent", 120, "a SYN that nobody answers holds its entry and its NAT port for so long"),
    _timeout("tcp_timeout_syn_recv", 60, "a handshake that does not end holds its entry for so long"),
    _timeout("tcp_timeout_unacknowledged", 300, "ESTABLISHED flows with data in flight are kept for so long"),
    _timeout("tcp_timeout_max_retrans", 300, "ESTABLISHED flows whose segments are sent again stay for so long"),
    _timeout("tcp_timeout_close", 10, "entries stay for so long after an RST"),
    _timeout("udp_timeout", 30, "UDP that was not answered, or for no longer than 2 s, keeps its NAT for so long"),
    Sysctl(
        "net/netfilter/nf_conntrack_udp_timeout_stream",
        Area.TABLE,
        means("UDP that is answered for longer than 2 s keeps its NAT for so long"),
        ((_ALWAYS, 180), ((5, 0), 120)),
        "s",
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_tcp_be_liberal",
        Area.TABLE,
        switch(
            "segments out of the window are invalid; 1 helps where `invalid` and resets rise together",
            "segments out of the window pass as if they fitted",
        ),
        ((_ALWAYS, 0),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_tcp_loose",
        Area.TABLE,
        switch(
            "connections whose beginning was not seen are invalid: after a flush all of them break",
            "connections whose beginning was not seen are taken on, without the NAT they had",
        ),
        ((_ALWAYS, 1),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_acct",
        Area.TABLE,
        switch("packets and bytes are not counted", "packets and bytes of each new entry are counted"),
        ((_ALWAYS, 0),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_timestamp",
        Area.TABLE,
        switch("when an entry began is not kept", "each new entry keeps when it began"),
        ((_ALWAYS, 0),),
    ),
    Sysctl("net/netfilter/nf_conntrack_events", Area.TABLE, judging.events, ((_ALWAYS, 1), ((5, 19), 2))),
    Sysctl(
        "net/netfilter/nf_conntrack_checksum",
        Area.TABLE,
        switch("damaged packets are tracked like others", "damaged packets are invalid"),
        ((_ALWAYS, 1),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_log_invalid",
        Area.TABLE,
        switch("invalid packets are not logged", "invalid packets of this protocol (255: of all) are logged"),
        ((_ALWAYS, 0),),
    ),
    Sysctl("net/ipv4/ip_local_port_range", Area.SOCKETS, judging.port_range, ((_ALWAYS, LOCAL_PORTS),), "ports"),
    Sysctl(
        "net/ipv4/ip_local_reserved_ports",
        Area.SOCKETS,
        switch("no port is kept back", "the kernel chooses none of these as a source port; NAT may"),
        ((_ALWAYS, ()),),
        "ports",
    ),
    Sysctl("net/ipv4/tcp_tw_reuse", Area.SOCKETS, judging.tw_reuse, ((_ALWAYS, 0), ((4, 19), 2))),
    Sysctl(
        "net/ipv4/tcp_tw_reuse_delay",
        Area.SOCKETS,
        means("tcp_tw_reuse gives a port to a new connection after so long"),
        (((6, 14), 1_000),),
        "ms",
    ),
    Sysctl(
        "net/ipv4/tcp_max_tw_buckets",
        Area.SOCKETS,
        means("more sockets than this do not wait in TIME_WAIT; time_wait_overflow counts them"),
        unit="sockets",
    ),
    Sysctl("net/core/somaxconn", Area.SOCKETS, judging.backlog, ((_ALWAYS, 128), ((5, 4), BACKLOG)), "connections"),
    Sysctl(
        "net/ipv4/tcp_syn_linear_timeouts",
        Area.SOCKETS,
        means("so many SYNs are sent again a second apart, the others at doubling distances"),
        (((6, 5), 4),),
        "SYNs",
    ),
    Sysctl(
        "net/ipv4/tcp_syn_retries",
        Area.SOCKETS,
        means("a SYN without an answer is sent again so often before connect() fails"),
        ((_ALWAYS, 6),),
        "SYNs",
    ),
    Sysctl("net/bridge/bridge-nf-call-iptables", Area.ROUTER, judging.bridge, ((_ALWAYS, 1),)),
    Sysctl("net/bridge/bridge-nf-call-ip6tables", Area.ROUTER, judging.bridge, ((_ALWAYS, 1),)),
    Sysctl("net/ipv4/ip_forward", Area.ROUTER, judging.forward, ((_ALWAYS, 0),)),
)
"""In the order shown."""

BY_NAME = {each.name: each for each in CATALOGUE}
PATHS = tuple(each.path for each in CATALOGUE)
"""Below /proc/sys; those that a host's reading asks for."""
INSIDE = tuple(each.path for each in CATALOGUE if each.scope is Scope.NETNS and each.area is not Area.ROUTER)
"""Those that may differ inside a container, and matter there."""


def number_of(values: Mapping[str, Value], name: str) -> int:
    """A sysctl of one number; the kernel's default, which there must be one of, where it was not read."""
    told, known = values.get(name), BY_NAME[name].default(None)
    number = told if isinstance(told, int) else known
    assert isinstance(number, int)
    return number


def judge(name: str, value: Value, about: About) -> Judgement | None:
    """What a value means; None for a name that is not in the catalogue."""
    known = BY_NAME.get(name)
    return known.judge(known, value, about) if known else None


def differing(own: Mapping[str, Value], host: Mapping[str, Value], *, tracks: bool) -> dict[str, Value]:
    """A container's sysctls that are not as the host's; those of the table only where it `tracks` flows itself."""
    areas = (Area.SOCKETS, Area.TABLE) if tracks else (Area.SOCKETS,)
    return {
        name: value
        for name, value in own.items()
        if name in BY_NAME and BY_NAME[name].area in areas and host.get(name) != value
    }
