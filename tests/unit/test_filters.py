"""Filter expressions: what each term matches, judged by plain Python, and where a mistake is shown."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.columns.containers import container_rows
from natop.columns.filters import parse
from natop.columns.terms import FIELDS, FilterError
from natop.model import Container, Kind, Snapshot
from tests.unit import plain
from tests.unit.hosts import CONTAINERS, HOST_ADDRESSES, container, observed, sample
from tests.unit.oracle import STATES, judged
from tests.unit.plain import DST_NAT, ICMP, IGMP, SCTP, SRC_NAT, UDP, Ends, Flow, flow

FLOWS = (
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", state=7, timeout_s=119),
    flow("100.64.0.10:51235", "203.0.113.10:8080", dnat="172.18.0.2:80", mark=0x10, packets=5, bytes=500),
    flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", state=8, timeout_s=9),
    flow("172.18.0.3:40001", "198.51.100.7:443", snat="203.0.113.10:40001", packets=2**40, bytes=2**50),
    flow("172.18.0.3:40000", "198.51.100.53:53", snat="203.0.113.10:40000", proto=UDP, status=0x188),
    flow("172.19.0.3:40000", "172.19.0.4:5432", zone=7, state=4),
    flow("172.18.0.2:40000", "203.0.113.10:8080", dnat="172.18.0.2:80", snat="172.18.0.1:40000", state=1, status=0x188),
    flow("[fd00:18::2]:40000", "[2001:db8::7]:443", timeout_s=432000),
    flow("[2001:db8::9]:40000", "[fd00:18::2]:80", state=2, timeout_s=0, zone=65535, mark=2**32 - 1),
    flow("203.0.113.10:1024", "192.0.2.5:22", state=None, timeout_s=None, status=0x418E),
    flow("192.0.2.6:65535", "192.0.2.5:0"),
    Flow(orig=Ends("172.18.0.3", "198.51.100.7", 443, 2048), reply=Ends("198.51.100.7", "172.18.0.3", 443), proto=ICMP),
    Flow(orig=Ends("172.18.0.3", "224.0.0.22"), reply=Ends("224.0.0.22", "172.18.0.3"), proto=IGMP),
    Flow(orig=Ends("172.18.0.3", "192.0.2.5", 9, 7), reply=Ends("192.0.2.5", "172.18.0.3", 7, 9), proto=SCTP, state=4),
)
TAKEN = observed(sample([replace(each, id=number) for number, each in enumerate(FLOWS)], containers=CONTAINERS))


def matching(expression: str, taken: Snapshot = TAKEN) -> set[int]:
    """Ids of the flows that match: their numbers in FLOWS."""
    assert taken.reading is not None
    return set(taken.reading.flows.id[parse(expression).flows(taken)].tolist())


def named(expression: str, taken: Snapshot = TAKEN) -> list[str]:
    """Names of the rows of the table of containers that match."""
    found = parse(expression).containers(taken)
    return [row.name for row, matches in zip(container_rows(taken), found, strict=True) if matches]


EVERYTHING = set(range(len(FLOWS)))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", EVERYTHING),
        ("  ", EVERYTHING),
        ("container:web", {0, 1, 6, 7, 8}),
        ("client:web", {6, 7}),
        ("server:web", {0, 1, 6, 8}),
        ("project:shop service:app", {2, 3, 4, 5, 11, 12, 13}),
        ("image:db:1", {5}),
        ("network:back", {2, 3, 4, 5, 11, 12, 13}),
        ("state:time_wait,close", {0, 2}),
        ("state:SYN*", {6, 8}),
        ("state:established", {1, 3, 7, 10, 13}),
        ("status:assured !status:src_nat,dst_nat", {5, 7, 8, 9, 10, 11, 12, 13}),
        ("status:unreplied", {4, 6}),
        ("status:offload", {9}),
        ("kind:published", {0, 1}),
        ("kind:internal,hairpin", {5, 6}),
        ("proto:udp,icmp", {4, 11}),
        ("proto:2", {12}),
        ("proto:sctp", {13}),
        ("src:172.18.0.0/16", {2, 3, 4, 6, 11, 12, 13}),
        ("src:172.18.", {2, 3, 4, 6, 11, 12, 13}),
        ("src:172.19.0.3", {5}),
        ("dst:172.18.0.2", {0, 1, 6}),
        ("dst:203.0.113.10", {0, 1, 6}),
        ("dst:2001:db8::/32", {7}),
        ("addr:fd00:18::2", {7, 8}),
        ("addr:203.0.113.10", {0, 1, 2, 3, 4, 6, 9}),
        ("nat:203.0.113.10", {2, 3, 4}),
        ("nat:snat", {2, 3, 4, 6}),
        ("nat:dnat nat:snat", {6}),
        ("nat:none", {5, 7, 8, 9, 10, 11, 12, 13}),
        ("sport:40000", {2, 4, 5, 6, 7, 8}),
        ("dport:80", {0, 1, 6, 8}),
        ("dport:8080", {0, 1, 6}),
        ("port:50000", {2}),
        ("port:443", {2, 3, 7}),
        ("rsrc:172.18.0.2", {0, 1, 6}),
        ("rdst:203.0.113.0/24", {2, 3, 4, 9}),
        ("rsport:443", {2, 3, 7, 11}),
        ("rdport:50000", {2}),
        ("rdport:0", {11}),
        ("proto:tcp rsrc:198.51.100.7 rsport:443 rdst:203.0.113.10 rdport:1024-65535 zone:0", {2, 3}),
        ("port:0", {10}),
        ("dport:2048", set()),
        ("dport:20-60", {4, 9}),
        ("zone:7", {5}),
        ("zone:>7", {8}),
        ("mark:0x10", {1}),
        ("mark:16", {1}),
        ("mark:>=16", {1, 8}),
        ("timeout:<30", {2, 8}),
        ("timeout:<=9", {2, 8}),
        ("timeout:<9", {8}),
        ("timeout:<0", set()),
        ("timeout:>=0", EVERYTHING - {9}),
        ("timeout:>99999999999999999999", set()),
        ("!timeout:<30", EVERYTHING - {2, 8}),
        ("packets:>4", {1, 3}),
        ("bytes:500", {1}),
        ("bytes:>0 bytes:<1000", {1}),
        ("-proto:tcp", {4, 11, 12, 13}),
        ("app", {2, 3, 4, 5, 11, 12, 13}),
        ("APP", {2, 3, 4, 5, 11, 12, 13}),
        ("shop", {0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13}),
        ("wait", {0, 5}),
        ("udp", {4}),
        ("100.64.0.0/10", {0, 1}),
        ("::/0", {7, 8}),
        ("0.0.0.0/0", EVERYTHING - {7, 8}),
        ("/^(web|db)$/", {0, 1, 5, 6, 7, 8}),
        ("container:/^W/", {0, 1, 6, 7, 8}),
        ("!/./", set()),
        ('"time_wait"', {0}),
        ('state:"time_wait","close"', {0, 2}),
        ("container:web state:time_wait , established", {0, 1, 7}),
        ("nobody", set()),
        ("container:*", EVERYTHING - {9, 10}),
        ("container:w*b", {0, 1, 6, 7, 8}),
        ("container:we", set()),
    ],
)
def test_each_term(expression: str, expected: set[int]) -> None:
    assert matching(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", ["app", "db", "edge", "web", "(host)"]),
        ("project:shop", ["app", "web"]),
        ("!project:shop", ["db", "edge", "(host)"]),
        ("container:w*,db", ["db", "web"]),
        ("container:(host)", ["(host)"]),
        ("host", ["(host)"]),
        ("image:*:1 !db", ["app", "edge", "web"]),
        ("network:back", ["app", "db"]),
        ("172.18.0.0/16", ["app", "web"]),
        ("fd00:18::2", ["web"]),
        ("::/0", ["web"]),
        ("0.0.0.0/0", ["app", "db", "web"]),
        ("state:time_wait", ["web"]),
        ("dport:5432", ["app", "db"]),
        ("container:app dport:5432", ["app"]),
        ("!container:app dport:5432", []),
        ("kind:host", ["(host)"]),
        ("kind:forwarded,internal", ["app", "db", "(host)"]),
        ("state:none", []),
    ],
)
def test_containers(expression: str, expected: list[str]) -> None:
    assert named(expression) == expected


def test_a_container_goes_by_its_id_too() -> None:
    web = CONTAINERS[-1]
    assert named(f"container:{web.id}") == named(f"container:{web.id[:12]}") == ["web"]
    assert matching(f"container:{web.id[:12]}") == matching("container:web")


def test_without_flows_only_words_about_containers_match() -> None:
    unread = observed(sample(None, containers=CONTAINERS))
    assert named("project:shop", unread) == ["app", "web"]
    assert named("state:time_wait", unread) == []
    assert parse("state:time_wait").flows(unread).tolist() == []


def test_without_an_engine_flows_match_by_address() -> None:
    unowned = observed(sample([FLOWS[0]], containers=None))
    assert matching("src:100.64.0.9", unowned) == {1}
    assert matching("container:web", unowned) == set()
    assert named("dport:80", unowned) == ["(host)"]


def test_every_field_of_the_interface_is_there() -> None:
    assert sorted(FIELDS) == [
        *("addr", "bytes", "client", "container", "dport", "dst", "image", "kind", "mark", "nat", "network"),
        *("packets", "port", "project", "proto", "rdport", "rdst", "rsport", "rsrc", "server", "service", "sport"),
        *("src", "state", "status", "timeout", "zone"),
    ]


# Mistakes


@pytest.mark.parametrize(
    ("expression", "column", "words"),
    [
        ("state:", 6, "a value is missing"),
        ("web state:time_wait,", 20, "a value is missing"),
        ("web !", 5, "a value is missing"),
        ("a,,b", 2, "',' cannot stand here"),
        (",a", 0, "',' cannot stand here"),
        ("web !!db", 5, "'!' cannot stand here"),
        ('web "db', 4, "'\"' cannot stand here"),
        ("web timeout:>", 12, "'>' cannot stand here"),
        ("timeout:<30s", 8, "'<' cannot stand here"),
        ('"web"db', 0, "'\"' cannot stand here"),
        ("/web/db", 0, "'/' cannot stand here"),
        ("web stat:x", 4, "no field 'stat'; there are container "),
        ("web dport:http", 10, "dport takes a number, >N or <N"),
        ("dport:80,http", 9, "dport takes a number, >N or <N"),
        ("packets:/9/", 8, "packets takes a number, >N or <N"),
        ("timeout:-1", 8, "'-' cannot stand here"),
        ("zone:" + "9" * 5000, 5, "zone takes a number, >N or <N"),
        ("timeout:>" + "9" * 5000, 8, "timeout takes a number, >N or <N"),
        ("web dport:80,443-80", 13, "dport has no number from 443 to 80"),
        ("port:99999", 5, "port is at most 65,535"),
        ("dport:80 !sport:1024-65536", 16, "sport is at most 65,535"),
        ("mark:0x100000000", 5, "mark is at most 4,294,967,295"),
        ("dport:٣", 6, "dport takes a number, >N or <N"),
        ("src:web", 4, "src takes an address or a CIDR"),
        ("src:10.0.0.0/33", 4, "src takes an address or a CIDR"),
        ("src:/10/", 4, "src takes an address or a CIDR"),
        ("addr:10.0.0.256", 5, "addr takes an address or a CIDR"),
        ("container:/a(b/", 12, "regular expression: missing ), unterminated subpattern"),
        ("web\nstat:x", 4, "no field 'stat'"),
        ("web\n\n state:", 12, "a value is missing"),
    ],
)
def test_a_mistake_is_one_line_that_points_at_its_column(expression: str, column: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(expression)
    error = caught.value
    assert error.column == column
    assert str(error).startswith(words)
    assert "\n" not in str(error)
    shown, pointer = error.pointer().split("\n")
    assert len(shown) == len(expression)
    assert pointer == " " * column + f"^ {error}"


@pytest.mark.parametrize(
    ("expression", "shown", "cells"),
    [
        ("日本 stat:x", "日本 stat:x", 5),
        ("container:한국,⌚ foo:1", "container:한국,⌚ foo:1", 18),
        ("e\u0301 stat:x", "e\u0301 stat:x", 2),
        ("a\u200db stat:x", "a\ufffdb stat:x", 4),
        ("日本 port:٣", "日本 port:٣", 10),
        ("日本 state:", "日本 state:", 11),
    ],
)
def test_the_pointer_stands_where_a_terminal_shows_the_mistake(expression: str, shown: str, cells: int) -> None:
    """Wide characters take two cells, marks over others none; what no terminal should get is replaced before."""
    with pytest.raises(FilterError) as caught:
        parse(expression)
    assert caught.value.pointer() == f"{shown}\n{' ' * cells}^ {caught.value}"


@pytest.mark.parametrize("pattern", ["(" * 20_000 + ")" * 20_000, "a{99999999999999999999}"])
def test_a_regular_expression_that_cannot_be_compiled_is_a_mistake(pattern: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(f"container:/{pattern}/")
    assert str(caught.value) == "regular expression: nested too deep, or too large a number"


@given(st.text(st.sampled_from('abstate:,!-/<>"*10.:\\ \n[(') | st.characters(), max_size=25))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    mistake: FilterError | None = None
    found = None
    try:
        found = parse(text)
    except FilterError as error:
        mistake = error
    if mistake:
        assert 0 <= mistake.column <= len(text)
        assert mistake.pointer().count("\n") == 1
    if found:
        assert len(found.flows(TAKEN)) == len(FLOWS)
        assert len(found.containers(TAKEN)) == len(CONTAINERS) + 1


# Against plain Python, term by term

Judge = Callable[[Flow, Container | None, Container | None], bool]
STATE_NAMES = {
    plain.TCP: STATES,
    SCTP: ("NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED"),
}
PORTED = (plain.TCP, UDP, SCTP)


def words_of(each: Container | None, field: str) -> list[str]:
    if each is None:
        return []
    texts: dict[str, list[str | None]] = {
        "container": [each.name, each.id],
        "project": [each.project],
        "service": [each.service],
        "image": [each.image],
        "network": [place.network for place in each.networks],
    }
    return [text for text in texts[field] if text]


@st.composite
def container_terms(draw: st.DrawFn) -> tuple[str, str, Judge]:
    field = draw(st.sampled_from(("container", "client", "server", "project", "service", "image", "network")))
    pattern = draw(
        st.sampled_from(("web", "APP", "*b", "shop", "sh*p", "*:1", "back", "net0", "nobody", "/e/", "/^app$/"))
    )
    word_field = "container" if field in ("client", "server") else field

    def matches(word: str) -> bool:
        if pattern.startswith("/"):
            return re.search(pattern[1:-1], word, re.IGNORECASE) is not None
        return fnmatchcase(word.lower(), pattern.lower())

    def judge(_: Flow, client: Container | None, server: Container | None) -> bool:
        asked = {"client": [client], "server": [server]}.get(field, [client, server])
        return any(matches(word) for each in asked for word in words_of(each, word_field))

    return field, pattern, judge


@st.composite
def word_terms(draw: st.DrawFn) -> tuple[str, str, Judge]:
    field = draw(st.sampled_from(("state", "kind", "proto", "nat", "status")))
    if field == "state":
        name = draw(st.sampled_from(("time_wait", "SYN_SENT", "established", "*wait*", "closed")))

        def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
            names = STATE_NAMES.get(one.proto, ())
            return one.state is not None and fnmatchcase(names[one.state].lower(), name.lower())
    elif field == "kind":
        name = draw(st.sampled_from([kind.name.lower() for kind in Kind]))

        def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
            return judged(one, CONTAINERS, HOST_ADDRESSES)[2].name == name.upper()
    elif field == "proto":
        name = draw(st.sampled_from(("tcp", "udp", "icmp", "sctp", "2", "*p")))
        protos = {6: "tcp", 17: "udp", 1: "icmp", 132: "sctp", 2: "2"}

        def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
            return fnmatchcase(protos[one.proto], name)
    elif field == "nat":
        name = draw(st.sampled_from(("dnat", "snat", "none")))
        bits = {"dnat": DST_NAT, "snat": SRC_NAT}

        def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
            return bool(one.status & bits[name]) if name in bits else not one.status & (DST_NAT | SRC_NAT)
    else:
        name = draw(st.sampled_from(("assured", "unreplied", "seen_reply", "offload")))
        bit = {"assured": 4, "unreplied": 2, "seen_reply": 2, "offload": 1 << 14}[name]

        def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
            return bool(one.status & bit) != (name == "unreplied")

    return field, name, judge


@st.composite
def address_terms(draw: st.DrawFn) -> tuple[str, str, Judge]:
    field = draw(st.sampled_from(("src", "dst", "addr", "rsrc", "rdst")))
    network = draw(
        st.sampled_from(
            ("172.18.0.0/16", "172.18.0.3", "203.0.113.10/32", "192.0.2.5/31", "fd00:18::/64", "2001:db8::7", "::/0")
        )
        | st.builds("172.18.0.2/{}".format, st.integers(0, 32))
        | st.builds("2001:db8::8/{}".format, st.integers(0, 128))
    )
    parsed = ipaddress.ip_network(network, strict=False)

    def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
        ends = {
            "src": [one.orig.src],
            "dst": [one.orig.dst, one.reply.src],
            "addr": [one.orig.src, one.orig.dst, one.reply.src, one.reply.dst],
            "rsrc": [one.reply.src],
            "rdst": [one.reply.dst],
        }[field]
        return any(ipaddress.ip_address(end) in parsed for end in ends)

    return field, network, judge


@st.composite
def number_terms(draw: st.DrawFn) -> tuple[str, str, Judge]:
    field = draw(
        st.sampled_from(
            ("sport", "dport", "port", "rsport", "rdport", "zone", "mark", "timeout", "packets", "bytes"),
        )
    )
    number = draw(st.sampled_from((0, 1, 5, 7, 9, 16, 80, 119, 443, 500, 40000, 65535, 65536, 2**32 - 1, 2**40, 2**64)))
    largest = {"mark": 2**32 - 1, "timeout": 2**32 - 2, "packets": 2**64 - 2, "bytes": 2**64 - 2}.get(field, 65535)
    operator = draw(st.sampled_from(("", "<", "<=", ">", ">=") if number <= largest else ("<", "<=", ">", ">=")))

    def judge(one: Flow, _c: Container | None, _s: Container | None) -> bool:
        ports = one.proto in PORTED
        values: dict[str, list[int | None]] = {
            "sport": [one.orig.sport] if ports else [],
            "dport": [one.orig.dport, one.reply.sport] if ports else [],
            "port": [one.orig.sport, one.orig.dport, one.reply.sport, one.reply.dport] if ports else [],
            "rsport": [one.reply.sport] if ports or one.proto == ICMP else [],
            "rdport": [one.reply.dport] if ports or one.proto == ICMP else [],
            "zone": [one.zone],
            "mark": [one.mark],
            "timeout": [one.timeout_s],
            "packets": [one.packets],
            "bytes": [one.bytes],
        }
        compare: Callable[[int], bool] = {
            "": number.__eq__,
            "<": number.__gt__,
            "<=": number.__ge__,
            ">": number.__lt__,
            ">=": number.__le__,
        }[operator]
        return any(value is not None and compare(value) for value in values[field])

    return field, f"{operator}{number}", judge


TERMS = container_terms() | word_terms() | address_terms() | number_terms()


@given(st.lists(st.tuples(st.sampled_from(("", "!", "-")), TERMS), max_size=4), st.sampled_from((" ", "  ", "\n")))
def test_terms_equal_plain_python(terms: list[tuple[str, tuple[str, str, Judge]]], gap: str) -> None:
    expression = gap.join(f"{negation}{field}:{value}" for negation, (field, value, _) in terms)
    expected = set()
    for number, one in enumerate(FLOWS):
        client, server, _ = judged(one, CONTAINERS, HOST_ADDRESSES)
        if all(judge(one, client, server) != bool(negation) for negation, (_, _, judge) in terms):
            expected.add(number)
    assert matching(expression) == expected


@given(st.lists(address_terms() | number_terms(), min_size=1, max_size=4))
def test_a_comma_is_or(terms: list[tuple[str, str, Judge]]) -> None:
    field = terms[0][0]
    same = [term for term in terms if term[0] == field]
    expected = {number for number, one in enumerate(FLOWS) if any(judge(one, None, None) for _, _, judge in same)}
    assert matching(f"{field}:{','.join(value for _, value, _ in same)}") == expected


def test_a_mark_of_all_ones_is_a_number() -> None:
    assert matching("mark:0xffffffff") == {8}


def test_names_with_a_meaning_in_patterns_can_be_quoted() -> None:
    odd = container("a,b c", "10.0.0.2")
    taken = observed(sample([flow("10.0.0.2:1", "192.0.2.1:2")], containers=(odd,)))
    assert matching('container:"a,b c"', taken) == {1}
    assert matching("container:a,b c", taken) == set()


def test_a_pattern_that_a_later_python_reads_otherwise_warns_nobody() -> None:
    """A warning is an error in these tests."""
    assert parse("/[[a]/").terms
