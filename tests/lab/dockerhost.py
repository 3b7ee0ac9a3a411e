"""A whole Docker host for the tests: an engine in its own namespace, containers of every kind, and a world outside.

    outside 198.18.0.2, fd00:198:18::2 ──veth── 198.18.0.1, fd00:198:18::1 host
                                                  ├─ bridge    172.17.0.0/16   webserver  8080→80, 8443→443
                                                  ├─ internal  172.18.0.0/16   webserver, app1, app2, app3
                                                  ├─ six       172.19.0.0/16, fd00:19::/64   web6  8086→80
                                                  ├─ hostnet   the host's own namespace, port 9000
                                                  └─ nonet     no network at all

198.18.0.0/15 is reserved for benchmarks (RFC 2544) and never routed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab import oracle, traffic
from tests.lab.engine import IMAGE, Engine
from tests.lab.netns import Namespace, wait_until
from tests.lab.traffic import Held, Responder

HOST, OUTSIDE = "198.18.0.1", "198.18.0.2"
HOST_6, OUTSIDE_6 = "fd00:198:18::1", "fd00:198:18::2"
REMOTE_PORTS = (80, 443, 5432, 5353)  # what the world outside serves, over TCP and UDP
SILENT_PORT = 81  # what the world outside drops without a word
ECHO_PORT = 443  # inside webserver, published as 8443; app1 to app3 echo on the same port


def echo(port: int) -> str:
    """What a container runs to echo all that it is told. BusyBox's nc has a backlog of as many as it is given -l."""
    return f"nc -{'l' * 128} -p {port} -e cat"


WEB = f"{echo(ECHO_PORT)} & exec httpd -f -p 80 -h /www"
SILENCE = f"""
table inet silence {{
    chain input {{
        type filter hook input priority 0
        tcp dport {SILENT_PORT} drop
    }}
}}
"""
LASTING: Mapping[str, int] = {  # seconds; no state ends while a test compares two readings
    "net.netfilter.nf_conntrack_tcp_timeout_close": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_last_ack": 120,
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": 300,
    "net.netfilter.nf_conntrack_udp_timeout": 120,
    "net.netfilter.nf_conntrack_icmp_timeout": 120,
}


@dataclass(frozen=True, slots=True)
class Service:
    """One container of the lab: its name, its first network, what it runs, and further options of docker run."""

    name: str
    network: str
    command: str
    options: tuple[str, ...] = ()
    also: tuple[str, ...] = field(default=())


def _compose(service: str, number: int = 1) -> tuple[str, ...]:
    """The labels that Docker Compose gives a container."""
    values = {"project": "shop", "service": service, "container-number": str(number)}
    return tuple(part for key, value in values.items() for part in ("-l", f"com.docker.compose.{key}={value}"))


SERVICES = (
    Service("webserver", "bridge", WEB, ("-p", "8080:80", "-p", "8443:443", *_compose("web")), ("internal",)),
    *(Service(f"app{number}", "internal", WEB, _compose("app", number)) for number in (1, 2, 3)),
    Service("hostnet", "host", "exec httpd -f -p 9000 -h /www"),
    Service("nonet", "none", "exec sleep 1000000"),
)
SERVICE_6 = Service("web6", "six", WEB, ("-p", "8086:80"))


class DockerHost:
    """The Docker host of the drawing above, running while its `with` block does."""

    ports: Sequence[int] = (8080, 8443, 9000)
    """Those that answer to the outside."""

    def __init__(self, timeouts: Mapping[str, int] = LASTING, settings: Mapping[str, Any] | None = None) -> None:
        """`timeouts` are sysctls of the host's namespace; `settings` go into the engine's daemon.json."""
        self._timeouts = timeouts
        self._settings = {"dns": [OUTSIDE]} | dict(settings or {})
        self._stack = contextlib.ExitStack()
        self.namespace = Namespace("host")
        self.outside = Namespace("outside")
        self.ipv6 = True

    def __enter__(self) -> Self:
        """Build the namespaces, the engine, the networks and the containers; undo all of it on failure."""
        with self._stack:
            self._stack.enter_context(self.namespace)
            self._stack.enter_context(self.outside)
            self._wire()
            self._stack.enter_context(Responder(self.outside, (OUTSIDE, OUTSIDE_6), REMOTE_PORTS))
            self.engine = self._stack.enter_context(self._engine())
            self._run_services()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove everything."""
        self._stack.close()

    @property
    def url(self) -> str:
        """The engine's address, fit for DOCKER_HOST."""
        return self.engine.url

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The containers that run."""
        return tuple(service.name for service in self._services())

    @property
    def within(self) -> Namespace:
        """The network namespace of the engine's bridges."""
        return self.namespace

    def docker(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run the docker command line against the lab's engine."""
        return self.engine.docker(*arguments, timeout_s=timeout_s)

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """`docker inspect` of the named containers, or of all."""
        return oracle.inspect(self.docker("inspect", *(names or self.docker("ps", "-aq").split())))

    def inside(self, name: str) -> Path:
        """The network namespace of a container, for `entered` and the functions of `traffic`."""
        return Path(f"/proc/{self.inspect(name)[0]['State']['Pid']}/ns/net")

    def address(self, name: str, network: str) -> str:
        """The IPv4 address of a container on a network."""
        return str(self.inspect(name)[0]["NetworkSettings"]["Networks"][network]["IPAddress"])

    def outside_get(self, port: int = 8080, count: int = 1, per_second: float = 150, host: str = HOST) -> int:
        """Short HTTP requests from the outside to a published port; returns how many were answered."""
        return traffic.get(self.outside, host, port, count, per_second)

    def hold(self, count: int, port: int = 8443, host: str = HOST) -> Held:
        """Connections from the outside to a published echo port that stay ESTABLISHED until released."""
        return traffic.hold(self.outside, host, port, count)

    def internal_calls(self, client: str, server: str, count: int = 1) -> None:
        """Short HTTP requests from container to container, by name, as the client's own processes."""
        loop = f"for n in $(seq {count}); do wget -q -O /dev/null http://{server}/ || exit 1; done"
        self.docker("exec", client, "sh", "-c", loop, timeout_s=30 + count)

    def hold_internal(self, client: str, server: str, count: int, network: str = "internal") -> Held:
        """Connections between two containers that stay open until released."""
        return traffic.hold(self.inside(client), self.address(server, network), ECHO_PORT, count)

    def egress(self, client: str, count: int = 1, port: int = 443, per_second: float = 150) -> int:
        """Short requests from a container to the world outside, through MASQUERADE."""
        return traffic.get(self.inside(client), OUTSIDE, port, count, per_second)

    def hold_egress(self, client: str, count: int, port: int = 5432) -> Held:
        """Connections from a container to the world outside that stay open until released."""
        return traffic.hold(self.inside(client), OUTSIDE, port, count)

    def knock(self, client: str, count: int = 1) -> None:
        """SYNs from a container that nobody answers: they stay SYN_SENT."""
        for _ in range(count):
            traffic.knock(self.inside(client), OUTSIDE, SILENT_PORT)

    def reset(self, count: int = 1, port: int = 8443, host: str = HOST) -> None:
        """Connections from the outside that their client aborts: conntrack calls them CLOSE."""
        for _ in range(count):
            traffic.reset(self.outside, host, port)

    def linger(self, count: int = 1, port: int = 8080, host: str = HOST) -> Held:
        """Requests from the outside, answered, not hung up: CLOSE_WAIT until released."""
        return Held([traffic.linger(self.outside, host, port) for _ in range(count)])

    def udp_egress(self, client: str, count: int = 1, port: int = 5353) -> int:
        """UDP questions from a container to the world outside, each from a port of its own."""
        return traffic.exchange(self.inside(client), OUTSIDE, port, count)

    def quiet(self, timeout_s: float = 30) -> list[oracle.Flow]:
        """Wait until the host's table no longer changes, and return its flows."""
        return oracle.quiet(self.namespace, timeout_s=timeout_s)

    def _engine(self) -> Engine:
        """The engine, with IPv6 NAT where it knows that as an experiment (20.10 to 26) or as a rule (later)."""
        return Engine(self.namespace, self._settings | {"experimental": True, "ip6tables": True})

    def _wire(self) -> None:
        """The veth pair to the outside, addresses, routes, forwarding, timeouts."""
        self.namespace.link("pub0", self.outside, "out0")
        self.namespace.address("pub0", f"{HOST}/24", f"{HOST_6}/64")
        self.outside.address("out0", f"{OUTSIDE}/24", f"{OUTSIDE_6}/64")
        for version, gateway in (("-4", HOST), ("-6", HOST_6)):
            self.outside.run("ip", version, "route", "add", "default", "via", gateway)
        self.outside.nft(SILENCE)
        forwarding = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}
        for name, value in (forwarding | dict(self._timeouts)).items():
            self.namespace.sysctl(name, value)

    def _run_services(self) -> None:
        """Create the networks, then the containers side by side, and wait until the servers answer."""
        self.docker("network", "create", "--subnet", "172.18.0.0/16", "internal")
        six = ("--ipv6", "--subnet", "fd00:19::/64", "--subnet", "172.19.0.0/16")
        try:
            self.docker("network", "create", *six, "six")
        except RuntimeError:
            self.ipv6 = False
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._run, self._services()))
        self._await_servers()
        self.namespace.flush()

    def _await_servers(self) -> None:
        """Wait until every web server accepts, at its own address and where it is published."""
        within = [service for service in self._services() if service.command == WEB]
        own = [(self.within, self.address(service.name, service.network)) for service in within]
        targets = [(place, address, port) for place, address in own for port in (80, ECHO_PORT)]
        targets += [(self.outside, HOST, port) for port in self.ports]
        for place, address, port in targets:
            wait_until(partial(_open, place, address, port), what=f"{address}:{port} to accept")

    def _services(self) -> tuple[Service, ...]:
        return (*SERVICES, SERVICE_6) if self.ipv6 else SERVICES

    def _run(self, service: Service) -> None:
        """Start one container and join it to its further networks."""
        basics = ("--detach", "--stop-timeout", "1", "--name", service.name, "--network", service.network)
        named = () if service.network == "host" else ("--hostname", service.name)
        self.docker("run", *basics, *named, *service.options, IMAGE, "sh", "-c", service.command)
        for network in service.also:
            self.docker("network", "connect", network, service.name)


def _open(place: Namespace, host: str, port: int) -> bool:
    """Whether a TCP connection can be made."""
    try:
        traffic.connect(place, host, port).close()
    except OSError:
        return False
    return True
