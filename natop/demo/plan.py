"""The demo's map: a Docker host that is a router, its containers, a client outside and a remote server.

    outside 198.18.0.2 ── 198.18.0.1 router 198.18.1.1 ── 198.18.1.2 remote
                                     │   │
                         docker0 172.17.0.1   br-… 172.18.0.1
                                     │            │
                              web 172.17.0.2   web .2, app1 .3, app2 .4, app3 .5

198.18.0.0/15 is the range for benchmarks (RFC 2544), so nothing here can be a real address.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from natop.demo.filling import Filling
from natop.demo.inventory import DEFAULT_NETWORKS
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork, DemoPort, mac_of, make_id
from natop.demo.traffic import Habit, Role

HOST_NAME = "natop-demo"
PUBLIC = "198.18.0.1"
REMOTE = "198.18.1.2"
UPLINK = "198.18.1.1"
"""The router's address towards the remote server, which MASQUERADE gives to the containers."""
SILENT = "198.18.1.9"
"""An address that nobody has: connections to it stay in SYN_SENT."""

WEB, APPS = "172.17.0.2", ("172.18.0.3", "172.18.0.4", "172.18.0.5")
APP_PORT, DATABASE_PORT, METRICS_PORT = 8080, 5432, 9100

PROJECT = "shop"
SHOP = f"{PROJECT}_default"
BRIDGE_KEY = "com.docker.network.bridge.name"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of the router; `address` is the gateway with its prefix."""

    ifname: str
    address: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair between a machine and the router, whose end is in `bridge` or has `router_address`."""

    ifname: str
    address: str
    router_ifname: str
    bridge: str = ""
    router_address: str = ""

    @property
    def mac(self) -> str:
        """The machine's MAC address."""
        return mac_of(self.address.partition("/")[0])


@dataclass(frozen=True, slots=True)
class Machine:
    """A process with a network namespace of its own, or with the router's where it has no cable."""

    name: str
    role: Role
    cables: tuple[Cable, ...] = ()
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """A published port: what arrives at the router's `host_port` goes to `address`:`port`."""

    host_port: int
    address: str
    port: int


SHOP_BRIDGE = "br-" + make_id("network " + SHOP)[:12]

BRIDGES = (
    Bridge("docker0", "172.17.0.1/16", "172.17.0.0/16"),
    Bridge(SHOP_BRIDGE, "172.18.0.1/16", "172.18.0.0/16"),
)

PUBLISHED = (Published(8080, WEB, 80), Published(8443, WEB, 443))

NETWORKS = (
    *(each for each in DEFAULT_NETWORKS if each.name != "bridge"),
    DemoNetwork("bridge", "172.17.0.0/16", "172.17.0.1", options={BRIDGE_KEY: "docker0"}),
    DemoNetwork(
        SHOP,
        "172.18.0.0/16",
        "172.18.0.1",
        labels={"com.docker.compose.project": PROJECT, "com.docker.compose.network": "default"},
    ),
)

CLIENT_ROLE = Role(
    habits=(
        Habit("short", PUBLIC, 8080, per_s=12, at_once=24),
        Habit("kept", PUBLIC, 8443, per_s=0.5, at_once=12),
        Habit("slow", PUBLIC, 8080, per_s=0.2, at_once=2),
        Habit("short", PUBLIC, METRICS_PORT, per_s=0.5, at_once=1),
    )
)
WEB_ROLE = Role(
    serves=(80, 443),
    upstreams=tuple((app, APP_PORT) for app in APPS),
    habits=tuple(Habit("kept", app, APP_PORT, per_s=0.5, at_once=2) for app in APPS),
)
APP_ROLE = Role(
    serves=(APP_PORT,),
    habits=(
        Habit("short", REMOTE, 443, per_s=3, at_once=6),
        Habit("query", REMOTE, 53, per_s=0.5, at_once=2),
    ),
)
ANSWERED_ROLE = Role(
    serves=(APP_PORT,),
    habits=(
        Habit("kept", REMOTE, DATABASE_PORT, per_s=1, at_once=4),
        Habit("query", REMOTE, 53, per_s=0.5, at_once=2),
    ),
)
DATABASE_ROLE = Role(
    ANSWERED_ROLE.serves, habits=(*ANSWERED_ROLE.habits, Habit("short", SILENT, 443, per_s=0.1, at_once=1))
)
METRICS_ROLE = Role(serves=(METRICS_PORT,), habits=(Habit("query", REMOTE, 53, per_s=0.2, at_once=1),))
REMOTE_ROLE = Role(serves=(443, DATABASE_PORT), answers_queries=53)


def _app(number: int, role: Role) -> Machine:
    cable = Cable("eth0", f"{APPS[number - 1]}/16", f"vethapp{number}", bridge=SHOP_BRIDGE)
    return Machine(f"app{number}", role, (cable,), "172.18.0.1")


def _machines(client: Role, *apps: Role) -> tuple[Machine, ...]:
    """The whole cast, with what the client outside and each of the apps do."""
    return (
        Machine(
            "web",
            WEB_ROLE,
            (
                Cable("eth0", f"{WEB}/16", "vethweb0", bridge="docker0"),
                Cable("eth1", "172.18.0.2/16", "vethweb1", bridge=SHOP_BRIDGE),
            ),
            "172.17.0.1",
        ),
        *(_app(number, role) for number, role in enumerate(apps, start=1)),
        Machine("metrics", METRICS_ROLE),
        Machine("outside", client, (Cable("eth0", "198.18.0.2/24", "pub0", router_address=f"{PUBLIC}/24"),), PUBLIC),
        Machine("remote", REMOTE_ROLE, (Cable("eth0", f"{REMOTE}/24", "wan0", router_address=f"{UPLINK}/24"),), UPLINK),
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens on the demo's host."""

    machines: tuple[Machine, ...]
    filling: Filling | None = None
    cpus: int = 1
    """How many it needs at least."""


RACE_CLIENT = Role(habits=(Habit("short", PUBLIC, 8080, per_s=2, at_once=4),))
TIMEWAIT_CLIENT = Role(habits=(Habit("short", PUBLIC, 8080, per_s=40, at_once=2_000),))
CROWDED_ROLE = Role(serves=(APP_PORT,), habits=(Habit("short", REMOTE, 443, per_s=8, at_once=8),))


def _racing(cpu: int) -> Role:
    return Role(serves=(APP_PORT,), habits=(Habit("race", REMOTE, 443, per_s=1, at_once=8, cpu=cpu),))


SCENES: Mapping[str, Scene] = {
    "": Scene(_machines(CLIENT_ROLE, APP_ROLE, APP_ROLE, DATABASE_ROLE)),
    "race": Scene(_machines(RACE_CLIENT, _racing(0), _racing(1), APP_ROLE), cpus=2),
    "exhaustion": Scene(
        _machines(RACE_CLIENT, CROWDED_ROLE, CROWDED_ROLE, CROWDED_ROLE),
        Filling(APPS, REMOTE, 443, UPLINK, 0.99),
    ),
    "timewait": Scene(_machines(TIMEWAIT_CLIENT, APP_ROLE, APP_ROLE, ANSWERED_ROLE)),
}
"""By the word that asks for it; the empty one is a day like any other."""


def containers(pids: Mapping[str, int], started_at: str) -> tuple[DemoContainer, ...]:
    """The machines that pass for containers, as Docker would tell of them, with their process ids.

    `started_at` is the time of their start, as RFC 3339.
    """
    shop = DemoEndpoint(SHOP, "172.18.0.2")
    ports = tuple(DemoPort(each.port, each.host_port) for each in PUBLISHED)
    both = (DemoEndpoint("bridge", WEB), shop)
    apps = tuple(
        _container(f"app{n}", pids, "shop/app:2.1", (DemoEndpoint(SHOP, address),), (DemoPort(APP_PORT),))
        for n, address in enumerate(APPS, start=1)
    )
    pid = pids["metrics"]
    metrics = DemoContainer("metrics", pid, "demo/metrics:1.0", network_mode="host", sandbox_key=f"/proc/{pid}/ns/net")
    found = (_container("web", pids, "shop/web:1.4", both, ports), *apps, metrics)
    return tuple(replace(each, started_at=started_at, status="Up Less than a second") for each in found)


def _container(
    name: str,
    pids: Mapping[str, int],
    image: str,
    endpoints: tuple[DemoEndpoint, ...],
    ports: tuple[DemoPort, ...],
) -> DemoContainer:
    labels = {"com.docker.compose.project": PROJECT, "com.docker.compose.service": name}
    pid = pids[name]
    return DemoContainer(name, pid, image, endpoints, ports, sandbox_key=f"/proc/{pid}/ns/net", labels=labels)
