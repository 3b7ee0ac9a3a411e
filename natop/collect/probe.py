"""One timed TCP connect: how long it took, how many SYNs were lost on the way, or why it failed.

The socket is made inside the network namespace where the call is to start and used outside of it: it stays there for
ever, wherever its thread goes (setns(2)). Its source port is the kernel's choice, so that the call is a fair sample.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from natop import uapi
from natop.collect import netns, proc
from natop.collect.names import Address
from natop.model import OwnFlow, ProbeError, ProbeResult, ProbeWay

LINEAR_TIMEOUTS = "sys/net/ipv4/tcp_syn_linear_timeouts"
"""How often the kernel sends a SYN again after one second each, before it waits longer; since Linux 6.5."""
_ABORT = struct.pack("=ii", 1, 0)
"""SO_LINGER: closing sends RST and forgets, so that no TIME_WAIT stays behind (socket(7))."""
_TCP_INFO_LEN = 256

_ERRORS = {
    errno.ECONNREFUSED: ProbeError.REFUSED,
    errno.ENETUNREACH: ProbeError.UNREACHABLE,
    errno.EHOSTUNREACH: ProbeError.UNREACHABLE,
    errno.ETIMEDOUT: ProbeError.TIMED_OUT,
    errno.EADDRNOTAVAIL: ProbeError.NO_LOCAL_PORT,
    errno.EACCES: ProbeError.NOT_PERMITTED,
    errno.EPERM: ProbeError.NOT_PERMITTED,
    errno.ECONNRESET: ProbeError.RESET,
}


def error_name(number: int | None) -> str:
    """A system error in the words of ProbeError, or in the system's own."""
    return _ERRORS[number] if number in _ERRORS else os.strerror(number or 0).lower()


def timed(
    way: ProbeWay,
    address: Address,
    *,
    timeout_s: float,
    polite: bool,
    home: Path | None = None,
    opened: Callable[[OwnFlow], None] = lambda _: None,
) -> ProbeResult:
    """Connect to `address` by this way and, where it asks for that, send two HTTP requests; each within `timeout_s`.

    `polite` closes with a FIN, else with RST. `home` is the namespace that natop reads, None being the caller's own.
    `opened` is told of the connection as soon as it has a source port.
    """
    begun = ProbeResult(way.target, way.path, time.time(), way.container, way.container_name, subject=way.subject)
    namespace = Path(way.netns) if way.netns else home
    identity = netns.identity(namespace)
    try:
        made, linear = _socket(address.family, namespace)
    except netns.NoSuchNetns as error:
        forbidden = isinstance(error.__cause__, PermissionError)
        return replace(begun, error=ProbeError.NOT_PERMITTED if forbidden else ProbeError.NAMESPACE_GONE)
    except OSError as error:
        return replace(begun, error=error_name(error.errno))
    with closing(made):
        if not polite:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        result = _connected(made, address, replace(begun, linear_timeouts=linear), timeout_s, opened)
        if result.error == ProbeError.NO_LOCAL_PORT and not _has_source(address, namespace):
            return replace(result, error=ProbeError.UNREACHABLE)
        if result.error and netns.identity(namespace) != identity:
            # its container has stopped meanwhile: the socket outlives that, without a way out, and says nothing
            return replace(result, error=ProbeError.NAMESPACE_GONE)
        if way.request is None or result.error:
            return result
        from natop.collect import request

        return request.answered(made, way, result, timeout_s)


def _socket(family: int, namespace: Path | None) -> tuple[socket.socket, int]:
    """A socket inside the namespace, and its tcp_syn_linear_timeouts. Raises NoSuchNetns and OSError."""
    with netns.entered(namespace):
        text = proc.read([LINEAR_TIMEOUTS]).get(LINEAR_TIMEOUTS, "").strip()
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    return made, int(text) if text.isdecimal() else 0


def _has_source(address: Address, namespace: Path | None) -> bool:
    """Whether there is an address to call from. The kernel says EADDRNOTAVAIL for want of one too, where IPv6 is off.

    Connecting a datagram socket chooses one, and sends nothing.
    """
    try:
        with netns.entered(namespace), socket.socket(address.family, socket.SOCK_DGRAM) as asked:
            asked.connect(address.place)
    except (OSError, netns.NoSuchNetns):
        return False
    return True


def _connected(
    made: socket.socket, address: Address, begun: ProbeResult, timeout_s: float, opened: Callable[[OwnFlow], None]
) -> ProbeResult:
    """Next to the host a connect is over at once; what is to be told of it must not count into its time."""
    poller = select.poll()
    poller.register(made, select.POLLOUT)
    started = time.perf_counter()
    number = made.connect_ex(address.place)
    is_over = number != errno.EINPROGRESS or poller.poll(0)
    ended = time.perf_counter()
    own = _own(made, address)
    if own:
        opened(own)
    if not is_over:
        is_over = poller.poll(1000 * timeout_s)
        ended = time.perf_counter()
    if number == errno.EINPROGRESS:
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if is_over else errno.ETIMEDOUT
    retrans, rtt_us = _tcp_info(made)
    result = replace(begun, own=own, syns_lost=retrans if own else None)
    if number:
        return replace(result, error=error_name(number))
    return replace(result, connect_ms=1000 * (ended - started), rtt_ms=rtt_us / 1000 if rtt_us else None)


def _own(made: socket.socket, address: Address) -> OwnFlow | None:
    """The connection's two ends; None where the kernel gave it no source port."""
    src, sport = made.getsockname()[:2]
    dst, dport = address.place[:2]
    return OwnFlow(src, sport, str(dst).partition("%")[0], int(dport)) if sport else None


def _tcp_info(made: socket.socket) -> tuple[int | None, int]:
    """tcpi_total_retrans (None where the kernel is too old to tell) and tcpi_rtt in microseconds."""
    info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LEN)
    if len(info) < uapi.TCP_INFO_TOTAL_RETRANS + 4:
        return None, 0
    return (
        struct.unpack_from("=I", info, uapi.TCP_INFO_TOTAL_RETRANS)[0],
        struct.unpack_from("=I", info, uapi.TCP_INFO_RTT)[0],
    )
