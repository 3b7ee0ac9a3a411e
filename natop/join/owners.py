"""Flows × inventory: who is at each end of a flow, and the way it takes.

The client is who owns the source of the original tuple, the server who owns the source of the reply tuple: the
reply's source is the address that answers, whatever DNAT made of the address that was called. An end at the host's
own address belongs to whoever holds, or held, the socket there (`local`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from natop.decode.sockets import decode_sockets
from natop.join.addresses import THE_HOST, AddressOwners
from natop.join.deadends import among
from natop.join.local import (
    GONE,
    NOBODY,
    Codes,
    Parties,
    SocketIndex,
    client_ends,
    container_by_process,
    holders,
    process_name,
    proxies,
    server_ends,
)
from natop.join.past import Last, Memory
from natop.join.proxied import Noted, Proxied, Ties
from natop.model import (
    HOST_SOCKETS,
    U8,
    UNKNOWN64,
    Addresses,
    Attribution,
    Container,
    FlowTable,
    Kind,
    Mask,
    Rows,
    Sockets,
    address_value,
    homes,
    no_sockets,
)
from natop.uapi import IpProto, Ips

START_SLACK_NS = 2_000_000_000
"""Docker notes a container's start a moment after its process may have opened connections."""
INGRESS_SANDBOX = "ingress_sbox"
"""As its file below the engine's folder of sandboxes is called."""
ALONE, SHARED = "host", "host (shared)"
"""Whoever of the host's it may be: its processes, or a container on its network too."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a host beside its flows."""

    containers: Sequence[Container] = ()
    host_addresses: Sequence[str] = ()
    former: Mapping[str, str] = field(default_factory=dict)
    """Names of containers that are gone, by the address each had."""
    dead_ends: Collection[int] = ()
    """Addresses of bridge networks that nobody answers for, as numbers: they were containers'."""
    local: Collection[str] = ()
    """Ids of the containers whose processes were found on this machine: the engine may be on another."""
    sockets: Callable[[str], Sockets | None] = no_sockets
    """As `Sample.sockets`; None where they were not read. Asked only where flows have ends there."""
    ingress: Sequence[str] = ()
    """As `Inventory.ingress`."""


def attribute(flows: FlowTable, place: Place, memory: Memory | None = None) -> Attribution:
    """Whose each flow is. A container's address wins over the host's where both claim one."""
    return _Join(flows, place, memory).attribution()


class _Join:
    """The columns of one attribution while they are worked out, step by step."""

    def __init__(self, flows: FlowTable, place: Place, memory: Memory | None) -> None:
        self.flows, self.place = flows, place
        self.parties = Parties()
        self.homes = homes(place.containers)
        self.last = Last(memory, place.containers, self.parties) if memory else None
        self.owners = AddressOwners(place.containers, place.host_addresses, place.former, self.parties)
        self.client, self.server = self.owners.of(flows.orig_src), self.owners.of(flows.reply_src)
        self.from_host, self.to_host = self.client == THE_HOST, self.server == THE_HOST
        self.calls_host = self.owners.of(flows.orig_dst) == THE_HOST
        self._find_dead_ends()
        self.client[self.from_host] = self.server[self.to_host] = NOBODY
        self.stale: Mask = (self.client < NOBODY) | (self.server < NOBODY)
        self.doubtful = self._first_seen_ownerless()
        self._find_ingress()
        self.proxied: Mask = np.zeros(len(flows), np.bool_)
        self.ties = Ties(len(flows))
        self.births = np.array([*(_nanoseconds(each.started_at) for each in place.containers), 0], np.uint64)
        """When each container started, in nanoseconds since the epoch; 0 is unknown."""
        self.made = np.array([*(_nanoseconds(each.created_at) for each in place.containers), 0], np.uint64)
        """When each was created, before its first start."""

    def _find_dead_ends(self) -> None:
        """Name the addresses of containers that are gone, of which nothing else is known, by themselves.

        Packets to such an end make the kernel ask for the address: only who does not answer is gone. To one who called
        they are the answers; where none come, nobody knows.
        """
        for codes, addresses, nat in (
            (self.server, self.flows.reply_src, Ips.DST_NAT),
            (self.client, self.flows.orig_src, Ips.SRC_NAT),
        ):
            led = (codes == NOBODY) & ((self.flows.status & nat) != 0)
            for address, rows in among(addresses, np.flatnonzero(led), self.place.dead_ends):
                codes[rows] = self.parties.code(GONE + address)

    def _find_ingress(self) -> None:
        """Name swarm's sandbox for what comes in by its published services: who serves is told by its own table."""
        answers = self.flows.reply_src
        for text in self.place.ingress:
            rows = answers.equal(address_value(text)) & (self.server == NOBODY)
            self.server[rows] = self.parties.code(INGRESS_SANDBOX)

    def attribution(self) -> Attribution:
        self._find_stale()
        kinds = self._kinds()
        for owner, key in self._sharers().items():
            if (self.client == owner).any() or (self.server == owner).any():
                self._split(owner, self.place.sockets(key))
        at_host = self.from_host.any() or self.to_host.any()
        sockets = self.place.sockets(HOST_SOCKETS) if at_host else None
        if sockets:
            self._find_holders(sockets)
        elif self.last:
            self._keep_holders()
        self._find_abandoned()
        kinds[self.proxied] = Kind.PROXIED
        kinds[self.stale] = Kind.STALE
        halves = self.ties.halves(self.proxied | self.stale)
        return Attribution(self.client, self.server, kinds, tuple(self.parties.names), self.doubtful, halves)

    def _first_seen_ownerless(self) -> Mask:
        """What an address alone gives to one who is gone: its next owner may have started without being known yet."""
        rows = np.flatnonzero(self.stale)
        doubtful = self.stale.copy()
        if self.last:
            doubtful[rows] = ~self.last.known(self.flows, rows)
        return doubtful

    def _kinds(self) -> U8:
        """By the owners of the addresses, before anything is known of the host's own sockets."""
        snat = (self.flows.status & Ips.SRC_NAT) != 0
        dnat = (self.flows.status & Ips.DST_NAT) != 0
        from_container, to_container = self.client != NOBODY, self.server != NOBODY
        cases = (
            (Kind.HAIRPIN, to_container & dnat & snat),
            (Kind.PUBLISHED, to_container & dnat),
            (Kind.MASQUERADED, from_container & snat),
            (Kind.INTERNAL, from_container & to_container),
            (Kind.ROUTED, from_container | to_container),
            (Kind.REMAPPED, self.from_host & snat & ~dnat & self._same_address()),
            (Kind.HOST, self.from_host | self.to_host | self.calls_host),
        )
        conditions = [condition for _, condition in cases]
        return np.select(conditions, [np.uint8(kind) for kind, _ in cases], np.uint8(Kind.FORWARDED))

    def _same_address(self) -> Mask:
        """Where the source keeps its address, whatever becomes of its port."""
        return self.flows.orig_src.equal(self.flows.reply_dst)

    def _find_stale(self) -> None:
        """Take flows from containers that were not there when they began.

        By their time stamp; else because they were another's at the dump before, or were in it before the present
        owner started.
        """
        started = self.flows.started_ns
        ends = (("client", self.client, self.flows.orig_src), ("server", self.server, self.flows.reply_src))
        for end, codes, addresses in ends:
            if started is not None:
                began = started + np.uint64(START_SLACK_NS)
                owner, dated = np.maximum(codes, NOBODY), (codes >= 0) & (started != UNKNOWN64)
                others = dated & (began < self.made[owner])
                rows = np.flatnonzero(dated & ~others & (began < self.births[owner]))
                self._disown(codes, rows, codes[rows], self._predecessor)
                self._disown_others(codes, np.flatnonzero(others), addresses)
            if self.last and self.last.may_tell_stale:
                rows = np.flatnonzero(codes >= 0)
                before, _ = self.last.of(self.flows, rows, end)
                gone = (before >= 0) | np.isin(before, self.parties.codes(GONE))
                preceded = self.births[codes[rows]] > self.last.taken_ns
                changed = np.flatnonzero(gone & (preceded | (self._addressee(before) != codes[rows])))
                sure = changed[preceded[changed] | self.last.known(self.flows, rows[changed])]
                self._disown(codes, rows[sure], before[sure], self._gone_name)

    def _disown_others(self, codes: Codes, rows: Rows, addresses: Addresses) -> None:
        """Give these rows to who had their address before its owner was made: by name, else by the address."""
        for text, theirs in among(addresses, rows):
            codes[theirs] = self.parties.code(GONE + self.place.former.get(text, text))
            self.stale[theirs] = True

    def _addressee(self, codes: Codes) -> Codes:
        """The containers whose addresses these ones use: their own, or those of the one whose namespace they joined."""
        place = {each.id: index for index, each in enumerate(self.place.containers)}
        hosts = [place[self.homes[each.id].id] for each in self.place.containers]
        theirs = np.array([*hosts, NOBODY], np.int32)[np.maximum(codes, NOBODY)]
        addressee: Codes = np.where(codes >= 0, theirs, codes)
        return addressee

    def _disown(self, codes: Codes, rows: Rows, known: Codes, name: Callable[[int], str]) -> None:
        """Give these rows to those who are gone, whom `name` tells from the codes `known` of each."""
        distinct, which = np.unique(known, return_inverse=True)
        gone = [self.parties.code(name(code)) for code in distinct.tolist()]
        codes[rows] = np.array(gone, np.int32)[which]
        self.stale[rows] = True

    def _gone_name(self, code: int) -> str:
        return self.parties.names[-2 - code] if code < 0 else GONE + self.place.containers[code].name

    def _predecessor(self, code: int) -> str:
        """Who had one of this container's addresses before it; itself where only it is known."""
        container = self.place.containers[code]
        former = (self.place.former[text] for text in container.addresses if text in self.place.former)
        return GONE + next(former, container.name)

    def _sharers(self) -> dict[int, str]:
        """The containers whose network namespaces others use too: their index, and their id."""
        joined = {each.joined for each in self.place.containers if each.joined}
        return {i: each.id for i, each in enumerate(self.place.containers) if each.id in joined}

    def _split(self, owner: int, sockets: Sockets | None) -> None:
        """Share out the flows of a network namespace among the containers in it, by who holds, or held, the sockets."""
        index = self._indexed(sockets, owner) if sockets else None
        for end, codes, ends_of in (("client", self.client, client_ends), ("server", self.server, server_ends)):
            rows = np.flatnonzero(codes == owner)
            found, _ = self._before(end, rows)
            if index:
                ends = ends_of(self.flows, rows)
                found = _first_known(index.holder(index.connected(ends)), found, index.listening(ends))
            codes[rows] = np.where(found >= 0, found, owner)

    def _indexed(self, sockets: Sockets, shared: int) -> SocketIndex:
        table = decode_sockets(sockets.answers)
        return SocketIndex(
            table, holders(table, sockets, self.place.containers, self.parties, self.place.local), shared
        )

    def _find_holders(self, sockets: Sockets) -> None:
        """Name whoever holds the socket at each end that is the host's own, or held it, or listens there."""
        containers = any(each.uses_host_network and each.is_alive for each in self.place.containers)
        whoever = self.parties.code(SHARED if containers else ALONE)
        told_later = self._told_later(sockets)
        whoever = self._resident(whoever)
        index = self._indexed(sockets, whoever)
        through = Proxied(self, proxies(sockets, index.table))
        copied: list[Rows] = []
        for end, rows, ends_of in (
            ("server", np.flatnonzero(self.to_host), server_ends),
            ("client", np.flatnonzero(self.from_host), client_ends),
        ):
            ends = ends_of(self.flows, rows)
            own = index.connected(ends)
            before, kinds_before = self._held_before(end, rows)
            for code, now in told_later.items():
                before[before == code] = now
            copied.append(rows[_may_be_copied(kinds_before)])
            listening = index.listening(ends)
            if end == "client":
                listening = np.where(ends.proto == IpProto.UDP, listening, np.int32(NOBODY))
            codes = _first_known(self._without(index.holder(own), self._ended(), end), before, listening)
            past = np.where(kinds_before == Kind.PROXIED, before, np.int32(NOBODY))
            through.note(end, Noted(rows, codes, index.inode(own), own != NOBODY, past))
            column = self.client if end == "client" else self.server
            column[rows] = np.where(codes == NOBODY, whoever, codes)
        self._recall_halves(copied)
        through.resolve()

    def _resident(self, otherwise: int) -> int:
        """The container that has this network namespace to itself, because an address here is its own."""
        here = frozenset(self.place.host_addresses)
        theirs = (index for index, each in enumerate(self.place.containers) if here.intersection(each.addresses))
        return next(theirs, otherwise)

    def _told_later(self, sockets: Sockets) -> dict[int, int]:
        """Who it was, by what was said before its process had been found, or before the engine had told of it."""
        later = dict.fromkeys(self.parties.known(ALONE, SHARED), NOBODY)
        owner = container_by_process(self.place.containers, self.place.local)
        for process in sockets.held:
            for code in self.parties.known(process_name(process)):
                if (index := owner(process)) is not None:
                    later[code] = index
        return later

    def _recall_halves(self, copied: Sequence[Rows]) -> None:
        """What was known of the connections of these flows, which went through docker-proxy at the dump before."""
        known = self.last.halves(self.flows, np.unique(np.concatenate(copied))) if self.last else None
        if known:
            self.ties.recall(*known)

    def owner(self, address: int) -> int:
        """Whose an address is."""
        high, low = divmod(address, 1 << 64)
        return int(self.owners.of(Addresses(np.array([high], np.uint64), np.array([low], np.uint64)))[0])

    def _keep_holders(self) -> None:
        """Without the sockets, the host's own ends belong to whom they belonged before."""
        copied: list[Rows] = []
        for end, rows, column in (
            ("client", np.flatnonzero(self.from_host), self.client),
            ("server", np.flatnonzero(self.to_host), self.server),
        ):
            column[rows], kinds = self._held_before(end, rows)
            self.proxied[rows[kinds == Kind.PROXIED]] = True
            copied.append(rows[_may_be_copied(kinds)])
        self._recall_halves(copied)

    def _held_before(self, end: str, rows: Rows) -> tuple[Codes, U8]:
        """As `_before`, of the host's own ends: a container that began anew since the dump before has other sockets."""
        before, kinds = self._before(end, rows)
        anew = self.births > self.last.taken_ns if self.last else np.zeros(len(self.births), np.bool_)
        return self._without(before, self._ended() | anew, end), kinds

    def _ended(self) -> Mask:
        """Which containers have no processes any more; False for NOBODY, behind them."""
        return np.array([*(not each.is_alive for each in self.place.containers), False], np.bool_)

    def _without(self, holders: Codes, ended: Mask, end: str) -> Codes:
        """The holders of sockets of the host's own, with those who have `ended` as gone.

        As clients that is said of containers on the host's network. Others are there as the true clients of
        docker-proxy's connections; whether they are gone is for their own flows to tell.
        """
        homes = (self.homes[each.id] for each in self.place.containers)
        told = np.array([*(end == "server" or each.uses_host_network for each in homes), False], np.bool_)
        left, codes = told & ended, holders.copy()
        for code in np.flatnonzero(left).tolist():
            codes[holders == code] = self.parties.code(self._gone_name(code))
        return codes

    def _find_abandoned(self) -> None:
        """Flows of the host's own ends that were a container's which is gone, as those of its addresses are.

        Of a connection through docker-proxy both halves are, where one is.
        """
        gone = self.parties.codes(GONE)
        self.stale |= self.to_host & np.isin(self.server, gone)
        self.stale |= self.from_host & np.isin(self.client, gone) & ~self.proxied
        accepted, dialled = self.ties.pairs(self.proxied | self.stale)
        either = self.stale[accepted] | self.stale[dialled]
        self.stale[accepted[either]] = self.stale[dialled[either]] = True

    def _before(self, end: str, rows: Rows) -> tuple[Codes, U8]:
        if self.last:
            return self.last.of(self.flows, rows, end)
        return np.full(len(rows), NOBODY, np.int32), np.full(len(rows), Kind.FORWARDED, np.uint8)


def _may_be_copied(kinds: U8) -> Mask:
    """Of which kinds docker-proxy may have had to do with a flow."""
    may: Mask = (kinds == Kind.PROXIED) | (kinds == Kind.STALE)
    return may


def _first_known(*choices: Codes | npt.NDArray[np.signedinteger]) -> Codes:
    """For each row the first of these that is not NOBODY."""
    result = choices[0]
    for choice in choices[1:]:
        result = np.where(result == NOBODY, choice, result)
    return result.astype(np.int32)


_LAST_NS = 2**64 - 1
"""What a column of times can hold: some day in 2554."""


def _nanoseconds(started_at: str | None) -> int:
    """The engine's RFC 3339 time as nanoseconds since the epoch; 0 where there is none. Its zero year counts as none.

    Docker tells it in UTC, Podman with the offset of its own time zone.
    """
    try:
        moment = datetime.fromisoformat(started_at or "")
    except ValueError:
        return 0
    if moment.tzinfo is None:
        return 0
    return min(max(0, int(moment.timestamp() * 1_000_000)) * 1_000, _LAST_NS)
