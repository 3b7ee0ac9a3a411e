"""What the value of a sysctl means: one judgement a function, by thresholds that are named with their reasons."""

from natop.sysctls.kinds import About, Judge, Judgement, Sysctl, Value, Verdict, value_text

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
LOCAL_PORTS = (32_768, 60_999)
"""ip_local_port_range of a new network namespace, whatever the host's is."""
NARROW_PORTS = 14_116
"""Half of the default range: connections to one remote run out sooner, and two containers choose the same port more
often. With 64 ports 16 of 2,000 pairs of simultaneous connects lost a SYN to the race; with 28,232 none of 20,000."""
BACKLOG = 4_096
"""somaxconn's default since Linux 5.4; 128 before."""


def _judged(known: Sysctl, value: Value, about: About, sentence: str) -> Judgement:
    """No value does harm; one that is not the kernel's default is worth a note."""
    default = known.default(about.version)
    if default is None or value == default:
        return Judgement(Verdict.FINE, sentence)
    return Judgement(Verdict.NOTE, f"{sentence}; the kernel's default is {value_text(default)}")


def means(sentence: str) -> Judge:
    """A judgement that says the same of every value."""
    return lambda known, value, about: _judged(known, value, about, sentence)


def switch(off: str, on: str) -> Judge:
    """A judgement of 0 and of everything else."""
    return lambda known, value, about: _judged(known, value, about, on if value else off)


def fill(_: Sysctl, value: Value, about: About) -> Judgement:
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


def buckets(_: Sysctl, value: Value, about: About) -> Judgement:
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


def established(_: Sysctl, value: Value, __: About) -> Judgement:
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


def time_wait(_: Sysctl, value: Value, about: About) -> Judgement:
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


events = _by_value(
    "no events are sent",
    "each entry pays for events, heard or not",
    "no entry pays for events that nobody hears",
)


def port_range(known: Sysctl, value: Value, about: About) -> Judgement:
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


tw_reuse = _by_value(
    "a socket's port stays in TIME_WAIT for 60 s before a new connection may have it",
    "a new connection may have a port in TIME_WAIT after a second: good for many calls to one remote",
    "a new connection may have a port in TIME_WAIT after a second, but over loopback only",
)


def backlog(_: Sysctl, value: Value, __: About) -> Judgement:
    """By BACKLOG."""
    if isinstance(value, int) and value < BACKLOG:
        return Judgement(
            Verdict.NOTE, "no listener's queue is longer, whatever it asks for; raise it where queues overflow"
        )
    return Judgement(Verdict.FINE, "no listener's queue is longer, whatever it asks for")


def bridge(_: Sysctl, value: Value, __: About) -> Judgement:
    if value == 1:
        return Judgement(Verdict.FINE, "connections between containers of one network are in the table")
    return Judgement(Verdict.NOTE, "connections between containers of one network are not in the table")


def forward(_: Sysctl, value: Value, __: About) -> Judgement:
    if value:
        return Judgement(Verdict.FINE, "what containers send goes on to other networks")
    return Judgement(Verdict.CRITICAL, "containers reach nobody beyond their own network: nothing is forwarded")
