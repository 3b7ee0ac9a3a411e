"""What is probed, and by which ways: targets as people write them, published ports as the engine tells them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Aim, Attachment, Container, Engine, Inventory, Network, ProbePath, ProbeTarget, PublishedPort
from natop.probing import (
    BadTarget,
    ProbeWish,
    aims,
    asked,
    called,
    named,
    netns_of,
    out_of_reach,
    own_addresses,
    parse_target,
    published_ways,
)
from tests.unit.hosts import HOST_ADDRESSES, WEB, container

OUTSIDE = ProbeTarget("198.51.100.7:443", "198.51.100.7", 443)


@pytest.mark.parametrize(
    ("text", "host", "port", "request_line"),
    [
        ("example.org:443", "example.org", 443, None),
        ("198.51.100.7:1", "198.51.100.7", 1, None),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535, None),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, None),
        ("http://example.org", "example.org", 80, "/"),
        ("http://example.org/", "example.org", 80, "/"),
        ("HTTP://example.org:8080/a/b?c=d&e", "example.org", 8080, "/a/b?c=d&e"),
        ("http://example.org?c", "example.org", 80, "/?c"),
        ("http://[2001:db8::1]:81/x#part", "2001:db8::1", 81, "/x"),
    ],
)
def test_targets_as_people_write_them(text: str, host: str, port: int, request_line: str | None) -> None:
    assert parse_target(text) == ProbeTarget(text, host, port, request_line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("example.org", "no port"),
        ("example.org:", "no port"),
        ("example.org:0", "no port"),
        ("http://example.org:0/", "no port"),
        (":80", "HOST:PORT"),
        ("", "HOST:PORT"),
        ("example.org:99999", "HOST:PORT"),
        ("example.org:http", "HOST:PORT"),
        ("2001:db8::1:80", "HOST:PORT"),
        ("[2001:db8::1:80", "HOST:PORT"),
        ("user@example.org:80", "HOST:PORT"),
        ("example.org:80/path", "http://"),
        ("https://example.org", "only http://"),
        ("ftp://example.org", "only http://"),
        ("exam ple.org:80", "spaces"),
        ("example.org:80\r\nHost: other", "unprintable"),
        ("http://example.org/\x1b[31m", "unprintable"),
        ("http://example.org/ü", "ASCII"),
        ("a" * 3000 + ":80", "spaces"),
    ],
)
def test_what_cannot_be_probed_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadTarget, match=said) as caught:
        parse_target(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2_200


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except BadTarget:
        return
    assert 0 < target.port < 65536
    assert target.host
    assert " " not in target.host + (target.request or "")


def inventory(
    *containers: Container,
    subnets: tuple[str, ...] = ("172.18.0.0/16", "fd00:18::/64"),
    userland_proxy: bool | None = True,
) -> Inventory:
    engine = Engine("29", "1.52", userland_proxy=userland_proxy)
    return Inventory(engine, containers, (Network("1", "net0", "bridge", subnets),))


def ways(
    *containers: Container, addresses: tuple[str, ...] = HOST_ADDRESSES, userland_proxy: bool | None = True
) -> list[tuple[str, str]]:
    found = aims(ProbeWish(), inventory(*containers, userland_proxy=userland_proxy), addresses)
    return [(str(way.path), way.target) for aim in found for way in aim.ways]


def published(*ports: PublishedPort, **fields: Any) -> Container:
    return container("web", "172.18.0.2", published=ports, **fields)


ANYWHERE = PublishedPort("tcp", "0.0.0.0", 8080, 80)
THREE = [("container", "172.18.0.2:80"), ("published", "203.0.113.10:8080"), ("proxy", "127.0.0.1:8080")]


def test_a_published_port_is_called_in_three_ways_at_once() -> None:
    (aim,) = aims(ProbeWish(), inventory(WEB), HOST_ADDRESSES)
    assert [(way.path, way.target) for way in aim.ways] == [
        (ProbePath.CONTAINER, "172.18.0.2:80"),
        (ProbePath.PUBLISHED, "203.0.113.10:8080"),
        (ProbePath.PROXY, "127.0.0.1:8080"),
    ]
    assert {(way.container, way.container_name, way.netns) for way in aim.ways} == {(WEB.id, "web", None)}
    assert {way.subject for way in aim.ways} == {"web 8080→80"}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (ANYWHERE, THREE),
        (PublishedPort("tcp", "", 8080, 80), THREE),
        (PublishedPort("tcp", "203.0.113.99", 8080, 80), [THREE[0], ("published", "203.0.113.99:8080")]),
        (PublishedPort("tcp", "127.0.0.1", 8080, 80), [THREE[0], THREE[2]]),
        (PublishedPort("udp", "0.0.0.0", 8080, 80), []),
        (PublishedPort("tcp", "::", 8080, 80), []),
        (PublishedPort("tcp", "no address", 8080, 80), THREE[:1]),
    ],
)
def test_the_ways_follow_the_address_that_a_port_is_published_at(
    port: PublishedPort, expected: list[tuple[str, str]]
) -> None:
    """A binding of :: to a container without IPv6 is docker-proxy's alone, and IPv4's ways show it already."""
    assert ways(published(port)) == expected


def test_ipv6_is_called_where_the_container_has_it() -> None:
    six = container("web6", "172.18.0.2", "fd00:18::2", published=(PublishedPort("tcp", "::", 8080, 80),))
    assert ways(six, addresses=("2001:db8::10", "fe80::1%eth0", "::1", "fd00:18::1")) == [
        ("container", "[fd00:18::2]:80"),
        ("published", "[2001:db8::10]:8080"),
        ("proxy", "[::1]:8080"),
    ]


@pytest.mark.parametrize("userland_proxy", [False, None])
def test_where_docker_proxy_is_not_known_to_answer_the_way_is_not_called_its(userland_proxy: bool | None) -> None:
    """Without it NAT leads calls to 127.0.0.1 on; what cannot be known is not claimed."""
    own = ("loopback", "127.0.0.1:8080")
    assert ways(published(ANYWHERE), userland_proxy=userland_proxy) == [*THREE[:2], own]
    only = PublishedPort("tcp", "127.0.0.1", 8080, 80)
    assert ways(published(only), userland_proxy=userland_proxy) == [THREE[0], own]
    assert [paths for _, paths in published_ways(WEB, userland_proxy)] == [("container", "published", "loopback")]


def test_nobody_answers_at_the_ipv6_loopback_address_without_docker_proxy() -> None:
    six = container("web6", "172.18.0.2", "fd00:18::2", published=(PublishedPort("tcp", "::", 8080, 80),))
    found = {each: [path for path, _ in ways(six, userland_proxy=each)] for each in (True, False, None)}
    assert found == {True: ["container", "proxy"], False: ["container"], None: ["container", "loopback"]}
    assert [paths for _, paths in published_ways(six, False)] == [("container", "published")]


def test_a_port_that_is_published_twice_is_called_once_where_it_is() -> None:
    """The container's own address is one target, however many ports of the host lead to it."""
    second, third = replace(ANYWHERE, host_port=8081), PublishedPort("tcp", "203.0.113.99", 8080, 80)
    other = replace(ANYWHERE, host_port=8443, container_port=443)
    found = aims(ProbeWish(), inventory(published(ANYWHERE, second, third, other)), HOST_ADDRESSES)
    assert [[(str(way.path), way.target) for way in aim.ways] for aim in found] == [
        [
            *THREE,
            ("published", "203.0.113.10:8081"),
            ("proxy", "127.0.0.1:8081"),
            ("published", "203.0.113.99:8080"),
        ],
        [("container", "172.18.0.2:443"), ("published", "203.0.113.10:8443"), ("proxy", "127.0.0.1:8443")],
    ]
    assert [{way.subject for way in aim.ways} for aim in found] == [{"web 8080,8081→80"}, {"web 8443→443"}]
    every = [way.key for aim in found for way in aim.ways]
    assert len(set(every)) == len(every)
    assert dict(published_ways(published(ANYWHERE, second), True)) == {
        "web 8080,8081→80": ("container", "published", "proxy")
    }


def test_containers_that_do_not_run_and_those_without_an_address_on_a_bridge_are_left_alone() -> None:
    assert ways(published(ANYWHERE, state="exited")) == []
    assert ways(published(ANYWHERE, state="paused")) == THREE
    assert ways(replace(published(ANYWHERE), networks=(Attachment("lan", "macvlan", ipv4="192.0.2.7"),))) == []


def test_without_an_address_of_its_own_a_host_is_not_called_there() -> None:
    assert ways(published(ANYWHERE), addresses=("127.0.0.1", "172.18.0.1", "junk")) == [THREE[0], THREE[2]]


@pytest.mark.parametrize("addresses", [("203.0.113.10", "127.0.0.1"), ("203.0.113.10", "172.19.0.1"), ()])
def test_ports_that_another_machine_s_engine_publishes_are_not_called(addresses: tuple[str, ...]) -> None:
    """The same addresses here are somebody else's, and 127.0.0.1 is not its."""
    assert ways(WEB, addresses=addresses) == []
    assert ways(WEB, addresses=(*addresses, "172.18.0.1"))[0] == THREE[0]


def test_own_addresses_are_not_those_of_docker_s_networks() -> None:
    host = inventory(subnets=("172.18.0.0/16", "junk", "fd00:18::/64"))
    assert own_addresses(HOST_ADDRESSES, host) == {4: "203.0.113.10"}
    assert own_addresses((*HOST_ADDRESSES, "2001:db8::1", "198.51.100.1"), host) == {
        4: "203.0.113.10",
        6: "2001:db8::1",
    }


def test_a_named_target_is_called_from_the_host_and_from_inside_in_one_round() -> None:
    app = container("app", "172.18.0.3", sandbox="/run/docker/netns/abc")
    aim = named(OUTSIDE, [app], [app])
    assert [(way.path, way.container_name, way.netns, way.target) for way in aim.ways] == [
        ("host", None, None, "198.51.100.7:443"),
        ("netns", "app", "/run/docker/netns/abc", "198.51.100.7:443"),
    ]


def test_where_a_container_s_namespace_is() -> None:
    web = container("web", "172.18.0.2", sandbox="/run/docker/netns/abc")
    edge = container("edge", network_mode="host", sandbox="/run/docker/netns/default")
    side = container("side", network_mode=f"container:{web.id}")
    lost = container("lost", network_mode="container:none-such")
    dead = container("dead", state="exited", sandbox="/run/docker/netns/abc")
    odd = container("odd", sandbox="relative")
    everyone = (web, edge, side, lost, dead, odd)
    assert [netns_of(each, everyone) for each in everyone] == [
        "/run/docker/netns/abc", "", "/run/docker/netns/abc", None, None, None,
    ]  # fmt: skip
    assert [way.netns for way in named(OUTSIDE, everyone, everyone).ways] == [
        None, "/run/docker/netns/abc", None, "/run/docker/netns/abc",
    ]  # fmt: skip


def test_a_wish_says_what_is_probed() -> None:
    host = inventory(WEB, container("app", "172.18.0.3", sandbox="/run/docker/netns/abc"))
    app = host.containers[1]
    mine = replace(OUTSIDE, sources=("app", app.id[:6], "gone"))
    only_named = ProbeWish(published=False, targets=(mine,))
    assert [len(aim.ways) for aim in aims(only_named, host, HOST_ADDRESSES)] == [2]
    both = ProbeWish(targets=(OUTSIDE,))
    assert [len(aim.ways) for aim in aims(both, host, HOST_ADDRESSES)] == [1, 3]
    assert [len(aim.ways) for aim in aims(both, None, HOST_ADDRESSES)] == [1]


def test_a_container_is_called_by_its_name_or_else_by_its_id() -> None:
    app, other = container("app"), container("other")
    alike = replace(container("alike"), id="app" + app.id[3:])
    everyone = (app, other, alike)
    assert called("app", everyone) == [app]
    assert called(other.id[:8], everyone) == [other]
    assert called("nobody", everyone) == called("", everyone) == []


def test_every_way_asked_for_is_told_and_why_it_is_not_called() -> None:
    app = container("app", "172.18.0.3", sandbox="/run/docker/netns/abc")
    dead = container("dead", state="exited", sandbox="/run/docker/netns/abd")
    far = container("far")
    mine = replace(OUTSIDE, sources=("app", "dead", "far", "none", "app"))
    everyone = (app, dead, far)
    told = list(asked([mine], everyone))
    assert [(each.text, each.container, each.obstacle) for each in told] == [
        ("host", "", ""),
        ("from app", app.id, ""),
        ("from dead", dead.id, "exited"),
        ("from far", far.id, "namespace not known"),
        ("from none", "", "no such container"),
    ]
    called_now = [way.key for way in named(mine, [app], everyone).ways]
    assert called_now == [each.key for each in told if not each.obstacle], "as their results will have it"
    assert told[4].key == (OUTSIDE.text, "netns", "?none")


def test_what_can_be_known_of_a_container_s_published_ports() -> None:
    ways = dict(published_ways(WEB, True))
    assert ways == {aim.ways[0].subject: tuple(way.path for way in aim.ways) for aim in aims_of(WEB)}
    assert ways
    assert dict(published_ways(replace(WEB, state="exited"), True)) == {}


def on(name: str, driver: str | None, address: str | None = None, **fields: Any) -> Container:
    return replace(container(name, **fields), networks=(Attachment(f"{name}_net", driver, address),))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (container("web", "172.18.0.2"), ""),
        (container("v6", "fd00:18::2"), ""),
        (container("two", "10.9.0.2", "172.18.0.2"), ""),
        (on("lan", "macvlan", "192.0.2.7"), "macvlan"),
        (on("sub", "ipvlan", "192.0.2.8"), "ipvlan"),
        (on("job", "null"), "no network"),
        (container("bare", network_mode="none"), "no network"),
        (container("user", network_mode="slirp4netns"), "slirp4netns"),
        (container("far", "10.9.0.2"), "this host is not on net0"),
        (container("host", network_mode="host"), ""),
        (container("side", network_mode="container:0123"), ""),
        (on("dead", "macvlan", state="exited"), ""),
    ],
)
def test_why_the_host_cannot_call_a_container(found: Container, reason: str) -> None:
    assert out_of_reach(inventory(found), HOST_ADDRESSES).get(found.id, "") == reason
    ports = (PublishedPort("tcp", "0.0.0.0", 8080, 80),)
    if reason:
        assert not aims_of(replace(found, published=ports)), "what is called is no mystery"


def test_in_a_container_s_own_namespace_nothing_published_answers_at_loopback() -> None:
    web = container("web", "172.18.0.2", published=(PublishedPort("tcp", "0.0.0.0", 8080, 80),))
    inside = ("127.0.0.1", "172.18.0.3", "::1")
    found = aims(ProbeWish(), inventory(web, container("app", "172.18.0.3")), inside)
    assert [str(way.path) for aim in found for way in aim.ways] == ["container"]
    assert "proxy" in {str(way.path) for aim in aims_of(web) for way in aim.ways}, "on the host it does"


def test_where_the_host_s_addresses_are_not_known_no_network_is_called_another_s() -> None:
    assert out_of_reach(inventory(container("far", "10.9.0.2")), None) == {}
    lan = on("lan", "macvlan", "192.0.2.7")
    assert out_of_reach(inventory(lan), None) == {lan.id: "macvlan"}


def aims_of(*containers: Container) -> tuple[Aim, ...]:
    return aims(ProbeWish(), inventory(*containers), HOST_ADDRESSES)
