"""The pools that the verdict looks at: those with the fewest ports to be had, the fullest, the one that loses most."""

from hypothesis import given
from hypothesis import strategies as st

from natop.summarise.scarce import scarcest
from tests.unit.scenarios import Toml, snapshot

CAPACITY = 64_512


@st.composite
def pools(draw: st.DrawFn, number: int) -> Toml:
    used = draw(st.integers(1, CAPACITY))
    loss = draw(st.sampled_from((0.0, 0.01, 0.5)))
    return {
        "nat": "203.0.113.10",
        "remote": "198.51.100.7",
        "port": number,
        "used": used,
        "soft": draw(st.integers(0, used)),
        "loss": loss,
    }


@given(
    st.integers(1, 12).flatmap(lambda size: st.tuples(*(pools(number) for number in range(size)))), st.integers(1, 5)
)
def test_the_scarcest_come_first_and_the_fullest_and_the_likeliest_to_lose_are_among_them(
    told: tuple[Toml, ...], most: int
) -> None:
    found = scarcest(snapshot({"pool": list(told)}), most)
    assert found is not None
    hard = sorted((pool["used"] - pool["soft"] for pool in told), reverse=True)[:most]
    assert [pool.used - pool.soft for pool in found][: len(hard)] == hard
    assert len(found) <= most + 2
    assert len({pool.filter for pool in found}) == len(found)
    assert max(pool.used for pool in found) == max(pool["used"] for pool in told)
    assert max(pool.loss for pool in found) == max(pool["loss"] for pool in told)


def test_no_pools_are_not_unread_pools() -> None:
    assert scarcest(snapshot({}), 5) == ()
    assert scarcest(snapshot({"pool": "unread"}), 5) is None


def test_whose_ports_they_are() -> None:
    pool = {"nat": "203.0.113.10", "remote": "198.51.100.7", "used": 9, "holders": {"api": 9}}
    (told,) = scarcest(snapshot({"container": [{"name": "api"}], "pool": [pool]}), 5) or ()
    assert (told.name, told.holders) == ("203.0.113.10 → 198.51.100.7:443/tcp", (("api", 9),))
