"""The demo's Engine, asked by the real docker SDK."""

import gc
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import NotFound

from natop.demo.engine import EngineServer
from natop.demo.inventory import DEFAULT_NETWORKS, Inventory
from natop.demo.shapes import DemoContainer, DemoEndpoint, DemoNetwork, DemoPort, inspect_body

pytestmark = pytest.mark.slow

PATIENCE_S = 60
"""For what must happen, on a machine however slow."""
SHOP = DemoNetwork("shop", "172.18.0.0/16", "172.18.0.1", subnet6="fd00:18::/64", gateway6="fd00:18::1")
WEB = DemoContainer(
    "web",
    pid=os.getpid(),
    image="shop/web:1",
    endpoints=(DemoEndpoint("bridge", "172.17.0.2"), DemoEndpoint("shop", "172.18.0.2", "fd00:18::2")),
    ports=(DemoPort(80, 8080), DemoPort(80, 8081, "127.0.0.1"), DemoPort(9000)),
    labels={"com.docker.compose.project": "shop"},
    env=("SECRET=1",),
)
ASLEEP = DemoContainer("asleep", state="exited", endpoints=(DemoEndpoint("shop", "172.18.0.9"),))
HOSTLY = DemoContainer("hostly", pid=os.getpid(), network_mode="host")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    inventory = Inventory([WEB, ASLEEP, HOSTLY], [*DEFAULT_NETWORKS, SHOP])
    with EngineServer(tmp_path / "docker.sock", inventory) as server:
        yield server


@pytest.fixture
def client(engine: EngineServer) -> Iterator[docker.APIClient]:
    api = docker.APIClient(base_url=engine.url, version="auto", timeout=PATIENCE_S)
    yield api
    api.close()


def collect_unclosed() -> None:
    """Let go of the socket that the SDK forgets to close where it cannot connect."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_the_sdk_negotiates_and_pings(client: docker.APIClient) -> None:
    assert client.ping() is True
    assert client.api_version == client.version()["ApiVersion"]
    assert client.info()["ContainersRunning"] == 2
    assert client.info()["ContainersStopped"] == 1


def test_the_list_honours_all(client: docker.APIClient) -> None:
    assert [each["Names"] for each in client.containers()] == [["/hostly"], ["/web"]]
    assert [each["State"] for each in client.containers(all=True)] == ["running", "exited", "running"]


def test_a_listed_container_has_the_engine_s_fields(client: docker.APIClient) -> None:
    web = client.containers()[1]
    assert web["Id"] == WEB.id
    assert web["Labels"] == {"com.docker.compose.project": "shop"}
    assert web["Ports"] == [
        {"PrivatePort": 80, "Type": "tcp", "IP": "0.0.0.0", "PublicPort": 8080},
        {"PrivatePort": 80, "Type": "tcp", "IP": "127.0.0.1", "PublicPort": 8081},
        {"PrivatePort": 9000, "Type": "tcp"},
    ]
    assert web["HostConfig"]["NetworkMode"] == "bridge"
    shop = web["NetworkSettings"]["Networks"]["shop"]
    assert shop["IPAddress"] == "172.18.0.2"
    assert shop["GlobalIPv6Address"] == "fd00:18::2"
    assert shop["Gateway"] == "172.18.0.1"
    assert shop["NetworkID"] == SHOP.id


@pytest.mark.parametrize("reference", ["web", WEB.id, WEB.id[:12]])
def test_inspect_takes_name_id_and_short_id(client: docker.APIClient, reference: str) -> None:
    body = client.inspect_container(reference)
    assert body["Name"] == "/web"
    assert body["State"]["Pid"] == os.getpid()
    assert body["State"]["Running"] is True
    assert body["Config"]["Env"] == ["SECRET=1"]
    assert body["NetworkSettings"]["SandboxKey"].startswith("/var/run/docker/netns/")
    assert body["NetworkSettings"]["Ports"] == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "9000/tcp": None,
    }


def test_a_stopped_container_has_no_process_and_no_address(client: docker.APIClient) -> None:
    body = client.inspect_container("asleep")
    assert body["State"]["Pid"] == 0
    assert body["NetworkSettings"]["SandboxKey"] == ""
    assert body["NetworkSettings"]["Networks"]["shop"]["IPAddress"] == ""


def test_the_host_s_network_has_its_own_sandbox(client: docker.APIClient) -> None:
    body = client.inspect_container("hostly")
    assert body["HostConfig"]["NetworkMode"] == "host"
    assert body["NetworkSettings"]["SandboxKey"].endswith("/default")
    assert list(body["NetworkSettings"]["Networks"]) == ["host"]


def test_a_borrowed_network_has_neither_sandbox_nor_networks() -> None:
    body = inspect_body(DemoContainer("sidecar", pid=1, network_mode=f"container:{WEB.id}"), {})
    assert body["NetworkSettings"]["SandboxKey"] == ""
    assert body["NetworkSettings"]["Networks"] == {}


def test_networks(client: docker.APIClient) -> None:
    networks = {each["Name"]: each for each in client.networks()}
    assert set(networks) == {"bridge", "host", "none", "shop"}
    assert networks["shop"]["IPAM"]["Config"] == [
        {"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},
        {"Subnet": "fd00:18::/64", "Gateway": "fd00:18::1"},
    ]
    assert networks["shop"]["EnableIPv6"] is True
    members = client.inspect_network(SHOP.id)["Containers"]
    assert [each["IPv4Address"] for each in members.values()] == ["172.18.0.2/16"]


def test_what_is_not_there_is_404(client: docker.APIClient) -> None:
    with pytest.raises(NotFound, match="No such container: nobody"):
        client.inspect_container("nobody")
    with pytest.raises(NotFound, match="network nothing not found"):
        client.inspect_network("nothing")


def test_the_server_comes_back_at_the_same_path(engine: EngineServer, client: docker.APIClient) -> None:
    events = client.events(decode=True)
    engine.stop()
    assert list(events) == []
    assert not engine.path.exists()
    with pytest.raises(requests.exceptions.ConnectionError):
        client.ping()
    collect_unclosed()
    engine.start()
    assert client.ping() is True
    engine.stop()
    engine.stop()
    engine.start()


def test_bodies_are_plain_json() -> None:
    body = inspect_body(WEB, {each.name: each for each in (*DEFAULT_NETWORKS, SHOP)})
    assert json.loads(json.dumps(body)) == body
