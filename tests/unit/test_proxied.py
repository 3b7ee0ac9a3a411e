"""docker-proxy's two halves of a connection: tied, named for the true client, and remembered."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from natop.join.flows import path_text
from natop.join.owners import Place
from natop.model import HOST_SOCKETS, Container, Descriptor, Process, Sockets
from tests.unit.diag import connected, listening
from tests.unit.hosts import container
from tests.unit.joining import (
    APP,
    CLI,
    COMMAND,
    CURL,
    GATEWAY,
    HALF_IN,
    HALF_OUT,
    HALVES,
    HOST,
    HOST_ADDRESSES,
    LISTENER,
    PROXY,
    REMOTE,
    THE_PROXY,
    WEB,
    Dumps,
    held,
    place,
    proxied,
)
from tests.unit.plain import UDP, Flow, flow

TIED = [("PROXIED", name, "web") for name in ("app", "cli", "app")] * 2


def test_docker_proxy_s_two_halves() -> None:
    assert Dumps().told(HALVES, place(APP, CLI, WEB, sockets=proxied(0, 1, 2))) == TIED


def test_the_true_client_stays_known() -> None:
    """While connections stay open, as they close, and where sockets cannot be read for once."""
    dumps = Dumps()
    for sockets in (proxied(0, 1, 2), proxied(0, 1, 2), proxied(0, 2), None, proxied(2), proxied()):
        assert dumps.told(HALVES, place(APP, CLI, WEB, sockets=sockets)) == TIED


def test_closed_halves_without_memory() -> None:
    told = Dumps().told(HALVES, place(APP, CLI, WEB, sockets=proxied()))
    assert told == [*TIED[:3], *[("PROXIED", THE_PROXY, "web")] * 3]


GONE_BEHIND = [("STALE", name, "gone: web") for name in ("app", "cli", "app")] * 2


@pytest.mark.parametrize(
    "others", [(), (replace(WEB, state="exited", networks=()),), (container("heir", "172.17.0.2"),)]
)
def test_the_container_behind_is_gone(others: tuple[Container, ...]) -> None:
    """docker-proxy has ended with it; both halves are what it has left, as long as they are there."""
    dumps, former = Dumps(), {"172.17.0.2": "web"}
    assert dumps.told(HALVES, place(APP, CLI, WEB, sockets=proxied(0, 1, 2))) == TIED
    for sockets in (held([]), held([]), None):
        assert dumps.told(HALVES, place(APP, CLI, *others, sockets=sockets, former=former)) == GONE_BEHIND
        assert halves(dumps) == [3, 4, 5, 0, 1, 2]


def test_the_container_behind_began_anew() -> None:
    """With a docker-proxy of another number."""
    first, again = (replace(WEB, started_at=f"2026-01-05T0{hour}:00:00Z") for hour in (7, 8))
    at, dumps = 1_767_600_000, Dumps()
    assert dumps.told(HALVES, place(APP, CLI, first, sockets=proxied(0, 1, 2)), at - 60) == TIED
    anew = replace(held([LISTENER]), held={Process(700, "docker-proxy", PROXY.command): (Descriptor(4, 1),)})
    for later in (60, 70):
        assert dumps.told(HALVES, place(APP, CLI, again, sockets=anew), at + later) == GONE_BEHIND


def test_the_client_is_gone() -> None:
    dumps = Dumps()
    dumps.told(HALVES, place(APP, CLI, WEB, sockets=proxied(0, 1, 2)))
    app_s, cli_s = ("STALE", "gone: app", "web"), TIED[1]
    for _ in range(2):
        told = dumps.told(HALVES, place(CLI, WEB, sockets=proxied(0, 1, 2), former={"172.18.0.3": "app"}))
        assert told == [app_s, cli_s, app_s] * 2


TIME_WAIT = 7


def ended(halves: Sequence[Flow], *left: int, state: int = TIME_WAIT) -> list[Flow]:
    """These flows in TIME_WAIT, each with so many seconds left."""
    return [replace(each, state=state, timeout_s=s) for each, s in zip(halves, left, strict=True)]


@pytest.mark.parametrize(
    ("accepted", "dialled", "expected"),
    [
        ((100, 90, 80), (100, 91, 79), [3, 4, 5, 0, 1, 2]),
        ((100, 90, 80), (80, 100, 90), [4, 5, 3, 2, 0, 1]),
        ((100, 90, 80), (98, 92, 70), [None] * 6),
        ((100, 100, 80), (100, 101, 80), [None, None, 5, None, None, 2]),
        ((100, 102, 80), (101, 60, 80), [None, None, 5, None, None, 2]),
        ((100, 90, 80), (100, 99, 80), [None, None, 5, None, None, 2]),
    ],
)
def test_connections_that_ended_when_no_other_did(
    accepted: tuple[int, ...], dialled: tuple[int, ...], expected: list[int | None]
) -> None:
    """Closed before anybody looked; where several ended at about the same time nobody can tell."""
    flows = [*ended(HALF_IN, *accepted), *ended(HALF_OUT, *dialled)]
    dumps, clients = Dumps(), ("app", "cli", "app")
    for _ in range(2):
        told = dumps.told(flows, place(APP, CLI, WEB, sockets=proxied()))
        assert halves(dumps) == expected
        names = [THE_PROXY if row is None else clients[row] for row in expected[3:]]
        assert told == [*TIED[:3], *[("PROXIED", name, "web") for name in names]]


def test_only_what_ended_in_good_order_is_tied_by_its_end() -> None:
    """Another state's time was begun anew by any packet."""
    dumps = Dumps()
    dumps.told(
        [*ended(HALF_IN, 100, 90, 80, state=3), *ended(HALF_OUT, 100, 90, 80)], place(APP, WEB, sockets=proxied())
    )
    assert halves(dumps) == [None] * 6


def test_who_called_from_beyond_the_host_and_hung_up() -> None:
    both = [*ended([BEYOND], 50), *ended(HALF_OUT[:1], 50)]
    told = Dumps().told(both, place(WEB, sockets=proxied()))
    assert told == [("PROXIED", None, "web"), ("PROXIED", REMOTE, "web")]


def test_new_connections_beside_remembered_ones() -> None:
    dumps = Dumps()
    first = [HALF_IN[0], HALF_OUT[0]]
    assert dumps.told(first, place(APP, CLI, WEB, sockets=proxied(0))) == [TIED[0]] * 2
    second = [*first, HALF_IN[1], HALF_OUT[1]]
    expected = [TIED[0], TIED[0], TIED[1], TIED[1]]
    assert dumps.told(second, place(APP, CLI, WEB, sockets=proxied(0, 1))) == expected


def test_an_open_socket_of_another_is_not_the_proxy_s() -> None:
    """As long as nobody is known to hold it, and once its process is found; also if it was taken for the proxy's."""
    direct, called = [HALF_OUT[0]], [HALF_OUT[0], HALF_IN[0]]
    own = [LISTENER, connected(f"{GATEWAY}:60000", "172.17.0.2:80", inode=30, cgroup=9)]
    unknown, known = held(own, proxy=[1]), held(own, proxy=[1], curl=[30])
    assert Dumps().told(direct, place(WEB, sockets=unknown)) == [("ROUTED", "host", "web")]
    assert Dumps().told(direct, place(WEB, sockets=known)) == [("ROUTED", "host: curl[900]", "web")]
    assert Dumps().told(direct, place(WEB, sockets=proxied())) == [("ROUTED", "host", "web")], "nobody called the proxy"
    dumps = Dumps()
    assert dumps.told(called, place(WEB, sockets=proxied()))[0] == ("PROXIED", THE_PROXY, "web")
    assert dumps.told(direct, place(WEB, sockets=known)) == [("ROUTED", "host: curl[900]", "web")]
    assert dumps.told(direct, place(WEB, sockets=proxied())) == [("ROUTED", "host: curl[900]", "web")]


def test_what_was_tied_stays_tied_whatever_the_descriptors_say() -> None:
    dumps, where = Dumps(), (APP, CLI, WEB)
    assert dumps.told(HALVES, place(*where, sockets=proxied(0, 1, 2))) == TIED
    mixed = proxied(0, 1, 2)
    order = (1, 10, 21, 11, 20, 12, 22)
    mixed = Sockets(mixed.answers, mixed.cgroups, {PROXY: tuple(Descriptor(fd, i) for fd, i in enumerate(order, 4))})
    assert Dumps().told(HALVES, place(*where, sockets=mixed)) != TIED
    assert dumps.told(HALVES, place(*where, sockets=mixed)) == TIED


def test_a_new_connection_is_not_tied_to_what_serves_another() -> None:
    """Where connections once came at the same time, descriptors stay interleaved for those that come later, alone."""
    dumps, where = Dumps(), (APP, CLI, WEB)
    first = [HALF_IN[0], HALF_OUT[0]]
    dumps.told(first, place(*where, sockets=proxied(0)))
    both = proxied(0, 1)
    order = ((4, 1), (5, 11), (7, 10), (9, 21), (10, 20))
    both = Sockets(both.answers, both.cgroups, {PROXY: tuple(Descriptor(fd, inode) for fd, inode in order)})
    second = [*first, HALF_IN[1], HALF_OUT[1]]
    assert dumps.told(second, place(*where, sockets=both)) == [TIED[0], TIED[0], TIED[1], TIED[1]]


def test_closed_halves_of_a_proxy_that_is_found_later() -> None:
    dumps = Dumps()
    unseen = proxied(process=False)
    assert dumps.told(HALVES, place(APP, CLI, WEB, sockets=unseen))[3:] == [("ROUTED", "host", "web")] * 3
    assert dumps.told(HALVES, place(APP, CLI, WEB, sockets=proxied()))[3:] == [("PROXIED", THE_PROXY, "web")] * 3


def test_the_host_to_another_container_is_not_proxied() -> None:
    other = flow("172.18.0.1:60000", "172.18.0.3:80")
    where = Place((APP, WEB), (*HOST_ADDRESSES, "172.18.0.1"), sockets={HOST_SOCKETS: proxied()}.get)
    assert Dumps().told([other], where) == [("ROUTED", "host", "app")]


def test_a_proxy_of_a_container_that_is_not_known() -> None:
    told = Dumps().told([HALF_IN[0]], place(APP, sockets=proxied(0)))
    assert told == [("PROXIED", "app", THE_PROXY)]


def test_host_to_a_proxied_port_of_its_own() -> None:
    here = flow("127.0.0.1:50000", "127.0.0.1:8080")
    sockets = held(
        [
            LISTENER,
            connected("127.0.0.1:50000", "127.0.0.1:8080", inode=30, cgroup=9),
            connected("127.0.0.1:8080", "127.0.0.1:50000", inode=10, cgroup=9),
            connected(f"{GATEWAY}:60000", "172.17.0.2:80", inode=20, cgroup=9),
        ],
        proxy=[1, 10, 20],
        curl=[30],
    )
    expected = [("PROXIED", "host: curl[900]", "web")] * 2
    assert Dumps().told([here, HALF_OUT[0]], place(WEB, sockets=sockets)) == expected


def halves(dumps: Dumps) -> list[int | None]:
    """For each row of the last dump the row of its other half."""
    return [dumps.last.other_half(row) for row in range(len(dumps.last.table))]


def test_each_half_leads_to_the_other_and_to_the_process() -> None:
    dumps = Dumps()
    for sockets in (proxied(0, 1, 2), proxied(0, 2), None, proxied()):
        dumps.told([*HALVES, DIRECT], place(APP, CLI, WEB, sockets=sockets))
        assert halves(dumps) == [3, 4, 5, 0, 1, 2, None]
        assert [dumps.last.is_dialled(row) for row in range(7)] == [False] * 3 + [True] * 3 + [False]
        for row in range(6):
            proxy = dumps.last.proxy(row)
            assert proxy
            assert (proxy.pid, proxy.command, proxy.target) == (500, COMMAND, "172.17.0.2:80")
        assert dumps.last.proxy(6) is None


DIRECT = flow("172.18.0.3:1", "172.17.0.2:80")
"""A container's, which docker-proxy has nothing to do with."""


def test_rows_that_move_are_still_each_other_s_half() -> None:
    """The dumps of a table have its flows in any order; ids tell them."""
    dumps = Dumps()
    dumps.told(HALVES, place(APP, CLI, WEB, sockets=proxied(0, 1, 2)))
    assert dumps.memory
    numbered = [replace(each, id=number) for number, each in enumerate(HALVES, 50)]
    mixed = [numbered[row] for row in (4, 0, 5, 3, 1)]
    dumps.told_as_they_are(mixed, place(APP, CLI, WEB, sockets=proxied()))
    assert halves(dumps) == [4, 3, None, 1, 0]
    assert [dumps.last.client(row) for row in range(5)] == ["cli", "app", "app", "app", "cli"]


@pytest.mark.parametrize("is_open", [True, False])
def test_both_halves_have_one_path(is_open: bool) -> None:
    dumps, where = Dumps(), (APP, CLI, WEB)
    dumps.told(HALVES, place(*where, sockets=proxied(0, 1, 2)))
    dumps.told(HALVES, place(*where, sockets=proxied(0, 1, 2) if is_open else proxied()))
    whole = f"172.18.0.3:50000 → {HOST}:8080 ⇄ docker-proxy[500] ⇄ {GATEWAY}:60000 → 172.17.0.2:80"
    assert path_text(dumps.last, 0) == path_text(dumps.last, 3) == whole


def test_the_path_of_a_half_alone() -> None:
    dumps = Dumps()
    dumps.told([HALF_IN[0]], place(APP, CLI, WEB, sockets=proxied(0)))
    assert path_text(dumps.last, 0) == f"172.18.0.3:50000 → {HOST}:8080 ⇄ docker-proxy[500] → 172.17.0.2:80"
    dumps = Dumps()
    dumps.told([HALF_OUT[0], HALF_IN[0]], place(APP, CLI, WEB, sockets=proxied()))
    assert path_text(dumps.last, 0) == f"docker-proxy[500] ⇄ {GATEWAY}:60000 → 172.17.0.2:80"


BEYOND = flow(f"{REMOTE}:50000", f"{HOST}:8080")
BEYOND_6 = flow("[2001:db8::9]:50000", "[2001:db8::10]:8080")
COMMAND_6 = COMMAND.replace("0.0.0.0", "::")
PROXY_6 = Process(600, "docker-proxy", tuple(COMMAND_6.split()))


@pytest.mark.parametrize(
    ("called", "listener", "accepted", "name"),
    [
        (BEYOND, "0.0.0.0:8080", (f"{HOST}:8080", f"{REMOTE}:50000"), REMOTE),
        (BEYOND_6, ":::8080", ("2001:db8::10:8080", "2001:db8::9:50000"), "2001:db8::9"),
    ],
)
def test_a_client_beyond_the_host(called: Flow, listener: str, accepted: tuple[str, str], name: str) -> None:
    """IPv6 callers of a container without IPv6 come by way of docker-proxy, as whom the container sees them."""
    open_ones = [
        listening(listener, inode=1, cgroup=9),
        connected(*accepted, inode=10, cgroup=9),
        connected(f"{GATEWAY}:60000", "172.17.0.2:80", inode=20, cgroup=9),
    ]
    dumps, expected = Dumps(), [("PROXIED", None, "web"), ("PROXIED", name, "web")]
    for sockets in (held(open_ones, proxy=[1, 10, 20]), held(open_ones[:1], proxy=[1]), None):
        where = Place((WEB,), (*HOST_ADDRESSES, "2001:db8::10"), sockets={HOST_SOCKETS: sockets}.get)
        assert dumps.told([called, HALF_OUT[0]], where) == expected
        assert halves(dumps) == [1, 0]
    assert dumps.told([HALF_OUT[0]], where) == [("ROUTED", None, "web")], "another flow of that id"


def test_a_client_that_is_known_later_is_named_on_both_halves() -> None:
    """At first nobody had looked at the process that calls."""
    here = flow("127.0.0.1:50000", "127.0.0.1:8080")
    sockets = [
        LISTENER,
        connected("127.0.0.1:50000", "127.0.0.1:8080", inode=30, cgroup=9),
        connected("127.0.0.1:8080", "127.0.0.1:50000", inode=10, cgroup=9),
        connected(f"{GATEWAY}:60000", "172.17.0.2:80", inode=20, cgroup=9),
    ]
    dumps = Dumps()
    at_first = dumps.told([here, HALF_OUT[0]], place(WEB, sockets=held(sockets, proxy=[1, 10, 20])))
    assert at_first == [("PROXIED", "host", "web")] * 2
    for more in ({"curl": [30]}, {}):
        told = dumps.told([here, HALF_OUT[0]], place(WEB, sockets=held(sockets, proxy=[1, 10, 20], **more)))
        assert told == [("PROXIED", f"host: curl[{CURL.pid}]", "web")] * 2


TWO_PROXIES = replace(
    held([LISTENER, listening(":::8080", inode=2, cgroup=9)]),
    held={PROXY: (Descriptor(4, 1),), PROXY_6: (Descriptor(4, 2),)},
)
"""One for callers over IPv4, one for those over IPv6, as Docker starts them for a port."""


@pytest.mark.parametrize(
    ("called", "proxy"),
    [([BEYOND], 500), ([BEYOND_6], 600), ([BEYOND, BEYOND_6], None)],
)
def test_which_of_two_proxies_dialled_what_is_closed(called: list[Flow], proxy: int | None) -> None:
    """By the family of who called; where both were called, nobody can tell."""
    dumps = Dumps()
    where = Place((WEB,), (*HOST_ADDRESSES, "2001:db8::10"), sockets={HOST_SOCKETS: TWO_PROXIES}.get)
    told = dumps.told([HALF_OUT[0], *called], where)
    name = f"host: docker-proxy[{proxy}]" if proxy else "host: docker-proxy"
    assert told == [("PROXIED", name, "web"), *[("PROXIED", None, "web")] * len(called)]
    known = dumps.last.proxy(0)
    assert (known.pid if known else None, dumps.last.is_dialled(0)) == (proxy, True)
    assert [each and each.pid for each in map(dumps.last.proxy, range(1, len(told)))] == [
        600 if each is BEYOND_6 else 500 for each in called
    ]
    assert path_text(dumps.last, 0) == f"{name.removeprefix('host: ')} ⇄ {GATEWAY}:60000 → 172.17.0.2:80"


ASKED = [flow(f"172.18.0.{3 + n}:5000{n}", f"{HOST}:8080", proto=UDP) for n in range(2)]
ASKING = [flow(f"{GATEWAY}:6000{n}", "172.17.0.2:80", proto=UDP) for n in range(2)]


def datagrams(dialled: int) -> Sockets:
    """docker-proxy's for UDP: one listener for all clients, a connected socket for each."""
    udp = Process(500, "docker-proxy", tuple(COMMAND.replace("tcp", "udp").split()))
    sockets = [listening("0.0.0.0:8080", inode=1, cgroup=9, proto=UDP)]
    sockets += [
        connected(f"{GATEWAY}:6000{n}", "172.17.0.2:80", inode=20 + n, cgroup=9, proto=UDP) for n in range(dialled)
    ]
    found = held(sockets)
    inodes = (1, *range(20, 20 + dialled))
    return Sockets(
        found.answers, found.cgroups, {udp: tuple(Descriptor(fd, each) for fd, each in enumerate(inodes, 4))}
    )


def test_udp_is_tied_where_there_is_but_one_client() -> None:
    dumps, where = Dumps(), (APP, CLI, WEB)
    both = [ASKED[0], ASKING[0]]
    for dialled in (1, 1, 0):
        assert dumps.told(both, place(*where, sockets=datagrams(dialled))) == [("PROXIED", "app", "web")] * 2
        assert halves(dumps) == [1, 0]
    told = dumps.told([*both, ASKED[1], ASKING[1]], place(*where, sockets=datagrams(2)))
    assert told == [*[("PROXIED", "app", "web")] * 2, *[("PROXIED", "cli", "web")] * 2], "the one that is new"


def test_udp_of_several_clients_at_once_names_the_proxy() -> None:
    dumps = Dumps()
    told = dumps.told([*ASKED, *ASKING], place(APP, CLI, WEB, sockets=datagrams(2)))
    assert told == [("PROXIED", "app", "web"), ("PROXIED", "cli", "web"), *[("PROXIED", THE_PROXY, "web")] * 2]
    assert halves(dumps) == [None] * 4


def test_an_answer_from_another_address_than_was_called_is_no_half() -> None:
    """The listener is bound to every address, so that the kernel chooses the one that the answer comes from."""
    answer = flow("172.18.0.1:8080", "172.18.0.3:50000", proto=UDP)
    where = Place((APP, CLI, WEB), (*HOST_ADDRESSES, "172.18.0.1"), sockets={HOST_SOCKETS: datagrams(1)}.get)
    dumps = Dumps()
    for _ in range(2):
        told = dumps.told([ASKED[0], ASKING[0], answer], where)
        assert told == [*[("PROXIED", "app", "web")] * 2, ("ROUTED", THE_PROXY, "app")]
        assert halves(dumps) == [1, 0, None]


def test_the_first_datagram_is_seen_before_the_proxy_has_dialled() -> None:
    dumps, where = Dumps(), (APP, CLI, WEB)
    assert dumps.told([ASKED[0]], place(*where, sockets=datagrams(0))) == [("PROXIED", "app", "web")]
    told = dumps.told([ASKED[0], ASKING[0]], place(*where, sockets=datagrams(1)))
    assert told == [("PROXIED", "app", "web")] * 2
