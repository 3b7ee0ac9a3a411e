"""`python -m tests.bench.pooling [FLOWS]`: what NAT pools and TIME_WAIT of a large table cost.

Every flow is masqueraded, the worst case: in 50,000 pools, in 1,000, and in as few as hold them all, nearly full.
Prints milliseconds, medians, and how often sorting the flows' ids fits into them, which stands for the machine's speed.
"""

import sys

import numpy as np

from natop.model import Addresses, Attribution, FlowTable, Kind
from natop.summarise.ownership import Ownership
from natop.summarise.pools import Arrivals, nat_pools
from natop.summarise.timewait import time_waits
from natop.uapi import AF_INET, IpProto
from tests.bench.joining import median_ms

CONTAINERS = 300
MAPPED = 0xFFFF << 32
NAT, REMOTES, CLIENTS = 0xCB00710A, 0x0A000000, 0xAC120002
FIRST, PORTS = 1024, 64_512


def table(flows: int, pools: int) -> tuple[FlowTable, Attribution]:
    """Flows dealt out to the pools in turn, in a row's order that says nothing; half of them in TIME_WAIT."""
    chance = np.random.default_rng(1)
    number = chance.permutation(flows)
    pool, port = number % pools, (FIRST + number // pools % PORTS).astype(np.uint16)
    client = chance.integers(0, CONTAINERS, flows).astype(np.int32)

    def addresses(numbers: np.ndarray) -> Addresses:
        return Addresses(np.broadcast_to(np.uint64(0), flows), np.uint64(MAPPED) | numbers.astype(np.uint64))

    def same(value: int, kind: type[np.generic]) -> np.ndarray:
        return np.full(flows, value, kind)

    remote, web = addresses(REMOTES + pool), same(443, np.uint16)
    found = FlowTable(
        family=same(AF_INET, np.uint8),
        proto=same(IpProto.TCP, np.uint8),
        state=chance.choice(np.array([3, 7], np.uint8), flows),
        status=same(0x19E, np.uint32),
        timeout_s=chance.integers(0, 120, flows).astype(np.uint32),
        zone=same(0, np.uint16),
        mark=same(0, np.uint32),
        id=chance.integers(0, 2**32, flows).astype(np.uint32),
        orig_src=addresses(CLIENTS + client.astype(np.int64)),
        orig_dst=remote,
        reply_src=remote,
        reply_dst=addresses(same(NAT, np.uint64)),
        orig_sport=port,
        orig_dport=web,
        reply_sport=web,
        reply_dport=port,
        closed_by=same(1, np.uint8),
    )
    return found, Attribution(client, np.full(flows, -1, np.int32), same(Kind.MASQUERADED, np.uint8))


def main(flows: int = 250_000) -> None:
    for pools in (50_000, 1_000, -(-flows // PORTS)):
        measure(*table(flows, pools))


def measure(flows: FlowTable, attribution: Attribution) -> None:
    arrivals, owners = Arrivals(flows.id < 2**31, 2.0), Ownership.of(attribution, CONTAINERS)
    tcp = [len(flows)] * owners.groups
    pools = len(nat_pools(flows, attribution, evicting=True))
    sort = median_ms(lambda: np.sort(flows.id))
    print(f"\n{len(flows):,} flows of {CONTAINERS} containers in {pools:,} NAT pools")
    for name, work in (
        ("NAT pools", lambda: nat_pools(flows, attribution, True, None, arrivals)),
        ("TIME_WAIT", lambda: time_waits(flows, attribution, owners, tcp, 120)),
    ):
        took = median_ms(work)
        print(f"{name:46}{took:8.1f} ms, {took / sort:5.1f} x sorting the ids")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 250_000)
