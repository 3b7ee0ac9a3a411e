"""How far counters have come between marks."""

from natop.model import Conntrack, Mark, NetnsTcp
from natop.window import WINDOW_S, extended, over, since


def mark(at: float, found: int, **lost: int) -> Mark:
    """Counters at a time; `lost` are SYN retransmits by container."""
    tcp = {name: NetnsTcp(f"net:[{name}]", {"syn_retrans": number}) for name, number in lost.items()}
    return Mark(at, at, Conntrack(counters={"found": found % 2**32}, cpus=({"found": found % 2**32},)), tcp)


def test_counters_wrap() -> None:
    gone_by = since(mark(0, 2**32 - 2), mark(30, 2**32 + 5))
    assert gone_by is not None
    assert gone_by.counters == {"found": 7}
    assert gone_by.per_minute("found") == 14
    assert gone_by.cpus == {"found": 1}


def test_a_namespace_that_came_later_counts_from_when_it_was_known() -> None:
    gone_by = over([mark(0, 0, web=5), mark(10, 0, web=6, app=100), mark(20, 0, web=9, app=107)])
    assert gone_by is not None
    assert gone_by.tcp == {"web": {"syn_retrans": 4}, "app": {"syn_retrans": 7}}
    assert gone_by.tcp_total("syn_retrans") == 11


def test_another_namespace_of_the_same_container_is_not_compared() -> None:
    moved = NetnsTcp("net:[new]", {"syn_retrans": 1})
    gone_by = over([mark(0, 0, web=50), Mark(9, 9, Conntrack(), {"web": moved})])
    assert gone_by is not None
    assert gone_by.tcp.get("web", {}).get("syn_retrans", 0) == 0


def test_marks_of_the_last_minute_are_kept() -> None:
    marks: tuple[Mark, ...] = ()
    for at in range(0, 200, 10):
        marks = extended(marks, mark(at, at))
    assert [each.monotonic_s for each in marks] == [190 - WINDOW_S + step for step in range(0, 61, 10)]
    assert over(marks[:1]) is None
    assert over(()) is None
