"""One measured reading of the netns that this process runs in: `python -m tests.bench.reading raw|flows|snapshot`.

Prints the seconds it took, imports not counted.
"""

import json
import socket
import struct
import sys
import time
from pathlib import Path

from natop.collect import conntrack
from natop.decode.flows import decode_dump
from natop.model import EngineReading, Sample
from natop.observe import observe
from natop.uapi import NETLINK_NETFILTER, NLM_F_DUMP, NLMSG_DONE, CtMessage

DONE_LEN = 20


def raw() -> None:
    """Receive the dump with one thread and throw it away: the kernel's own limit."""
    buffer = bytearray(1 << 16)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(conntrack.request(CtMessage.GET, NLM_F_DUMP))
        while True:
            size = netlink.recv_into(buffer)
            if struct.unpack_from("=IH", buffer, size - DONE_LEN) == (DONE_LEN, NLMSG_DONE):
                return


def flows() -> None:
    """A FlowTable."""
    decode_dump(conntrack.dump())


def snapshot(engine: EngineReading) -> None:
    """A whole Snapshot, its engine's fields already there."""
    observe(
        None,
        Sample(
            taken_at=time.time(),
            monotonic_s=time.monotonic(),
            hostname="bench",
            netns="",
            addresses=("203.0.113.10", "172.18.0.1"),
            stats=conntrack.statistics(),
            dump=conntrack.dump(),
            engine=engine,
        ),
    )


def engine_of(addresses: list[str]) -> EngineReading:
    """An engine's reading of one running container for each address."""
    containers = tuple(
        {
            "Id": f"{number:064x}",
            "Name": f"/app-{number}",
            "State": {"Status": "running", "Pid": 1000 + number},
            "Config": {"Image": "app:1", "Labels": {}},
            "HostConfig": {"NetworkMode": "shop"},
            "NetworkSettings": {"Networks": {"shop": {"IPAddress": address}}, "Ports": {}},
        }
        for number, address in enumerate(addresses)
    )
    return EngineReading({"Version": "1", "ApiVersion": "1"}, {}, containers, ())


def main() -> None:
    what = sys.argv[1]
    engine = engine_of(json.loads(Path(sys.argv[2]).read_text())) if what == "snapshot" else None
    started = time.perf_counter()
    if engine:
        snapshot(engine)
    else:
        {"raw": raw, "flows": flows}[what]()
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
