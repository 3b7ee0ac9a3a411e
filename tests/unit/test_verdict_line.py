"""The verdict through the whole line: samples of a host in trouble, read tick by tick."""

from collections.abc import Iterator
from dataclasses import replace

from natop.diagnose.verdict import verdict
from natop.model import Finding, Sample, Snapshot
from natop.observe import observe
from tests.unit import netlink
from tests.unit.hosts import APP, CONTAINERS, HOST_NETNS, PROC, observed, sample, tcp_text
from tests.unit.plain import Flow, flow

RANGE = 511
"""NAT's ports for connections from a source port below 512."""
NETNS = "net:[1]"


def out(ports: int, first: int = 1) -> list[Flow]:
    """So many connections of `app` from its first ports to one end, each with its port kept."""
    return [
        flow(f"172.18.0.3:{n}", "198.51.100.9:5432", snat=f"203.0.113.10:{n}", id=n, timeout_s=432_000)
        for n in range(first, first + ports)
    ]


def tick(at: float, ports: int, lost: int) -> Sample:
    """A reading: ports in use, and first packets lost so far, whose SYNs came again at once."""
    counted = {"found": 0, "insert_failed": lost, "drop": lost, "clash_resolve": 0}
    stats = netlink.stats_global(ports, 262_144) + netlink.stats_cpu(0, counted)
    tcp = {HOST_NETNS: tcp_text(), NETNS: tcp_text(syn_retrans=lost)}
    return sample(out(ports), at=at, containers=CONTAINERS, stats=stats, tcp=tcp, members={APP.id: NETNS})


def folded(*ticks: Sample) -> Iterator[Snapshot]:
    taken = None
    for each in ticks:
        taken = observe(taken, each)
        yield taken


def grave(taken: Snapshot) -> list[Finding]:
    return [each for each in taken.findings or () if each.severity != "info"]


def test_exhaustion_is_told_for_as_long_as_its_losses_are_in_sight() -> None:
    """Full, then empty: never a race; a minute after, what is lost then is judged by itself."""
    lost = {0: 0, 2: 20, 4: 20, 6: 20, 62: 20, 66: 20, 68: 28}
    ports = {at: RANGE - 1 if at <= 2 else 10 for at in lost}
    told = dict(zip(lost, folded(*(tick(at, ports[at], number) for at, number in lost.items())), strict=True))
    named = {at: [(each.rule, each.lost) for each in grave(taken)] for at, taken in told.items()}
    exhausted = [("nat-port-exhaustion", 20)]
    assert named == {
        0: [("nat-port-exhaustion", 0)],
        2: exhausted,
        4: exhausted,
        6: exhausted,
        62: [],
        66: [],
        68: [("snat-race", 8)],
    }
    assert "were taken (now 2 %): 20 first packets lost" in grave(told[6])[0].summary
    assert any("held by app (510)" in each for each in grave(told[6])[0].evidence)


def test_a_burst_of_just_now_is_not_judged_before_its_syns_came_again() -> None:
    """While natop watches, tick by tick; the SYNs come with the tick after the losses."""

    def lost(at: float, lost: int, again: int) -> Sample:
        tcp = {HOST_NETNS: tcp_text(), NETNS: tcp_text(syn_retrans=again)}
        return replace(tick(at, 10, lost), tcp=tcp)

    before = [lost(at, 0, 0) for at in range(0, 12, 2)]
    early, later, last = list(folded(*before, lost(12, 20, 0), lost(14, 20, 20), lost(16, 20, 20)))[-3:]
    assert [each.rule for each in grave(early)] == ["unexplained-loss"]
    assert any("too early to tell" in text for text in grave(early)[0].evidence)
    assert [each.rule for each in grave(later)] == [each.rule for each in grave(last)] == ["snat-race"]


def test_losses_before_and_after_a_pool_was_full_are_one_finding() -> None:
    *_, last = folded(tick(0, RANGE - 1, 0), tick(2, RANGE - 1, 20), tick(4, 10, 20), tick(6, 10, 20), tick(8, 10, 23))
    (told,) = grave(last)
    assert (told.rule, told.lost) == ("nat-port-exhaustion", 20)
    assert "3 more lost while no pool was seen full" in told.evidence


def test_a_container_with_a_narrow_range_of_local_ports_runs_out_of_them() -> None:
    inside = tcp_text({"sys/net/ipv4/ip_local_port_range": "40000\t40999"}, sockets_in_use=960)
    taken = observed(
        sample(
            out(960, 40_000),
            containers=CONTAINERS,
            proc=PROC,
            tcp={HOST_NETNS: tcp_text(), NETNS: inside},
            members={APP.id: NETNS},
        )
    )
    (told,) = grave(taken)
    assert (told.rule, told.subject) == ("local-ports-exhausted", "app")
    assert told.evidence[0] == "960 of 1,000 ports (40000 to 40999)"


def test_few_lost_packets_are_no_alarm_and_yet_said() -> None:
    *_, last = folded(tick(0, 10, 0), tick(2, 10, 1), tick(8, 10, 1))
    told = verdict(last.findings, last)
    assert (told.severity, told.is_known) == (None, True)
    assert told.text.startswith("nothing grave")
    assert "1 new connection lost a SYN" in told.text
