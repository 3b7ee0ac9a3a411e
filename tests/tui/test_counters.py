"""The view of counters: each with its words, what could not be read as a dash, bad news marked."""

from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.model import COUNTER_NAMES, Conntrack, Firewall, Gap, NatRule, NetnsTcp, NetworkNat, Snapshot, TimeWait
from natop.summarise.window import watched
from natop.tui.counterlines import counter_lines
from natop.tui.formats import clock
from natop.tui.glyphs import UNICODE
from natop.tui.tones import Tone, text_of
from tests.tui.live import open_live
from tests.tui.worlds import world


def told(snapshot: Snapshot, width: int = 100) -> list[str]:
    return [text_of(line).rstrip() for line in counter_lines(snapshot, width, UNICODE)]


def busy() -> Snapshot:
    taken = world(3).history(200, 2)[-1]
    tcp = NetnsTcp(
        "net:[1]",
        {},
        {"syn_retrans": 1.5, "active_opens": 20.0},
        sockets_in_use=7,
        time_wait_sockets=1234,
        sysctls={"ip_local_port_range": (1024, 2047), "somaxconn": 4096},
        lost_syns_per_s=0.7,
    )
    host = replace(tcp, counters={"syn_retrans": 812, "out_segs": 99_000}, lost_syns_per_s=None)
    first, second, third = taken.containers
    rule = NatRule("nft", "ip x", 100, "MASQUERADE", fully_random=True)
    return replace(
        taken,
        tcp=host,
        host=replace(taken.host, sysctls={**taken.host.sysctls, "somaxconn": 4096}),
        cpu_rates=({"insert_failed": 0.2}, {"insert_failed": 0.3}),
        conntrack=replace(taken.conntrack, cpus=({}, {})),
        containers=(replace(first, tcp=tcp), replace(second, tcp_of=first.container.name), third),
        firewall=Firewall(
            (rule,), (NetworkNat("shop", "172.18.0.0/16", rule), NetworkNat("in", "172.19.0.0/16", None))
        ),
    )


def test_every_counter_has_its_words() -> None:
    lines = told(busy())
    for name in COUNTER_NAMES:
        at = next(number for number, line in enumerate(lines) if line.startswith(f" {name} "))
        assert lines[at + 1].startswith("   ")
        assert len(lines[at + 1]) > 20


def test_a_rising_failure_is_marked_and_split_by_cpu() -> None:
    lines = counter_lines(busy(), 100, UNICODE)
    line = next(line for line in lines if text_of(line).startswith(" insert_failed"))
    assert "0.5/s !" in text_of(line)
    assert "0.2 + 0.3" in text_of(line)
    assert any(tone is Tone.ALARM for _, tone in line)


def test_what_is_unknown_is_no_zero() -> None:
    taken = replace(world(2).snapshot(None), counter_rates=None)
    line = next(line for line in told(taken) if line.startswith(" found "))
    assert line.split()[1:] == ["–", "–", "–"]  # noqa: RUF001  # an en dash is what is meant
    host = next(line for line in told(taken) if line.startswith(" this host"))
    assert "0" not in host
    assert any("NAT rules could not be read" in line for line in told(taken))


def test_tcp_is_told_once_for_a_namespace_and_rules_by_network() -> None:
    lines = told(busy(), 140)
    names = [each.container.name for each in busy().containers]
    tcp = lines[next(number for number, line in enumerate(lines) if "NAMESPACE OF" in line) :]
    first = next(line for line in tcp if line.startswith(f" {names[0][:14]}"))
    assert "1.5!" in first
    assert "1,234" in first
    assert any(f"counted with {names[0]}" in line for line in lines)
    assert any(line.split() == ["shop", "MASQUERADE", "fully-random"] for line in lines)
    assert any(line.split()[:3] == ["in", "no", "NAT"] for line in lines)


def test_sockets_are_seen_on_a_screen_of_80() -> None:
    lines = told(busy(), 78)
    start = next(number for number, line in enumerate(lines) if line.startswith(" NAMESPACE OF"))
    assert lines[start].split()[-2:] == ["SOCKETS", "TIME_WAIT"]
    assert all(len(line) <= 78 for line in lines[start : start + 3])
    assert any(line.startswith(f" {busy().containers[0].container.name[:14]}") and "1,234" in line for line in lines)


def test_all_of_tcp_s_counters_that_matter_are_seen_where_there_is_room() -> None:
    """The more room, the more of them, and never a line that is cut."""
    names = ["SYN-RT", "LOST~", "RETRANS", "TIMEOUT", "FAILS", "OVERFL", "DROPS", "OUT", "IN"]
    heads = {width: line_of(told(busy(), width), " NAMESPACE OF") for width in (50, 78, 100, 110, 126, 158)}
    assert all(len(head) <= width for width, head in heads.items())
    seen = {width: [word.removesuffix("/s") for word in head.split()[2:-2]] for width, head in heads.items()}
    assert [len(each) for each in seen.values()] == [1, 4, 6, 7, 9, 9]
    assert seen[158] == names


def test_a_parameter_has_its_unit() -> None:
    taken = busy()
    host = replace(taken.host, sysctls={"nf_conntrack_udp_timeout": 20, "tcp_tw_reuse": 2})
    lines = told(replace(taken, host=host))
    assert any(line.startswith(" nf_conntrack_udp_timeout = 20 s  (default 30)") for line in lines)
    assert any(line.startswith(" tcp_tw_reuse = 2  ") for line in lines)


def test_parameters_that_are_not_as_they_should_be_come_first() -> None:
    taken = busy()
    host = replace(taken.host, sysctls={"nf_conntrack_max": 4000, "nf_conntrack_buckets": 100})
    lines = told(replace(taken, host=host, conntrack=replace(taken.conntrack, count=3900, max=4000)))
    start = lines.index(" kernel parameters")
    assert "CRITICAL" in lines[start + 1]


async def test_the_view_scrolls_and_copies() -> None:
    async with open_live([busy()], (80, 24)) as live:
        await live.press("5")
        assert any("conntrack's counters" in line for line in live.frame)
        await live.press(*["j"] * 5)
        assert not any("conntrack's counters" in line for line in live.frame)
        await live.press("y")


def line_of(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


async def test_counters_tell_how_far_they_came_since_the_first_reading_and_since_a_marker() -> None:
    """insert_failed stands at 40, 41, 42; the snapshots are two seconds apart, the first at 18:45:00."""
    taken = world(3).history(200, 3)
    async with open_live(taken, (80, 24)) as live:
        await live.press("5")
        assert line_of(live.frame, " insert_failed").split()[1:] == ["40", "–", "0"]  # noqa: RUF001
        await live.step()
        assert line_of(live.frame, " insert_failed").split()[1:3] == ["41", "0.5/s"]
        assert line_of(live.frame, " insert_failed").split()[4:5] == ["+1"]
        first = clock(taken[0].taken_at)
        assert f"SINCE {first}" in line_of(live.frame, " COUNTER")
        await live.press("m")
        await live.step()
        assert f"SINCE {clock(taken[1].taken_at)}" in line_of(live.frame, " COUNTER")
        assert "+1" in line_of(live.frame, " insert_failed")
        await live.press("M")
        assert f"SINCE {first}" in line_of(live.frame, " COUNTER")
        assert "+2" in line_of(live.frame, " insert_failed")


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_what_was_watched_is_the_sum_however_often_a_counter_wraps(rises: list[int], start: int) -> None:
    snapshot = world(1).snapshot(None)
    found = None
    for total in accumulate(rises, initial=start):
        counters = replace(snapshot.conntrack, counters={"found": total % 2**32})
        found = watched(found, replace(snapshot, conntrack=counters))
    assert found is not None
    assert found.counters == {"found": sum(rises)}


def test_a_counter_that_was_away_is_not_told_since() -> None:
    snapshot = world(1).snapshot(None)
    away = replace(snapshot, conntrack=replace(snapshot.conntrack, counters={}))
    assert watched(watched(watched(None, snapshot), away), snapshot).counters == {}


def test_of_many_cpus_the_busiest_is_named() -> None:
    taken = busy()
    rates = tuple({"insert_failed": 0.5 if cpu == 7 else 0.0} for cpu in range(64))
    lines = told(replace(taken, cpu_rates=rates, conntrack=replace(taken.conntrack, cpus=({},) * 64)))
    assert line_of(lines, " insert_failed").endswith("on 1; 0.5 on CPU 7")


def test_lost_syns_are_an_estimate_beside_those_sent_again() -> None:
    for width in (78, 140):
        lines = told(busy(), width)
        head = line_of(lines, " NAMESPACE OF")
        first = line_of(lines[lines.index(head) :], f" {busy().containers[0].container.name[:14]}")
        assert head.split()[2:4] == ["SYN-RT/s", "LOST~/s"]
        assert len(head) <= width
        assert "0.7!" in first
        assert any("LOST~ is an estimate" in line for line in lines)


def test_tcp_s_own_counters_have_their_words() -> None:
    lines = told(busy())
    at = lines.index(line_of(lines, " syn_retrans "))
    assert lines[at].split()[1:] == ["812", "1.5/s"]
    assert "each is a lost one" in lines[at + 1]
    assert line_of(lines, " timeouts ").split()[1:] == ["–", "–"]  # noqa: RUF001


def test_a_container_s_parameters_that_differ_stand_beside_the_host_s() -> None:
    lines = told(busy())
    name = busy().containers[0].container.name
    at = lines.index(line_of(lines, f" {name}: ip_local_port_range"))
    assert "= 1024 2047 ports" in lines[at]
    assert lines[at].endswith("WARNING")
    assert not any(f"{name}: somaxconn" in line for line in lines), "as the host's"
    assert any("not told by this kernel" in line for line in lines)


def test_each_network_s_rule_where_it_stands_and_what_comes_before_it() -> None:
    masquerade = NatRule("iptables-nft", "nat POSTROUTING", 100, "MASQUERADE", text="-A POSTROUTING -s 172.18.0.0/16")
    other = replace(masquerade, text="-A POSTROUTING -d 10.0.0.0/8 -j ACCEPT")
    place = NetworkNat("shop", "172.18.0.0/16", masquerade, {"udp": None}, (other,), hairpin=other)
    lines = told(replace(busy(), firewall=Firewall((masquerade,), (place,), "iptables-nft", False)))
    assert "   172.18.0.0/16: iptables-nft, nat POSTROUTING: -A POSTROUTING -s 172.18.0.0/16" in lines
    assert "   udp: no NAT" in lines
    assert any(line.startswith("   before it, for some packets: -A POSTROUTING -d 10.0.0.0/8") for line in lines)
    assert any(line.startswith("   to a port that it publishes itself:") for line in lines)
    assert line_of(lines, " backend").split()[1] == "iptables-nft"
    assert "hairpin NAT" in line_of(lines, " userland-proxy")


def test_what_could_not_be_read_says_why() -> None:
    gaps = (Gap("rules", "nft is not installed", "apt install nftables"), Gap("tcp", "no right to look"))
    unread = replace(world(1, gaps=gaps).snapshot(None), conntrack=Conntrack())
    lines = told(unread)
    assert "   nft is not installed; apt install nftables" in lines
    assert "   no right to look" in lines
    assert any("conntrack's counters were not told" in line for line in lines)


async def test_from_section_to_section() -> None:
    async with open_live([busy()], (80, 24)) as live:
        await live.press("5", "right_square_bracket")
        body = live.frame[live.frame.index(next(line for line in live.frame if "5 Counters" in line)) + 1 :]
        assert body[0].strip() == "what follows from them"
        await live.press("left_square_bracket")
        assert any("conntrack's counters" in line for line in live.frame)
        await live.pilot.press(*["right_square_bracket"] * 3)  # faster than they are drawn
        await live.settle()
        assert any(line.startswith(" TCP by network namespace") for line in live.frame)


async def test_help_is_for_this_view() -> None:
    async with open_live([busy()], (100, 60)) as live:
        await live.press("5", "question_mark")
        text = "\n".join(live.frame)
        assert "the section before, the next one" in text
        assert "Filters" not in text


def waiting(count: int, concern: str | None = None) -> TimeWait:
    return TimeWait(count, 0.5, count, 0, (), (), steady_state=count, peak_state=count, concern=concern)


def time_wait_section(taken: Snapshot) -> list[str]:
    lines = told(taken)
    start = next(i for i, line in enumerate(lines) if line.startswith(" flows in TIME_WAIT"))
    return lines[start : lines.index("", start)]


def crowd(number: int, *, most: int | None = 1_000_000) -> Snapshot:
    """So many containers, each with more in TIME_WAIT than the one before."""
    taken = world(number).snapshot(None)
    containers = tuple(replace(each, time_wait=waiting(i)) for i, each in enumerate(taken.containers))
    sysctls = {"nf_conntrack_tcp_timeout_time_wait": 30}
    return replace(
        taken,
        time_wait=waiting(5_000),
        containers=containers,
        conntrack=Conntrack(6_000, most),
        host=replace(taken.host, sysctls=sysctls),
    )


def test_time_wait_is_told_of_those_who_have_most() -> None:
    taken = crowd(20)
    title, host, *lines = time_wait_section(taken)
    assert title == " flows in TIME_WAIT (conntrack's, 30 s)", "growth is unknown"
    assert host.split()[:3] == ["this", "host", "5,000"]
    names = [each.container.name for each in taken.containers]
    shown = [line.split()[0] for line in lines if line.split()[0] in names]
    assert shown == names[:9:-1]
    assert lines[-1].strip() == "and 9 containers with less: i has each"
    assert sum("harmless" in line for line in lines) == 11


def test_a_table_with_room_is_not_said_to_have_refused() -> None:
    """A tracker or helper drops packets too, which the counters do not tell apart."""
    lines = [text_of(line) for line in counter_lines(crowd(1), 160, UNICODE)]
    (place,) = [number for number, line in enumerate(lines) if line.startswith(" table full ")]
    assert "for want of room or, where the table had room, by a tracker or helper" in lines[place + 1]


@pytest.mark.parametrize(("seconds", "told"), [(11.2, "11 s"), (58.0, "minute"), (60.0, "minute"), (100, "1 min 40 s")])
def test_the_title_names_the_time_that_growth_is_of(seconds: float, told: str) -> None:
    taken = crowd(1)
    assert taken.time_wait
    grown = replace(taken, time_wait=replace(taken.time_wait, growth_per_min=12.0, growth_s=seconds))
    assert time_wait_section(grown)[0].endswith(f", growth over the last {told}")


def test_why_time_wait_matters_stands_in_place_of_harmless() -> None:
    taken = crowd(2)
    first, second = taken.containers
    assert first.time_wait
    worse = replace(first, time_wait=replace(first.time_wait, count=9, concern="it fills the pool"))
    lines = time_wait_section(replace(taken, containers=(worse, second)))
    assert [line.strip() for line in lines].count("it fills the pool") == 1
    assert sum("harmless" in line for line in lines) == 2


def test_time_wait_that_comes_unevenly_is_harmless_so_far() -> None:
    taken = crowd(0)
    assert taken.time_wait
    burst = replace(taken.time_wait, steady_state=None, peak_state=2_000_000)
    lines = time_wait_section(replace(taken, time_wait=burst))
    assert sum("comes too unevenly to tell where it settles" in line for line in lines) == 1
    assert lines[-1].strip() == "harmless so far"
    never = replace(burst, peak_state=None)
    assert time_wait_section(replace(taken, time_wait=never))[-1].strip().startswith("not judged")


def test_time_wait_is_not_judged_where_the_table_s_fill_is_unknown() -> None:
    lines = time_wait_section(crowd(3, most=None))
    assert not [line for line in lines if "harmless" in line]
    assert sum("not judged: how full the table is was not told" in line for line in lines) == 3
