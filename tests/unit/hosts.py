"""Containers, samples and snapshots for the tests, small and without a host."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from natop.decode import counters
from natop.model import Attachment, Container, EngineReading, NetnsText, PublishedPort, Sample, Snapshot
from natop.observe import observe
from tests.unit import netlink
from tests.unit.plain import Flow

HOST_ADDRESSES = ("127.0.0.1", "203.0.113.10", "172.18.0.1", "::1", "fe80::1%eth0", "fd00:18::1")
HOST_NETNS = "net:[4026531840]"
BOOT_ID = "0b8d2a1e-6f52-4c5a-9d0b-1f1f6f0c7a11"
PROC = {
    counters.BOOT_FILE: f"{BOOT_ID}\n",
    "sys/kernel/osrelease": "6.18.44\n",
    counters.MAX_FILE: "262144\n",
    counters.BUCKETS_FILE: "65536\n",
    "sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait": "120\n",
    "sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
    "sys/net/bridge/bridge-nf-call-iptables": "1\n",
}


def container(name: str, *addresses: str, networks: Sequence[str] = (), **fields: Any) -> Container:
    """A running container; each address on a network of its own unless they are named."""
    places = tuple(
        Attachment(
            networks[number] if number < len(networks) else f"net{number}",
            "bridge",
            ipv4=None if ":" in address else address,
            ipv6=address if ":" in address else None,
        )
        for number, address in enumerate(addresses)
    )
    identity = (name.encode().hex() * 64)[:64]
    given: dict[str, Any] = {"id": identity, "name": name, "image": f"{name}:1", "state": "running", "networks": places}
    return Container(**given | fields)


def inspection(described: Container) -> Mapping[str, object]:
    """The engine's inspection of a container."""
    ports: dict[str, list[Mapping[str, str]]] = {}
    for port in described.published:
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        ports.setdefault(f"{port.container_port}/{port.proto}", []).append(binding)
    return {
        "Id": described.id,
        "Name": f"/{described.name}",
        "State": {"Status": described.state, "Pid": described.pid or 0, "StartedAt": described.started_at or ""},
        "Config": {
            "Image": described.image,
            "Labels": {
                "com.docker.compose.project": described.project or "",
                "com.docker.compose.service": described.service or "",
            },
        },
        "HostConfig": {"NetworkMode": described.network_mode},
        "NetworkSettings": {
            "Networks": {
                place.network: {
                    "IPAddress": place.ipv4 or "",
                    "GlobalIPv6Address": place.ipv6 or "",
                    "Gateway": place.gateway or "",
                }
                for place in described.networks
            },
            "Ports": ports,
            "SandboxKey": described.sandbox or "",
        },
    }


def engine(*containers: Container, **version: object) -> EngineReading:
    places = (place for each in containers for place in each.networks)
    networks = dict.fromkeys((place.network, place.driver, place.ipvlan_mode) for place in places)
    return EngineReading(
        {"Version": "29.0.0", "ApiVersion": "1.52"} | version,
        {"SecurityOptions": [], "FirewallBackend": {"Driver": "iptables"}},
        tuple(inspection(each) for each in containers),
        tuple(
            {"Id": name.encode().hex(), "Name": name, "Driver": driver, "Options": {"ipvlan_mode": mode}}
            for name, driver, mode in networks
        ),
    )


def sample(
    flows: Iterable[Flow] | None = None,
    *,
    at: float = 0.0,
    containers: Sequence[Container] | None = None,
    dump: Iterable[bytes] | None = None,
    **fields: Any,
) -> Sample:
    """A sample `at` so many seconds; `flows` are its dump (None: no dump), `containers` None is no engine."""
    given: dict[str, Any] = {
        "taken_at": 1_795_381_800.0 + at,
        "monotonic_s": 1000.0 + at,
        "hostname": "natter",
        "netns": HOST_NETNS,
        "proc": PROC,
        "addresses": HOST_ADDRESSES,
        "dump": dump if flows is None else [netlink.dump(flows)],
        "engine": None if containers is None else engine(*containers),
    }
    return Sample(**given | fields)


def tcp_text(sysctls: Mapping[str, str] | None = None, **counters: int) -> NetnsText:
    """What a namespace tells of its TCP: these counters, and no SYN sent again unless they say so."""
    kernels = {"syn_retrans": "TCPSynRetrans", "listen_overflows": "ListenOverflows", "timeouts": "TCPTimeouts"}
    extended = {kernels[name]: number for name, number in ({"syn_retrans": 0} | counters).items() if name in kernels}
    files = {
        "snmp": _table("Tcp", {"MaxConn": -1, "OutSegs": counters.get("out_segs", 0)}),
        "netstat": _table("TcpExt", extended),
        "sockstat": f"sockets: used 5\nTCP: inuse {counters.get('sockets_in_use', 1)} orphan 0 tw 2 alloc 3 mem 4\n",
    }
    return NetnsText(files, sysctls or {})


def _table(group: str, numbers: Mapping[str, int]) -> str:
    """A line of names and one of values, as in /proc/net/snmp."""
    values = " ".join(str(number) for number in numbers.values())
    return f"{group}: {' '.join(numbers)}\n{group}: {values}\n"


def observed(*samples: Sample) -> Snapshot:
    """The last of the snapshots that these samples give, one after the other."""
    taken: Snapshot | None = None
    for each in samples:
        taken = observe(taken, each)
    assert taken is not None
    return taken


WEB = container(
    "web",
    "172.18.0.2",
    "fd00:18::2",
    project="shop",
    service="web",
    network_mode="shop_default",
    pid=4242,
    started_at="2026-01-05T08:00:00Z",
    published=(PublishedPort("tcp", "0.0.0.0", 8080, 80),),
)
APP = container("app", "172.18.0.3", "172.19.0.3", networks=("net0", "back"), project="shop", service="app")
DB = container("db", "172.19.0.4", networks=("back",))
EDGE = container("edge", network_mode="host")
CONTAINERS = (APP, DB, EDGE, WEB)
"""In the inventory's order."""
