"""What the screen tells of containers that are not in the table, and of flows whose owner is no container."""

from dataclasses import replace

import numpy as np
import pytest

from natop.model import HOST_SOCKETS, Addresses, Attachment, FlowTable, Kind, Snapshot, address_value
from natop.tui.flow import FlowScreen
from natop.tui.glyphs import ASCII, UNICODE
from natop.tui.tones import text_of
from natop.uapi import IpProto
from tests.tui.live import Live, open_live
from tests.tui.worlds import flow_table, stale_flows, untracked_world, v6_flow, world
from tests.unit import joining
from tests.unit.hosts import observed, sample
from tests.unit.plain import flow

ROOMY = (200, 50)


async def point_at(live: Live, name: str) -> str:
    live.table.place_cursor(live.view.table.content.rows[live.names.index(name)].key)  # type: ignore[union-attr]  # ContainerLines
    await live.settle()
    return "\n".join(live.frame)


async def test_containers_outside_the_table_have_dashes_and_the_reason() -> None:
    async with open_live(untracked_world().history(200, 2), ROOMY, at_once=2) as live:
        for name, reason in (("lan", "macvlan"), ("none", "no network")):
            line = live.names.index(name)
            for key in ("flows", "established", "time_wait", "inbound", "outbound", "new"):
                assert live.cell(line, key) == UNICODE.unknown
            assert live.cell(line, "mode") == f"not tracked: {reason}"
        assert live.cell(live.names.index("web"), "flows") != UNICODE.unknown


async def test_the_details_say_it_in_a_sentence() -> None:
    async with open_live(untracked_world().history(200, 2), ROOMY, at_once=2) as live:
        shown = await point_at(live, "lan")
        assert "not in this conntrack table: macvlan traffic bypasses this host's netfilter" in shown
        assert "lan 192.0.2.7" in shown
        assert "protocols" not in shown
        assert "not in this conntrack table: it has no network" in await point_at(live, "none")


async def test_ipvlan_l3_passes_netfilter_one_way() -> None:
    host = untracked_world()
    half = Attachment("lan", "ipvlan", "192.0.2.7", ipvlan_mode="l3")
    containers = [replace(each, networks=(half,)) if each.name == "lan" else each for each in host.containers]
    async with open_live(replace(host, containers=tuple(containers)).history(200, 1), ROOMY) as live:
        assert live.cell(live.names.index("lan"), "mode") == "not tracked: ipvlan l3"
        assert "only what ipvlan l3 sends passes this host's netfilter" in await point_at(live, "lan")


async def test_a_container_that_joined_another_is_told_by_its_name() -> None:
    async with open_live(untracked_world().history(200, 2), ROOMY, at_once=2) as live:
        assert live.cell(live.names.index("side"), "mode") == "container:web"
        shown = await point_at(live, "side")
        assert "joined web" in shown
        assert "172.18.0.2" in shown
        assert "0" * 20 not in shown


async def test_one_that_joined_an_untracked_one_says_so() -> None:
    host = untracked_world()
    lan = next(each for each in host.containers if each.name == "lan")
    joined = [
        replace(each, network_mode=f"container:{lan.id}") if each.name == "side" else each for each in host.containers
    ]
    async with open_live(replace(host, containers=tuple(joined)).history(200, 1), ROOMY) as live:
        line = live.names.index("side")
        assert (live.cell(line, "flows"), live.cell(line, "mode")) == (UNICODE.unknown, "not tracked: macvlan")
        shown = await point_at(live, "side")
        assert "joined lan" in shown
        assert "it shares lan's network: macvlan traffic bypasses" in shown


async def test_the_own_table_of_a_container(small: list[Snapshot]) -> None:
    containers = tuple(
        replace(each, own_table=12 if index == 0 else None) for index, each in enumerate(small[0].containers)
    )
    async with open_live([replace(small[0], containers=containers)], ROOMY) as live:
        shown = await point_at(live, containers[0].container.name)
        assert "own table 12 of 262,144" in shown
        assert "N reads it" in shown
        assert "own table" not in await point_at(live, containers[1].container.name)


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_kind_is_explained(kind: Kind) -> None:
    async with open_live([stale_flows(flow_table(5, world(6).containers), kind)], (80, 50)) as live:
        await live.press("2")
        line = next(line for line in live.frame if line.startswith(" kind "))
        assert len(line.split(kind.name, 1)[1].strip()) > 10
        assert len(line) < 80
        await live.press("enter")
        assert isinstance(live.app.screen, FlowScreen)
        assert any(kind.name in line for line in live.frame)


async def test_who_is_no_container_is_named() -> None:
    async with open_live([stale_flows(flow_table(5, world(6).containers))], (160, 50)) as live:
        await live.press("2")
        assert live.cell(0, "client") == "gone: web"
        assert "gone: web → – nobody known" in "\n".join(live.frame)  # noqa: RUF001  # the screen's dash
        await live.press("enter")
        assert any(line.split() == ["client", "gone:", "web"] for line in live.frame)


async def test_a_stale_flow_offers_the_command_that_deletes_it_and_y_copies_it() -> None:
    flows = flow_table(1, world(6).containers)
    async with open_live([stale_flows(flows)], (80, 24)) as live:
        await live.press("2", "enter", "y")
        command = (
            f"conntrack -D -p {'udp' if flows.proto[0] == IpProto.UDP else 'tcp'} "
            f"--orig-src {flows.orig_src.text(0)} --orig-dst {flows.orig_dst.text(0)} "
            f"--orig-port-src {flows.orig_sport[0]} --orig-port-dst {flows.orig_dport[0]}"
        )
        assert live.app.clipboard == command
        facts = " ".join(text_of(line).strip() for line in live.app.screen._facts)  # type: ignore[attr-defined]  # FlowScreen
        assert command in " ".join(facts.split())
        assert [each.message for each in live.app._notifications][-1].startswith("copied the command")


async def test_ipv6_and_zones_are_in_the_command() -> None:
    async with open_live([stale_flows(v6_flow())], (160, 50)) as live:
        await live.press("2")
        command = (
            "conntrack -D -f ipv6 -p tcp --orig-src fd00:19::2 --orig-dst 2001:db8::42 "
            "--orig-port-src 40000 --orig-port-dst 443 --zone 3"
        )
        assert command in "\n".join(live.frame)
        await live.press("enter", "y")
        assert live.app.clipboard == command


def icmp_flow() -> FlowTable:
    one = flow_table(1, world(6).containers)
    return replace(
        one,
        proto=np.array([IpProto.ICMP], np.uint8),
        orig_sport=np.array([77], np.uint16),
        orig_dport=np.array([8 << 8], np.uint16),
    )


async def test_icmp_is_told_apart_by_its_id() -> None:
    async with open_live([stale_flows(icmp_flow())], (80, 24)) as live:
        await live.press("2", "enter", "y")
        assert live.app.clipboard.startswith("conntrack -D -p icmp --orig-src ")
        assert live.app.clipboard.endswith(" --icmp-type 8 --icmp-code 0 --icmp-id 77")


async def test_other_flows_offer_no_command(small: list[Snapshot]) -> None:
    async with open_live(small, (160, 50)) as live:
        await live.press("2")
        assert "conntrack -D" not in "\n".join(live.frame)
        await live.press("enter", "y")
        assert "conntrack -D" not in "\n".join(live.frame)
        assert "original   src" in live.app.clipboard


def published() -> FlowTable:
    """A flow to a published port that the host masquerades, too."""

    def at(text: str) -> Addresses:
        return Addresses(np.zeros(1, np.uint64), np.array([address_value(text)], np.uint64))

    one = flow_table(1, world(6).containers)
    return replace(
        one,
        proto=np.array([IpProto.TCP], np.uint8),
        status=one.status | np.uint32(0x30),
        orig_src=at("198.51.100.7"),
        orig_dst=at("203.0.113.5"),
        reply_src=at("172.18.0.2"),
        reply_dst=at("172.18.0.1"),
    )


@pytest.mark.parametrize("ascii", [False, True])
async def test_the_path_marks_the_steps_of_nat(ascii: bool) -> None:
    async with open_live([world(6).snapshot(published())], (160, 50), ascii=ascii) as live:
        glyphs = ASCII if ascii else UNICODE
        await live.press("2")
        for _ in range(2):
            path = next(line for line in live.frame if line.startswith(" path "))
            words = path.split()[1:]
            assert words[1::2] == [glyphs.rewritten, glyphs.arrow, glyphs.rewritten]
            ends = [word.rsplit(":", 1)[0] for word in words[::2]]
            assert ends == ["198.51.100.7", "172.18.0.1", "203.0.113.5", "172.18.0.2"]
            await live.press("enter")


async def test_a_flow_tells_its_network() -> None:
    async with open_live([world(6).snapshot(published())], (80, 24)) as live:
        await live.press("2", "enter")
        assert any(line.split()[:1] == ["network"] for line in live.frame)


ELSEWHERE = flow(f"{joining.HOST}:9", f"{joining.REMOTE}:9")


def through_docker_proxy() -> Snapshot:
    """A connection's two flows, and one that docker-proxy has nothing to do with."""
    told = [replace(each, id=number) for number, each in enumerate([*joining.HALVES[::3], ELSEWHERE], 50)]
    sockets = {HOST_SOCKETS: joining.proxied(0)}
    containers, addresses = (joining.WEB, joining.APP), joining.HOST_ADDRESSES
    return observed(sample(told, containers=containers, addresses=addresses, sockets=sockets.get))


async def go_to(live: Live, called: str) -> int:
    """Point at the flow that called there, and say on which line it is."""
    assert live.table.content
    line = next(line for line in range(live.table.line_count) if live.cell(line, "dst") == called)
    live.table.place_cursor(live.table.content.identity(line))
    await live.settle()
    return line


@pytest.mark.parametrize("ascii", [False, True])
async def test_each_half_of_a_connection_through_docker_proxy_leads_to_the_other(ascii: bool) -> None:
    glyphs = ASCII if ascii else UNICODE
    first, second = f"172.18.0.3:50000 {glyphs.arrow} {joining.HOST}:8080", "172.17.0.1:60000"
    async with open_live([through_docker_proxy()], (160, 50), ascii=ascii) as live:
        await live.press("2")
        path = f"{first} {glyphs.copied} docker-proxy[500] {glyphs.copied} {second} {glyphs.arrow} 172.17.0.2:80"
        for called in (f"{joining.HOST}:8080", "172.17.0.2:80"):
            line = await go_to(live, called)
            assert path in "\n".join(live.frame)
            assert live.cell(line, "client") == "app"
        await live.press("enter")
        seen = []
        for _ in range(2):
            shown = "\n".join(live.frame)
            assert path in shown
            assert f"docker-proxy[500]: {joining.COMMAND}" in shown
            assert "Enter other half" in live.frame[-1]
            seen.append(next(line.split()[2:] for line in live.frame if line.startswith(" other half ")))
            await live.press("enter")
        assert [ends[0] for ends in seen] == ["172.18.0.3:50000", second]
        assert all(ends[-3:] == ["Enter", "shows", "it"] for ends in seen)


async def test_a_flow_without_another_half_has_no_way_to_it() -> None:
    async with open_live([through_docker_proxy()], (160, 50)) as live:
        await live.press("2")
        await go_to(live, f"{joining.REMOTE}:9")
        await live.press("enter", "enter")
        assert "Enter" not in live.frame[-1]
        shown = "\n".join(live.frame)
        assert joining.REMOTE in shown
        assert "other half" not in shown
        assert "docker-proxy" not in shown
