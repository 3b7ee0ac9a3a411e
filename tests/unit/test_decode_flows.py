"""ctnetlink bytes to flows: what is built comes back; no bytes raise, hang or spoil their neighbours."""

import errno
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from natop.decode.columns import ROOM
from natop.decode.flows import decode_dump
from natop.decode.layout import LAYOUTS_PER_LENGTH
from natop.model import FlowDump, Skipped
from natop.uapi import Cta, CtaTuple
from tests.unit import netlink, plain
from tests.unit.netlink import KNOWN_EXTRAS, Attribute, be32
from tests.unit.plain import DCCP, GRE, ICMP, ICMPV6, IGMP, SCTP, TCP, UDP, Ends, Flow, flow
from tests.unit.strategies import flows

WEB = flow("100.64.0.9:51234", "203.0.113.10:8080", dnat="172.18.0.2:80", id=7)
"""A flow in from outside by a published port."""

V4, V6 = Ends("172.18.0.3", "198.51.100.7", 40000, 443), Ends("fd00:18::3", "2001:db8::7", 40000, 443)
PING, PING6 = Ends("172.18.0.3", "198.51.100.7", 77, 8 << 8), Ends("fd00:18::3", "2001:db8::7", 77, 128 << 8)
BARE, BARE6 = Ends("172.18.0.3", "224.0.0.22"), Ends("fd00:18::3", "ff02::16")


def entry(ends: Ends, proto: int, state: int | None = None, **more: int | None) -> Flow:
    reply = ends.inverted()
    if proto in (ICMP, ICMPV6):
        reply = Ends(ends.dst, ends.src, ends.sport, (0 if proto == ICMP else 129) << 8)
    return Flow(orig=ends, reply=reply, proto=proto, state=state, **more)  # type: ignore[arg-type]  # Flow's own names


ENTRIES = {
    "tcp": entry(V4, TCP, 3),
    "tcp, time wait": entry(V4, TCP, 7, timeout_s=119),
    "tcp, closed by the client": entry(V4, TCP, 7, closed_by=1),
    "tcp, closed by the server": entry(V6, TCP, 6, closed_by=2),
    "tcp, closed by both at once": entry(V4, TCP, 8, closed_by=3),
    "tcp over ipv6": entry(V6, TCP, 1, status=0x188),
    "tcp with a zone": entry(V4, TCP, 3, zone=0xFFFE),
    "tcp with a mark": entry(V4, TCP, 3, mark=0x8000_0001),
    "tcp, accounted": entry(V4, TCP, 3, packets=10, bytes=2**40 + 5),
    "tcp, accounted and stamped": entry(V4, TCP, 3, packets=0, bytes=0, started_ns=1_767_600_000_123_456_789),
    "tcp, stamped": entry(V6, TCP, 3, started_ns=1),
    "tcp, offloaded": entry(V4, TCP, None, timeout_s=None, status=0x418E),
    "tcp, state unknown to natop": entry(V4, TCP, 200),
    "udp": entry(V4, UDP),
    "udp over ipv6": entry(V6, UDP, status=0x188),
    "icmp": entry(PING, ICMP),
    "icmpv6": entry(PING6, ICMPV6),
    "sctp": entry(V4, SCTP, 4),
    "dccp": entry(V6, DCCP, 4),
    "gre with keys": entry(V4, GRE),
    "igmp": entry(BARE, IGMP),
    "a protocol without a name": entry(BARE6, 255),
    "largest numbers": entry(
        Ends("255.255.255.255", "255.255.255.255", 65535, 65535),
        *(TCP, 9),
        **dict.fromkeys(("status", "mark", "id"), 2**32 - 1),
        timeout_s=2**32 - 2,
        zone=65535,
    ),
}


def decoded(data: bytes) -> list[Flow]:
    """The flows of a dump that must be whole."""
    dump = decode_dump([data])
    assert (dump.complete, dump.errno, dump.skipped) == (True, 0, Skipped())
    return plain.rows(dump.flows)


def skipped(dump: FlowDump) -> tuple[int, int]:
    return dump.skipped.messages, dump.skipped.attributes


KERNEL_MESSAGE = bytes.fromhex(
    "d4000000" "0001" "0200" "01000000" "00000000" "02000000"  # nlmsghdr, nfgenmsg of AF_INET
    "34000180" "14000180" "08000100" "ac120003" "08000200" "c6336407"  # CTA_TUPLE_ORIG: 172.18.0.3 to 198.51.100.7
    "1c000280" "05000100" "06000000" "06000200" "9c400000" "06000300" "01bb0000"  # TCP, 40000 to 443
    "34000280" "14000180" "08000100" "c6336407" "08000200" "cb00710a"  # CTA_TUPLE_REPLY: to 203.0.113.10
    "1c000280" "05000100" "06000000" "06000200" "01bb0000" "06000300" "c3500000"  # 443 to 50000
    "08000300" "0000019e" "08000800" "00000000"  # CTA_STATUS, CTA_MARK
    "08000c00" "d99bda19" "08000b00" "00000001" "08000700" "00000077"  # CTA_ID, CTA_USE, CTA_TIMEOUT
    "30000480" "2c000180" "05000100" "07000000" "05000200" "07000000"  # CTA_PROTOINFO: TIME_WAIT
    "05000300" "07000000" "06000400" "23000000" "06000500" "23000000"
)  # fmt: skip


@pytest.mark.skipif(struct.pack("=H", 1) == b"\0\1", reason="the bytes are those of a little-endian machine")
def test_a_message_of_the_kernel_byte_by_byte() -> None:
    (found,) = decoded(KERNEL_MESSAGE + netlink.done())
    assert found == Flow(
        orig=Ends("172.18.0.3", "198.51.100.7", 40000, 443),
        reply=Ends("198.51.100.7", "203.0.113.10", 443, 50000),
        proto=6,
        state=7,
        status=0x19E,
        timeout_s=119,
        id=0xD99BDA19,
    )


@pytest.mark.skipif(struct.pack("=H", 1) == b"\0\1", reason="the bytes are those of a little-endian machine")
@pytest.mark.parametrize(("flags", "closer"), [("2323", 0), ("2723", 1), ("2327", 2), ("2727", 3), ("fbfb", 0)])
def test_who_closed_by_the_flags_of_both_directions(flags: str, closer: int) -> None:
    """struct nf_ct_tcp_flags { u8 flags, mask; }: the server that closes first shows 0x27 in the reply's."""
    orig, reply = bytes.fromhex(flags[:2]), bytes.fromhex(flags[2:])
    told = KERNEL_MESSAGE[:-12] + orig + KERNEL_MESSAGE[-11:-4] + reply + KERNEL_MESSAGE[-3:]
    assert decoded(told + netlink.done())[0].closed_by == closer


@pytest.mark.parametrize("name", ENTRIES)
def test_every_kind_of_entry_comes_back(name: str) -> None:
    assert decoded(netlink.dump([ENTRIES[name]])) == [ENTRIES[name]]


def test_all_kinds_in_one_dump() -> None:
    numbered = [replace(each, id=number) for number, each in enumerate(ENTRIES.values())]
    assert sorted(decoded(netlink.dump(numbered)), key=lambda each: each.id) == numbered


def test_columns_that_no_entry_carries_do_not_exist() -> None:
    dump = decode_dump([netlink.dump([ENTRIES["tcp"]])])
    assert (dump.flows.packets, dump.flows.bytes, dump.flows.started_ns) == (None, None, None)
    assert decode_dump([netlink.dump([ENTRIES["udp"], ENTRIES["tcp, offloaded"]])]).flows.closed_by is None


def test_a_column_begins_with_the_first_entry_that_carries_it() -> None:
    counted = replace(WEB, id=9, packets=3, bytes=180)
    assert decoded(netlink.dump([WEB, counted, replace(WEB, id=10)])) == [WEB, replace(WEB, id=10), counted]


def test_the_zone_may_stand_in_the_original_tuple() -> None:
    content = netlink.attributes(WEB)
    first = content[0]
    assert isinstance(first.content, tuple)
    content[0] = replace(first, content=(*first.content, netlink.be16(CtaTuple.ZONE, 5)))
    assert decoded(netlink.new_message(content) + netlink.done()) == [replace(WEB, zone=5)]


def test_attributes_that_natop_does_not_need_are_not_counted() -> None:
    data = b"".join(netlink.flow_message(WEB, [extra]) for extra in KNOWN_EXTRAS) + netlink.done()
    dump = decode_dump([data])
    assert skipped(dump) == (0, 0)
    assert plain.rows(dump.flows) == [WEB]


@given(st.lists(flows(), max_size=8, unique_by=lambda each: each.id), st.randoms(use_true_random=False), st.data())
def test_what_is_built_comes_back(entries: list[Flow], random: Random, data: st.DataObject) -> None:
    """Any mix, attributes in any order, blocks cut between any two messages, known extras anywhere."""
    extras = data.draw(st.lists(st.lists(st.sampled_from(KNOWN_EXTRAS), max_size=3), min_size=8, max_size=8))
    messages = [netlink.flow_message(*pair, random=random) for pair in zip(entries, extras, strict=False)]
    blocks: list[bytes] = [b""]
    for message in (*messages, netlink.done()):
        if random.random() < 0.4:
            blocks.append(b"")
        blocks[-1] += message
    dump = decode_dump(blocks)
    assert Counter(plain.rows(dump.flows)) == Counter(entries)
    assert (dump.complete, dump.errno, skipped(dump)) == (True, 0, (0, 0))


@given(st.lists(flows(), min_size=1, max_size=5, unique_by=lambda each: each.id), st.integers(0, 3), st.data())
def test_unknown_attributes_are_counted_at_every_level(entries: list[Flow], each: int, data: st.DataObject) -> None:
    strange = Attribute(data.draw(st.sampled_from((28, 99, 0x3FFF))), data.draw(st.binary(max_size=9)))
    nests = [Cta.TUPLE_ORIG, Cta.TUPLE_REPLY, Cta.TIMESTAMP, Cta.COUNTERS_ORIG, Cta.PROTOINFO]
    messages, expected = b"", 0
    for one in entries:
        content = netlink.attributes(one)
        for nest in data.draw(st.lists(st.sampled_from(nests), max_size=3, unique=True)):
            expected += _added(content, nest, strange)
        messages += netlink.new_message([*content, *[strange] * each], one.family)
    dump = decode_dump([messages + netlink.done()])
    assert Counter(plain.rows(dump.flows)) == Counter(entries)
    assert skipped(dump) == (0, expected + each * len(entries))


def _added(content: list[Attribute], nest: int, strange: Attribute) -> int:
    """Put an attribute into the nests of that kind; how many there were."""
    places = [at for at, each in enumerate(content) if each.kind == nest]
    for at in places:
        within = content[at].content
        assert isinstance(within, tuple)
        content[at] = replace(content[at], content=(*within, strange))
    return len(places)


def test_a_value_of_another_size_is_an_unknown_attribute() -> None:
    content = [Attribute(Cta.MARK, bytes(8)) if each.kind == Cta.MARK else each for each in netlink.attributes(WEB)]
    dump = decode_dump([netlink.new_message(content) + netlink.done()])
    assert plain.rows(dump.flows) == [WEB]
    assert skipped(dump) == (0, 1)


@pytest.mark.parametrize("needed", [Cta.TUPLE_ORIG, Cta.TUPLE_REPLY, Cta.STATUS])
def test_an_entry_without_what_makes_it_a_flow_is_skipped(needed: Cta) -> None:
    content = [each for each in netlink.attributes(WEB) if each.kind != needed]
    dump = decode_dump([netlink.new_message(content) + netlink.dump([WEB])])
    assert plain.rows(dump.flows) == [WEB]
    assert skipped(dump) == (1, 0)


def test_families_do_not_mix_within_one_entry() -> None:
    content = netlink.attributes(WEB)
    content[1] = Attribute(Cta.TUPLE_REPLY, netlink.tuple_content(V6, TCP))
    dump = decode_dump([netlink.new_message(content) + netlink.done()])
    assert len(dump.flows) == 0
    assert skipped(dump) == (1, 0)


def test_other_messages_are_skipped_and_counted() -> None:
    strangers = netlink.message(0x102, bytes(8)) + netlink.stats_global(1, 2) + netlink.message(0x10, b"")
    dump = decode_dump([strangers + netlink.dump([WEB])])
    assert plain.rows(dump.flows) == [WEB]
    assert skipped(dump) == (3, 0)


# How a dump ends


def test_a_dump_without_its_end_is_not_complete() -> None:
    dump = decode_dump([netlink.flow_message(WEB)])
    assert (dump.complete, len(dump.flows), skipped(dump)) == (False, 1, (0, 0))


def test_the_end_may_come_before_the_last_block() -> None:
    dump = decode_dump([netlink.dump([WEB]), netlink.flow_message(replace(WEB, id=8))])
    assert (dump.complete, len(dump.flows)) == (True, 2)


@pytest.mark.parametrize("blocks", [[], [b""], [memoryview(b"")], [b"", bytearray()]])
def test_nothing_is_no_dump(blocks: list[bytes]) -> None:
    dump = decode_dump(blocks)
    assert (dump.complete, dump.errno, len(dump.flows), skipped(dump)) == (False, 0, 0, (0, 0))


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOMEM])
def test_a_refusal_keeps_its_number(number: int) -> None:
    dump = decode_dump([netlink.error(number)])
    assert (dump.complete, dump.errno, len(dump.flows)) == (False, number, 0)


def test_an_error_too_short_to_tell_its_number_is_no_refusal_by_name() -> None:
    dump = decode_dump([netlink.message(2, b"") + netlink.done()])
    assert (dump.complete, dump.errno) == (True, 0)


# Twice in one dump


def test_an_entry_seen_twice_counts_once() -> None:
    later = replace(WEB, timeout_s=50, state=7)
    assert decoded(netlink.dump([WEB, replace(WEB, id=8), later])) == [WEB, replace(WEB, id=8)]


def test_an_id_used_again_for_another_tuple_is_another_entry() -> None:
    others = [
        replace(WEB, zone=3),
        replace(WEB, proto=UDP, state=None),
        replace(WEB, orig=replace(WEB.orig, sport=1)),
        replace(WEB, orig=replace(WEB.orig, dport=1)),
        replace(WEB, orig=replace(WEB.orig, src="100.64.0.10")),
        replace(WEB, orig=replace(WEB.orig, dst="203.0.113.11")),
        *(replace(WEB, orig=ends, reply=ends.inverted()) for ends in IPV6_NEIGHBOURS),
    ]
    assert Counter(decoded(netlink.dump([WEB, *others, WEB]))) == Counter([WEB, *others])


IPV6_NEIGHBOURS = (
    Ends("2001:db8::1", "2001:db8::2", 51234, 8080),
    Ends("2001:db9::1", "2001:db8::2", 51234, 8080),
    Ends("2001:db8::1", "2001:db9::2", 51234, 8080),
)
"""The low halves of their addresses are equal."""


@given(st.lists(st.integers(0, 5), max_size=30))
def test_duplicates_in_any_number_and_order(picks: list[int]) -> None:
    pool = [*list(ENTRIES.values())[:3], *(replace(each, id=2) for each in list(ENTRIES.values())[:3])]
    dump = decode_dump([netlink.dump([pool[pick] for pick in picks])])
    wanted = {(pool[pick].id, pool[pick].orig) for pick in picks}
    found = [(each.id, each.orig) for each in plain.rows(dump.flows)]
    assert sorted(found, key=str) == sorted(wanted, key=str)


# Bytes that nobody should send

GOOD = [replace(each, id=number) for number, each in enumerate(ENTRIES.values())]


@given(st.lists(st.binary(max_size=300), max_size=4))
@example([b"\x10\0\0\0"])
@example([struct.pack("=IHHII", 16, 0x100, 0, 0, 0)])
@example([struct.pack("=IHHII", 19, 0x100, 0, 0, 0) + bytes(4)])
@example([struct.pack("=IHHII", 0, 0x100, 0, 0, 0)])
@example([struct.pack("=IHHII", 15, 0x100, 0, 0, 0)])
@example([struct.pack("=IHHII", 2**32 - 1, 0x100, 0, 0, 0)])
@example([struct.pack("=IHHII", 2**31, 2, 0, 0, 0)])
@example([struct.pack("=IHHII", 16, 2, 0, 0, 0)])
def test_any_bytes(blocks: list[bytes]) -> None:
    dump = decode_dump(blocks)
    assert len(plain.rows(dump.flows)) == len(dump.flows)


@given(st.integers(0, len(netlink.dump(GOOD))))
def test_a_dump_cut_anywhere_gives_the_entries_before_the_cut(at: int) -> None:
    whole, ends = b"", []
    for each in GOOD:
        whole += netlink.flow_message(each)
        ends.append(len(whole))
    whole += netlink.done()
    dump = decode_dump([whole[:at]])
    before = sum(end <= at for end in ends)
    assert Counter(plain.rows(dump.flows)) == Counter(GOOD[:before])
    assert dump.complete is (at == len(whole))
    remainder = at - max([0, *(end for end in ends if end <= at)])
    assert dump.skipped.messages == (remainder >= 4 and not dump.complete)


@given(st.binary(max_size=5000), st.integers(1, 3))
def test_ragged_blocks(data: bytes, ragged: int) -> None:
    """A block's end that is no whole word belongs to no message."""
    good = netlink.flow_message(WEB)
    dump = decode_dump([good + bytes(ragged), data, good[:-ragged], netlink.done()])
    assert dump.flows.id.tolist().count(WEB.id) >= 1


@given(st.data())
def test_a_spoilt_message_spoils_no_other(data: st.DataObject) -> None:
    """Bytes of one message are overwritten, behind its length; the others, of the same and other lengths, come back."""
    spoilt = bytearray(netlink.flow_message(WEB))
    for _ in range(data.draw(st.integers(1, 6))):
        spoilt[data.draw(st.integers(4, len(spoilt) - 1))] = data.draw(st.sampled_from((0, 1, 3, 4, 0x7F, 0x80, 0xFF)))
    others = [replace(WEB, id=number, mark=number) for number in (100, 101, 102)] + GOOD
    messages = [netlink.flow_message(each) for each in others]
    messages.insert(data.draw(st.integers(0, len(messages))), bytes(spoilt))
    dump = decode_dump([b"".join(messages) + netlink.done()])
    assert Counter(others) <= Counter(plain.rows(dump.flows))
    assert dump.complete


@pytest.mark.parametrize("length", [0, 1, 3, 0xFF, 0xFFFF])
@pytest.mark.parametrize("at", [20, 24, 28, 44, 48, 72, 124, 164, 168])
def test_an_attribute_whose_length_does_not_fit_costs_its_message_only(at: int, length: int) -> None:
    """The neighbours have the same length, type and, up to the bad one, the same headers."""
    spoilt = bytearray(netlink.flow_message(WEB))
    struct.pack_into("=H", spoilt, at, length)
    good = [replace(WEB, id=number) for number in (8, 9)]
    dump = decode_dump([bytes(spoilt), netlink.dump(good)])
    assert plain.rows(dump.flows) == good
    assert dump.skipped.messages == 1


def test_a_nested_attribute_does_not_reach_beyond_its_nest() -> None:
    """A length that would fit the message but not the nest."""
    spoilt = bytearray(netlink.flow_message(WEB))
    inner = 28  # CTA_IP_V4_SRC, in CTA_TUPLE_IP of 20 bytes at 24
    assert struct.unpack_from("=HH", spoilt, inner) == (8, 1)
    struct.pack_into("=H", spoilt, inner, 20)
    assert skipped(decode_dump([bytes(spoilt), netlink.done()])) == (1, 0)


@pytest.mark.parametrize("length", range(16, 20))
def test_a_message_shorter_than_its_headers_is_skipped(length: int) -> None:
    short = struct.pack("=IHHII", length, 0x100, 0, 0, 0) + bytes(4 if length > 16 else 0)
    dump = decode_dump([short + netlink.dump([WEB])])
    assert plain.rows(dump.flows) == [WEB]
    assert skipped(dump) == (1, 0)


# Layouts


def _of_layout(number: int) -> tuple[Flow, list[Attribute]]:
    """An entry with one more attribute, of equal length and another type for each number."""
    return replace(WEB, id=number), [be32(200 + number, number)]


def test_more_layouts_of_one_length_than_are_remembered() -> None:
    many = LAYOUTS_PER_LENGTH + 30
    entries = [_of_layout(number) for number in (*range(many), *range(many))]
    messages = [netlink.flow_message(each, extra) for each, extra in entries]
    assert len(set(map(len, messages))) == 1
    for blocks in ([*messages, netlink.done()], [b"".join(messages), netlink.done()]):
        dump = decode_dump(blocks)
        assert sorted(each.id for each in plain.rows(dump.flows)) == list(range(many))
        assert skipped(dump) == (0, 2 * many)


def test_messages_that_all_differ_cost_no_more_than_their_number() -> None:
    """Each has a layout of its own, at one length and at many."""
    random = Random(1)
    count = 2_000
    alike = [netlink.message(netlink.NEW, b"\2\0\0\0" + random.randbytes(40)) for _ in range(count)]
    unlike = [netlink.message(netlink.NEW, b"\2\0\0\0" + random.randbytes(number)) for number in range(count)]
    dump = decode_dump([b"".join(alike), b"".join(unlike), netlink.dump([WEB])])
    assert plain.rows(dump.flows) == [WEB]
    assert dump.skipped.messages == 2 * count


def test_layouts_learnt_in_one_block_serve_the_next() -> None:
    blocks = [netlink.flow_message(replace(GOOD[number % len(GOOD)], id=number)) for number in range(200)]
    dump = decode_dump([*blocks, netlink.done()])
    expected = [replace(GOOD[number % len(GOOD)], id=number) for number in range(200)]
    assert plain.rows(dump.flows) == expected


def test_a_block_may_be_overwritten_once_the_next_is_asked_for() -> None:
    buffer = bytearray(netlink.flow_message(WEB))
    second = replace(WEB, id=8, mark=5)

    def stream() -> Iterator[memoryview]:
        yield memoryview(buffer)
        buffer[:] = netlink.flow_message(second)
        yield memoryview(buffer)
        buffer[:] = bytes(len(buffer))

    assert plain.rows(decode_dump(stream()).flows) == [WEB, second]


def test_more_rows_than_there_is_room_for_at_first() -> None:
    count = ROOM + 5_000
    one = bytearray(netlink.flow_message(replace(WEB, packets=1, bytes=2)))
    at = bytes(one).index(be32(Cta.ID, WEB.id).packed()) + 4
    block = bytearray()
    for number in range(count):
        struct.pack_into(">I", one, at, number)
        block += one
    before = replace(ENTRIES["udp over ipv6"], id=2**32 - 1)
    dump = decode_dump([netlink.flow_message(before), block, netlink.done()])
    assert plain.rows(dump.flows.take(np.array([0]))) == [before]
    assert len(dump.flows) == count + 1
    assert dump.flows.id.tolist()[1:] == list(range(count))
    assert plain.rows(dump.flows.take(dump.flows.id.nonzero()[0][-1:])) == [
        replace(WEB, id=count - 1, packets=1, bytes=2)
    ]
