"""The catalogue of sysctls: reading them, their defaults, and what their values mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop import sysctls
from natop.model import Version
from natop.sysctls import About, Area, Scope, Verdict

MODERN = (6, 18)
VALUES = st.integers(0, 2**63 - 1) | st.lists(st.integers(0, 2**63 - 1), max_size=5).map(tuple)


def verdict(name: str, value: sysctls.Value, about: About | None = None) -> Verdict:
    found = sysctls.judge(name, value, about or About(MODERN))
    assert found is not None
    return found.verdict


def test_names_are_unique_and_found() -> None:
    assert len(sysctls.BY_NAME) == len(sysctls.CATALOGUE)
    assert all(sysctls.BY_NAME[each.name] is each for each in sysctls.CATALOGUE)
    assert sysctls.judge("tcp_rmem", 1, About()) is None


def test_what_may_differ_inside_a_container() -> None:
    """Neither the machine's own values nor forwarding, which is the host's business."""
    inside = set(sysctls.INSIDE)
    assert inside < set(sysctls.PATHS)
    assert "net/ipv4/ip_local_port_range" in inside
    assert "net/netfilter/nf_conntrack_tcp_timeout_time_wait" in inside
    assert not inside & {"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_buckets", "net/ipv4/ip_forward"}
    assert {each.name for each in sysctls.CATALOGUE if each.scope is Scope.GLOBAL} == {
        "nf_conntrack_max",
        "nf_conntrack_buckets",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120\n", 120),
        ("32768\t60999\n", (32768, 60999)),
        ("0", 0),
        ("", None),
        ("\n", None),
        ("-1\n", None),
        ("3 x", None),
        ("٣", None),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, None),
    ],
)
def test_numbers(text: str, expected: sysctls.Value | None) -> None:
    assert sysctls.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n", ()),
        ("8080\n", (8080, 8080)),
        ("8080,9000-9010\n", (8080, 8080, 9000, 9010)),
        ("9000-", None),
        ("a-b", None),
        (",", None),
    ],
)
def test_lists_of_ports(text: str, expected: tuple[int, ...] | None) -> None:
    assert sysctls.parse_ports(text) == expected
    found = sysctls.decode({"net/ipv4/ip_local_reserved_ports": text})
    assert found == ({} if expected is None else {"ip_local_reserved_ports": expected})


@given(st.text(max_size=60))
def test_any_text_is_read_without_raising(text: str) -> None:
    sysctls.decode(dict.fromkeys(sysctls.PATHS, text))


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("somaxconn", (5, 3), 128),
        ("somaxconn", (5, 4), 4096),
        ("somaxconn", None, 4096),
        ("tcp_tw_reuse", (4, 18), 0),
        ("tcp_tw_reuse", MODERN, 2),
        ("nf_conntrack_events", (5, 18), 1),
        ("nf_conntrack_events", (5, 19), 2),
        ("nf_conntrack_udp_timeout_stream", (4, 19), 180),
        ("tcp_syn_linear_timeouts", (6, 4), None),
        ("tcp_syn_linear_timeouts", (6, 5), 4),
        ("ip_local_port_range", None, (32768, 60999)),
        ("nf_conntrack_max", MODERN, None),
    ],
)
def test_defaults_are_the_kernel_s_of_that_version(
    name: str, version: Version | None, expected: sysctls.Value | None
) -> None:
    assert sysctls.BY_NAME[name].default(version) == expected


@pytest.mark.parametrize("name", [each.name for each in sysctls.CATALOGUE])
def test_no_default_is_a_warning(name: str) -> None:
    """But that of forwarding, without which there is no NAT."""
    default = sysctls.BY_NAME[name].default(MODERN)
    if default is not None and name != "ip_forward":
        assert verdict(name, default) in (Verdict.FINE, Verdict.NOTE)


@given(st.sampled_from(tuple(sysctls.BY_NAME)), VALUES, st.integers(0, 10**6) | st.none(), VALUES)
def test_any_value_has_a_sentence(name: str, value: sysctls.Value, entries: int | None, other: sysctls.Value) -> None:
    values: dict[str, sysctls.Value] = {"nf_conntrack_max": other, "ip_local_reserved_ports": other}
    found = sysctls.judge(name, value, About(MODERN, values, entries))
    assert found is not None
    assert found.sentence
    assert found.sentence[-1] != "."
    assert "\n" not in found.sentence


@pytest.mark.parametrize(
    ("entries", "expected"),
    [(None, "fine"), (0, "fine"), (75, "fine"), (76, "warning"), (90, "warning"), (91, "critical"), (101, "critical")],
)
def test_the_table_s_room(entries: int | None, expected: str) -> None:
    assert verdict("nf_conntrack_max", 100, About(MODERN, {}, entries)) == expected
    assert verdict("nf_conntrack_max", 0, About(MODERN, {}, entries)) == "fine", "0 is no limit"


@pytest.mark.parametrize(
    ("buckets", "expected"), [(100, "fine"), (25, "fine"), (24, "warning"), (12, "critical"), (0, "fine")]
)
def test_buckets_for_a_full_table(buckets: int, expected: str) -> None:
    assert verdict("nf_conntrack_buckets", buckets, About(MODERN, {"nf_conntrack_max": 100})) == expected
    assert verdict("nf_conntrack_buckets", buckets) == "fine", "without the maximum nobody can tell"


@pytest.mark.parametrize(
    ("value", "expected"), [(432_000, "note"), (86_401, "note"), (86_400, "fine"), (7_201, "fine"), (7_200, "warning")]
)
def test_how_long_established_flows_may_be_idle(value: int, expected: str) -> None:
    assert verdict("nf_conntrack_tcp_timeout_established", value) == expected


@pytest.mark.parametrize(
    ("value", "version", "expected"),
    [
        (120, (6, 5), "fine"),
        (120, None, "fine"),
        (120, (6, 4), "note"),
        (29, MODERN, "warning"),
        (30, MODERN, "fine"),
    ],
)
def test_time_wait_costs_ports_where_the_kernel_does_not_evict(
    value: int, version: Version | None, expected: str
) -> None:
    assert verdict("nf_conntrack_tcp_timeout_time_wait", value, About(version)) == expected


@pytest.mark.parametrize(
    ("value", "reserved", "expected", "ports"),
    [
        ((32768, 60999), (), "fine", "28,232"),
        ((1024, 65535), (), "note", "64,512"),
        ((32768, 46883), (), "note", "14,116"),
        ((32768, 46882), (), "warning", "14,115"),
        ((40000, 40063), (), "warning", "64"),
        ((32768, 60999), (40000, 60000), "warning", "8,231"),
        ((32768, 60999), (1, 32767, 61000, 65535), "fine", "28,232"),
        ((5, 4), (), "warning", "0"),
    ],
)
def test_source_ports_left(value: tuple[int, int], reserved: tuple[int, ...], expected: str, ports: str) -> None:
    about = About(MODERN, {"ip_local_reserved_ports": reserved})
    found = sysctls.judge("ip_local_port_range", value, about)
    assert found is not None
    assert (found.verdict, found.sentence.split()[0]) == (expected, ports)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("nf_conntrack_tcp_be_liberal", 1, "note"),
        ("nf_conntrack_tcp_loose", 0, "note"),
        ("nf_conntrack_log_invalid", 6, "note"),
        ("nf_conntrack_acct", 1, "note"),
        ("nf_conntrack_events", 1, "note"),
        ("nf_conntrack_events", 7, "note"),
        ("nf_conntrack_udp_timeout", 60, "note"),
        ("ip_local_reserved_ports", (8080, 8080), "note"),
        ("tcp_tw_reuse", 1, "note"),
        ("tcp_max_tw_buckets", 5, "fine"),
        ("somaxconn", 128, "note"),
        ("somaxconn", 65535, "fine"),
        ("bridge-nf-call-iptables", 0, "note"),
        ("ip_forward", 0, "critical"),
        ("ip_forward", 1, "fine"),
    ],
)
def test_other_values(name: str, value: sysctls.Value, expected: str) -> None:
    assert verdict(name, value) == expected


def test_a_changed_value_names_the_default() -> None:
    found = sysctls.judge("nf_conntrack_udp_timeout", 3600, About(MODERN))
    assert found is not None
    assert found.sentence.endswith("the kernel's default is 30")
    found = sysctls.judge("ip_local_port_range", (1024, 65535), About(MODERN))
    assert found is not None
    assert found.sentence.endswith("the kernel's default is 32768-60999")


def test_what_differs_from_the_host() -> None:
    """Conntrack's own only where the container has a table of its own; what the host does not tell differs."""
    own: dict[str, sysctls.Value] = {
        "ip_local_port_range": (1024, 65535),
        "somaxconn": 4096,
        "tcp_tw_reuse": 2,
        "nf_conntrack_tcp_timeout_time_wait": 120,
        "no such": 1,
    }
    host: dict[str, sysctls.Value] = {
        "ip_local_port_range": (32768, 60999),
        "somaxconn": 4096,
        "nf_conntrack_tcp_timeout_time_wait": 30,
    }
    sockets: dict[str, sysctls.Value] = {"ip_local_port_range": (1024, 65535), "tcp_tw_reuse": 2}
    assert sysctls.differing(own, host, tracks=False) == sockets
    table: dict[str, sysctls.Value] = {"nf_conntrack_tcp_timeout_time_wait": 120}
    assert sysctls.differing(own, host, tracks=True) == sockets | table


def test_areas_are_those_of_the_paths() -> None:
    for each in sysctls.CATALOGUE:
        assert (each.area is Area.TABLE) == each.path.startswith("net/netfilter/")
