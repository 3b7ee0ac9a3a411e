"""How far counters have come between marks."""

from natop.model import Conntrack, Mark, NetnsTcp
from natop.summarise.window import WINDOW_S, ended, extended, over, risen, since


def mark(at: float, found: int, **lost: int) -> Mark:
    """Counters at a time; `lost` are SYN retransmits by container."""
    tcp = {name: NetnsTcp(f"net:[{name}]", {"syn_retrans": number}) for name, number in lost.items()}
    return Mark(at, at, Conntrack(counters={"found": found % 2**32}, cpus=({"found": found % 2**32},)), tcp)


def test_counters_wrap() -> None:
    gone_by = since(mark(0, 2**32 - 2), mark(30, 2**32 + 5))
    assert gone_by is not None
    assert gone_by.counters == {"found": 7}
    assert gone_by.cpus == {"found": 1}


def test_a_namespace_that_came_later_counts_from_when_it_was_known() -> None:
    gone_by = over([mark(0, 0, web=5), mark(10, 0, web=6, app=100), mark(20, 0, web=9, app=107)])
    assert gone_by is not None
    assert gone_by.tcp == {"web": {"syn_retrans": 4}, "app": {"syn_retrans": 7}}
    assert gone_by.tcp_total("syn_retrans") == 11


def test_a_namespace_whose_number_is_another_s_now_counts_from_when_it_was_its_own() -> None:
    """A namespace is new where its container has started anew, whatever its number."""
    told = (
        NetnsTcp("net:[1]", {"syn_retrans": number}, started_at=at) for number, at in ((9, "a"), (2, "b"), (5, "b"))
    )
    gone_by = over([Mark(at, at, Conntrack(), {"web": tcp}) for at, tcp in enumerate(told)])
    assert gone_by is not None
    assert gone_by.tcp == {"web": {"syn_retrans": 3}}


def test_no_mark_is_looked_at_once_all_namespaces_are_known() -> None:
    """Of a minute's marks the first as a rule tells all: 100 containers at 120 marks are 12,000 lookups otherwise."""

    class Unread(dict[str, NetnsTcp]):
        def get(self, *_: object) -> NetnsTcp:
            raise AssertionError("looked at in vain")

        items = keys = __iter__ = __getitem__ = get  # type: ignore[assignment]  # none may be used

    between = [Mark(at, at, Conntrack(), Unread()) for at in (1.0, 2.0)]
    gone_by = over([mark(0, 0, web=5), *between, mark(9, 0, web=7)])
    assert gone_by is not None
    assert gone_by.tcp == {"web": {"syn_retrans": 2}}


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


def test_namespaces_that_are_no_more_count_until_their_last_mark() -> None:
    """A job of a few seconds, one that started anew under its number, and one that was not read for a while."""
    jobs = [mark(0, 0, web=5), mark(10, 0, web=6, job=100), mark(20, 0, job=104), mark(30, 0, web=9)]
    assert ended(jobs) == {"syn_retrans": 4}
    anew = (
        NetnsTcp("net:[1]", {"syn_retrans": number}, started_at=at) for number, at in ((9, "a"), (11, "a"), (5, "b"))
    )
    assert ended([Mark(at, at, Conntrack(), {"web": tcp}) for at, tcp in enumerate(anew)]) == {"syn_retrans": 2}
    assert ended(()) == {}


def test_counters_of_other_cpus_are_not_compared() -> None:
    """A sum over fewer CPUs is smaller, which would look like a counter that wrapped."""
    whole = Mark(0, 0, Conntrack(counters={"found": 9}, cpus=({"found": 5}, {"found": 4})), {})
    part = Mark(9, 9, Conntrack(counters={"found": 5}, cpus=({"found": 5},)), {})
    assert risen(whole, part) == {}
    gone_by = since(whole, part)
    assert gone_by is not None
    assert gone_by.counters == {}
