"""A snapshot as JSON, CSV, Markdown and text."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from natop.columns.containers import CONTAINER_COLUMNS
from natop.columns.filters import parse
from natop.columns.flows import FLOW_COLUMNS
from natop.export import document, snapshots
from natop.export.natdocument import MOST_POOLS
from natop.export.snapshots import View
from natop.formats import timestamp
from natop.model import (
    COUNTER_NAMES,
    HOST_SOCKETS,
    TCP_NAMES,
    Attachment,
    Gap,
    Kind,
    NetnsText,
    PublishedPort,
    Snapshot,
)
from tests.unit import joining, netlink
from tests.unit.hosts import BOOT_ID, CONTAINERS, EDGE, HOST_NETNS, WEB, container, observed, sample, tcp_text
from tests.unit.plain import ICMP, IGMP, Ends, Flow, flow
from tests.unit.rulesets import BRIDGE, DOCKER_20_NO_PROXY, firewall, saved
from tests.unit.strategies import flows

SCHEMA = json.loads((Path(__file__).parent.parent / "data" / "snapshot.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PING = Ends("172.18.0.3", "198.51.100.7", 77, 2048)

FLOWS = [
    flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=1, state=7, timeout_s=119, closed_by=2),
    flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000", id=2, packets=9, bytes=900, mark=3),
    flow("[fd00:18::2]:40000", "[2001:db8::7]:443", id=3, state=None, timeout_s=None, status=0x418E, zone=7),
    Flow(orig=PING, reply=Ends("198.51.100.7", "172.18.0.3", 77), proto=ICMP, id=4),
    Flow(orig=Ends("172.18.0.3", "224.0.0.22"), reply=Ends("224.0.0.22", "172.18.0.3"), proto=IGMP, id=5),
    flow("203.0.113.10:1024", "192.0.2.5:22", id=6, timeout_s=300, started_ns=1_767_600_000_123_999_999),
]
GAP = Gap("flows", "reading conntrack needs CAP_NET_ADMIN", "run: sudo natop")

MEMBERS = {EDGE.id: HOST_NETNS, WEB.id: "net:[1]"}
TUNED = {"net/ipv4/ip_local_port_range": "1024\t65535\n", "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "30\n"}


def told_by_tcp(segments: int) -> dict[str, NetnsText]:
    """Of the host and of web, which have sent this many segments."""
    return {HOST_NETNS: tcp_text(out_segs=segments), "net:[1]": tcp_text(TUNED, syn_retrans=9, out_segs=3 * segments)}


def probed(found: int) -> bytes:
    counters = {"found": found, "insert_failed": 9, "drop": 9}
    return netlink.stats_global(6, 262144) + netlink.stats_cpu(0, counters) + netlink.done()


FIRST = sample(FLOWS, containers=CONTAINERS, stats=probed(12), tcp=told_by_tcp(300), members=MEMBERS)
LATER = sample(
    FLOWS[:4],
    at=2,
    containers=CONTAINERS,
    stats=probed(16),
    tcp=told_by_tcp(900),
    members=MEMBERS,
    gaps=(Gap("probes", "y"),),
)
FULL = observed(FIRST, LATER)
SNAPSHOTS = {
    "full": FULL,
    "first": observed(FIRST),
    "without flows": observed(sample(None, containers=CONTAINERS)),
    "refused": observed(sample(dump=[netlink.error(1)], containers=CONTAINERS, proc={})),
    "without an engine": observed(sample(FLOWS)),
    "with nothing": observed(sample(None, proc={}, addresses=())),
    "empty": observed(sample([], containers=())),
}


def parsed(taken: Snapshot, view: View | None = None) -> dict[str, Any]:
    """The JSON document, valid by the schema and on one line."""
    text = "".join(snapshots.as_json(taken, view or View()))
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    VALIDATOR.validate(found)
    return found


def text_of(taken: Snapshot, view: View | None = None, width: int | None = None) -> str:
    return "".join(snapshots.as_text(taken, view or View(), width))


# JSON


@pytest.mark.parametrize("name", SNAPSHOTS)
@pytest.mark.parametrize("with_flows", [False, True])
def test_every_document_is_valid_by_the_schema(name: str, with_flows: bool) -> None:
    taken = SNAPSHOTS[name]
    found = parsed(taken, View(flows=with_flows))
    assert ("flows" in found) == (with_flows and taken.reading is not None)


def test_the_document_of_a_full_snapshot() -> None:
    found = parsed(FULL)
    assert {
        key: found[key] for key in ("schema", "taken_at", "monotonic_s", "interval_s", "nat_pools_omitted", "probes")
    } == {
        "schema": 1,
        "taken_at": "2026-11-22T21:10:02.000Z",
        "monotonic_s": 1002.0,
        "interval_s": 2.0,
        "nat_pools_omitted": 0,
        "probes": None,
    }
    assert [each["rule"] for each in found["findings"]] == ["blind-spots"]
    verdicts = {name: (each["default"], each["verdict"]) for name, each in found["host"].pop("sysctls_judged").items()}
    assert verdicts == {
        "nf_conntrack_max": (None, "fine"),
        "nf_conntrack_buckets": (None, "fine"),
        "nf_conntrack_tcp_timeout_time_wait": (120, "fine"),
        "ip_local_port_range": ([32768, 60999], "fine"),
        "bridge-nf-call-iptables": (1, "fine"),
    }
    assert found["host"] == {
        "hostname": "natter",
        "kernel": "6.18.44",
        "netns": "net:[4026531840]",
        "boot_id": BOOT_ID,
        "docker": {
            "product": "Docker",
            "version": "29.0.0",
            "api_version": "1.52",
            "rootless": False,
            "userland_proxy": None,
            "firewall_backend": "iptables",
        },
        "sysctls": {
            "nf_conntrack_max": 262144,
            "nf_conntrack_buckets": 65536,
            "nf_conntrack_tcp_timeout_time_wait": 120,
            "ip_local_port_range": [32768, 60999],
            "bridge-nf-call-iptables": 1,
        },
        "tcp": dict.fromkeys(TCP_NAMES)
        | {"syn_retrans": 0, "out_segs": 900, "sockets_in_use": 1, "time_wait_sockets": 2, "lost_syns_per_s": 0.0}
        | {"rates": dict.fromkeys(TCP_NAMES) | {"syn_retrans": 0.0, "out_segs": 300.0}},
    }
    conntrack = found["conntrack"]
    assert (conntrack["count"], conntrack["max"], conntrack["buckets"], conntrack["flows"]) == (6, 262144, 65536, 4)
    assert {name: number for name, number in conntrack["states"].items() if number} == {
        "TIME_WAIT": 1,
        "ESTABLISHED": 1,
    }
    assert conntrack["protocols"] == {"tcp": 3, "icmp": 1}
    assert conntrack["counters"] == dict.fromkeys(COUNTER_NAMES) | {"found": 16, "insert_failed": 9, "drop": 9}
    assert conntrack["rates"]["found"] == 2.0
    rates = dict.fromkeys(COUNTER_NAMES) | {"found": 2.0, "insert_failed": 0.0, "drop": 0.0}
    assert conntrack["cpus"] == [{"counters": conntrack["counters"], "rates": rates}]
    assert conntrack["derived"] == {
        "table_full_per_s": 0.0,
        "clash_lost_per_s": 0.0,
        "lost_syns_per_s": 0.0,
        "found_per_new": None,
    }
    assert (conntrack["rates"]["insert"], conntrack["rates"]["new"], conntrack["rates"]["gone"]) == (None, 0.0, 1.0)
    assert conntrack["skipped"] == {"messages": 0, "attributes": 0}
    assert found["gaps"] == [{"source": "probes", "reason": "y", "remedy": None}]
    assert found["unowned"]["flows"] == 0
    assert found["unowned"]["kinds"] == dict.fromkeys((kind.name for kind in Kind), 0)
    first = parsed(observed(FIRST))["unowned"]
    assert {name: number for name, number in first["kinds"].items() if number} == {"HOST": 1}


def test_the_nat_rules_in_the_document() -> None:
    found = parsed(replace(FULL, firewall=firewall(saved(DOCKER_20_NO_PROXY), BRIDGE)))["nat_rules"]
    (network,) = found["networks"]
    taker = {
        "backend": "iptables-nft",
        "chain": "nat POSTROUTING",
        "priority": 100,
        "action": "MASQUERADE",
        "sources": ["172.17.0.0/16"],
        "protocols": [],
        "to_address": None,
        "ports": None,
        "random": False,
        "fully_random": False,
        "text": "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    }
    assert (network["name"], network["bridge"], network["subnet"], network["internal"]) == (
        "bridge",
        "docker0",
        "172.17.0.0/16",
        False,
    )
    assert (network["rule"], network["udp_rule"], network["others"]) == (taker, taker, [])
    assert network["hairpin"]["sources"] == ["172.17.0.2"]
    assert [rule["action"] for rule in found["rules"]].count("SNAT") == 2
    assert parsed(FULL)["nat_rules"] is None


def test_a_container_in_the_document() -> None:
    web = next(each for each in parsed(FULL)["containers"] if each["name"] == "web")
    states = web.pop("states")
    assert {name: number for name, number in states.items() if number} == {"TIME_WAIT": 1}
    kinds = web.pop("kinds")
    assert {name: number for name, number in kinds.items() if number} == {"PUBLISHED": 1, "ROUTED": 1}
    assert web == {
        "id": WEB.id,
        "name": "web",
        "image": "web:1",
        "state": "running",
        "project": "shop",
        "service": "web",
        "network_mode": "shop_default",
        "pid": 4242,
        "networks": [
            {"name": "net0", "driver": "bridge", "ipv4": "172.18.0.2", "ipv6": None, "gateway": None},
            {"name": "net1", "driver": "bridge", "ipv4": None, "ipv6": "fd00:18::2", "gateway": None},
        ],
        "published": [{"proto": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80}],
        "flows": {"total": 2, "inbound": 1, "outbound": 1},
        "nat": {
            "dnat": 1,
            "snat": 0,
            "rewritten_ports": 0,
            "port_choice": {"kept": 0, "rewritten": 0, "kept_share": None},
            "busiest_pool": None,
        },
        "time_wait": {
            "count": 1,
            "share": 1.0,
            "closed_by_client": 0,
            "closed_by_server": 1,
            "remotes": [{"ip": "100.64.0.9", "flows": 1}],
            "services": [{"service": "8080/tcp", "flows": 1}],
            "growth_per_min": 0.0,
            "steady_state": None,
            "unsteady": True,
            "concern": None,
        },
        "untracked": None,
        "own_table": None,
        "tcp": dict.fromkeys(TCP_NAMES)
        | {"syn_retrans": 9, "out_segs": 2700, "sockets_in_use": 1, "time_wait_sockets": 2},
        "tcp_of": None,
        "lost_syns_per_s": 0.0,
        "sysctls": {"ip_local_port_range": [1024, 65535]},
        "sysctls_judged": {
            "ip_local_port_range": {
                "default": [32768, 60999],
                "verdict": "note",
                "sentence": "64,512 source ports towards each remote address and port; "
                "the kernel's default is 32768-60999",
            }
        },
        "rates": {"new": 0.0, "gone": 0.0, "time_wait": 0.0}
        | dict.fromkeys(TCP_NAMES)
        | {"syn_retrans": 0.0, "out_segs": 900.0},
        "probes": None,
    }
    edge = next(each for each in parsed(FULL)["containers"] if each["name"] == "edge")
    assert [edge[key] for key in ("tcp", "tcp_of", "lost_syns_per_s", "sysctls")] == [None, "host", None, None]


def test_sysctls_of_conntrack_differ_where_a_container_has_a_table_of_its_own() -> None:
    def differing(**fields: Any) -> Any:
        taken = observed(replace(FIRST, **fields))
        return next(each for each in parsed(taken)["containers"] if each["name"] == "web")["sysctls"]

    tracking = differing(tables={WEB.id: netlink.stats_global(7, 262144)})
    assert tracking == {"ip_local_port_range": [1024, 65535], "nf_conntrack_tcp_timeout_time_wait": 30}
    judged = parsed(observed(replace(FIRST, tables={WEB.id: netlink.stats_global(7, 262144)})))["containers"]
    (web,) = (each["sysctls_judged"] for each in judged if each["name"] == "web")
    assert web["nf_conntrack_tcp_timeout_time_wait"]["default"] == 120
    assert differing(tcp={"net:[1]": tcp_text()}) is None, "not read"
    assert differing(members={WEB.id: HOST_NETNS}) == {}, "its namespace is the one read"


def test_a_container_s_sysctls_are_judged_by_its_own_others() -> None:
    """Of its narrow range it keeps ports back; the host does not."""
    own = {"net/ipv4/ip_local_port_range": "40000 59999", "net/ipv4/ip_local_reserved_ports": "40000-49999"}
    tuned = {**FIRST.tcp, "net:[1]": tcp_text(own)}
    web = next(each for each in parsed(observed(replace(FIRST, tcp=tuned)))["containers"] if each["name"] == "web")
    told = web["sysctls_judged"]["ip_local_port_range"]
    assert told["verdict"] == "warning"
    assert told["sentence"].startswith("10,000 source ports")


POOL = {
    "proto": "tcp",
    "zone": 0,
    "nat_ip": "203.0.113.10",
    "remote_ip": "198.51.100.7",
    "remote_port": 443,
    "first_port": 1024,
    "last_port": 65535,
    "used": 2,
    "capacity": 64512,
    "hard": 1,
    "soft": 1,
    "time_wait": 1,
    "rewritten": 1,
    "masqueraded": 2,
    "port_choice": {"kept": 1, "rewritten": 1, "kept_share": 0.5},
    "draining": 1,
    "drain_s": 90,
    "new_per_s": 0.5,
    "sustainable_per_s": 64511 / 120,
    "loss": 0.0,
    "containers": {"app": 2},
    "others": {},
}


def test_nat_pools_in_the_document() -> None:
    """The one that a container is fullest in stands in it too."""
    closing = flow("172.18.0.3:40001", "198.51.100.7:443", snat="203.0.113.10:40001", id=7, state=7, timeout_s=90)
    own = flow("203.0.113.10:999", "198.51.100.8:443", snat="203.0.113.10:888", id=8, proto=17)
    nobody = flow("10.0.0.1:999", "198.51.100.8:443", snat="203.0.113.10:999", id=9, proto=17)
    later = sample([*FLOWS, closing, own, nobody], at=2, containers=CONTAINERS)
    found = parsed(observed(FIRST, later))
    small, pool = found["nat_pools"]
    assert pool == POOL
    assert (small["proto"], small["capacity"], small["used"], small["others"]) == ("udp", 424, 2, {})
    assert small["sustainable_per_s"] is None, "nf_conntrack_udp_timeout was not read"
    nat = {each["name"]: each["nat"] for each in found["containers"]}
    assert (nat["app"]["rewritten_ports"], nat["app"]["busiest_pool"]) == (1, POOL)
    assert nat["app"]["port_choice"] == {"kept": 1, "rewritten": 1, "kept_share": 0.5}
    assert (nat["db"]["rewritten_ports"], nat["db"]["busiest_pool"]) == (0, None)
    assert found["conntrack"]["port_choice"] == {"kept": 2, "rewritten": 1, "kept_share": 2 / 3}
    assert found["conntrack"]["time_wait"]["count"] == 2
    assert parsed(SNAPSHOTS["empty"])["conntrack"]["port_choice"] == {"kept": 0, "rewritten": 0, "kept_share": None}


def test_who_holds_ports_and_is_no_container() -> None:
    taken = observed(sample([flow("172.18.0.3:40000", "198.51.100.7:443", snat="203.0.113.10:50000")], containers=()))
    assert taken.reading is not None
    assert taken.pools is not None
    named = replace(taken.reading.attribution, others=("host: curl[7]",))
    holder = np.array([-2], np.int32)
    known = replace(taken, reading=replace(taken.reading, attribution=named), pools=replace(taken.pools, holder=holder))
    assert [(each["containers"], each["others"]) for each in parsed(known)["nat_pools"]] == [({}, {"host: curl[7]": 1})]


def test_pools_that_are_left_out_are_counted() -> None:
    flows = [
        flow("172.18.0.3:40000", f"198.51.100.7:{port}", snat="203.0.113.10:40000", id=port)
        for port in range(1, MOST_POOLS + 8)
    ]
    found = parsed(observed(sample(flows, containers=CONTAINERS)))
    assert (len(found["nat_pools"]), found["nat_pools_omitted"]) == (MOST_POOLS, 7)


SYSCTLS = ("sysctls", "sysctls_judged")


def test_what_could_not_be_read_is_null_and_never_0() -> None:
    found = parsed(SNAPSHOTS["refused"])
    numbers = [each for each in walk(found) if isinstance(each, int | float) and not isinstance(each, bool)]
    assert numbers == [1, 1000.0, 4242, 8080, 80], "the schema's number, the clock, a pid and a published port"
    assert found["conntrack"]["flows"] is found["conntrack"]["states"] is found["conntrack"]["skipped"] is None
    assert found["unowned"] == dict.fromkeys(("flows", "states", "kinds", "time_wait"))
    assert [found[key] for key in ("nat_pools", "nat_pools_omitted")] == [None, None]
    assert [found["conntrack"][key] for key in ("port_choice", "time_wait")] == [None, None]
    assert found["host"]["kernel"] is None
    for each in found["containers"]:
        for key in ("flows", "states", "kinds", "nat", "time_wait", "own_table", "tcp", "lost_syns_per_s", *SYSCTLS):
            assert each[key] is None
        assert set(each["rates"].values()) == {None}
    assert found["gaps"][0] == {"source": "flows", "reason": GAP.reason, "remedy": GAP.remedy}
    assert [gap["source"] for gap in found["gaps"]] == ["flows", "bridge"]
    assert parsed(SNAPSHOTS["without an engine"])["host"]["docker"] is None


def walk(value: Any) -> list[Any]:
    """All plain values of a document."""
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in walk(each)]
    return [leaf for each in value for leaf in walk(each)] if isinstance(value, list) else [value]


def test_flows_in_the_document() -> None:
    found = {each["id"]: each for each in parsed(observed(FIRST), View(flows=True))["flows"]}
    assert found[1] == {
        "proto": "tcp",
        "state": "TIME_WAIT",
        "orig": {"src": "100.64.0.9", "sport": 51234, "dst": "203.0.113.10", "dport": 8080, "icmp": None},
        "reply": {"src": "172.18.0.2", "sport": 80, "dst": "100.64.0.9", "dport": 51234, "icmp": None},
        "status": ["SEEN_REPLY", "ASSURED", "CONFIRMED", "DST_NAT", "SRC_NAT_DONE", "DST_NAT_DONE"],
        "timeout_s": 119,
        "zone": 0,
        "mark": 0,
        "id": 1,
        "packets": None,
        "bytes": None,
        "started_at": None,
        "client": None,
        "server": "web",
        "client_other": None,
        "server_other": None,
        "network": "net0",
        "kind": "PUBLISHED",
        "proxy": None,
    }
    assert (found[2]["client"], found[2]["packets"], found[2]["bytes"], found[2]["mark"]) == ("app", 9, 900, 3)
    assert (found[3]["state"], found[3]["timeout_s"], found[3]["zone"]) == (None, None, 7)
    assert found[3]["status"][-1] == "OFFLOAD"
    assert found[4]["orig"] == {
        "src": "172.18.0.3",
        "sport": None,
        "dst": "198.51.100.7",
        "dport": None,
        "icmp": {"id": 77, "type": 8, "code": 0},
    }
    assert found[5]["proto"] == "2"
    assert found[5]["orig"] == {"src": "172.18.0.3", "sport": None, "dst": "224.0.0.22", "dport": None, "icmp": None}
    assert found[6]["started_at"] == "2026-01-05T08:00:00.123Z"
    assert [found[number]["network"] for number in sorted(found)] == ["net0", "net0", "net1", "net0", "net0", None]


def test_who_is_no_container_is_told_apart() -> None:
    """Who is gone is never given out for a container of that name."""
    crossing = flow("172.18.0.3:40001", "172.18.0.2:80", id=7)
    taken = observed(sample([*FLOWS[:2], crossing], containers=CONTAINERS), sample(None, at=1, containers=(WEB,)))
    parties = ("client", "server", "client_other", "server_other", "network", "kind")
    found = {each["id"]: [each[key] for key in parties] for each in parsed(taken, View(flows=True))["flows"]}
    assert found == {
        1: [None, "web", None, None, "net0", "PUBLISHED"],
        2: [None, None, "gone: app", None, None, "STALE"],
        7: [None, "web", "gone: app", None, "net0", "STALE"],
    }


def through_docker_proxy() -> Snapshot:
    """A connection that is open, and one that was closed before anybody looked."""
    others = [flow("172.18.0.4:7", f"{joining.HOST}:8080"), flow(f"{joining.GATEWAY}:7", "172.17.0.2:80")]
    flows = [replace(each, id=number) for number, each in enumerate([*joining.HALVES[::3], *others, OUTSIDE], 50)]
    containers = (joining.WEB, joining.APP)
    sockets = {HOST_SOCKETS: joining.proxied(0)}
    return observed(
        sample(flows, containers=containers, addresses=joining.HOST_ADDRESSES, sockets=sockets.get, proc={})
    )


OUTSIDE = flow("203.0.113.10:9", "192.0.2.9:9")


def test_both_halves_of_a_connection_through_docker_proxy() -> None:
    found = {each["id"]: each for each in parsed(through_docker_proxy(), View(flows=True))["flows"]}
    process = {"pid": 500, "command": joining.COMMAND}
    assert {number: each["proxy"] for number, each in found.items()} == {
        50: process | {"half": "accepted", "other_half": 51},
        51: process | {"half": "dialled", "other_half": 50},
        52: process | {"half": "accepted", "other_half": None},
        53: process | {"half": "dialled", "other_half": None},
        54: None,
    }
    assert [found[number]["client"] for number in (50, 51)] == ["app", "app"]
    assert found[53]["client_other"] == joining.THE_PROXY


def test_csv_of_flows_names_who_is_no_container() -> None:
    rows = {row["id"]: row for row in rows_of(through_docker_proxy(), View(flows=True))}
    names = ("client", "client_other", "proxy_pid", "half", "other_half")
    assert {number: [row[name] for name in names] for number, row in rows.items()} == {
        "50": ["app", "", "500", "accepted", "51"],
        "51": ["app", "", "500", "dialled", "50"],
        "52": ["", "", "500", "accepted", ""],
        "53": ["", joining.THE_PROXY, "500", "dialled", ""],
        "54": ["", "host", "", "", ""],
    }
    crossing = [*FLOWS[:2], flow("172.18.0.3:40001", "172.18.0.2:80", id=7)]
    gone = observed(sample(crossing, containers=CONTAINERS), sample(None, at=1, containers=(WEB,)))
    assert [row["client_other"] for row in rows_of(gone, View(flows=True))] == ["", "gone: app", "gone: app"]


def partly_seen() -> Snapshot:
    """Containers that the table knows nothing of, and one with a table of its own."""
    some = [
        WEB,
        container("alone", network_mode="none"),
        replace(container("mac"), network_mode="lan", networks=(Attachment("lan", "macvlan", "192.168.7.9"),)),
        container("beside", network_mode=f"container:{container('alone').id}"),
        container("besides", network_mode=f"container:{container('beside').id}"),
    ]
    tables = {WEB.id: netlink.stats_global(37, 262144) + netlink.done()}
    return observed(sample(FLOWS, containers=some, tables=tables))


def test_a_stopped_container_has_null_where_a_running_one_has() -> None:
    lan = replace(container("mac"), network_mode="lan", networks=(Attachment("lan", "macvlan"),))
    some = [WEB, *(replace(lan, id=state, name=state, state=state) for state in ("running", "exited"))]
    found = {each["name"]: each for each in parsed(observed(sample(FLOWS, containers=some)))["containers"]}
    assert found["exited"]["untracked"] == found["running"]["untracked"] == "macvlan"
    numbers = ("flows", "states", "kinds", "nat", "rates")
    assert [found["exited"][key] for key in numbers] == [found["running"][key] for key in numbers]
    assert found["exited"]["flows"] is None


def test_containers_that_the_table_knows_nothing_of() -> None:
    found = {each["name"]: each for each in parsed(partly_seen())["containers"]}
    assert {name: each["untracked"] for name, each in found.items()} == {
        "web": None,
        "alone": "no network",
        "mac": "macvlan",
        "beside": "no network",
        "besides": "no network",
    }
    assert {name: each["flows"] is None for name, each in found.items()} == {
        "web": False,
        "alone": True,
        "mac": True,
        "beside": True,
        "besides": True,
    }
    assert {name: each["own_table"] for name, each in found.items()} == {
        "web": 37,
        "alone": None,
        "mac": None,
        "beside": None,
        "besides": None,
    }
    rows = {row["name"]: row for row in rows_of(partly_seen())}
    assert {name: (row["mode"], row["flows"], row["own_table"]) for name, row in rows.items()} == {
        "web": ("shop_default", "2", "37"),
        "alone": ("not tracked: no network", "", ""),
        "mac": ("not tracked: macvlan", "", ""),
        "beside": ("not tracked: no network", "", ""),
        "besides": ("not tracked: no network", "", ""),
        "(host)": ("", "4", ""),
    }
    assert "not tracked: macvlan" in text_of(partly_seen())


@pytest.mark.parametrize("count", range(8))
def test_flows_are_written_in_pieces(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "FLOWS_AT_ONCE", 3)
    monkeypatch.setattr(snapshots, "FLOWS_AT_ONCE", 3)
    taken = observed(sample([replace(FLOWS[0], id=number) for number in range(count)], containers=CONTAINERS))
    assert [each["id"] for each in parsed(taken, View(flows=True))["flows"]] == list(range(count))
    assert [row["id"] for row in rows_of(taken, View(flows=True))] == [str(number) for number in range(count)]


@given(st.lists(flows(), max_size=6))
def test_any_flow_is_valid_by_the_schema(some: list[Flow]) -> None:
    taken = observed(sample(some, containers=CONTAINERS))
    assert len(parsed(taken, View(flows=True))["flows"]) == conntrack_flows(taken)
    assert len(rows_of(taken, View(flows=True))) == conntrack_flows(taken)


def conntrack_flows(taken: Snapshot) -> int:
    assert taken.reading is not None
    return len(taken.reading.flows)


# What is wanted, in which order


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), ["app", "web", "db", "edge"]),
        (View(sort="-flows"), ["db", "edge", "app", "web"]),
        (View(sort="name"), ["app", "db", "edge", "web"]),
        (View(sort="-name"), ["web", "edge", "db", "app"]),
        (View(parse("project:shop"), "-name"), ["web", "app"]),
        (View(parse("state:time_wait")), ["web"]),
        (View(parse("nobody")), []),
    ],
)
def test_filter_and_sort(view: View, expected: Sequence[str]) -> None:
    assert [each["name"] for each in parsed(FULL, view)["containers"]] == expected
    named = [row["name"] for row in rows_of(FULL, view)]
    assert [name for name in named if name != "(host)"] == expected
    assert ("(host)" in named) == (view.filter is None)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(parse("proto:tcp"), "src", flows=True), [1, 2, 6, 3]),
        (View(parse("proto:tcp"), "-src", flows=True), [3, 6, 2, 1]),
        (View(parse("client:app"), "dst", flows=True), [2, 4, 5]),
        (View(parse("timeout:>100"), "timeout", flows=True), [6, 1]),
        (View(parse("state:time_wait,established"), "timeout", flows=True), [6, 1, 2]),
        (View(parse("state:time_wait,established"), "-timeout", flows=True), [2, 1, 6]),
        (View(parse("nobody"), "bytes", flows=True), []),
    ],
)
def test_flows_filtered_and_sorted(view: View, expected: list[int]) -> None:
    assert [each["id"] for each in parsed(observed(FIRST), view)["flows"]] == expected


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("key", snapshots.sort_keys(flows=True))
def test_no_order_loses_a_row_or_has_one_twice(key: str, sign: str) -> None:
    found = parsed(FULL, View(sort=sign + key, flows=True))
    assert sorted(each["name"] for each in found["containers"]) == ["app", "db", "edge", "web"]
    assert sorted(each["id"] for each in found["flows"]) == [1, 2, 3, 4]


def test_sort_keys_are_the_columns() -> None:
    containers = [column.key for column in CONTAINER_COLUMNS]
    assert list(snapshots.sort_keys(flows=False)) == containers
    of_flows = [column.key for column in FLOW_COLUMNS if column.key not in containers]
    assert list(snapshots.sort_keys(flows=True)) == containers + of_flows


# CSV


def rows_of(taken: Snapshot, view: View | None = None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(snapshots.as_csv(taken, view or View(), header=True)))))


def test_csv_parses_back() -> None:
    rows = {row["name"]: row for row in rows_of(FULL)}
    assert list(rows) == ["app", "web", "(host)", "db", "edge"]
    assert "trend" not in rows["web"]
    assert rows["web"] == {
        "taken_at": "2026-11-22T21:10:02.000Z",
        "id": WEB.id,
        "name": "web",
        "flows": "2",
        "established": "0",
        "syn": "0",
        "time_wait": "1",
        "closing": "0",
        "inbound": "1",
        "outbound": "1",
        "pool": "",
        "rewritten": "0",
        "kept_ports": "",
        "new": "0.0",
        "gone": "0.0",
        "mode": "shop_default",
        "project": "shop",
        "published": "8080→80",
        "connect": "",
        "own_table": "",
        "syn_retrans": "0.0",
        "lost_syns": "0.0",
        "listen_overflows": "",
        "retrans_segs": "",
        "attempt_fails": "",
        "tw_sockets": "2",
        "state": "running",
        "image": "web:1",
    }
    assert (rows["(host)"]["id"], rows["(host)"]["inbound"]) == ("", "")


def test_csv_leaves_what_is_unknown_empty() -> None:
    for row in rows_of(SNAPSHOTS["refused"]):
        assert {row[key] for key in ("flows", "established", "time_wait", "inbound", "new")} == {""}
    assert rows_of(SNAPSHOTS["refused"], View(flows=True)) == []


def test_csv_has_its_header_once() -> None:
    header, *lines = snapshots.as_csv(FULL, View(), header=True)
    assert list(snapshots.as_csv(FULL, View(), header=False)) == lines
    assert header.startswith("taken_at,id,name,flows,")


def test_csv_of_flows() -> None:
    rows = {row["id"]: row for row in rows_of(observed(FIRST), View(flows=True))}
    assert (rows["1"]["orig_src"], rows["1"]["orig_sport"], rows["1"]["reply_src"]) == (
        "100.64.0.9",
        "51234",
        "172.18.0.2",
    )
    assert (rows["1"]["status"], rows["1"]["server"]) == (
        "SEEN_REPLY ASSURED CONFIRMED DST_NAT SRC_NAT_DONE DST_NAT_DONE",
        "web",
    )
    for name in ("client_other", "server_other", "network"):
        told = {str(each["id"]): each[name] or "" for each in parsed(observed(FIRST), View(flows=True))["flows"]}
        assert {row: cells[name] for row, cells in rows.items()} == told
        assert any(told.values()) == (name == "network")
    assert (rows["4"]["orig_sport"], rows["3"]["timeout_s"], rows["6"]["started_at"]) == (
        "",
        "",
        "2026-01-05T08:00:00.123Z",
    )


HOSTILE = (
    'a,"b',
    "x|y",
    "`rm`",
    "<script>",
    "[a](http://x)",
    "**b**",
    "~~s~~",
    "&lt;",
    "#1",
    "a\\",
    "!img",
    "_i_",
    "=1+1",
)


def hostile_host() -> Snapshot:
    some = [
        container(name, f"10.0.0.{n}", id=f"{n:064x}", image=name, project=name) for n, name in enumerate(HOSTILE, 1)
    ]
    ways = [flow(f"10.0.0.{n}:1", "192.0.2.1:1", id=n) for n in range(1, len(HOSTILE) + 1)]
    gap = Gap("docker", "it said: <b>|no</b>")
    return observed(sample(ways, containers=some, hostname="ho|st*", gaps=(gap,)))


def test_hostile_names_survive_csv() -> None:
    rows = rows_of(hostile_host())
    assert {row["name"] for row in rows} == {*HOSTILE, "(host)"}
    assert all(row["image"] == row["name"] for row in rows if row["id"])


# Markdown


def cells_of(line: str) -> list[str]:
    """The cells of a line of a Markdown table, as a reader sees them."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", line.strip())
    return [unescaped(part.strip()) for part in parts[1:-1]]


def unescaped(text: str) -> str:
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)


@pytest.mark.parametrize("with_flows", [False, True])
def test_hostile_names_are_shown_letter_by_letter(with_flows: bool) -> None:
    taken = hostile_host()
    lines = "".join(snapshots.as_markdown(taken, View(flows=with_flows))).splitlines()
    assert lines[0] == r"### natop: ho\|st\*"
    assert r"- **not read** docker: it said: \<b\>\|no\</b\>" in lines
    tables = [line for line in lines if line.startswith("|")]
    widths = {len(cells_of(line)) for line in tables}
    assert len(widths) == 1 + with_flows
    names = {cells_of(line)[0] for line in tables}
    assert {*HOSTILE, "(host)"} <= names
    for line in [line for line in lines if "CONTAINER" not in line and "PROTO" not in line]:
        bare = re.sub(r"\\.", "", line.removeprefix("- ").removeprefix("#### ").removeprefix("### "))
        words = re.sub(r"^\*\*[a-zA-Z ]+\*\*", "", bare)
        assert not set("`*_<>[]#~!&{}") & set(words), line


def test_markdown_of_a_snapshot() -> None:
    lines = "".join(snapshots.as_markdown(FULL, View())).splitlines()
    assert lines[0] == "### natop: natter"
    assert "- **conntrack** 6 of 262,144 (0.0 %)  new 0.0/s  gone 1.0/s" in lines
    assert "- **not read** probes: y" in lines
    header = next(line for line in lines if line.startswith("| CONTAINER"))
    assert lines[lines.index(header) + 1].startswith("| :-- | --: |")
    assert cells_of(lines[lines.index(header) + 2])[:3] == ["app", "2", "1"]


# Text


def test_text_of_a_snapshot() -> None:
    lines = text_of(FULL).splitlines()
    assert lines[:5] == [
        "host        natter  Linux 6.18.44  Docker 29.0.0  2026-11-22T21:10:02.000Z",
        "verdict     OK: nothing wrong in 2 s, as far as natop can see",
        "conntrack   6 of 262,144 (0.0 %)  new 0.0/s  gone 1.0/s",
        "TCP         ESTABLISHED 1  TIME_WAIT 1",
        "counters    insert_failed 9 (0.0/s)  drop 9 (0.0/s)  early_drop - (-)  invalid - (-)  found 16 (2.0/s)",
    ]
    assert lines[5] == ""
    assert lines[6].split()[:3] == ["CONTAINER", "FLOWS", "ESTAB"]
    assert [line.split()[0] for line in lines[7:12]] == ["app", "web", "(host)", "db", "edge"]
    assert lines[-1] == "not read: probes: y"
    assert not any(line != line.rstrip() for line in lines)


def test_text_columns_stand_under_their_titles() -> None:
    lines = text_of(FULL).splitlines()[6:12]
    end = lines[0].index("FLOWS") + len("FLOWS")
    assert [line[end - 5 : end].strip() for line in lines[1:]] == ["2", "2", "0", "0", "0"]
    assert all(line[end] == " " for line in lines)


def test_text_columns_stand_under_their_titles_behind_wide_characters_too() -> None:
    ports = (PublishedPort("tcp", "0.0.0.0", 8080, 80),)
    named = ("店舗", "shop", "cafe\u0301")
    some = [container(f"c{n}", f"10.0.0.{n}", project=name, published=ports) for n, name in enumerate(named, 1)]
    title, _, *lines = text_of(observed(sample([], containers=some))).splitlines()[6:11]
    assert {cell_len(line[: line.index("8080")]) for line in lines} == {title.index("PUBLISHED")}


def test_what_the_title_tells_is_not_told_again() -> None:
    title, *lines = text_of(FULL).splitlines()[6:11]
    end = title.index("NEW/s") + len("NEW/s")
    assert [line[:end].split()[-1] for line in lines] == ["0.0", "0.0", "0.0", "0.0"]
    header, _, *rows = [
        cells_of(line) for line in "".join(snapshots.as_markdown(FULL, View())).splitlines() if line[:1] == "|"
    ]
    assert {row[header.index("NEW/s")] for row in rows} <= {"0.0", "0.5", "1.0"}


def test_text_shows_what_is_unknown_as_such() -> None:
    taken = SNAPSHOTS["refused"]
    text = text_of(taken)
    assert "host        natter  Linux -  Docker 29.0.0" in text
    assert "conntrack   - of - (-)  new -  gone -\nTCP         -\n" in text
    assert f"not read: flows: {GAP.reason}; {GAP.remedy}\n" in text
    ticket = "".join(snapshots.as_markdown(taken, View()))
    assert "- **not read** flows: reading conntrack needs CAP\\_NET\\_ADMIN; run: sudo natop\n" in ticket
    web = next(line for line in text.splitlines() if line.startswith("web"))
    assert web.split()[1:9] == ["-"] * 8
    assert "0" not in web.split()


def test_text_of_an_empty_table_says_none() -> None:
    assert "TCP         none\n" in text_of(SNAPSHOTS["empty"])


@pytest.mark.parametrize("width", [20, 40, 80, 120, 400])
def test_text_fits_the_width_that_is_given(width: int) -> None:
    lines = text_of(FULL, View(flows=True), width).splitlines()
    table = lines[6 : lines.index("", 6)]
    assert max(map(len, table)) <= max(width, len("(host)") + 4)
    assert table[0].startswith("CONTAINER")
    widest = text_of(FULL, View(flows=True)).splitlines()[6]
    assert set(table[0].split()) <= set(widest.split())


def test_text_with_flows() -> None:
    text = text_of(observed(FIRST), View(parse("dport:8080"), flows=True))
    line = next(line for line in text.splitlines() if line.startswith("tcp"))
    assert line.split() == [
        *("tcp", "TIME_WAIT", "100.64.0.9:51234", "203.0.113.10:8080", "172.18.0.2:80"),
        *("PUBLISHED", "119", "web", "DNAT"),
    ]


def test_nothing_from_outside_acts_on_the_terminal() -> None:
    evil = container("\x1b[2Jevil\u202e", "10.0.0.1", image="\x9b31m", project="a\nb")
    gap = Gap("docker", "x")
    taken = observed(sample([flow("10.0.0.1:1", "192.0.2.1:1")], containers=(evil,), hostname="\x07", gaps=(gap,)))
    for text in (text_of(taken, View(flows=True)), "".join(snapshots.as_markdown(taken, View(flows=True)))):
        assert not [character for character in text if character in "\x1b\x9b\x07\u202e"]


# Names


def test_a_file_s_name_tells_host_and_time() -> None:
    assert snapshots.file_stem(FULL) == "natop-natter-20261122T211002Z"
    strange = replace(FULL, host=replace(FULL.host, hostname="../a b\x00ü"))
    assert snapshots.file_stem(strange) == "natop-.._a_b__-20261122T211002Z"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_600_000.1239, "2026-01-05T08:00:00.123Z"),
        (1_767_600_000.9999, "2026-01-05T08:00:00.999Z"),
    ],
)
def test_timestamps_are_utc_to_the_millisecond(seconds: float, expected: str) -> None:
    assert timestamp(seconds) == expected
