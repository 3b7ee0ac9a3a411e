"""Snapshots as files hold them, small and written by hand, for what reads and compares them."""

import io
import json
from collections.abc import Mapping
from typing import Any

from natop.diff.compare import Comparison, compared
from natop.diff.reread import documents
from natop.diff.sides import Side, side_of

Json = dict[str, Any]
BOOT, OTHER_BOOT = "boot-1", "boot-2"


def document(at: float = 0.0, **parts: Any) -> Json:
    """A snapshot `at` so many seconds, of a host that tells what every host does; `parts` go over it, part by part."""
    seconds = round(at * 1000)
    base: Json = {
        "natop": "0.1.0",
        "schema": 1,
        "taken_at": f"2026-11-22T21:{seconds // 60_000:02}:{seconds // 1000 % 60:02}.{seconds % 1000:03}Z",
        "monotonic_s": 1000.0 + at,
        "interval_s": None,
        "host": {
            "hostname": "natter",
            "kernel": "6.18.44",
            "netns": "net:[4026531840]",
            "boot_id": BOOT,
            "docker": {"version": "29.0.0"},
            "sysctls": {"nf_conntrack_max": 262144},
        },
        "conntrack": {"count": 10, "max": 262144, "flows": 10, "counters": {"insert_failed": 7}, "rates": {}},
        "containers": [],
        "nat_pools": [],
        "nat_rules": {"networks": [], "rules": []},
        "findings": [],
        "gaps": [],
    }
    return over(base, parts)


def over(base: Mapping[str, Any], parts: Mapping[str, Any]) -> Json:
    """The parts over the base, objects key by key."""
    both = dict(base)
    for key, value in parts.items():
        before = both.get(key)
        both[key] = over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def rated(at: float, insert_failed: float, interval_s: float = 2.0, **parts: Any) -> Json:
    """With a rate, per second."""
    return over(document(at, interval_s=interval_s, conntrack={"rates": {"insert_failed": insert_failed}}), parts)


def container(name: str, **parts: Any) -> Json:
    return over({"id": f"{name}-id", "name": name, "image": f"{name}:1", "state": "running", "pid": 42}, parts)


def side(*made: Json | bytes, name: str = "file.json") -> Side:
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in made]
    return side_of(name, documents(io.BytesIO(b"".join(lines))))


def between(before: Json, after: Json) -> Comparison:
    return compared(side(before, name="before.json"), side(after, name="after.json"))
