"""Numbers and names from the kernel's uapi headers, each with the header it stands in.

Names keep the header's spelling, so that they can be searched for in the kernel's sources.
"""

from enum import IntEnum, IntFlag

# linux/netlink.h
NETLINK_SOCK_DIAG = 4
NETLINK_NETFILTER = 12
NLMSG_HDRLEN = 16
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_DUMP = 0x300
NLA_HDRLEN = 4
NLA_TYPE_MASK = 0x3FFF
"""The two top bits of `nla_type` are NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

# linux/netfilter/nfnetlink.h
NFGENMSG_LEN = 4
NFNL_SUBSYS_CTNETLINK = 1
NFNETLINK_V0 = 0

# linux/sock_diag.h, linux/inet_diag.h
SOCK_DIAG_BY_FAMILY = 20
INET_DIAG_MSG_LEN = 72
INET_DIAG_CGROUP_ID = 21
"""The cgroup-v2 id of who opened the socket, since Linux 5.8: the inode of the cgroup's directory."""

# net/tcp_states.h: the states of a socket, not those of conntrack
TCP_TIME_WAIT = 6

# linux/tcp.h: offsets in `struct tcp_info`, all u32 of the host's byte order
TCP_INFO_RTT = 68
"""tcpi_rtt, microseconds."""
TCP_INFO_TOTAL_RETRANS = 100
"""tcpi_total_retrans: right after a connect, the SYNs that were sent again."""

AF_INET = 2
AF_INET6 = 10


class CtMessage(IntEnum):
    """`enum cntl_msg_types`, linux/netfilter/nfnetlink_conntrack.h."""

    NEW = 0
    GET = 1
    GET_STATS_CPU = 4
    GET_STATS = 5

    @property
    def nlmsg_type(self) -> int:
        """The message type as it stands in `nlmsghdr`: subsystem in the high byte."""
        return NFNL_SUBSYS_CTNETLINK << 8 | self


class Cta(IntEnum):
    """`enum ctattr_type`, linux/netfilter/nfnetlink_conntrack.h."""

    TUPLE_ORIG = 1
    TUPLE_REPLY = 2
    STATUS = 3
    PROTOINFO = 4
    HELP = 5
    NAT_SRC = 6
    TIMEOUT = 7
    MARK = 8
    COUNTERS_ORIG = 9
    COUNTERS_REPLY = 10
    USE = 11
    ID = 12
    NAT_DST = 13
    TUPLE_MASTER = 14
    SEQ_ADJ_ORIG = 15
    SEQ_ADJ_REPLY = 16
    SECMARK = 17
    ZONE = 18
    SECCTX = 19
    TIMESTAMP = 20
    MARK_MASK = 21
    LABELS = 22
    LABELS_MASK = 23
    SYNPROXY = 24
    FILTER = 25
    STATUS_MASK = 26
    TIMESTAMP_EVENT = 27


class CtaTuple(IntEnum):
    """`enum ctattr_tuple`."""

    IP = 1
    PROTO = 2
    ZONE = 3


class CtaIp(IntEnum):
    """`enum ctattr_ip`."""

    V4_SRC = 1
    V4_DST = 2
    V6_SRC = 3
    V6_DST = 4


class CtaProto(IntEnum):
    """`enum ctattr_l4proto`."""

    NUM = 1
    SRC_PORT = 2
    DST_PORT = 3
    ICMP_ID = 4
    ICMP_TYPE = 5
    ICMP_CODE = 6
    ICMPV6_ID = 7
    ICMPV6_TYPE = 8
    ICMPV6_CODE = 9


class CtaProtoinfo(IntEnum):
    """`enum ctattr_protoinfo`."""

    TCP = 1
    DCCP = 2
    SCTP = 3


CTA_PROTOINFO_STATE = 1
"""STATE is attribute 1 in each of `ctattr_protoinfo_{tcp,dccp,sctp}`."""


class CtaProtoinfoTcp(IntEnum):
    """`enum ctattr_protoinfo_tcp`. The flags of each direction are a `struct nf_ct_tcp_flags`: u8 flags, u8 mask."""

    STATE = 1
    WSCALE_ORIG = 2
    WSCALE_REPLY = 3
    FLAGS_ORIGINAL = 4
    FLAGS_REPLY = 5


IP_CT_TCP_FLAG_CLOSE_INIT = 0x04
"""linux/netfilter/nf_conntrack_tcp.h: this side sent the first FIN."""


class CtaCounters(IntEnum):
    """`enum ctattr_counters`."""

    PACKETS = 1
    BYTES = 2


class CtaTimestamp(IntEnum):
    """`enum ctattr_tstamp`; nanoseconds since the epoch."""

    START = 1
    STOP = 2


class CtaStatsCpu(IntEnum):
    """`enum ctattr_stats_cpu`; only those that a kernel of 5.10 or later still counts."""

    FOUND = 2
    INVALID = 4
    INSERT = 8
    INSERT_FAILED = 9
    DROP = 10
    EARLY_DROP = 11
    ERROR = 12
    SEARCH_RESTART = 13
    CLASH_RESOLVE = 14
    CHAIN_TOOLONG = 15


class CtaStatsGlobal(IntEnum):
    """`enum ctattr_stats_global`; ENTRIES is the count of the asking netns."""

    ENTRIES = 1
    MAX_ENTRIES = 2


class Ips(IntFlag):
    """`enum ip_conntrack_status`, linux/netfilter/nf_conntrack_common.h."""

    EXPECTED = 1 << 0
    SEEN_REPLY = 1 << 1
    ASSURED = 1 << 2
    CONFIRMED = 1 << 3
    SRC_NAT = 1 << 4
    DST_NAT = 1 << 5
    SEQ_ADJUST = 1 << 6
    SRC_NAT_DONE = 1 << 7
    DST_NAT_DONE = 1 << 8
    DYING = 1 << 9
    FIXED_TIMEOUT = 1 << 10
    TEMPLATE = 1 << 11
    UNTRACKED = 1 << 12
    HELPER = 1 << 13
    OFFLOAD = 1 << 14
    HW_OFFLOAD = 1 << 15


class TcpState(IntEnum):
    """`enum tcp_conntrack`, linux/netfilter/nf_conntrack_tcp.h: the states of a man in the middle."""

    NONE = 0
    SYN_SENT = 1
    SYN_RECV = 2
    ESTABLISHED = 3
    FIN_WAIT = 4
    CLOSE_WAIT = 5
    LAST_ACK = 6
    TIME_WAIT = 7
    CLOSE = 8
    SYN_SENT2 = 9


SCTP_STATES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)
"""`enum sctp_conntrack`, linux/netfilter/nf_conntrack_sctp.h, by value."""

DCCP_STATES = (
    "NONE",
    "REQUEST",
    "RESPOND",
    "PARTOPEN",
    "OPEN",
    "CLOSEREQ",
    "CLOSING",
    "TIMEWAIT",
    "IGNORE",
    "INVALID",
)
"""`enum ct_dccp_states`, linux/netfilter/nf_conntrack_dccp.h, by value; gone from newer kernels."""

TCP_STATES = tuple(state.name for state in TcpState)


class IpProto(IntEnum):
    """IP protocol numbers, linux/in.h, of the protocols that conntrack knows by name."""

    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    GRE = 47
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


PORTED = frozenset({IpProto.TCP, IpProto.UDP, IpProto.DCCP, IpProto.GRE, IpProto.SCTP, IpProto.UDPLITE})
"""Protocols whose tuples have ports (for GRE its keys); ICMP has an id, type and code, any other has nothing."""

STATEFUL = {IpProto.TCP: TCP_STATES, IpProto.SCTP: SCTP_STATES, IpProto.DCCP: DCCP_STATES}
"""State names by number, for each protocol whose state ctnetlink reports."""


def proto_name(number: int) -> str:
    """The lower-case name of an IP protocol, or its number as text."""
    try:
        return IpProto(number).name.lower()
    except ValueError:
        return str(number)


def state_name(proto: int, state: int) -> str | None:
    """The name of a protocol's conntrack state; None where it has none or the number is unknown."""
    names = STATEFUL.get(proto)  # type: ignore[call-overload]  # an IntEnum member equals its number
    return names[state] if names and state < len(names) else None
