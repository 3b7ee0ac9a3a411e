"""docker-proxy between a flow's two ends: one connection is two flows, one to the proxy and one from it."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from natop.join.local import NOBODY, Codes, Parties, Proxy, process_name, tied
from natop.model import FlowTable, Mask, Rows
from natop.uapi import Ips


class Joined(Protocol):
    """The columns of a join that a proxy has a say in."""

    flows: FlowTable
    client: Codes
    server: Codes
    proxied: Mask
    parties: Parties

    def owner(self, address: int) -> int:
        """Whose an address is."""
        ...


def _destination(server: Any, port: Any, proto: Any) -> Any:
    """One number for a container's index, a port and a protocol, or for columns of them."""
    return server << 24 | port << 8 | proto


class Groups:
    """The rows of each value of a column, found without looking at all rows for each."""

    def __init__(self, keys: npt.NDArray[np.int64]) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def of(self, key: int) -> Rows:
        first, last = np.searchsorted(self._keys, (key, key + 1))
        return self._order[first:last]


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of the flows that have one end at the host itself."""

    rows: Rows
    codes: Codes
    """Who holds the socket at that end, or held it."""
    inodes: npt.NDArray[np.uint32]
    open: Mask
    past: Codes
    """Whose the end was at the dump before, for what was proxied then; else NOBODY."""

    def kept(self) -> Rows:
        """What was proxied and has been closed since; an open socket tells anew."""
        kept: Rows = self.rows[(self.past != NOBODY) & ~self.open]
        return kept


class Proxied:
    """What passes through docker-proxy: a connection is two flows, one to the proxy and one from it."""

    def __init__(self, join: Joined, found: Sequence[Proxy]) -> None:
        self._join = join
        self._found = [(proxy, join.parties.code(process_name(proxy.process))) for proxy in found]
        self._noted: dict[str, Noted] = {}

    def note(self, end: str, noted: Noted) -> None:
        self._noted[end] = noted

    def resolve(self) -> None:
        """Put the containers behind a proxy in its place, and remember what was tied before."""
        server, client = self._noted["server"], self._noted["client"]
        for noted in (server, client):
            self._join.proxied[noted.kept()] = True
        to_proxy, from_proxy = Groups(server.codes.astype(np.int64)), Groups(client.codes.astype(np.int64))
        closed, called = self._closed(client), self._called(server)
        for proxy, code in self._found:
            target = self._join.owner(proxy.container_address)
            accepted = self._accepted(proxy, to_proxy.of(code), target)
            mine = from_proxy.of(code)
            if target >= 0 and (proxy.proto, proxy.host_port) in called:
                mine = np.concatenate((mine, closed.of(_destination(target, proxy.container_port, proxy.proto))))
            self._dialled(proxy, mine, code, accepted)

    def _accepted(self, proxy: Proxy, mine: Rows, target: int) -> dict[int, int]:
        """Flows to the proxy are the container's behind it; rows by descriptor of those still open."""
        ends = self._noted["server"]
        self._join.proxied[ends.rows[mine]] = True
        if target >= 0:
            self._join.server[ends.rows[mine]] = target
        return self._by_descriptor(proxy, ends, mine)

    def _dialled(self, proxy: Proxy, mine: Rows, code: int, accepted: Mapping[int, int]) -> None:
        """Flows from the proxy are the true client's; where that is not known, the proxy's."""
        join, ends = self._join, self._noted["client"]
        rows, past = ends.rows[mine], ends.past[mine]
        join.proxied[rows] = True
        tied_before = (past != NOBODY) & (past != code)
        join.client[rows] = np.where(tied_before, past, np.int32(code))
        settled = set(rows[tied_before].tolist())
        dialled = self._by_descriptor(proxy, ends, mine)
        new = {number: row for number, row in dialled.items() if row not in settled}
        left = self._left(accepted, {number: row for number, row in dialled.items() if row in settled})
        for row, client_row in tied(left, new).items():
            client = int(join.client[client_row])
            if client != NOBODY:
                join.client[row] = client

    def _left(self, accepted: Mapping[int, int], settled: Mapping[int, int]) -> dict[int, int]:
        """The accepted connections without those that serve for the settled ones: each one of the same client."""
        waiting: dict[int, list[int]] = {}
        for number in sorted(accepted):
            waiting.setdefault(int(self._join.client[accepted[number]]), []).append(number)
        left = dict(accepted)
        for number in sorted(settled):
            same = waiting.get(int(self._join.client[settled[number]]))
            if same:
                del left[same.pop(max(0, bisect_left(same, number) - 1))]
        return left

    def _closed(self, ends: Noted) -> Groups:
        """The flows from the host straight to a container that nobody holds or held, by where they went."""
        flows, rows = self._join.flows, ends.rows
        server = self._join.server[rows]
        straight = (flows.status[rows] & Ips.DST_NAT) == 0
        nobody_s = (ends.codes == NOBODY) & ~ends.open & straight & (server >= 0)
        keys = _destination(server.astype(np.int64), flows.orig_dport[rows].astype(np.int64), flows.proto[rows])
        return Groups(np.where(nobody_s, keys, np.int64(NOBODY)))

    def _called(self, ends: Noted) -> set[tuple[int, int]]:
        """The protocols and ports of the host that have been called: who has not accepted has not dialled either."""
        flows = self._join.flows
        ports = np.unique(flows.proto[ends.rows].astype(np.uint32) << 16 | flows.reply_sport[ends.rows])
        return {divmod(each, 1 << 16) for each in ports.tolist()}

    @staticmethod
    def _by_descriptor(proxy: Proxy, ends: Noted, mine: Rows) -> dict[int, int]:
        mine = mine[ends.inodes[mine] != 0]
        row_of = dict(zip(ends.inodes[mine].tolist(), ends.rows[mine].tolist(), strict=True))
        return {each.fd: row_of[each.inode] for each in proxy.descriptors if each.inode in row_of}
