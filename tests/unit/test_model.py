"""The vocabulary: columns of one length that nobody can change, and addresses as numbers."""

import ipaddress
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import Addresses, Attribution, address_text, address_value
from natop.uapi import proto_name, state_name
from tests.unit import plain
from tests.unit.plain import flow
from tests.unit.strategies import IPV4, IPV6, flows

FLOWS = [flow(f"10.0.0.{number}:1", "[::1]:2", id=number, packets=number, bytes=number) for number in range(5)]


def test_columns_are_of_one_length() -> None:
    table = plain.table(FLOWS)
    for column in ("mark", "orig_sport", "packets"):
        with pytest.raises(ValueError, match="4 and 5 rows"):
            replace(table, **{column: getattr(table, column)[:4]})
    with pytest.raises(ValueError, match="4 and 5 rows"):
        replace(table, orig_src=Addresses(table.orig_src.hi, table.orig_src.lo[:4]))
    kind = np.zeros(3, np.uint8)
    with pytest.raises(ValueError, match="differ in length"):
        Attribution(np.zeros(2, np.int32), np.zeros(3, np.int32), kind)


def test_nobody_can_change_a_table() -> None:
    table = plain.table(FLOWS)
    for each in fields(table):
        column = getattr(table, each.name)
        for array in (column.hi, column.lo) if isinstance(column, Addresses) else (column,):
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[:1] = 1
    with pytest.raises(FrozenInstanceError):
        table.mark = table.id  # type: ignore[misc]  # this is what must not work


@given(st.lists(flows(), max_size=6), st.data())
def test_taking_rows(some: list[plain.Flow], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(some) - 1), max_size=8)) if some else []
    taken = plain.table(some).take(np.array(wanted, np.intp))
    assert plain.rows(taken) == [some[row] for row in wanted]


@given(IPV4 | IPV6)
def test_an_address_is_its_number_and_back(address: str) -> None:
    number = address_value(address)
    assert number == plain.value(address)
    assert address_text(number) == str(ipaddress.ip_address(address))


@pytest.mark.parametrize("text", ["", "10.0.0.256", "10.0.0.1/8", " 10.0.0.1", "010.0.0.1", "::g", "web"])
def test_what_is_no_address_raises_valueerror(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        address_value(text)


def test_an_ipv4_address_and_its_mapped_spelling_are_one() -> None:
    assert address_value("::ffff:10.0.0.1") == address_value("10.0.0.1")
    assert address_value("10.0.0.1") != address_value("::a00:1")


@pytest.mark.parametrize(
    ("number", "name"), [(6, "tcp"), (17, "udp"), (1, "icmp"), (58, "icmpv6"), (132, "sctp"), (2, "2"), (255, "255")]
)
def test_protocols_by_name(number: int, name: str) -> None:
    assert proto_name(number) == name


@pytest.mark.parametrize(
    ("proto", "state", "name"),
    [
        (6, 7, "TIME_WAIT"),
        (6, 9, "SYN_SENT2"),
        (6, 10, None),
        (6, 255, None),
        (132, 8, "HEARTBEAT_SENT"),
        (33, 4, "OPEN"),
        (17, 3, None),
    ],
)
def test_states_by_name(proto: int, state: int, name: str | None) -> None:
    assert state_name(proto, state) == name
