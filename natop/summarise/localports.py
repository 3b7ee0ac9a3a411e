"""Which local ports the kernel chooses from for a container's sockets."""

from collections.abc import Mapping, Sequence

from natop.model import Container, NetnsTcp
from natop.sysctls import LOCAL_PORTS

Sysctls = Mapping[str, int | tuple[int, ...]]


def sysctls_of(container: Container, told: Mapping[str, NetnsTcp], host: Sysctls) -> Sysctls:
    """Those that hold for its sockets, as far as they were read: the host's, its own, or its namespace's owner's.

    `told` is by container id.
    """
    if container.uses_host_network:
        return host
    tcp = told.get(container.id) or told.get(container.joined or "")
    return tcp.sysctls if tcp else {}


def range_of(sysctls: Sysctls) -> tuple[bool, tuple[int, int]]:
    """Whether a range could be read, and the range; else that of a new network namespace."""
    match sysctls.get("ip_local_port_range"):
        case (int(first), int(last)):
            return True, (first, last)
    return False, LOCAL_PORTS


def local_ports(containers: Sequence[Container], told: Mapping[str, NetnsTcp], host: Sysctls) -> list[tuple[int, int]]:
    """The first and the last of each container."""
    return [range_of(sysctls_of(each, told, host))[1] for each in containers]
