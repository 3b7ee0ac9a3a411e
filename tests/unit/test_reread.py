"""Snapshots read back from files, whole and broken ones; and what the snapshots of one file come to."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.diff.reread import MOST_TEXT, CutShort, Document, NotASnapshot, documents
from natop.export import snapshots
from tests.unit import hosts
from tests.unit.sides import Json, container, document, rated, side


def read(data: bytes) -> list[Document]:
    return list(documents(io.BytesIO(data)))


def line(made: Json) -> bytes:
    return json.dumps(made).encode() + b"\n"


# What natop wrote


def test_what_was_written_is_read_back() -> None:
    taken = hosts.observed(hosts.sample([], containers=hosts.CONTAINERS))
    (found,) = read("".join(snapshots.as_json(taken, snapshots.View(flows=True))).encode())
    assert (found.host.hostname, found.host.netns, found.host.boot_id) == ("natter", hosts.HOST_NETNS, hosts.BOOT_ID)
    assert found.host.sysctls["ip_local_port_range"] == (32768, 60999)
    assert [each.name for each in found.containers or ()] == [each.name for each in hosts.CONTAINERS]
    assert found.taken_at.timestamp() == taken.taken_at


@pytest.mark.parametrize("indent", [None, 2])
def test_one_document_on_a_line_or_on_many(indent: int | None) -> None:
    (found,) = read(json.dumps(document(), indent=indent).encode())
    assert found.conntrack.counters == {"insert_failed": 7}


def test_a_document_a_line_and_blank_lines_between() -> None:
    found = read(b"\n" + line(document(1)) + b"  \n" + line(document(3)))
    assert [each.monotonic_s for each in found] == [1001.0, 1003.0]


def test_flows_and_keys_that_are_not_compared_are_skipped() -> None:
    (found,) = read(line(document(flows=[{"proto": 7}] * 1000, later_key={"a": [1, 2]}, probes=None)))
    assert not hasattr(found, "flows")


def test_keys_that_are_missing_are_unknown() -> None:
    least = {"natop": "1", "schema": 1, "taken_at": "2026-11-22T21:10:00+01:00"}
    (found,) = read(line(least | {"host": {"hostname": "h", "netns": "n"}, "conntrack": {}}))
    assert (found.containers, found.nat_pools, found.findings, found.conntrack.count) == (None, None, None, None)


# What others wrote


NOT_SNAPSHOTS = {
    "nothing": (b"", "it is empty"),
    "blank lines": (b"\n \n", "it is empty"),
    "text": (b"host  natter\n", "JSON is malformed"),
    "bytes": (b"\xff\xfe\x00", "JSON is malformed"),
    "bytes within": (line(document()).replace(b"natter", b"\xff\xfe"), "utf-8"),
    "a list": (b"[]", "expected `object`, got `array`"),
    "another document": (b'{"probes":[],"ways":[]}', "object missing required field"),
    "doctor's": (b'{"natop":"1","schema":1,"taken_at":"2026-11-22T21:10:00Z","host":{"hostname":"h"}}', "missing"),
    "later schema": (
        line(document(schema=2)),
        "it is of schema 2, and this natop reads schema 1; a newer natop made it",
    ),
    "later schema, other keys": (b'{"schema":3,"x":1}', "it is of schema 3"),
    "earlier schema": (line(document(schema=0)), "it is of schema 0, and this natop reads schema 1"),
    "no number of a schema": (line(document(schema="1")), "expected `int`, got `str`"),
    "a huge schema": (b'{"schema":1' + b"0" * 5_000 + b"}", "it is no snapshot"),
    "NaN": (line(document()).replace(b"1000.0", b"NaN"), "JSON is malformed"),
    "a number beyond all": (line(document()).replace(b"1000.0", b"1e999"), "number out of range"),
    "a huge number": (line(document(conntrack={"count": 2**70})), "`$.conntrack.count`"),
    "a negative number": (line(document(conntrack={"count": -1})), "expected `int` >= 0"),
    "a wrong type": (line(document(containers={"web": 1})), "expected `array | null`, got `object`"),
    "a wrong type within": (
        line(document(containers=[container("a", flows={"total": "9"})])),
        "`$.containers[0].flows.total`",
    ),
    "no address": (
        line(document(containers=[container("a", networks=[{"name": "n", "ipv4": "\x1b[2J"}])])),
        "does not appear to be an IPv4 or IPv6 address - at `$.containers[0].networks[0]`",
    ),
    "no time": (line(document(taken_at="yesterday")), "invalid RFC3339"),
    "no time zone": (line(document(taken_at="2026-11-22T21:10:00")), "timezone"),
    "no year of ours": (line(document(taken_at="0001-01-01T00:00:00+12:00")), "in the year 1"),
    "deep": (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested too deep"),
    "several on many lines": (json.dumps(document(), indent=1).encode() * 2, "JSON is malformed: trailing characters"),
}


@pytest.mark.parametrize(("data", "reason"), NOT_SNAPSHOTS.values(), ids=NOT_SNAPSHOTS)
def test_what_is_no_snapshot_is_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(NotASnapshot) as refusal:
        read(data)
    assert reason.casefold() in str(refusal.value).casefold()
    assert "\n" not in str(refusal.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotASnapshot):
        read(data)


def test_texts_are_harmless_keys_too() -> None:
    evil = "\x1b[2J\u202e"
    (found,) = read(
        line(document(host={"hostname": evil, "sysctls": {evil: 1}}, gaps=[{"source": evil, "reason": evil}]))
    )
    clean = "�[2J�"
    assert found.host.hostname == found.gaps[0].reason == clean
    assert clean in found.host.sysctls
    (long,) = read(line(document(natop="x" * 5_000)))
    assert len(long.natop) == MOST_TEXT


# A file's snapshots together


def test_the_last_state_and_the_rates_of_all() -> None:
    """A rate is weighted by the interval that it is of."""
    found = side(document(0), rated(2, 3.0), rated(8, 1.0, interval_s=6.0, conntrack={"count": 99}))
    assert (found.state.conntrack.count, found.readings, found.rated_s) == (99, 3, 8.0)
    assert found.rates["insert_failed"] == pytest.approx((3.0 * 2 + 1.0 * 6) / 8)
    assert "drop" not in found.rates


def test_rates_that_are_unknown_at_times_are_the_mean_of_the_others() -> None:
    unknown = rated(4, 0.0, conntrack={"rates": {"insert_failed": None}})
    assert side(rated(2, 3.0), unknown).rates == {"insert_failed": 3.0}


def test_rates_by_container_and_of_all_namespaces_together() -> None:
    tcp = {"syn_retrans": 5}
    busy = [
        container("web", tcp=tcp, rates={"syn_retrans": 2.0}, lost_syns_per_s=1.0),
        container("app", rates={"syn_retrans": None}),
    ]
    host = {"tcp": {"syn_retrans": 9, "rates": {"syn_retrans": 0.5}}}
    found = side(document(0), rated(2, 0.0, containers=busy, host=host))
    assert found.container_rates == {"web-id": {"syn_retrans": 2.0, "lost_syns_per_s": 1.0}, "app-id": {}}
    assert found.rates["all.syn_retrans"] == 2.5


def test_another_host_in_the_same_file_begins_anew() -> None:
    found = side(rated(2, 9.0), rated(4, 1.0, host={"hostname": "other"}))
    assert (found.readings, found.rated_s, found.rates) == (1, 2.0, {"insert_failed": 1.0})


def test_a_last_line_that_is_cut_short_is_left_out() -> None:
    whole, cut = line(document(1)), line(document(2))[:-20]
    found = side(whole, cut)
    assert (found.state.monotonic_s, found.is_cut) == (1001.0, True)
    with pytest.raises(CutShort):
        side(cut)
    with pytest.raises(NotASnapshot):
        side(whole, b"nonsense\n")
