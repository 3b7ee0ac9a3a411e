"""Which rule takes what a bridge network sends out, of several eras of Docker and of rules built for one question."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from natop.join.firewall import described, placed
from natop.model import Firewall, NatRule, Network, NetworkNat
from tests.unit.rulesets import (
    BRIDGE,
    DOCKER_20,
    DOCKER_20_NO_PROXY,
    DOCKER_28,
    DOCKER_28_V6,
    KUBE,
    LAN,
    PODMAN_4,
    SHOP,
    Described,
    ages,
    at,
    firewall,
    recorded,
    save,
    saved,
    table,
)

MASQUERADE: dict[str, object] = {"masquerade": None}
INNER = Network("d" * 64, "inner", "bridge", ("172.20.0.0/16",), internal=True, bridge="br-inner")


def words(found: Firewall) -> list[tuple[str, str]]:
    return [(each.subnet, described(replace(found, networks=(each,)), each.network)) for each in found.networks]


def taken(found: Firewall) -> NatRule | None:
    """The rule that takes the default bridge's packets."""
    return next(each.rule for each in found.networks if each.network == "bridge")


def by_iptables(*rules: str, chains: Sequence[str] = (), routes: Mapping[str, str] | None = None) -> NetworkNat:
    """What rules do to the default bridge."""
    return firewall(saved(save(*rules, chains=chains)), BRIDGE, routes=routes).networks[0]


def text(rule: NatRule | None) -> str | None:
    return rule.text.removeprefix("-A POSTROUTING ") if rule else None


# Docker's own rules


def test_docker_20_by_iptables_nft() -> None:
    found = firewall(saved(DOCKER_20))
    assert words(found) == [
        ("172.17.0.0/16", "MASQUERADE"),
        ("172.18.0.0/16", "SNAT to 198.18.0.77"),
        ("fd00:18::/64", "no NAT"),
        ("172.19.0.0/16", "no NAT"),
    ]
    assert (found.backend, found.userland_proxy) == ("iptables-nft", True)
    assert [each.hairpin for each in found.networks] == [None] * 4
    assert [rule.action for rule in found.rules] == ["SNAT", "MASQUERADE", "MASQUERADE"]
    assert found.rules[0] == NatRule(
        "iptables-nft",
        "nat POSTROUTING",
        100,
        "SNAT",
        ("172.18.0.0/16",),
        "198.18.0.77",
        text="-A POSTROUTING -s 172.18.0.0/16 ! -o br-shop -j SNAT --to-source 198.18.0.77",
    )
    assert (found.rules[2].sources, found.rules[2].protocols) == (("172.17.0.2",), ("tcp",))


def test_docker_20_without_its_proxy_turns_packets_back() -> None:
    found = firewall(saved(DOCKER_20_NO_PROXY, "iptables-legacy"))
    assert (found.backend, found.userland_proxy) == ("iptables-legacy", False)
    bridge, shop, _, lan = found.networks
    assert bridge.rule is not None
    assert bridge.hairpin is not None
    assert text(bridge.rule) == "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    assert text(bridge.hairpin) == "-s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE"
    assert (shop.hairpin, lan.rule, lan.hairpin) == (None, None, None)


def test_docker_28_with_ipv6() -> None:
    found = firewall(saved(DOCKER_28) | saved(DOCKER_28_V6, "ip6tables-nft"))
    assert words(found)[1:3] == [("172.18.0.0/16", "MASQUERADE"), ("fd00:18::/64", "MASQUERADE")]
    assert described(found, "shop") == "MASQUERADE"
    assert [rule.backend for rule in found.rules] == ["iptables-nft", "iptables-nft", "ip6tables-nft"]
    assert found.userland_proxy


def test_docker_29_by_nft_and_a_table_that_comes_before_its() -> None:
    found = firewall(recorded("docker-29"))
    assert words(found) == [
        ("172.17.0.0/16", "MASQUERADE fully-random"),
        ("172.18.0.0/16", "SNAT to 203.0.113.11"),
        ("fd00:18::/64", "no NAT"),
        ("172.19.0.0/16", "MASQUERADE fully-random"),
    ]
    assert (found.backend, found.userland_proxy) == ("nftables", True)
    assert [(rule.chain, rule.priority) for rule in found.rules] == [
        ("ip natop_random postrouting", 90),
        ("ip docker-bridges nat-postrouting-out__docker0", 100),
        ("ip docker-bridges nat-postrouting-out__br-shop", 100),
    ]
    assert found.rules[1].text == (
        'oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"'
    )


def test_docker_29_without_its_proxy() -> None:
    found = firewall(recorded("docker-29-noproxy"))
    assert (found.backend, found.userland_proxy) == ("nftables", False)
    bridge, shop, _, _ = found.networks
    assert bridge.hairpin is not None
    assert "MASQ TO OWN PORT" in bridge.hairpin.text
    assert shop.hairpin is None


def test_kubernetes_and_flannel_chains_are_followed() -> None:
    found = firewall(saved(KUBE))
    rule = taken(found)
    assert rule is not None
    assert (rule.chain, rule.fully_random) == ("nat FLANNEL-POSTRTG", True)
    assert [each.chain for each in found.rules] == ["nat KUBE-POSTROUTING", "nat FLANNEL-POSTRTG"]
    assert found.networks[0].others == ()
    assert (found.backend, found.userland_proxy) == (None, None)


def test_podman_by_netavark() -> None:
    """The rule that masquerades by a mark takes what is published and turned back; containers' calls are the next's."""
    networks = (
        Network("a" * 64, "podman", "bridge", ("10.88.0.0/16",), bridge="podman0"),
        Network("b" * 64, "internal", "bridge", ("10.89.5.0/24",)),
    )
    found = firewall(saved(PODMAN_4), *networks)
    assert (found.backend, found.userland_proxy) == ("iptables-nft", None)
    assert [(each.rule.chain, each.rule.action) for each in found.networks if each.rule] == [
        ("nat NETAVARK-1D8721804F16F", "MASQUERADE"),
        ("nat NETAVARK-4FE0800D8AF43", "MASQUERADE"),
    ]
    assert [[rule.chain for rule in each.others] for each in found.networks] == [["nat NETAVARK-HOSTPORT-MASQ"]] * 2
    assert [each.hairpin.chain for each in found.networks if each.hairpin] == ["nat NETAVARK-HOSTPORT-MASQ"] * 2


def test_a_bridge_is_where_its_subnet_is() -> None:
    networks = (
        BRIDGE,
        Network("b" * 64, "internal", "bridge", ("fd00:5::/64", "10.89.5.0/24")),
        Network("c" * 64, "idle", "bridge", ("10.89.6.0/24",)),
        Network("d" * 64, "wired", "macvlan", ("10.89.5.0/24",)),
    )
    links = {"172.17.0.0/16": "eth7", "10.89.5.0/24": "podman1"}
    assert [each.bridge for each in placed(networks, links)] == ["docker0", "podman1", None, None]


def test_nothing_leaves_an_internal_network() -> None:
    found = firewall(saved(save("POSTROUTING -j MASQUERADE")), INNER)
    assert found.networks == (NetworkNat("inner", "172.20.0.0/16", None, bridge="br-inner", internal=True),)
    assert described(found, "inner") == "internal"


def test_only_bridge_networks_and_subnets_that_make_sense() -> None:
    odd = replace(LAN, subnets=("172.19.0.0/16", "nonsense", "10.0.0.0/99"))
    macvlan = Network("e" * 64, "street", "macvlan", ("192.0.2.0/24",))
    found = firewall(saved(save("POSTROUTING -j MASQUERADE")), odd, macvlan)
    assert [each.subnet for each in found.networks] == ["172.19.0.0/16"]
    assert described(found, "street") == ""


def test_both_families_in_words() -> None:
    found = firewall(saved(DOCKER_28), SHOP)
    assert described(found, "shop") == "IPv4 MASQUERADE, IPv6 no NAT"


# One question each

TAKES = "-j MASQUERADE"
CONDITIONS = [
    # who: (the condition, whether it takes the ordinary packet, or None for some packets only)
    ("", True),
    ("-s 172.17.0.0/16", True),
    ("-s 172.16.0.0/12", True),
    ("-s 172.18.0.0/16", False),
    ("-s 172.17.0.9/32", None),
    ("! -s 172.17.0.0/16", False),
    ("! -s 172.18.0.0/16", True),
    ("! -s 172.17.0.9/32", True),
    ("-m iprange --src-range 172.17.0.0-172.17.255.255", True),
    ("-m iprange --src-range 172.17.0.5-172.17.0.9", None),
    ("-o docker0", False),
    ("! -o docker0", True),
    ("! -o br-shop", True),
    ("-o eth0", True),
    ("! -o eth0", None),
    ("-o eth+", True),
    ("-o eth1", None),
    ("! -o eth1", True),
    ("-o br-+", None),
    ("-o +", True),
    ("-d 172.17.0.0/16", None),
    ("! -d 172.17.0.0/16", True),
    ("-d 198.51.100.0/24", None),
    ("! -d 10.0.0.0/8", True),
    ("-d 0.0.0.0/0", True),
    ("-p tcp", True),
    ("-p 6", True),
    ("-p all", True),
    ("! -p udp", True),
    ("-p tcp -m tcp --dport 443", None),
    ("-p tcp -m multiport --dports 80,443", None),
    ("-p tcp -m tcp ! --dport 25", True),
    ("-m mark --mark 0x4000/0x4000", None),
    ("-m mark ! --mark 0x4000/0x4000", True),
    ("-m mark --mark 0x0/0xff", True),
    ("-m conntrack --ctstate NEW,RELATED", True),
    ("-m conntrack --ctstate DNAT", None),
    ("-m conntrack ! --ctstate DNAT", True),
    ("-m addrtype --src-type LOCAL", False),
    ("-m addrtype ! --src-type LOCAL", True),
    ("-m addrtype --dst-type LOCAL", False),
    ("-m addrtype ! --dst-type LOCAL --limit-iface-out", None),
    ("-m policy --dir out --pol none", True),
    ("-m policy --dir out --pol ipsec", False),
    ("-m physdev --physdev-is-bridged", False),
    ("-m physdev ! --physdev-is-bridged", True),
    ("-m owner --uid-owner 1000", False),
    ("-m set --match-set private dst", None),
    ("-m set ! --match-set private dst", True),
    ("-m set --match-set clients src", None),
    ("-m set ! --match-set clients src", None),
    ("-m statistic --mode random --probability 0.5", None),
    ('-m comment --comment "-j RETURN ! -o x"', True),
    ("--never-heard-of it", None),
    ("! --never-heard-of it", None),
    ("-s nonsense", None),
    ("-m mark --mark nonsense", None),
]


@pytest.mark.parametrize(("condition", "takes"), CONDITIONS)
def test_a_condition_of_iptables(condition: str, takes: bool | None) -> None:
    place = by_iptables(f"POSTROUTING {condition} {TAKES}".replace("  ", " "))
    assert (place.rule is not None, len(place.others)) == (takes is True, 1 if takes is None else 0)


def test_udp_where_a_rule_tells_it_apart() -> None:
    place = by_iptables(
        "POSTROUTING -p tcp -j MASQUERADE --to-ports 20000-29999",
        "POSTROUTING -p udp -j MASQUERADE --to-ports 30000-39999",
        "POSTROUTING -j MASQUERADE",
    )
    tcp, udp = place.rule_of("tcp"), place.rule_of("udp")
    assert tcp is not None
    assert udp is not None
    assert (tcp.ports, udp.ports) == ((20000, 29999), (30000, 39999))
    assert (place.rule, place.rule_of("sctp")) == (tcp, tcp)


def test_without_a_default_route_any_other_interface_may_be_the_way_out() -> None:
    place = by_iptables("POSTROUTING -o eth0 -j MASQUERADE", "POSTROUTING ! -o docker0 -j MASQUERADE", routes={})
    assert [text(each) for each in place.others] == ["-o eth0 -j MASQUERADE"]
    assert text(place.rule) == "! -o docker0 -j MASQUERADE"


def test_a_bridge_whose_name_is_unknown_may_be_any() -> None:
    place = firewall(saved(save("POSTROUTING ! -o docker0 -j MASQUERADE")), replace(BRIDGE, bridge=None)).networks[0]
    assert (text(place.rule), place.bridge) == ("! -o docker0 -j MASQUERADE", None)


@pytest.mark.parametrize("verdict", ["RETURN", "ACCEPT"])
def test_what_spares_a_network(verdict: str) -> None:
    place = by_iptables(f"POSTROUTING -s 172.17.0.0/16 -j {verdict}", "POSTROUTING -j MASQUERADE")
    assert (place.rule, place.others) == (None, ())


def test_what_spares_some_packets_spares_not_the_ordinary_one() -> None:
    place = by_iptables("POSTROUTING -d 10.0.0.0/8 -j RETURN", "POSTROUTING -j MASQUERADE")
    assert text(place.rule) == "-j MASQUERADE"


@pytest.mark.parametrize(
    ("inner", "jump", "taker"),
    [
        ("-j RETURN", "-j", "after"),
        ("-j RETURN", "-g", None),
        ("-j ACCEPT", "-j", None),
        ("-d 10.0.0.0/8 -j ACCEPT", "-j", "after"),
        ("-d 10.0.0.0/8 -j ACCEPT", "-g", None),
        ("-m mark --mark 0x1 -j RETURN", "-j", "after"),
        ("-j LOG", "-j", "after"),
        ("-j SNAT --to-source 198.51.100.9", "-j", "inner"),
        ("-j SNAT --to-source 198.51.100.9", "-g", "inner"),
    ],
)
def test_a_chain_that_is_jumped_to(inner: str, jump: str, taker: str | None) -> None:
    place = by_iptables(f"POSTROUTING {jump} MINE", f"MINE {inner}", "POSTROUTING -j MASQUERADE", chains=["MINE"])
    actions = {"SNAT": "inner", "MASQUERADE": "after"}
    assert (place.rule and actions[place.rule.action]) == taker


def test_what_is_reached_by_some_packets_takes_some() -> None:
    place = by_iptables("POSTROUTING -d 10.0.0.0/8 -j MINE", "MINE -j MASQUERADE", chains=["MINE"])
    assert (place.rule, [each.chain for each in place.others]) == (None, ["nat MINE"])


def test_chains_that_jump_in_a_circle_end() -> None:
    rules = [f"C{n} -j C{(n + step) % 8}" for n in range(8) for step in range(8)]
    place = by_iptables("POSTROUTING -j C0", *rules, "POSTROUTING -j MASQUERADE", chains=[f"C{n}" for n in range(8)])
    assert text(place.rule) == "-j MASQUERADE"


# Several base chains


def test_accept_ends_a_base_chain_and_not_the_search() -> None:
    early = table("ip early", ("post", at(90), [[{"accept": None}], [MASQUERADE]]))
    place = firewall(early | saved(save("POSTROUTING -j SNAT --to-source 192.0.2.1")), BRIDGE).networks[0]
    assert place.rule is not None
    assert place.rule.to_address == "192.0.2.1"


@pytest.mark.parametrize(("first", "second", "wins"), [(1, 2, "b"), (2, 1, "a")])
def test_of_equal_priorities_the_newest_wins(first: int, second: int, wins: str) -> None:
    answers = table("ip a", ("post", at(100), [[MASQUERADE]])) | table("ip b", ("post", at(100), [[MASQUERADE]]))
    rule = taken(firewall(answers | ages(a=first, b=second)))
    assert rule is not None
    assert rule.chain == f"ip {wins} post"


def test_iptables_nft_has_its_table_s_age_and_legacy_is_the_oldest() -> None:
    by_nft, legacy = (
        saved(save("POSTROUTING -j MASQUERADE")),
        saved(save("POSTROUTING -j MASQUERADE"), "iptables-legacy"),
    )
    other = table("ip other", ("post", at(100), [[MASQUERADE]]))
    for nat, expected in ((1, "nft"), (9, "iptables-nft")):
        found = firewall(legacy | by_nft | other | ages(nat=nat, other=5))
        assert found.rules[0].backend == expected
        assert found.rules[-1].backend == "iptables-legacy"


def test_a_table_of_both_families() -> None:
    only_four = [{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv4"}}, MASQUERADE]
    found = firewall(table("inet mine", ("post", at(100), [only_four])), SHOP)
    assert [each.rule is not None for each in found.networks] == [True, False]
    assert len(found.rules) == 1


def test_a_chain_s_rules_have_the_priority_that_they_are_reached_with() -> None:
    chains: list[Described] = [("post", at(-7), [[{"jump": {"target": "mine"}}]]), ("mine", {}, [[MASQUERADE]])]
    found = firewall(table("ip t", *chains), BRIDGE)
    assert [(rule.chain, rule.priority) for rule in found.rules] == [("ip t mine", -7)]
    assert found.networks[0].rule == found.rules[0]


def test_what_lies_beneath_natop_s_own_table() -> None:
    """Docker's rules, which would take a network's packets; nothing is told beneath a table of somebody else."""
    by_natop, by_others = (
        firewall(saved(DOCKER_20) | table(f"ip {name}", ("postrouting", at(90), [[MASQUERADE]])))
        for name in ("natop_random", "random")
    )
    bridge, shop, six, lan = by_natop.networks
    assert [each.rule.natop_s if each.rule else None for each in (bridge, shop, six, lan)] == [
        *["natop_random"] * 2,
        None,
        "natop_random",
    ]
    plain = firewall(saved(DOCKER_20)).networks
    assert (bridge.beneath, shop.beneath, six.beneath, lan.beneath) == (plain[0], plain[1], None, plain[3])
    assert plain[1].rule is not None
    assert plain[1].rule.to_address == "198.18.0.77"
    assert {each.rule.natop_s for each in by_others.networks if each.rule} == {None}
    assert {each.beneath for each in by_others.networks} == {None}
