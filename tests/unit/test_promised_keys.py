"""The keys of schema 1 that scripts rely on: all of them, in every document, with null where nothing is known.

Written down here once more, apart from the schema: a key that is renamed or dropped there fails here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from natop.export.document import document
from natop.export.snapshots import View, as_json
from tests.unit.test_export import FULL, POOL, SNAPSHOTS

COUNTERS = "found invalid insert insert_failed drop early_drop error search_restart clash_resolve chaintoolong"
TCP = "syn_retrans retrans_segs out_segs attempt_fails listen_overflows listen_drops timeouts"
TCP_STATES = "NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE SYN_SENT2"
KINDS = "PUBLISHED MASQUERADED INTERNAL HAIRPIN HOST"
END = "src sport dst dport"
POOL_KEYS = "proto nat_ip remote_ip remote_port used capacity time_wait drain_s containers"
PROBE = "target path container at connect_ms syns_lost rtt_ms error"

Promise = dict[str, Any]
"""Keys of an object with what is promised of each value: words are keys, `None` is nothing more, `[…]` of each item."""


def keys(words: str, **more: Any) -> Promise:
    return dict.fromkeys(words.split()) | more


DOCUMENT = keys(
    "natop schema taken_at interval_s",
    host=keys(
        "hostname kernel netns sysctls",
        docker=keys("version api_version rootless userland_proxy firewall_backend"),
    ),
    conntrack=keys(
        "count max buckets flows protocols",
        states=keys(TCP_STATES),
        counters=keys(COUNTERS),
        rates=keys(f"{COUNTERS} new gone"),
        skipped=keys("messages attributes"),
    ),
    containers=[
        keys(
            "id name image state project service network_mode pid",
            networks=[keys("name driver ipv4 ipv6 gateway")],
            published=[keys("proto host_ip host_port container_port")],
            flows=keys("total inbound outbound"),
            states=keys(TCP_STATES),
            kinds=keys(KINDS),
            nat=keys("dnat snat rewritten_ports", busiest_pool=keys(POOL_KEYS)),
            tcp=keys(TCP),
            rates=keys(f"new gone time_wait {TCP}"),
            probes=[keys(PROBE)],
        )
    ],
    unowned=keys("flows", states=keys(TCP_STATES)),
    nat_pools=[keys(POOL_KEYS)],
    probes=[keys(PROBE)],
    findings=[
        keys("rule severity subject summary evidence", remedies=[keys("text commands")]),
    ],
    gaps=[keys("source reason remedy")],
)
FLOW = keys(
    "proto state status timeout_s zone mark id packets bytes started_at client server kind",
    orig=keys(END),
    reply=keys(END),
)


def lacking(value: Any, promise: Any, place: str = "") -> Iterator[str]:
    """Where a document does not keep what is promised; null is always kept."""
    if value is None or promise is None:
        return
    if isinstance(promise, list):
        for each in value:
            yield from lacking(each, promise[0], f"{place}[]")
        return
    for key, more in promise.items():
        if key not in value:
            yield f"{place}.{key}"
        else:
            yield from lacking(value[key], more, f"{place}.{key}")


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_every_promised_key_is_in_every_document(name: str) -> None:
    assert not list(lacking(json.loads("".join(as_json(SNAPSHOTS[name], View()))), DOCUMENT))


def test_every_promised_key_of_a_flow_is_there() -> None:
    found = json.loads("".join(as_json(FULL, View(flows=True))))["flows"]
    assert len(found) == 4
    assert not list(lacking(found, [FLOW]))


def test_a_pool_keeps_what_is_promised_of_it() -> None:
    assert not list(lacking(POOL, keys(POOL_KEYS)))


@pytest.mark.parametrize("place", ["conntrack.rates.insert_failed", "host.sysctls", "unowned.states", "gaps"])
def test_a_key_that_is_missing_is_found(place: str) -> None:
    found: Any = json.loads(json.dumps(document(FULL, View().rows(FULL)), default=str))
    *way, last = place.split(".")
    owner = found
    for key in way:
        owner = owner[key]
    del owner[last]
    assert list(lacking(found, DOCUMENT)) == [f".{place}"]


def test_no_object_of_the_schema_leaves_a_key_out() -> None:
    """Of every object whose keys are named, all must be there; only a document's `flows` come on request."""
    schema = json.loads((Path(__file__).parents[1] / "data" / "snapshot.schema.json").read_text())
    optional = {place: missing for place, missing in _optional(schema, "") if missing}
    assert optional == {"": {"flows"}}


def _optional(schema: Any, place: str) -> Iterator[tuple[str, set[str]]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("additionalProperties") is False:
            yield place, set(schema["properties"]) - set(schema.get("required", ()))
        for key, each in schema.items():
            yield from _optional(each, f"{place}/{key}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from _optional(each, f"{place}/{number}")
