"""Hosts whose NAT pools the tests look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from natop.model import FlowTable, PortChoice, Snapshot
from tests.tui.worlds import judged, world
from tests.unit import plain, scenarios
from tests.unit.plain import UDP, Flow, flow

NAT = "203.0.113.5"
BUSY, QUIET = "198.51.100.7", "198.51.100.9"


def out(
    client: int, port: int, remote: str, *, source: int | None = None, proto: int = plain.TCP, state: int = 3
) -> Flow:
    """A masqueraded flow of the container with that number."""
    return flow(
        f"172.18.0.{client + 2}:{source or port}", remote, snat=f"{NAT}:{port}", proto=proto, state=state, id=port
    )  # fmt: skip


FLOWS = (
    *(out(1, 40_000 + n, f"{BUSY}:443") for n in range(5)),
    *(out(2, 40_010 + n, f"{BUSY}:443", source=50_000 + n, state=7) for n in range(3)),
    flow(f"{NAT}:40020", f"{BUSY}:443", id=40_020),
    *(out(2, 41_000 + n, f"{BUSY}:80") for n in range(4)),
    *(out(3, 42_000 + n, f"{QUIET}:53", proto=UDP) for n in range(2)),
    flow("100.64.0.9:51234", f"{NAT}:8080", dnat="172.18.0.2:80", id=1),
)
"""Three pools: nine ports (three in TIME_WAIT, one the host's own), four, two; and a flow that holds none."""


def three_pools(flows: tuple[Flow, ...] = FLOWS) -> Snapshot:
    table: FlowTable = plain.table(flows)
    return world(6).snapshot(table)


def busy_pools() -> Snapshot:
    """In numbers alone: pools nearly exhausted, filling, and hardly used; no flows."""
    taken = scenarios.snapshot(
        {
            "sysctls": {"nf_conntrack_tcp_timeout_time_wait": 120, "nf_conntrack_udp_timeout": 30},
            "container": [{"name": "webserver"}, {"name": "php-fpm-3"}, {"name": "batch"}],
            "pool": [
                _pool("198.51.100.8", 443, 64_100, 9_800, 0.19, {"batch": 64_100}, 0, 119) | {"nat": "203.0.113.11"},
                _pool(BUSY, 443, 63_867, 21_208, 0.083, {"webserver": 41_000, "php-fpm-3": 22_867}, 318, 118),
                _pool(QUIET, 5432, 55_000, 0, 1e-9, {"php-fpm-3": 55_000}, 0, 0),
                _pool("192.0.2.44", 514, 300, 0, 0.0, {"batch": 300}, 300, 0)
                | {"first_port": 600, "last_port": 1023, "proto": "udp"},
                _pool("2001:db8:85a3:8d3:1319:8a2e:370:7348", 53, 88, 0, 0.0, {}, 0, 0)
                | {"proto": "udp", "nat": "2001:db8:1::5"},
            ],
        }
    )
    assert taken.pools is not None
    pools = replace(taken.pools, new_per_s=np.array([80.1, 612.4, 12.0, 0.0, 3.0]))
    return judged(replace(taken, pools=pools, port_choice=PortChoice(183_000, 618)), None)


def _pool(
    remote: str, port: int, used: int, soft: int, loss: float, holders: dict[str, int], rewritten: int, drain_s: int
) -> dict[str, object]:
    return {
        "nat": NAT,
        "remote": remote,
        "port": port,
        "used": used,
        "soft": soft,
        "time_wait": soft,
        "loss": loss,
        "holders": holders,
        "rewritten": rewritten,
        "drain_s": drain_s,
    }
