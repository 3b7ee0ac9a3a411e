"""The engine's fields, as Docker of several ages and Podman tell them, to an Inventory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode.inventory import decode_inventory
from natop.model import Attachment, Container, Engine, EngineReading, Inventory, Network, PublishedPort

ID = "4f1c" * 16

DOCKER_20 = {
    "Id": ID,
    "Created": "2021-03-04T10:11:12.123456789Z",
    "State": {"Status": "running", "Running": True, "Pid": 4242, "StartedAt": "2021-03-04T10:11:13.5Z"},
    "Name": "/shop_web_1",
    "HostConfig": {"NetworkMode": "shop_default", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}},
    "Config": {
        "Image": "nginx:1.19",
        "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "other": "x"},
    },
    "NetworkSettings": {
        "Bridge": "",
        "SandboxKey": "/var/run/docker/netns/0123456789ab",
        "Ports": {
            "443/tcp": None,
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        },
        "IPAddress": "",
        "Networks": {
            "shop_default": {
                "IPAMConfig": None,
                "NetworkID": "aa" * 32,
                "Gateway": "172.18.0.1",
                "IPAddress": "172.18.0.2",
                "IPPrefixLen": 16,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "MacAddress": "02:42:ac:12:00:02",
            }
        },
    },
}
DOCKER_29 = {
    "Id": ID,
    "State": {"Status": "running", "Pid": 77, "StartedAt": "2026-01-05T08:00:00.000000000Z"},
    "Name": "/api",
    "HostConfig": {"NetworkMode": "back"},
    "Config": {"Image": "api:2", "Labels": {}},
    "NetworkSettings": {
        "SandboxKey": "/var/run/docker/netns/0123456789ab",
        "Ports": {
            "8443/tcp": [{"HostIp": "0.0.0.0", "HostPort": "443"}, {"HostIp": "::", "HostPort": "443"}],
        },
        "Networks": {
            "front": {
                "Gateway": "",
                "IPAddress": "",
                "GlobalIPv6Address": "fd00:2::3",
                "IPv6Gateway": "fd00:2::1",
                "GwPriority": 0,
                "DNSNames": ["api"],
            },
            "back": {
                "Gateway": "172.19.0.1",
                "IPAddress": "172.19.0.3",
                "GlobalIPv6Address": "FD00:0001:0:0::3",
                "IPv6Gateway": "fd00:1::1",
            },
        },
    },
}
PODMAN_4 = {
    "Id": ID,
    "State": {"Status": "running", "Pid": 9, "StartedAt": "2023-05-06T07:08:09.123456789+02:00"},
    "Name": "/db",
    "HostConfig": {"NetworkMode": "bridge"},
    "Config": {"Image": "registry.example/library/postgres:15", "Labels": None},
    "NetworkSettings": {
        "SandboxKey": "/run/netns/netns-1234",
        "Ports": {"5432/tcp": [{"HostIp": "", "HostPort": "15432"}]},
        "Networks": {
            "podman": {"IPAddress": "10.88.0.2", "GlobalIPv6Address": "", "Gateway": "10.88.0.1", "Links": None}
        },
    },
}
PODMAN = {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}
PODMAN_ENGINE = Engine("4.3.1", "1.41", rootless=True, product="Podman")
ON_THE_HOST = {
    "Id": ID,
    "State": {"Status": "running", "Pid": 5},
    "Name": "/edge",
    "HostConfig": {"NetworkMode": "host"},
    "Config": {"Image": "edge", "Labels": {}},
    "NetworkSettings": {"Ports": {}, "Networks": {"host": {"IPAddress": "", "Gateway": "", "GlobalIPv6Address": ""}}},
}
STOPPED = {
    "Id": ID,
    "State": {"Status": "exited", "Pid": 0, "StartedAt": "2026-01-05T08:00:00Z"},
    "Name": "/old",
    "HostConfig": {"NetworkMode": "bridge"},
    "Config": {"Image": "old", "Labels": {}},
    "NetworkSettings": {"Ports": {}, "Networks": {"bridge": {"IPAddress": "", "Gateway": ""}}},
}
BORROWING = {
    "Id": ID,
    "State": {"Status": "running", "Pid": 6},
    "Name": "/sidecar",
    "HostConfig": {"NetworkMode": f"container:{ID}"},
    "Config": {"Image": "sidecar"},
    "NetworkSettings": {"Networks": {}},
}
NETWORKS: tuple[Mapping[str, Any], ...] = (
    {
        "Id": "bb" * 32,
        "Name": "shop_default",
        "Driver": "bridge",
        "Internal": False,
        "IPAM": {
            "Config": [
                {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},
                {"Subnet": "fd00:18::/64"},
                {"Subnet": "1.2.3.4/99"},
            ]
        },
    },
    {"Id": "cc" * 32, "Name": "back", "Driver": "ipvlan", "Internal": True, "IPAM": {"Config": None}},
    {"Id": "dd" * 32, "Name": "host", "Driver": "host", "IPAM": {"Driver": "default"}},
)


def inventory(
    *containers: Mapping[str, Any],
    networks: tuple[Mapping[str, Any], ...] = NETWORKS,
    version: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Inventory:
    return decode_inventory(EngineReading(version or {}, info or {}, containers, networks))


def only(fields: Mapping[str, Any]) -> Container:
    (container,) = inventory(fields).containers
    return container


def test_docker_20() -> None:
    assert only(DOCKER_20) == Container(
        id=ID,
        name="shop_web_1",
        image="nginx:1.19",
        state="running",
        project="shop",
        service="web",
        network_mode="shop_default",
        pid=4242,
        started_at="2021-03-04T10:11:13.5Z",
        created_at="2021-03-04T10:11:12.123456789Z",
        networks=(Attachment("shop_default", "bridge", "172.18.0.2", None, "172.18.0.1"),),
        published=(PublishedPort("udp", "127.0.0.1", 5353, 53), PublishedPort("tcp", "0.0.0.0", 8080, 80)),
        sandbox="/var/run/docker/netns/0123456789ab",
    )


def test_docker_29_with_two_networks_and_both_families() -> None:
    container = only(DOCKER_29)
    assert container.networks == (
        Attachment("back", "ipvlan", "172.19.0.3", "fd00:1::3", "172.19.0.1"),
        Attachment("front", None, None, "fd00:2::3", None),
    )
    assert container.published == (PublishedPort("tcp", "0.0.0.0", 443, 8443), PublishedPort("tcp", "::", 443, 8443))
    assert (container.project, container.service) == (None, None)


def test_podman() -> None:
    container = only(PODMAN_4)
    assert container.networks == (Attachment("podman", None, "10.88.0.2", None, "10.88.0.1"),)
    assert container.published == (PublishedPort("tcp", "", 15432, 5432),)
    assert container.image == "registry.example/library/postgres:15"


@pytest.mark.parametrize(
    ("fields", "mode", "pid"), [(ON_THE_HOST, "host", 5), (STOPPED, "bridge", None), (BORROWING, f"container:{ID}", 6)]
)
def test_containers_without_an_address(fields: Mapping[str, Any], mode: str, pid: int | None) -> None:
    container = only(fields)
    assert (container.network_mode, container.pid) == (mode, pid)
    assert all((place.ipv4, place.ipv6, place.gateway) == (None, None, None) for place in container.networks)
    assert container.published == ()


def test_networks_by_name() -> None:
    assert inventory().networks == (
        Network("cc" * 32, "back", "ipvlan", (), True),
        Network("dd" * 32, "host", "host"),
        Network("bb" * 32, "shop_default", "bridge", ("172.18.0.0/16", "fd00:18::/64"), bridge="br-bbbbbbbbbbbb"),
    )


def on_ipvlan(options: object, driver: str = "ipvlan") -> Container:
    """A container on that network alone."""
    network = {"Id": "cc" * 32, "Name": "lan", "Driver": driver, "Options": options}
    places = {"lan": {"IPAddress": "192.0.2.7"}}
    fields = DOCKER_20 | {"NetworkSettings": {"Networks": places}}
    (found,) = inventory(fields, networks=(network,)).containers
    return found


@pytest.mark.parametrize(
    ("options", "untracked"),
    [
        ({"ipvlan_mode": "l2", "parent": "eth0"}, "ipvlan"),
        ({"ipvlan_mode": "l3"}, "ipvlan l3"),
        ({"ipvlan_mode": "l3s"}, None),
        ({"mode": "l3s"}, None),
        ({}, "ipvlan"),
        (None, "ipvlan"),
        ({"ipvlan_mode": "l4"}, "ipvlan"),
        ({"ipvlan_mode": 3}, "ipvlan"),
    ],
)
def test_which_ipvlan_passes_the_host_s_netfilter(options: object, untracked: str | None) -> None:
    """As Docker's option says, or Podman's; l2 where none does."""
    assert on_ipvlan(options).untracked == untracked
    assert on_ipvlan(options, "macvlan").untracked == "macvlan", "whatever its mode"
    assert on_ipvlan(options, "bridge").untracked is None


def test_a_container_on_several_networks_is_tracked_if_one_is() -> None:
    some = on_ipvlan({"ipvlan_mode": "l3"})
    places = {mode: Attachment("lan", "ipvlan", "192.0.2.7", ipvlan_mode=mode) for mode in ("l2", "l3", "l3s")}
    lan = Attachment("wire", "macvlan", "192.0.2.8")
    assert replace(some, networks=(places["l2"], places["l3"], lan)).untracked == "ipvlan/ipvlan l3/macvlan"
    assert replace(some, networks=(places["l2"], places["l3s"])).untracked is None
    assert replace(some, networks=(lan, Attachment("shop", "bridge", "172.18.0.2"))).untracked is None


@pytest.mark.parametrize("state", ["created", "exited", "dead"])
def test_one_that_is_stopped_is_as_little_tracked_as_when_it_ran(state: str) -> None:
    lan, shop = Attachment("wire", "macvlan"), Attachment("shop", "bridge")
    stopped = replace(on_ipvlan({}), state=state, networks=(lan,))
    assert stopped.untracked == "macvlan"
    assert replace(stopped, networks=(Attachment("none", "null"),)).untracked == "no network"
    assert replace(stopped, networks=(lan, shop)).untracked is None
    assert replace(stopped, networks=(shop,)).untracked is None


ON_OVERLAY = DOCKER_20 | {"NetworkSettings": {"Networks": {"over": {"IPAddress": "10.0.1.2"}}}}
SWARM: tuple[Mapping[str, Any], ...] = (
    {"Id": "aa" * 32, "Name": "over", "Driver": "overlay"},
    {
        "Id": "bb" * 32,
        "Name": "docker_gwbridge",
        "Driver": "bridge",
        "Containers": {
            ID: {"IPv4Address": "172.20.0.3/16", "IPv6Address": "fd00:20::3/64"},
            "ingress-sbox": {"IPv4Address": "172.20.0.2/16", "IPv6Address": ""},
        },
    },
)


def test_a_container_on_swarm_s_overlay_leaves_by_swarm_s_bridge() -> None:
    """Which only the inspection of that network tells."""
    (task,) = inventory(ON_OVERLAY, networks=SWARM).containers
    assert task.networks == (
        Attachment("over", "overlay", "10.0.1.2"),
        Attachment("docker_gwbridge", "bridge", "172.20.0.3", "fd00:20::3"),
    )
    assert task.untracked is None
    assert inventory(ON_OVERLAY, networks=SWARM).ingress == ("172.20.0.2",)
    (inward,) = inventory(ON_OVERLAY, networks=SWARM[:1]).containers
    assert inward.untracked == "overlay", "one that has no way out"


@pytest.mark.parametrize("members", [None, [], {ID: None}, {ID: {}}, {ID: {"IPv4Address": 3, "IPv6Address": "x/64"}}])
def test_what_is_no_place_on_swarm_s_bridge(members: object) -> None:
    (task,) = inventory(ON_OVERLAY, networks=(SWARM[0], {**SWARM[1], "Containers": members})).containers
    assert [place.ipv4 for place in task.networks][:1] == ["10.0.1.2"]
    assert {(place.ipv4, place.ipv6) for place in task.networks[1:]} <= {(None, None)}


def test_podman_s_networks() -> None:
    """Its default one is listed under the name that Docker has for it, and no bridge is told."""
    listed = ({"Id": "ee" * 32, "Name": "bridge", "Driver": "bridge", "Options": {}}, *NETWORKS)
    found = inventory(PODMAN_4, networks=listed, version=PODMAN)
    assert [(each.name, each.bridge) for each in found.networks if each.driver == "bridge"] == [
        ("podman", None),
        ("shop_default", None),
    ]
    for key in ("podman", "bridge"):
        settings = {"Networks": {key: {"IPAddress": "10.88.0.2"}}}
        (container,) = inventory(PODMAN_4 | {"NetworkSettings": settings}, networks=listed, version=PODMAN).containers
        assert container.networks == (Attachment("podman", "bridge", "10.88.0.2"),)


def test_a_container_in_a_pod_has_nothing_of_its_own() -> None:
    """Podman tells the pod's addresses, ports and sandbox of each of its containers; Docker tells them once."""
    container = only(PODMAN_4 | {"HostConfig": {"NetworkMode": f"container:{'f' * 64}"}})
    assert (container.joined, container.networks, container.published) == ("f" * 64, (), ())
    assert container.sandbox is None


def test_containers_by_name_whatever_the_engine_s_order() -> None:
    names = [each.name for each in inventory(STOPPED, DOCKER_29, PODMAN_4).containers]
    assert names == ["api", "db", "old"]


@pytest.mark.parametrize(
    ("version", "info", "engine"),
    [
        (
            {"Version": "29.0.0", "ApiVersion": "1.52"},
            {"SecurityOptions": ["name=seccomp,profile=builtin"], "FirewallBackend": {"Driver": "nftables"}},
            Engine("29.0.0", "1.52", rootless=False, firewall_backend="nftables"),
        ),
        (
            {"Version": "20.10.24", "ApiVersion": "1.41"},
            {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless", "name=cgroupns"]},
            Engine("20.10.24", "1.41", rootless=True),
        ),
        (PODMAN, {"SecurityOptions": ["name=seccomp"], "Rootless": True}, PODMAN_ENGINE),
        (PODMAN | {"Components": [7, {"Name": 7}, {"Name": "Engine"}]}, {}, Engine("4.3.1", "1.41")),
        ({}, {"SecurityOptions": None, "FirewallBackend": None}, Engine(None, None)),
    ],
)
def test_the_engine(version: Mapping[str, Any], info: Mapping[str, Any], engine: Engine) -> None:
    assert inventory(version=version, info=info).engine == engine


# What no engine should say


def test_names_and_labels_are_made_harmless() -> None:
    hostile = {
        **DOCKER_20,
        "Name": "/\x1b[2Jweb\u202e",
        "Config": {
            "Image": "a\nb",
            "Labels": {"com.docker.compose.project": "\x9b31m", "com.docker.compose.service": ""},
        },
        "NetworkSettings": {
            "Networks": {"net\x07": {"IPAddress": "172.18.0.2"}},
            "Ports": {"80/\x1btcp": [{"HostPort": "1"}]},
        },
    }
    container = only(hostile)
    assert container.name == "�[2Jweb�"
    assert (container.image, container.project, container.service) == ("a�b", "�31m", None)
    assert container.networks == (Attachment("net�", None, "172.18.0.2"),)
    assert container.published[0].proto == "�tcp"


@pytest.mark.parametrize(
    "address", ["", "172.18.0.256", "172.18.0.2/16", "nonsense", 2886860802, None, ["172.18.0.2"], "\x1b"]
)
def test_what_is_no_address_is_absent(address: object) -> None:
    fields = {**DOCKER_20, "NetworkSettings": {"Networks": {"n": {"IPAddress": address}}}}
    assert only(fields).networks == (Attachment("n"),)


@pytest.mark.parametrize("pid", [0, -1, "7", None, True, 7.0, [7]])
def test_what_is_no_pid_is_absent(pid: object) -> None:
    assert only({**DOCKER_20, "State": {"Pid": pid}}).pid is None


@pytest.mark.parametrize(
    ("target", "host_port"),
    [
        ("80/tcp", ""),
        ("80/tcp", "8080/tcp"),
        ("80/tcp", "-1"),
        ("80/tcp", "65536"),
        ("80/tcp", "9" * 5000),
        ("80/tcp", 8080),
        ("80/tcp", None),
        ("80-90/tcp", "8080"),
        ("tcp", "8080"),
        ("70000/tcp", "8080"),
        ("", "8080"),
    ],
)
def test_what_is_no_port_is_absent(target: str, host_port: object) -> None:
    ports = {target: [{"HostIp": "0.0.0.0", "HostPort": host_port}, "nonsense"], "1/tcp": "nonsense"}
    assert only({**DOCKER_20, "NetworkSettings": {"Ports": ports}}).published == ()


@pytest.mark.parametrize("name", ["", "/", None, 7])
def test_a_container_without_a_name_goes_by_its_id(name: object) -> None:
    assert only({**DOCKER_20, "Name": name}).name == ID[:12]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def anything_like(shape: object) -> st.SearchStrategy[object]:
    """The shape, any of its parts replaced by any JSON or left out."""
    if isinstance(shape, Mapping):
        parts: dict[str, st.SearchStrategy[object]] = {key: anything_like(value) for key, value in shape.items()}
        return JSON | st.fixed_dictionaries({}, optional=parts)
    if isinstance(shape, list):
        return JSON | st.lists(st.one_of([anything_like(each) for each in shape] or [JSON]), max_size=3)
    return JSON | st.just(shape)


@given(
    st.lists(st.one_of(*map(anything_like, (DOCKER_20, DOCKER_29))), max_size=2),
    st.lists(st.one_of(*map(anything_like, NETWORKS)), max_size=2),
    anything_like({"Version": "29", "ApiVersion": "1.52", "Components": [{"Name": "Podman Engine"}]}),
    anything_like({"SecurityOptions": ["name=rootless"], "Rootless": True, "FirewallBackend": {"Driver": "nftables"}}),
)
def test_any_json_becomes_an_inventory(containers: Any, networks: Any, version: Any, info: Any) -> None:
    """Wrong types count as absent, and what comes out is what the model says, ready for JSON."""
    objects = [tuple(each for each in part if isinstance(each, dict)) for part in (containers, networks)]
    heads = [part if isinstance(part, dict) else {} for part in (version, info)]
    found = decode_inventory(EngineReading(heads[0], heads[1], objects[0], objects[1]))
    assert len(found.containers) == len(objects[0])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Inventory) == found


@pytest.mark.parametrize(
    ("mode", "state", "reason"),
    [
        ("slirp4netns", "running", "slirp4netns"),
        ("pasta:--ipv4-only", "running", "pasta"),
        ("pasta", "exited", "pasta"),
        ("none", "running", "no network"),
        ("none", "exited", "no network"),
        ("bridge", "running", "no network"),
        ("bridge", "exited", None),
    ],
)
def test_why_a_container_without_addresses_is_in_no_table(mode: str, state: str, reason: str | None) -> None:
    """A rootless Podman's on no network calls out through a process of the host."""
    fields = PODMAN_4 | {"HostConfig": {"NetworkMode": mode}, "State": {"Status": state}, "NetworkSettings": {}}
    assert only(fields).untracked == reason
