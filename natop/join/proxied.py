"""docker-proxy between a flow's two ends: one connection is two flows, one that it accepted and one that it dialled."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from natop.join.flows import endpoint
from natop.join.local import NOBODY, Codes, Parties, Proxy, process_name, tied
from natop.model import DockerProxy, FlowTable, Halves, Mask, Rows, address_text
from natop.text import clean
from natop.uapi import AF_INET, IpProto, Ips, TcpState


class Ties:
    """Which process copies each flow, and which flow is the other half of its connection, while they are found."""

    def __init__(self, flows: int) -> None:
        self._indices: dict[DockerProxy, int] = {}
        self._proxy = np.full(flows, NOBODY, np.int32)
        self._dialled = np.zeros(flows, np.bool_)
        self._other = np.full(flows, NOBODY, np.int32)

    def recall(self, rows: Rows, known: Halves) -> None:
        """What was known of these rows at the dump before."""
        used, which = np.unique(known.proxy, return_inverse=True)
        now = [NOBODY if index == NOBODY else self.index(known.proxies[index]) for index in used.tolist()]
        self._proxy[rows] = np.array(now, np.int32)[which]
        self._dialled[rows] = known.dialled
        self._other[rows] = known.other

    def copies(self, proxy: DockerProxy | None, rows: Rows, *, dialled: bool) -> None:
        """These are flows that a docker-proxy accepted or dialled; None is one of several."""
        self._proxy[rows] = NOBODY if proxy is None else self.index(proxy)
        self._dialled[rows] = dialled

    def tie(self, accepted: int, dialled: int) -> None:
        self._other[accepted], self._other[dialled] = dialled, accepted

    def index(self, proxy: DockerProxy) -> int:
        return self._indices.setdefault(proxy, len(self._indices))

    def accepted_by(self, rows: Rows) -> Codes:
        """The index of the proxy that accepted each of these flows, as far as that is known; else NOBODY."""
        by: Codes = np.where(self._dialled[rows], np.int32(NOBODY), self._proxy[rows])
        return by

    def untied(self, rows: Rows) -> Mask:
        untied: Mask = self._other[rows] == NOBODY
        return untied

    def pairs(self, among: Mask) -> tuple[Rows, Rows]:
        """Rows that were accepted, and those that were dialled for them."""
        other = np.append(among, np.False_)[self._other]
        dialled = np.flatnonzero(self._dialled & among & other)
        return self._other[dialled].astype(np.intp), dialled

    def halves(self, among: Mask) -> Halves | None:
        """What is known of these flows; None where it is nothing."""
        known = among & ((self._proxy != NOBODY) | self._dialled)
        if not known.any():
            return None
        other = np.append(known, np.False_)[self._other]
        return Halves(
            tuple(self._indices),
            np.where(known, self._proxy, np.int32(NOBODY)),
            np.where(known & other, self._other, np.int32(NOBODY)),
            self._dialled & known,
        )


class Joined(Protocol):
    """The columns of a join that a proxy has a say in."""

    flows: FlowTable
    client: Codes
    server: Codes
    proxied: Mask
    ties: Ties
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


@dataclass(frozen=True, slots=True)
class _Served:
    """One docker-proxy, how it is named, and whose the address is that it connects to."""

    proxy: Proxy
    code: int
    target: int

    @property
    def known(self) -> DockerProxy:
        """What is kept of it."""
        process, target = self.proxy.process, address_text(self.proxy.container_address)
        command = clean(" ".join(process.command))
        return DockerProxy(process.pid, command, endpoint(target, self.proxy.container_port, self.proxy.proto))

    @property
    def listens(self) -> tuple[int, int]:
        """Protocol and port."""
        return self.proxy.proto, self.proxy.host_port

    @property
    def destination(self) -> int:
        return int(_destination(self.target, self.proxy.container_port, self.proxy.proto))


class Proxied:
    """What passes through docker-proxy: a connection is two flows, one to the proxy and one from it."""

    def __init__(self, join: Joined, found: Sequence[Proxy]) -> None:
        self._join = join
        self._found = [
            _Served(each, join.parties.code(process_name(each.process)), join.owner(each.container_address))
            for each in found
        ]
        self._noted: dict[str, Noted] = {}

    def note(self, end: str, noted: Noted) -> None:
        self._noted[end] = noted

    def resolve(self) -> None:
        """Put the containers behind a proxy in its place, and remember what was tied before."""
        server, client = self._noted["server"], self._noted["client"]
        for noted in (server, client):
            self._join.proxied[noted.kept()] = True
        if not self._found:
            return
        to_proxy, from_proxy = Groups(server.codes.astype(np.int64)), Groups(client.codes.astype(np.int64))
        remembered = np.where(server.open, np.int32(NOBODY), self._join.ties.accepted_by(server.rows))
        kept = Groups(remembered.astype(np.int64))
        claimed = self._claim_closed()
        for each in self._found:
            index = self._join.ties.index(each.known)
            accepted = self._accepted(each, np.union1d(to_proxy.of(each.code), kept.of(index)))
            dialled = self._dialled(each, from_proxy.of(each.code), accepted)
            self._tie_ended(server.rows[accepted], np.concatenate((dialled, claimed.get(each.code, dialled[:0]))))
        self._name_clients()

    def _accepted(self, served: _Served, mine: Rows) -> Rows:
        """Flows to the proxy are the container's behind it; those whose other half is not known yet."""
        join, rows = self._join, self._noted["server"].rows[mine]
        join.proxied[rows] = True
        join.ties.copies(served.known, rows, dialled=False)
        if served.target >= 0:
            join.server[rows] = served.target
        return mine[join.ties.untied(rows)]

    def _dialled(self, served: _Served, mine: Rows, accepted: Rows) -> Rows:
        """Flows from the proxy are the true client's; where that is not known, the proxy's. Their rows."""
        join, ends = self._join, self._noted["client"]
        mine = mine[self._leads_to(served.proxy, ends.rows[mine])]
        rows, past = ends.rows[mine], ends.past[mine]
        join.proxied[rows] = True
        join.ties.copies(served.known, rows, dialled=True)
        tied_before = (past != NOBODY) & (past != served.code)
        join.client[rows] = np.where(tied_before, past, np.int32(served.code))
        for row, client_row in self._pairs(served.proxy, accepted, mine[~tied_before]).items():
            self._tie(client_row, row)
        return rows

    def _tie(self, accepted: int, dialled: int) -> None:
        """Who called from beyond the host has no name but an address."""
        self._join.ties.tie(accepted, dialled)
        if self._join.client[accepted] == NOBODY:
            self._join.client[dialled] = self._join.parties.code(self._join.flows.orig_src.text(accepted))

    def _tie_ended(self, accepted: Rows, dialled: Rows) -> None:
        """Of connections that were closed before anybody looked, those that ended when no other did.

        docker-proxy hands on the end of one half at once, so that both have been in TIME_WAIT equally long: the seconds
        that are left differ by one at most.
        """
        (first, ends), (second, others) = self._by_end(accepted), self._by_end(dialled)
        at, till = np.searchsorted(ends, others - 1, "left"), np.searchsorted(ends, others + 1, "right")
        back, until = np.searchsorted(others, ends - 1, "left"), np.searchsorted(others, ends + 1, "right")
        alone = np.flatnonzero(till - at == 1)
        for one in alone[(until - back)[at[alone]] == 1].tolist():
            self._tie(int(first[at[one]]), int(second[one]))

    def _by_end(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Those of these rows that are in TIME_WAIT and not tied, and how long they stay there, by that."""
        flows = self._join.flows
        rows = rows[(flows.state[rows] == TcpState.TIME_WAIT) & (flows.proto[rows] == IpProto.TCP)]
        rows = rows[self._join.ties.untied(rows)]
        ends = flows.timeout_s[rows].astype(np.int64)
        order = np.argsort(ends)
        return rows[order], ends[order]

    def _leads_to(self, proxy: Proxy, rows: Rows) -> Mask:
        """Which flows from a proxy call its container. Others are answers that it gives over UDP from another address
        than was called, as it does where a container calls the host by an address that is not its gateway.
        """
        flows = self._join.flows
        found = flows.orig_dst.take(rows).equal(proxy.container_address)
        found &= flows.orig_dport[rows] == proxy.container_port
        return found

    def _pairs(self, proxy: Proxy, accepted: Rows, dialled: Rows) -> Mapping[int, int]:
        """The row that was accepted for each row that was dialled.

        A listener for UDP is one socket for all its clients, so that its flows can be told where there is but one.
        """
        server, client = self._noted["server"], self._noted["client"]
        if proxy.proto == IpProto.UDP:
            alone = len(accepted) == len(dialled) == 1
            return {int(client.rows[dialled[0]]): int(server.rows[accepted[0]])} if alone else {}
        return tied(self._by_descriptor(proxy, server, accepted), self._by_descriptor(proxy, client, dialled))

    def _name_clients(self) -> None:
        """A dialled flow's client is the accepted one's, of which more may be known by now than when they were tied."""
        accepted, dialled = self._join.ties.pairs(self._join.proxied)
        known = self._join.client[accepted] != NOBODY
        self._join.client[dialled[known]] = self._join.client[accepted[known]]

    def _claim_closed(self) -> Mapping[int, Rows]:
        """Flows straight to a container that nobody holds any more are its proxy's, where that has been called.

        Their rows, by the proxy's code.
        """
        claims, claimed = defaultdict(list), {}
        client, called = self._noted["client"], self._called(self._noted["server"])
        for each in self._found:
            if each.target >= 0 and called[each.listens]:
                claims[each.destination].append(each)
        if not claims:
            return {}
        closed = self._closed(client)
        for destination, by in claims.items():
            rows = client.rows[closed.of(destination)]
            likely = [each for each in by if each.proxy.is_v4 in called[each.listens]] or by
            only = likely[0] if len(likely) == 1 else None
            self._join.proxied[rows] = True
            self._join.ties.copies(only.known if only else None, rows, dialled=True)
            self._join.client[rows] = only.code if only else self._join.parties.code("host: docker-proxy")
            if only:
                claimed[only.code] = rows
        return claimed

    def _closed(self, ends: Noted) -> Groups:
        """The flows from the host straight to a container that nobody holds or held, by where they went."""
        flows, rows = self._join.flows, ends.rows
        server = self._join.server[rows]
        straight = (flows.status[rows] & Ips.DST_NAT) == 0
        nobody_s = (ends.codes == NOBODY) & ~ends.open & straight & (server >= 0)
        keys = _destination(server.astype(np.int64), flows.orig_dport[rows].astype(np.int64), flows.proto[rows])
        return Groups(np.where(nobody_s, keys, np.int64(NOBODY)))

    def _called(self, ends: Noted) -> Mapping[tuple[int, int], set[bool]]:
        """Protocols and ports of the host that were called, and if over IPv4: who has not accepted has not dialled."""
        flows, rows = self._join.flows, ends.rows
        ports = flows.proto[rows].astype(np.uint32) << 16 | flows.reply_sport[rows]
        called: dict[tuple[int, int], set[bool]] = defaultdict(set)
        for each in np.unique(ports << 1 | (flows.family[rows] == AF_INET)).tolist():
            proto, port = divmod(each >> 1, 1 << 16)
            called[proto, port].add(bool(each & 1))
        return called

    @staticmethod
    def _by_descriptor(proxy: Proxy, ends: Noted, mine: Rows) -> dict[int, int]:
        mine = mine[ends.inodes[mine] != 0]
        row_of = dict(zip(ends.inodes[mine].tolist(), ends.rows[mine].tolist(), strict=True))
        return {each.fd: row_of[each.inode] for each in proxy.descriptors if each.inode in row_of}
