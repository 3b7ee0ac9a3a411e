"""The view of counters: each with its words, what could not be read as a dash, bad news marked."""

from dataclasses import replace

from natop.model import COUNTER_NAMES, Firewall, NatRule, NetnsTcp, NetworkNat, Snapshot
from natop.tui.counterlines import counter_lines
from natop.tui.glyphs import UNICODE
from natop.tui.tones import Tone, text_of
from tests.tui.live import open_live
from tests.tui.worlds import world


def told(snapshot: Snapshot, width: int = 100) -> list[str]:
    return [text_of(line).rstrip() for line in counter_lines(snapshot, width, UNICODE)]


def busy() -> Snapshot:
    taken = world(3).history(200, 2)[-1]
    tcp = NetnsTcp("net:[1]", {}, {"syn_retrans": 1.5, "active_opens": 20.0}, sockets_in_use=7, time_wait_sockets=1234)
    first, second, third = taken.containers
    rule = NatRule("nft", "ip x", 100, "MASQUERADE", fully_random=True)
    return replace(
        taken,
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
    assert line.split()[1:] == ["–", "–"]  # noqa: RUF001  # an en dash is what is meant
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
