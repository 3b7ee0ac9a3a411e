"""The sysctls that matter to NAT and to TCP in containers: scope, default, unit, and what a value means.

Documentation/networking/nf_conntrack-sysctl.rst and ip-sysctl.rst tell what each does. A new network namespace gets the
kernel's defaults, not its parent's values; NAT goes by the host's conntrack timeouts, never by a container's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from natop.model import Version

Value = int | tuple[int, ...]
"""A number; several for a range. A list of ports is first, last, first, last …"""


class Scope(StrEnum):
    """What one value holds for."""

    GLOBAL = "global"
    """The machine; only the initial network namespace may write it."""
    NETNS = "netns"
    """One network namespace."""


class Area(StrEnum):
    """What a sysctl governs, and so where its value matters."""

    TABLE = "table"
    """Conntrack's table: of a container only where that tracks connections itself."""
    SOCKETS = "sockets"
    """The sockets of the namespace."""
    ROUTER = "router"
    """Forwarding between containers and the world: the host's alone."""


class Verdict(StrEnum):
    FINE = "fine"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class About:
    """What else is known where a value is judged; None is unknown."""

    version: Version | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """All sysctls of the same namespace, by name."""
    entries: int | None = None
    """In the conntrack table."""


@dataclass(frozen=True, slots=True)
class Sysctl:
    path: str
    """Below /proc/sys."""
    area: Area
    judge: "Judge"
    defaults: tuple[tuple[tuple[int, int], Value], ...] = ()
    """The kernel's default since each version, oldest first; none where it depends on the machine's memory."""
    unit: str = ""
    scope: Scope = Scope.NETNS

    @property
    def name(self) -> str:
        """The last part of its path, by which everything else calls it."""
        return self.path.rpartition("/")[2]

    def default(self, version: Version | None) -> Value | None:
        """The kernel's own; that of the newest where the version is unknown."""
        known = [value for since, value in self.defaults if version is None or version >= since]
        return known[-1] if known else None


Judge = Callable[[Sysctl, Value, About], Judgement]
FULL_WARNING, FULL_CRITICAL = 0.75, 0.90
"""Part of nf_conntrack_max in use: the alert NodeHighNumberConntrackEntriesUsed of node-exporter and OpenShift, and
shortly before the kernel begins to evict (95 %, gc_worker of nf_conntrack_core.c)."""
CHAIN_WARNING, CHAIN_CRITICAL = 4, 8
"""Entries in a bucket of a full table: more than the kernel's own choice has ever been; it refuses a flow whose chain
has 50 to 79 entries (MIN_CHAINLEN, MAX_CHAINLEN of nf_conntrack_core.c)."""
LONG_ESTABLISHED_S = 86_400
"""kube-proxy's --conntrack-tcp-timeout-established: an entry idle for longer is most likely of a dead peer."""
KEEPALIVE_S = 7_200
"""tcp_keepalive_time: what is not longer forgets idle connections before a keep-alive can refresh them."""
SHORT_TIME_WAIT_S = 30
"""Below it, late segments of an old connection may meet a new one; a socket's own TIME_WAIT lasts 60 s."""
EVICTING = (6, 5)
"""Since then NAT takes the port of an entry in TIME_WAIT or CLOSE when it finds no free one (nf_nat_core.c)."""
NARROW_PORTS = 14_116
"""Half of the default range: connections to one remote run out sooner, and two containers choose the same port more
often. With 64 ports 16 of 2,000 pairs of simultaneous connects lost a SYN to the race; with 28,232 none of 20,000."""
BACKLOG = 4_096
"""somaxconn's default since Linux 5.4; 128 before."""


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


def parse(text: str) -> Value | None:
    """The text of a file below /proc/sys: a number, or several; None where it is something else."""
    words = text.split()
    if not words or not all(map(_is_number, words)):
        return None
    numbers = tuple(map(int, words))
    return numbers if len(numbers) > 1 else numbers[0]


def parse_ports(text: str) -> tuple[int, ...] | None:
    """A list of ports (`8080,9000-9010`, or nothing) as first, last, first, last …; None where it is something else."""
    ends = [part.partition("-") for part in text.strip().split(",")] if text.strip() else []
    words = [word for first, dash, last in ends for word in (first, last if dash else first)]
    return tuple(map(int, words)) if all(map(_is_number, words)) else None


def _is_number(word: str) -> bool:
    """Whether it is one that 63 bits hold."""
    return word.isascii() and word.isdigit() and len(word) < 19


def value_text(value: Value) -> str:
    return "-".join(f"{part}" for part in value) if isinstance(value, tuple) else f"{value:,}"


def _judged(known: Sysctl, value: Value, about: About, sentence: str) -> Judgement:
    """No value does harm; one that is not the kernel's default is worth a note."""
    default = known.default(about.version)
    if default is None or value == default:
        return Judgement(Verdict.FINE, sentence)
    return Judgement(Verdict.NOTE, f"{sentence}; the kernel's default is {value_text(default)}")


def _means(sentence: str) -> Judge:
    """A judgement that says the same of every value."""
    return lambda known, value, about: _judged(known, value, about, sentence)


def _switch(off: str, on: str) -> Judge:
    """A judgement of 0 and of everything else."""
    return lambda known, value, about: _judged(known, value, about, on if value else off)


def _max(_: Sysctl, value: Value, about: About) -> Judgement:
    """By FULL_WARNING and FULL_CRITICAL of it in use; 0 is no limit."""
    if about.entries is None or not isinstance(value, int) or not value:
        return Judgement(Verdict.FINE, "the most entries that the table of one namespace may have")
    part = about.entries / value
    sentence = f"{about.entries:,} of {value:,} entries are in use ({100 * part:.0f} %)"
    if part > FULL_CRITICAL:
        return Judgement(Verdict.CRITICAL, f"{sentence}; new connections are dropped when it is full")
    if part > FULL_WARNING:
        return Judgement(Verdict.WARNING, f"{sentence}; raise it, and nf_conntrack_buckets with it")
    return Judgement(Verdict.FINE, sentence)


def _buckets(_: Sysctl, value: Value, about: About) -> Judgement:
    """By CHAIN_WARNING and CHAIN_CRITICAL entries in a bucket of a full table."""
    most = about.values.get("nf_conntrack_max")
    if not isinstance(most, int) or not isinstance(value, int) or not value:
        return Judgement(Verdict.FINE, "hash buckets of the table")
    sentence = f"a full table has {most / value:,.1f} entries in a bucket"
    if most > CHAIN_CRITICAL * value:
        return Judgement(Verdict.CRITICAL, f"{sentence}: slow to search, and flows may be refused; make it max / 2")
    if most > CHAIN_WARNING * value:
        return Judgement(Verdict.WARNING, f"{sentence}: slow to search; raise it along with nf_conntrack_max")
    return Judgement(Verdict.FINE, sentence)


def _established(_: Sysctl, value: Value, __: About) -> Judgement:
    """By LONG_ESTABLISHED_S above and KEEPALIVE_S below."""
    if isinstance(value, int) and value <= KEEPALIVE_S:
        return Judgement(
            Verdict.WARNING, "connections idle for so long lose their NAT before a keep-alive comes, and hang"
        )
    if isinstance(value, int) and value > LONG_ESTABLISHED_S:
        return Judgement(
            Verdict.NOTE, "entries of peers that vanished stay for days; with keep-alives 86,400 is enough"
        )
    return Judgement(Verdict.FINE, "connections may be idle for so long before they lose their NAT")


def _time_wait(_: Sysctl, value: Value, about: About) -> Judgement:
    """By SHORT_TIME_WAIT_S below; what more of it costs depends on EVICTING."""
    if isinstance(value, int) and value < SHORT_TIME_WAIT_S:
        return Judgement(Verdict.WARNING, "so short that late segments of an old connection may meet a new one")
    if about.version is not None and about.version < EVICTING:
        return Judgement(
            Verdict.NOTE, "a closed connection holds its NAT port for so long; 30 to 60 where ports run short"
        )
    return Judgement(Verdict.FINE, "a closed connection holds its NAT port for so long, unless a new one needs it")


def _by_value(*ways: str) -> Judge:
    """Judges a sysctl whose values 0, 1, … are ways of working; the last sentence is for any other value too."""

    def judge(known: Sysctl, value: Value, about: About) -> Judgement:
        way = value if isinstance(value, int) and 0 <= value < len(ways) else -1
        return _judged(known, value, about, ways[way])

    return judge


_events = _by_value(
    "no events are sent",
    "each entry pays for events, heard or not",
    "no entry pays for events that nobody hears",
)


def _port_range(known: Sysctl, value: Value, about: About) -> Judgement:
    """By NARROW_PORTS, less what ip_local_reserved_ports keeps back."""
    if not isinstance(value, tuple) or len(value) != 2:
        return Judgement(Verdict.FINE, "the source ports that the kernel chooses from")
    first, last = value
    reserved = about.values.get("ip_local_reserved_ports")
    ports = last - first + 1 - _reserved_within(reserved if isinstance(reserved, tuple) else (), first, last)
    sentence = f"{max(ports, 0):,} source ports towards each remote address and port"
    if ports < NARROW_PORTS:
        return Judgement(Verdict.WARNING, f"{sentence}: few, and the NAT race is likelier; widen it to 1024 65535")
    return _judged(known, value, about, sentence)


def _reserved_within(pairs: tuple[int, ...], first: int, last: int) -> int:
    """How many of the reserved ports are in the range."""
    ranges = zip(pairs[::2], pairs[1::2], strict=False)
    return sum(max(0, min(upper, last) - max(lower, first) + 1) for lower, upper in ranges)


_tw_reuse = _by_value(
    "a socket's port stays in TIME_WAIT for 60 s before a new connection may have it",
    "a new connection may have a port in TIME_WAIT after a second: good for many calls to one remote",
    "a new connection may have a port in TIME_WAIT after a second, but over loopback only",
)


def _backlog(_: Sysctl, value: Value, __: About) -> Judgement:
    """By BACKLOG."""
    if isinstance(value, int) and value < BACKLOG:
        return Judgement(
            Verdict.NOTE, "no listener's queue is longer, whatever it asks for; raise it where queues overflow"
        )
    return Judgement(Verdict.FINE, "no listener's queue is longer, whatever it asks for")


def _bridge(_: Sysctl, value: Value, __: About) -> Judgement:
    if value == 1:
        return Judgement(Verdict.FINE, "connections between containers of one network are in the table")
    return Judgement(Verdict.NOTE, "connections between containers of one network are not in the table")


def _forward(_: Sysctl, value: Value, __: About) -> Judgement:
    if value:
        return Judgement(Verdict.FINE, "what containers send goes on to other networks")
    return Judgement(Verdict.CRITICAL, "containers reach nobody beyond their own network: nothing is forwarded")


_ALWAYS = (0, 0)


def _timeout(name: str, seconds: int, sentence: str) -> Sysctl:
    return Sysctl(f"net/netfilter/nf_conntrack_{name}", Area.TABLE, _means(sentence), ((_ALWAYS, seconds),), "s")


CATALOGUE = (
    Sysctl("net/netfilter/nf_conntrack_max", Area.TABLE, _max, unit="entries", scope=Scope.GLOBAL),
    Sysctl("net/netfilter/nf_conntrack_buckets", Area.TABLE, _buckets, unit="buckets", scope=Scope.GLOBAL),
    Sysctl("net/netfilter/nf_conntrack_tcp_timeout_established", Area.TABLE, _established, ((_ALWAYS, 432_000),), "s"),
    Sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", Area.TABLE, _time_wait, ((_ALWAYS, 120),), "s"),
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
        _means("UDP that is answered for longer than 2 s keeps its NAT for so long"),
        ((_ALWAYS, 180), ((5, 0), 120)),
        "s",
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_tcp_be_liberal",
        Area.TABLE,
        _switch(
            "segments out of the window are invalid; 1 helps where `invalid` and resets rise together",
            "segments out of the window pass as if they fitted",
        ),
        ((_ALWAYS, 0),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_tcp_loose",
        Area.TABLE,
        _switch(
            "connections whose beginning was not seen are invalid: after a flush all of them break",
            "connections whose beginning was not seen are taken on, without the NAT they had",
        ),
        ((_ALWAYS, 1),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_acct",
        Area.TABLE,
        _switch("packets and bytes are not counted", "packets and bytes of each new entry are counted"),
        ((_ALWAYS, 0),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_timestamp",
        Area.TABLE,
        _switch("when an entry began is not kept", "each new entry keeps when it began"),
        ((_ALWAYS, 0),),
    ),
    Sysctl("net/netfilter/nf_conntrack_events", Area.TABLE, _events, ((_ALWAYS, 1), ((5, 19), 2))),
    Sysctl(
        "net/netfilter/nf_conntrack_checksum",
        Area.TABLE,
        _switch("damaged packets are tracked like others", "damaged packets are invalid"),
        ((_ALWAYS, 1),),
    ),
    Sysctl(
        "net/netfilter/nf_conntrack_log_invalid",
        Area.TABLE,
        _switch("invalid packets are not logged", "invalid packets of this protocol (255: of all) are logged"),
        ((_ALWAYS, 0),),
    ),
    Sysctl("net/ipv4/ip_local_port_range", Area.SOCKETS, _port_range, ((_ALWAYS, (32_768, 60_999)),), "ports"),
    Sysctl(
        "net/ipv4/ip_local_reserved_ports",
        Area.SOCKETS,
        _switch("no port is kept back", "the kernel chooses none of these as a source port; NAT may"),
        ((_ALWAYS, ()),),
        "ports",
    ),
    Sysctl("net/ipv4/tcp_tw_reuse", Area.SOCKETS, _tw_reuse, ((_ALWAYS, 0), ((4, 19), 2))),
    Sysctl(
        "net/ipv4/tcp_tw_reuse_delay",
        Area.SOCKETS,
        _means("tcp_tw_reuse gives a port to a new connection after so long"),
        (((6, 14), 1_000),),
        "ms",
    ),
    Sysctl(
        "net/ipv4/tcp_max_tw_buckets",
        Area.SOCKETS,
        _means("more sockets than this do not wait in TIME_WAIT; time_wait_overflow counts them"),
        unit="sockets",
    ),
    Sysctl("net/core/somaxconn", Area.SOCKETS, _backlog, ((_ALWAYS, 128), ((5, 4), BACKLOG)), "connections"),
    Sysctl(
        "net/ipv4/tcp_syn_linear_timeouts",
        Area.SOCKETS,
        _means("so many SYNs are sent again a second apart, the others at doubling distances"),
        (((6, 5), 4),),
        "SYNs",
    ),
    Sysctl(
        "net/ipv4/tcp_syn_retries",
        Area.SOCKETS,
        _means("a SYN without an answer is sent again so often before connect() fails"),
        ((_ALWAYS, 6),),
        "SYNs",
    ),
    Sysctl("net/bridge/bridge-nf-call-iptables", Area.ROUTER, _bridge, ((_ALWAYS, 1),)),
    Sysctl("net/bridge/bridge-nf-call-ip6tables", Area.ROUTER, _bridge, ((_ALWAYS, 1),)),
    Sysctl("net/ipv4/ip_forward", Area.ROUTER, _forward, ((_ALWAYS, 0),)),
)
"""In the order shown."""

BY_NAME = {each.name: each for each in CATALOGUE}
PATHS = tuple(each.path for each in CATALOGUE)
"""Below /proc/sys; those that a host's reading asks for."""
INSIDE = tuple(each.path for each in CATALOGUE if each.scope is Scope.NETNS and each.area is not Area.ROUTER)
"""Those that may differ inside a container, and matter there."""
PORT_LIST = "ip_local_reserved_ports"


def decode(texts: Mapping[str, str]) -> dict[str, Value]:
    """What files below /proc/sys said, by the sysctls' names; what is no number is left out."""
    values = {path.rpartition("/")[2]: text for path, text in texts.items()}
    found = {name: parse_ports(text) if name == PORT_LIST else parse(text) for name, text in values.items()}
    return {name: value for name, value in found.items() if value is not None}
