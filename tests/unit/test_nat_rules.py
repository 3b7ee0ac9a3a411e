"""The answers of the firewall's tools to chains: every form of nft's JSON and text, what is missing, and nonsense."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode.chains import Condition, Field, Rule, Ruleset, Span, Verdict, span
from natop.decode.iptables import decode_save
from natop.decode.nft import decode_tables
from natop.decode.routes import local_addresses, on_link, uplinks
from natop.decode.rules import CHAINS, LISTED, SPELLED, decode_rules
from natop.model import FirewallText, Gap, NatRule, address_value
from tests.unit.rulesets import (
    BRIDGE,
    DOCKER_20,
    DOCKER_28_V6,
    KUBE,
    LAN,
    ROUTES,
    SHOP,
    Described,
    at,
    firewall,
    recorded,
    save,
    saved,
    table,
)

EPERM = "Operation not permitted (you must be root)"


def value(text: str) -> int:
    return address_value(text)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
        ("10.1.2.3/255.255.0.0", "10.1.0.0", "10.1.255.255"),
        ("10.0.0.5-10.0.0.9", "10.0.0.5", "10.0.0.9"),
        ("fd00::/64", "fd00::", "fd00::ffff:ffff:ffff:ffff"),
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
def test_a_span_of_addresses(text: str, low: str, high: str) -> None:
    assert span(text) == Span(value(low), value(high))


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0.0/33", "10.0.0.9-10.0.0.5", "10.0.0.1-", "1.2.3.4/255.0.255.0", "@set"]
)
def test_what_is_no_span(text: str) -> None:
    assert span(text) is None


@pytest.mark.parametrize(
    "text", ["10.0.0.1", "10.0.0.0/8", "10.0.0.5-10.0.0.9", "fd00::1", "fd00::/64", "0.0.0.0/0", "::/0"]
)
def test_a_span_as_text(text: str) -> None:
    found = span(text)
    assert found is not None
    assert found.text == text


# iptables-save


def nat(options: str) -> NatRule:
    (chain,) = decode_save(save(f"POSTROUTING {options}"), "iptables-nft", 4)[1:]
    rule = chain.rules[0].nat
    assert rule is not None
    return rule


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-j MASQUERADE", ("MASQUERADE", None, None, False, False)),
        ("-j MASQUERADE --random", ("MASQUERADE", None, None, True, False)),
        ("-j MASQUERADE --random-fully", ("MASQUERADE", None, None, False, True)),
        ("-p tcp -j MASQUERADE --to-ports 5000-5999 --random", ("MASQUERADE", None, (5000, 5999), True, False)),
        ("-p tcp -j MASQUERADE --to-ports 5000", ("MASQUERADE", None, (5000, 5000), False, False)),
        ("-j SNAT --to-source 198.51.100.1", ("SNAT", "198.51.100.1", None, False, False)),
        ("-j SNAT --to-source 198.51.100.1-198.51.100.9", ("SNAT", "198.51.100.1-198.51.100.9", None, False, False)),
        ("-p tcp -j SNAT --to-source 198.51.100.1:1024-2047", ("SNAT", "198.51.100.1", (1024, 2047), False, False)),
        ("-p tcp -j SNAT --to-source :1024-2047 --persistent", ("SNAT", None, (1024, 2047), False, False)),
        ("-j SNAT --to-source fd00:1::1", ("SNAT", "fd00:1::1", None, False, False)),
        ("-p tcp -j SNAT --to-source [fd00:1::1]:1024-2047", ("SNAT", "fd00:1::1", (1024, 2047), False, False)),
        ("-j NETMAP --to 198.51.100.0/24", ("SNAT", "198.51.100.0/24", None, False, False)),
        ("-p tcp -j MASQUERADE --to-ports 99999", ("MASQUERADE", None, None, False, False)),
        ("-p tcp -j MASQUERADE --to-ports 9-5", ("MASQUERADE", None, None, False, False)),
    ],
)
def test_a_target_of_iptables(options: str, expected: tuple[object, ...]) -> None:
    rule = nat(options)
    assert (rule.action, rule.to_address, rule.ports, rule.random, rule.fully_random) == expected
    assert rule.text == f"-A POSTROUTING {options}"


def test_only_the_table_nat_and_what_can_be_reached() -> None:
    text = "*filter\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n" + save(
        "POSTROUTING -j MINE", "MINE -j SNAT --to-source 192.0.2.1", "UNUSED -j MASQUERADE", chains=["MINE", "UNUSED"]
    )
    chains = decode_save(text, "iptables-legacy", 4)
    assert sorted(chain.name for chain in chains) == ["MINE", "OUTPUT", "POSTROUTING"]
    assert [rule.verdict for chain in chains for rule in chain.rules] == [Verdict.JUMP, Verdict.NAT]


def test_text_from_outside_is_cleaned() -> None:
    rule = nat('-m comment --comment "a\x1b[31m\u202e" -j MASQUERADE')
    assert rule.text == '-A POSTROUTING -m comment --comment "a\ufffd[31m\ufffd" -j MASQUERADE'


# nft


def by_nft(*expressions: object, **more: object) -> list[Rule]:
    """The rules that these expressions of one rule become."""
    answers = table("ip t", ("post", at(100), [list(expressions)]), **more)
    return list(decode_tables(list(answers.values()), [], {})[0].rules)


def condition(left: object, right: object, op: str = "==", **more: object) -> list[Condition]:
    (rule,) = by_nft({"match": {"op": op, "left": left, "right": right}}, {"accept": None}, **more)
    return list(rule.conditions)


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


SADDR = {"payload": {"protocol": "ip", "field": "saddr"}}
DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
TEN = {"prefix": {"addr": "10.0.0.0", "len": 8}}
FOUR, TCP = Condition(Field.FAMILY, (4,)), Condition(Field.PROTO, ("tcp",))
UNKNOWN = Condition(Field.UNKNOWN)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (SADDR, "10.0.0.1", [FOUR, Condition(Field.SRC, (span("10.0.0.1"),))]),
        (SADDR, TEN, [FOUR, Condition(Field.SRC, (span("10.0.0.0/8"),))]),
        (SADDR, {"set": [TEN, {"range": ["192.0.2.1", "192.0.2.9"]}]},
         [FOUR, Condition(Field.SRC, (span("10.0.0.0/8"), span("192.0.2.1-192.0.2.9")))]),
        (SADDR, {"set": [{"elem": {"val": TEN, "counter": {}}}]}, [FOUR, Condition(Field.SRC, (span("10.0.0.0/8"),))]),
        (SADDR, "@mine", [FOUR, Condition(Field.SRC, (span("10.0.0.0/8"), span("192.0.2.1")))]),
        (SADDR, "@absent", [UNKNOWN]),
        (SADDR, {"set": []}, [FOUR, Condition(Field.SRC)]),
        (SADDR, "nonsense", [FOUR, UNKNOWN]),
        ({"payload": {"protocol": "ip6", "field": "daddr"}}, "fd00::1",
         [Condition(Field.FAMILY, (6,)), Condition(Field.DST, (span("fd00::1"),))]),
        ({"payload": {"protocol": "ip", "field": "protocol"}}, "tcp", [FOUR, TCP]),
        ({"payload": {"protocol": "ip", "field": "ttl"}}, 64, [FOUR, UNKNOWN]),
        (DPORT, {"set": [80, {"range": [443, 444]}]},
         [TCP, Condition(Field.PORT, (80, {"range": [443, 444]}))]),
        (meta("oifname"), {"set": ["docker0", "br-*"]}, [Condition(Field.OIF, ("docker0", "br-*"))]),
        (meta("iif"), "lo", [Condition(Field.IIF, ("lo",))]),
        (meta("l4proto"), {"set": ["tcp", 17]}, [Condition(Field.PROTO, ("tcp", "udp"))]),
        (meta("nfproto"), "ipv6", [Condition(Field.FAMILY, (6,))]),
        (meta("mark"), 5, [Condition(Field.MARK, ((5, 0xFFFFFFFF),))]),
        ({"&": [meta("mark"), 0xFF]}, 0, [Condition(Field.MARK, ((0, 0xFF),))]),
        (meta("skuid"), "root", [Condition(Field.LOCAL, ("root",))]),
        (meta("cgroup"), 1, [UNKNOWN]),
        ({"ct": {"key": "state"}}, ["new", "related"], [Condition(Field.STATE, ("new", "related"))]),
        ({"ct": {"key": "ip daddr", "dir": "original"}}, "192.0.2.1", [UNKNOWN]),
        ({"fib": {"result": "type", "flags": ["saddr"]}}, "local", [Condition(Field.SRC_TYPE, ("local",))]),
        ({"fib": {"result": "type", "flags": "daddr"}}, "local", [Condition(Field.DST_TYPE, ("local",))]),
        ({"fib": {"result": "oif", "flags": ["saddr"]}}, 0, [UNKNOWN]),
        ({"concat": [meta("iifname"), SADDR]}, {"set": [{"concat": ["docker0", "192.0.2.1"]}]}, [UNKNOWN]),
    ],
)  # fmt: skip
def test_a_condition_of_nft(left: object, right: object, expected: list[Condition]) -> None:
    assert condition(left, right, mine=[TEN, "192.0.2.1"]) == expected


def test_operators_of_nft() -> None:
    assert condition(meta("oifname"), "docker0", "!=") == [Condition(Field.OIF, ("docker0",), negated=True)]
    assert condition({"ct": {"key": "state"}}, "new", "in") == [Condition(Field.STATE, ("new",))]
    assert condition(meta("mark"), 5, "<") == [UNKNOWN]
    assert condition(meta("skuid"), "root", "!=") == [Condition(Field.LOCAL, ("root",))]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"masquerade": None}, ("MASQUERADE", None, None, False, False)),
        ({"masquerade": {"flags": "fully-random"}}, ("MASQUERADE", None, None, False, True)),
        ({"masquerade": {"port": {"range": [1024, 2000]}, "flags": ["random", "persistent"]}},
         ("MASQUERADE", None, (1024, 2000), True, False)),
        ({"snat": {"addr": "192.0.2.1", "port": 99}}, ("SNAT", "192.0.2.1", (99, 99), False, False)),
        ({"snat": {"family": "ip", "addr": {"range": ["192.0.2.1", "192.0.2.9"]}}},
         ("SNAT", "192.0.2.1-192.0.2.9", None, False, False)),
        ({"snat": {"addr": {"prefix": {"addr": "192.0.2.0", "len": 24}}}},
         ("SNAT", "192.0.2.0/24", None, False, False)),
        ({"snat": {"addr": {"map": {"key": SADDR, "data": "@m"}}}}, ("SNAT", None, None, False, False)),
        ({"snat": {"addr": "192.0.2.1", "port": 10**30}}, ("SNAT", "192.0.2.1", None, False, False)),
    ],
)  # fmt: skip
def test_a_nat_statement_of_nft(statement: object, expected: tuple[object, ...]) -> None:
    (rule,) = by_nft({"counter": None}, {"log": None}, statement, {"accept": None})
    assert rule.nat is not None
    found = rule.nat
    assert (found.action, found.to_address, found.ports, found.random, found.fully_random) == expected


def test_a_verdict_map_becomes_a_rule_for_each_element() -> None:
    elements = [["br-*", {"jump": {"target": "sub"}}], ["docker0", {"accept": None}], ["odd"], ["x", {"odd": None}]]
    rules = by_nft({"vmap": {"key": meta("iifname"), "data": "@m"}}, m=elements)
    assert rules == [
        Rule((Condition(Field.IIF, ("br-*",)),), Verdict.JUMP, "sub"),
        Rule((Condition(Field.IIF, ("docker0",)),), Verdict.END),
    ]
    assert by_nft({"vmap": {"key": meta("iifname"), "data": {"set": elements}}}) == rules


def test_a_statement_that_is_unknown_may_limit() -> None:
    (rule,) = by_nft({"limit": {"rate": 1}}, {"masquerade": None})
    assert rule.conditions == (UNKNOWN,)


@pytest.mark.parametrize("name", ["snat", "masquerade"])
@pytest.mark.parametrize("part", ["addr", "port"])
def test_a_map_need_not_have_every_packet_s_key(name: str, part: str) -> None:
    (rule,) = by_nft({name: {part: {"map": {"key": SADDR, "data": "@m"}}}})
    assert rule.conditions == (UNKNOWN,)
    in_turn = {"numgen": {"mode": "inc", "mod": 2, "offset": 0}}
    (rule,) = by_nft({name: {part: {"map": {"key": in_turn, "data": {"set": [[0, "192.0.2.7"], [1, "192.0.2.8"]]}}}}})
    assert rule.conditions == ()


def test_each_rule_has_its_own_spelling() -> None:
    found = firewall(recorded("docker-29"))
    assert found.rules[0].text == (
        'iifname { "br-lan", "docker0" } oifname != { "br-*", "docker0" } counter masquerade fully-random'
    )


# Rules of iptables-nft, told twice

COMMENT, TARGET = (
    {"xt": {"type": kind, "name": name}} for kind, name in (("match", "comment"), ("target", "MASQUERADE"))
)
MINE = table(
    "ip nat",
    ("POSTROUTING", at(100), [[COMMENT, TARGET]]),
    ("theirs", at(90), [[{"snat": {"addr": "192.0.2.1"}}]]),
)


def spelled(line: str) -> dict[str, str]:
    """nft's text about the one rule of MINE."""
    answers = json.loads(MINE[f"{LISTED}ip nat"])["nftables"]
    for item in answers:
        if "rule" in item:
            item["rule"]["handle"] = 7
    text = f"table ip nat {{ # handle 1\n\tchain POSTROUTING {{ # handle 1\n\t\t{line} # handle 7\n\t}}\n}}\n"
    return {f"{LISTED}ip nat": json.dumps({"nftables": answers}), f"{SPELLED}ip nat": text}


@pytest.mark.parametrize(
    ("words", "address", "ports"),
    [
        ("1.2.3.4:1000-2000 fully-random", "1.2.3.4", (1000, 2000)),
        ("1.2.3.4-1.2.3.9", "1.2.3.4-1.2.3.9", None),
        ("[fd00::1]:1000-2000", "fd00::1", (1000, 2000)),
        ("fd00::2", "fd00::2", None),
    ],
)
def test_without_iptables_save_an_address_is_told_from_its_ports(
    words: str, address: str, ports: tuple[int, int] | None
) -> None:
    answers = spelled(f"meta l4proto tcp counter snat to {words}")
    told = answers[f"{LISTED}ip nat"].replace("MASQUERADE", "SNAT")
    rule = next(
        rule for rule in firewall(MINE | answers | {f"{LISTED}ip nat": told}).rules if "POSTROUTING" in rule.chain
    )
    assert (rule.to_address, rule.ports) == (address, ports)
    assert rule.fully_random == ("fully-random" in words)


def test_they_are_counted_once_from_iptables_save() -> None:
    found = firewall(MINE | saved(save("POSTROUTING -j MASQUERADE --random-fully")))
    assert [(rule.backend, rule.chain) for rule in found.rules] == [
        ("nft", "ip nat theirs"),
        ("iptables-nft", "nat POSTROUTING"),
    ]


def test_a_native_table_of_that_name_is_nft_s_own() -> None:
    native = table("ip nat", ("POSTROUTING", at(100), [[{"masquerade": None}]]))
    found = firewall(native | saved(save()))
    assert [(rule.backend, rule.chain) for rule in found.rules] == [("nft", "ip nat POSTROUTING")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("counter packets 3 bytes 180 masquerade fully-random", (None, None, False, True)),
        ("masquerade to :5000-5999 random", (None, (5000, 5999), True, False)),
        ("snat to 192.0.2.7", ("192.0.2.7", None, False, False)),
        ('xt target "MASQUERADE"', (None, None, False, False)),
    ],
)
def test_without_iptables_save_nft_s_text_tells_what_it_can(line: str, expected: tuple[object, ...]) -> None:
    (rule, *_) = [each for each in firewall(spelled(line)).rules if each.chain == "ip nat POSTROUTING"]
    assert (rule.to_address, rule.ports, rule.random, rule.fully_random) == expected
    assert rule.text == line.replace(" packets 3 bytes 180", "")


# What is missing


def gaps(text: FirewallText) -> list[str]:
    return [gap.reason for gap in decode_rules(text)[1]]


def test_without_rights_there_are_no_rules_and_a_remedy() -> None:
    text = FirewallText({}, refused={"/proc/net/ip_tables_names": "Permission denied", CHAINS: EPERM})
    assert decode_rules(text) == (None, (Gap("rules", "reading NAT rules needs CAP_NET_ADMIN", "run: sudo natop"),))


def test_who_may_ask_nft_but_is_not_root_misses_the_old_rules_alone() -> None:
    """As in a user namespace, whose own root is not the owner of that file."""
    text = FirewallText(recorded("docker-29"), refused={"/proc/net/ip_tables_names": "Permission denied"})
    ruleset, found = decode_rules(text)
    assert ruleset == decode_rules(FirewallText(text.answers))[0]
    assert [gap.reason for gap in found] == [
        "rules of iptables-legacy are not seen: /proc/net/ip_tables_names is for the host's root alone"
    ]


def test_no_tool_at_all() -> None:
    ruleset, found = decode_rules(FirewallText({}, ("nft", "iptables-nft-save", "ip6tables-nft-save")))
    assert ruleset is None
    assert [gap.remedy for gap in found] == [
        "install it: apt install nftables (dnf, apk: the same name)",
        "install it: apt install iptables (dnf, apk: the same name)",
    ]


def test_where_nothing_can_hold_rules_there_are_none() -> None:
    assert decode_rules(FirewallText({})) == (Ruleset({}), ())


def test_one_tool_missing_while_another_tells_all_is_no_gap() -> None:
    assert gaps(FirewallText(recorded("docker-29"), ("iptables-nft-save", "ip6tables-nft-save"))) == []


def test_iptables_rules_seen_by_nft_alone_are_a_gap() -> None:
    assert gaps(FirewallText(MINE, ("iptables-nft-save",))) == [
        "iptables-save is not installed: rules that iptables-nft made are read in part"
    ]


def test_other_refusals_say_what_the_tool_said() -> None:
    text = FirewallText({CHAINS: "{}"}, ("iptables-legacy-save",), {"nft -j list table ip x": "no answer in 3 s\x1b"})
    assert gaps(text) == [
        "nft -j list table ip x: no answer in 3 s\ufffd",
        "iptables-legacy-save is not installed: its rules are not seen",
    ]


# The default routes


def test_the_ways_out() -> None:
    assert uplinks(ROUTES) == {4: {"eth0"}, 6: {"eth0"}}
    assert uplinks({}) == {4: frozenset(), 6: frozenset()}


def test_the_default_routes_of_the_lowest_metric() -> None:
    line = "{}\t00000000\t00000000\t{}\t0\t0\t{}\t00000000\t0\t0\t0\n"
    routes = [
        ("eth0", "0001", 100),
        ("eth1", "0003", 100),
        ("wlan0", "0003", 600),
        ("off", "0000", 1),
        ("no", "0201", 1),
    ]
    text = "Iface\n" + "".join(line.format(*route) for route in routes) + "cut 0000"
    assert uplinks({"net/route": text})[4] == {"eth0", "eth1"}


def test_the_networks_on_a_link() -> None:
    six = "fd000005000000000000000000000000 40 {} 00 {} 00000100 00000001 00000000 00000001 {}\n"
    lines = six.format("0" * 32, "0" * 32, "podman1") + six.format("0" * 32, f"fe80{'1' * 28}", "eth0") + "cut 00"
    assert on_link(ROUTES) == {"172.17.0.0/16": "docker0"}
    assert on_link({"net/ipv6_route": lines}) == {"fd00:5::/64": "podman1"}
    assert on_link({"net/route": "Iface\nx zz 0 0 0 0 0 0\n", "net/ipv6_route": "\n"}) == {}


# The host's own addresses


def test_addresses_and_the_interfaces_of_their_subnets() -> None:
    """By the longest prefix of a route without a gateway; an address that no such route covers is on no interface."""
    routes = {
        "net/route": "Iface\n"
        "eth0\t00000000\t010AA8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "docker0\t000111AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "via\t0071A8C0\t010AA8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "off\t0072A8C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "odd\t0073A8C0\t00000000\t0001\t0\t0\t0\tFF00FFFF\t0\t0\t0\n"
        "cut\t0074A8C0",
        "net/ipv6_route": f"20010db8{'0' * 24} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001 eth1\n"
        f"20010db8{'0' * 23}1 80 {'0' * 32} 00 {'0' * 32} 00000000 00000001 00000000 80200001       lo\n"
        "nonsense\n",
    }
    addresses = ["127.0.0.1", "::1", "fe80::1%eth0", "172.17.0.5", "172.17.1.1", "2001:db8::1", "192.168.113.9"]
    found = local_addresses(routes, [*addresses, "192.168.114.9", "192.168.115.9", "172.17.0.5", "no address"])
    assert [(each.address, each.interface) for each in found] == [
        ("172.17.0.5", "eth0"),
        ("172.17.1.1", "docker0"),
        ("2001:db8::1", "eth1"),
        ("192.168.113.9", None),
        ("192.168.114.9", None),
        ("192.168.115.9", None),
    ]


# Nonsense

_OPTIONS = "! -s -d -o -i -p -j -g -m --mark --to-source --to-ports --ctstate --match-set --src-type --comment --pol"
_VALUES = "MASQUERADE SNAT RETURN ACCEPT MINE POSTROUTING NETMAP 172.17.0.0/16 docker0 br-+ tcp 0x1/0xff 1-2 [::1]:9 -A"
WORDS = (*_OPTIONS.split(), *_VALUES.split(), '"', "\\", ":MINE", "*nat", "\n")
LINES = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=14).map(" ".join)
_MATCHES = "match left right op meta key payload protocol field set prefix range elem vmap data & ct fib result len"
_VERDICTS = "jump target goto masquerade snat addr port flags xt type name val return family"
KEYS = st.sampled_from((*_MATCHES.split(), *_VERDICTS.split()))
NAMES = ("ip", "saddr", "oifname", "==", "!=", "docker0", "@m", "sub", "local", "10.0.0.0", "POSTROUTING", "nat")
LEAVES = st.sampled_from(NAMES) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["iptables-nft", "ip6tables-legacy"]))
def test_nonsense_from_iptables(lines: list[str], backend: str) -> None:
    text = save(*(f"POSTROUTING {line}" for line in lines), *(f"MINE {line}" for line in lines), chains=["MINE"])
    assert len(firewall(saved(text, backend)).networks) == 4


@given(st.lists(JSON, max_size=6), st.lists(JSON, max_size=4), JSON, JSON)
def test_nonsense_from_nft(expressions: list[object], elements: list[object], hook: object, answer: object) -> None:
    odd = {"type": "nat", "hook": "postrouting", "prio": hook}
    chains: list[Described] = [
        ("post", at(100), [expressions, [answer]]),
        ("sub", {}, [expressions]),
        ("odd", odd, [[{"masquerade": None}]]),
    ]
    answers = table("ip t", *chains, m=elements) | {f"{LISTED}ip x": json.dumps(answer), CHAINS: "[" * 100_000}
    assert len(firewall(answers).networks) == 4


@given(st.text(), st.text(), st.text())
def test_nonsense_from_anywhere(one: str, two: str, three: str) -> None:
    answers = {CHAINS: one, f"{LISTED}ip t": two, f"{SPELLED}ip t": three} | saved(one)
    firewall(answers, routes={"net/route": two, "net/ipv6_route": three})


@pytest.mark.parametrize("text", [DOCKER_20, DOCKER_28_V6, KUBE])
@given(data=st.data())
def test_a_listing_cut_off_anywhere(text: str, data: st.DataObject) -> None:
    firewall(saved(text[: data.draw(st.integers(0, len(text)))]), BRIDGE, SHOP, LAN)
