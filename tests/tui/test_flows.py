"""View 2 and the way down to one flow."""

import re
from dataclasses import replace

import numpy as np
import pytest

from natop.columns.flows import FLOW_COLUMNS
from natop.model import Addresses, Snapshot, address_value
from natop.tui.flow import FlowScreen
from natop.tui.flows import FlowsScreen
from tests.tui.live import open_live
from tests.tui.worlds import NO_RIGHT, flow_table, v6_flow, world


async def test_all_flows_in_order(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("2")
        assert small[0].reading is not None
        assert live.table.line_count == len(small[0].reading.flows)
        assert "400 flows" in live.title
        assert isinstance(live.app.screen, FlowsScreen)


@pytest.mark.parametrize("key", [column.key for column in FLOW_COLUMNS])
async def test_every_column_sorts_and_reverses(small: list[Snapshot], key: str) -> None:
    async with open_live(small[:1], sort=key) as live:
        await live.press("2")
        reading, arranged = small[0].reading, live.view.arranged
        assert reading is not None
        assert arranged is not None
        assert arranged.sort == key
        rows = live.table.content.rows  # type: ignore[union-attr]  # FlowLines
        column = next(column for column in FLOW_COLUMNS if column.key == key)
        assert live.table.content is not None
        keys = column.order(live.table.content.flows)[rows]  # type: ignore[attr-defined]  # FlowLines
        known = keys[keys != column.unknown] if column.unknown is not None else keys
        assert np.array_equal(known, np.sort(known)[::-1] if arranged.descending else np.sort(known))
        await live.press("I")
        turned = column.order(live.table.content.flows)[live.table.content.rows]  # type: ignore[attr-defined]  # FlowLines
        assert np.array_equal(turned[: len(known)], known[::-1])
        assert np.array_equal(turned[len(known) :], keys[len(known) :]), "unknown ones come last either way"


async def test_equal_flows_keep_their_order_either_way(small: list[Snapshot]) -> None:
    async with open_live(small[:1], sort="proto") as live:
        await live.press("2")
        for _ in range(2):
            rows = live.table.content.rows  # type: ignore[union-attr]  # FlowLines
            proto = small[0].reading.flows.proto[rows]  # type: ignore[union-attr]  # it was read
            for number in np.unique(proto):
                assert (np.diff(rows[proto == number]) > 0).all()
            await live.press("I")


async def test_a_containers_flows_are_all_its_flows(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        for line, name in enumerate(live.names[:3]):
            total = live.cell(line, "flows")
            await live.press("enter")
            assert f"{live.table.line_count:,}" == total
            assert f"→ {name}" in live.title
            await live.press("escape", "down")


async def test_a_container_that_goes_away_is_said_to_be_gone() -> None:
    """By the name that it had; where the engine is silent, nobody knows, and the host's own flows go with nobody."""
    host = world(2)
    whole = host.snapshot(flow_table(80, host.containers))
    name, other = (each.name for each in host.containers)
    left = replace(host, containers=host.containers[1:]).snapshot(flow_table(80, host.containers[1:]), 1)
    silent = replace(host.snapshot(flow_table(80, host.containers), 2), inventory=None, containers=())
    async with open_live([whole, left, silent]) as live:
        await live.press(*["down"] * live.names.index(name), "enter")
        assert f"→ {name}  " in live.title
        assert "gone" not in live.title
        await live.step()
        assert f"→ {name}  gone  0 flows" in live.title
        assert f" {name} is gone" in "\n".join(live.frame)
        await live.press("escape")
        await live.press(*["down"] * live.names.index(other), "enter")
        assert "gone" not in live.title
        await live.press("escape")
        await live.press(*["down"] * live.names.index("(host)"), "enter")
        assert "→ (host)  " in live.title
        assert "gone" not in live.title
        await live.step()
        assert "gone" not in live.title


async def test_the_ends_of_both_tuples_stand_below_each_other(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        await live.press("2", "enter")
        both = [line for line in live.frame if " src " in line and " dst " in line]
        assert len(both) == 2
        assert len({line.index(" dst ") for line in both}) == 1


async def test_a_long_address_keeps_its_port() -> None:
    long, high = address_value("2001:db8:1234:5678:9abc::42"), np.uint64(64)
    one = v6_flow()
    called = Addresses(np.array([long >> int(high)], np.uint64), np.array([long & (2**64 - 1)], np.uint64))
    async with open_live([world(6).snapshot(replace(one, orig_dst=called))]) as live:
        await live.press("2")
        [line] = [line for line in live.frame if "SYN_SENT" in line]
        assert re.search(r"\[2001:db8:\S+…\S+:443 ", line)


async def test_names_instead_of_addresses(small: list[Snapshot]) -> None:
    async with open_live(small) as live:
        name = live.names[0]
        await live.press("enter")
        assert re.search(r"172\.18\.0\.\d+:\d+", "\n".join(live.frame))
        await live.press("d")
        shown = "\n".join(live.frame)
        assert not re.search(r"172\.18\.0\.\d+:\d+", shown)
        assert re.search(rf"{name}:\d+", shown)
        await live.press("escape", "enter")
        assert re.search(rf"{name}:\d+", "\n".join(live.frame)), "the choice stays"
        await live.press("d")
        assert re.search(r"172\.18\.0\.\d+:\d+", "\n".join(live.frame))


async def test_one_flow_with_everything_the_kernel_tells(small: list[Snapshot]) -> None:
    async with open_live(small, (100, 30)) as live:
        await live.press("2", "down", "enter")
        assert isinstance(live.app.screen, FlowScreen)
        shown = "\n".join(live.frame)
        for word in ("path", "client", "server", "original   src", "reply      src", "status", "CONFIRMED", "timeout",
                     "zone", "mark 0x0", "id ", "packets", "bytes", "age", "since"):  # fmt: skip
            assert word in shown
        await live.press("escape")
        assert isinstance(live.app.screen, FlowsScreen)
        assert live.table.cursor == 1


async def test_a_flow_that_goes_stays_with_its_last_numbers(small: list[Snapshot]) -> None:
    before, after = small[0], world(6).snapshot(None, 5)
    shrunk = world(6).snapshot(before.reading.flows.take(np.arange(5, 200)), 1, before)  # type: ignore[union-attr]  # it was read
    async with open_live([before, shrunk, after]) as live:
        await live.press("2")
        content = live.table.content
        assert content is not None
        live.table.place_cursor(content.identity(content.rows.argmin()))  # type: ignore[attr-defined]  # FlowLines
        await live.press("enter")
        path = live.frame[7]
        await live.step()
        assert "gone at" in live.title
        assert live.frame[7] == path


async def test_an_ipv6_flow_fits() -> None:
    async with open_live([world(6).snapshot(v6_flow())], (80, 26)) as live:
        await live.press("2")
        assert "[fd00:19::2]:40000" in "\n".join(live.frame)
        await live.press("enter")
        shown = "\n".join(live.frame)
        assert "[2001:db8::42]:443" in shown
        assert "zone       3   mark 0x7   id 77" in shown
        assert "nf_conntrack_acct is off" in shown


async def test_flows_that_cannot_be_read_say_why() -> None:
    async with open_live([world(3, gaps=(NO_RIGHT,)).snapshot(None)]) as live:
        await live.press("2")
        assert live.table.line_count == 0
        assert any(line.strip() == NO_RIGHT.reason for line in live.frame)
        await live.press("enter", "y", "down", "greater_than_sign", "I", "f6", "d", "F")
        assert isinstance(live.app.screen, FlowsScreen)


async def test_a_tall_screen_shows_the_path_of_the_flow_under_the_cursor(small: list[Snapshot]) -> None:
    async with open_live(small, (160, 50)) as live:
        await live.press("2")
        assert any(line.startswith(" path ") for line in live.frame)
