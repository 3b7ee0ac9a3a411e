"""Sockets and who holds them: the index over them, docker-proxy's command line and descriptors, cgroups' paths."""

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natop.decode.sockets import decode_sockets
from natop.join.local import NOBODY, Parties, Proxy, SocketIndex, client_ends, holders, proxies, server_ends, tied
from natop.model import Descriptor, Process, Sockets, address_value
from tests.unit import diag, plain
from tests.unit.diag import Socket
from tests.unit.hosts import container
from tests.unit.plain import Ends, Flow

SHARED = -77
V4, V6 = ("10.0.0.1", "10.0.0.2", "127.0.0.1"), ("fd00:1::5", "fd00:2::5", "::1", "::ffff:10.0.0.1")
ANY = ("0.0.0.0", "::")
PORTS = (53, 80)
WEB, APP = container("web", "172.18.0.2"), container("app", "172.18.0.3")
OTHER = "9" * 64


def flow(orig: Ends, proto: int = plain.TCP) -> Flow:
    return Flow(orig=orig, reply=orig.inverted(), proto=proto, state=3 if proto == plain.TCP else None)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Socket], list[int], list[Flow]]:
    """A few sockets with their holders, and flows of few addresses and ports, so that they often meet."""
    proto = st.sampled_from((plain.TCP, plain.UDP))
    port = st.sampled_from(PORTS)
    family = st.sampled_from((V4, V6))

    def an_open_one() -> Socket:
        addresses = st.sampled_from(draw(family))
        local, remote = (f"{draw(addresses)}:{draw(port)}" for _ in range(2))
        return diag.connected(local, remote, proto=draw(proto))

    listener = st.builds(Socket, local=st.sampled_from((*V4, *V6, *ANY)), port=port, proto=proto)
    sockets = [an_open_one() for _ in range(draw(st.integers(0, 6)))] + draw(st.lists(listener, max_size=6))
    held = draw(st.lists(st.integers(-3, 2), min_size=len(sockets), max_size=len(sockets)))
    flows = []
    for _ in range(draw(st.integers(0, 8))):
        addresses = st.sampled_from(draw(st.sampled_from((V4, V6[:3]))))
        orig = Ends(draw(addresses), draw(addresses), draw(port), draw(port))
        flows.append(flow(orig, draw(st.sampled_from((plain.TCP, plain.UDP, plain.SCTP)))))
    return sockets, held, flows


def number(address: str) -> int:
    """IPv4 within ::ffff:0:0/96 is IPv4."""
    return plain.value(address)


def judged_connection(sockets: Sequence[Socket], local: tuple[str, int], remote: tuple[str, int], proto: int) -> int:
    """The one socket with exactly these ends; none where two have them."""
    wanted = (proto, number(local[0]), local[1], number(remote[0]), remote[1])
    found = [
        row
        for row, each in enumerate(sockets)
        if each.remote_port
        and (each.proto, number(each.local), each.port, number(each.far), each.remote_port) == wanted
    ]
    return found[0] if len(found) == 1 else NOBODY


def judged_listener(sockets: Sequence[Socket], held: Sequence[int], local: tuple[str, int], proto: int) -> int:
    """At the very address, else at any address of the family, else at any of both."""
    is_v4 = number(local[0]) >> 32 == 0xFFFF
    for address in (local[0], "0.0.0.0" if is_v4 else "::", "::"):
        there = {
            held[row]
            for row, each in enumerate(sockets)
            if not each.remote_port
            and (each.proto, number(each.local), each.port) == (proto, number(address), local[1])
        }
        code = there.pop() if len(there) == 1 else SHARED if there else NOBODY
        if code != NOBODY:
            return code
    return NOBODY


@given(worlds())
def test_the_index_equals_plain_loops(world: tuple[list[Socket], list[int], list[Flow]]) -> None:
    sockets, given_held, flows = world
    numbered = [replace(each, inode=row) for row, each in enumerate(sockets)]
    table = decode_sockets(diag.answers(numbered))
    held = np.array([given_held[inode] for inode in table.inode.tolist()], np.int32)
    index = SocketIndex(table, held, SHARED)
    columns, rows = plain.table(flows), np.arange(len(flows))
    for ends, spelled in (
        (client_ends(columns, rows), [(f.orig.src, f.orig.sport, f.orig.dst, f.orig.dport) for f in flows]),
        (server_ends(columns, rows), [(f.reply.src, f.reply.sport, f.reply.dst, f.reply.dport) for f in flows]),
    ):
        own = index.connected(ends)
        told = [int(table.inode[row]) if row != NOBODY else NOBODY for row in own.tolist()]
        protos = [each.proto for each in flows]
        expected = [
            judged_connection(sockets, (src, sport), (dst, dport), proto)
            for (src, sport, dst, dport), proto in zip(spelled, protos, strict=True)
        ]
        assert told == expected
        assert index.holder(own).tolist() == [NOBODY if row == NOBODY else given_held[row] for row in expected]
        assert index.listening(ends).tolist() == [
            judged_listener(sockets, given_held, (src, sport), proto)
            for (src, sport, _, _), proto in zip(spelled, protos, strict=True)
        ]


def test_two_connections_whose_peers_share_a_low_half() -> None:
    peers = ("fd00:1::5", "fd00:2::5")
    sockets = [diag.connected("fd00:9::1:4000", f"{peer}:80", inode=row) for row, peer in enumerate(peers)]
    table = decode_sockets(diag.answers(sockets))
    index = SocketIndex(table, table.inode.astype(np.int32), SHARED)
    flows = plain.table([flow(Ends("fd00:9::1", peer, 4000, 80)) for peer in peers])
    assert index.holder(index.connected(client_ends(flows, np.arange(2)))).tolist() == [0, 1]


def test_two_prefixes_with_one_low_half() -> None:
    sockets = [diag.listening("fd00:1::5:80", inode=1), diag.listening("fd00:2::5:80", inode=2)]
    table = decode_sockets(diag.answers(sockets))
    index = SocketIndex(table, table.inode.astype(np.int32), SHARED)
    flows = plain.table([flow(Ends("fd00:9::1", f"fd00:{net}::5", 4000, 80)) for net in (1, 2, 3)])
    assert index.listening(server_ends(flows, np.arange(3))).tolist() == [1, 2, NOBODY]


def test_two_remote_prefixes_with_one_low_half() -> None:
    table = decode_sockets(diag.answers([diag.connected("fd00:9::1:80", "fd00:1::5:4000")]))
    index = SocketIndex(table, np.array([4], np.int32), SHARED)
    flows = plain.table([flow(Ends("fd00:9::1", f"fd00:{net}::5", 80, 4000)) for net in (1, 2)])
    assert index.connected(client_ends(flows, np.arange(2))).tolist() == [0, NOBODY]


@pytest.mark.parametrize(
    ("listener", "expected"),
    [("10.0.0.1:80", 5), ("::ffff:10.0.0.1:80", 5), ("0.0.0.0:80", 5), (":::80", 5), ("10.0.0.2:80", NOBODY)],
)
def test_where_a_listener_of_an_ipv4_flow_may_be_bound(listener: str, expected: int) -> None:
    table = decode_sockets(diag.answers([diag.listening(listener)]))
    index = SocketIndex(table, np.array([5], np.int32), SHARED)
    flows = plain.table([flow(Ends("10.0.0.9", "10.0.0.1", 4000, 80))])
    assert index.listening(server_ends(flows, np.arange(1))).tolist() == [expected]


@given(st.lists(st.booleans(), max_size=60), st.randoms(use_true_random=False))
def test_docker_proxy_s_connections_are_tied_by_descriptor(opening: list[bool], random: Random) -> None:
    """A process that accepts and then dials, the lowest free descriptors each, while others close in any order."""
    free, pairs = list(range(5, 200)), {}
    for is_new in opening:
        if is_new:
            accepted, dialled = free.pop(0), free.pop(0)
            pairs[dialled] = accepted
        elif pairs:
            dialled = random.choice(sorted(pairs))
            free = sorted([*free, dialled, pairs.pop(dialled)])
    rows_accepted = {fd: 1000 + fd for fd in pairs.values()}
    rows_dialled = {fd: 2000 + fd for fd in pairs}
    assert tied(rows_accepted, rows_dialled) == {2000 + d: 1000 + a for d, a in pairs.items()}


@given(st.sets(st.integers(3, 40), max_size=12), st.sets(st.integers(3, 40), max_size=12))
def test_no_accepted_connection_is_tied_twice(accepted: set[int], dialled: set[int]) -> None:
    pairs = tied({fd: fd for fd in accepted}, {fd: 100 + fd for fd in dialled - accepted})
    assert len(set(pairs.values())) == len(pairs) == min(len(accepted), len(dialled - accepted))
    assert set(pairs.values()) <= accepted


COMMAND = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80"


def proxy(command: str, *, name: str = "docker-proxy", pid: int = 9) -> Proxy | None:
    return Proxy.of(Process(pid, name, tuple(command.split())), (Descriptor(4, 44),))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (COMMAND, (plain.TCP, 8080, "172.17.0.2", 80)),
        (f"/usr/bin/{COMMAND} -use-listen-fd", (plain.TCP, 8080, "172.17.0.2", 80)),
        (COMMAND.replace("tcp", "udp").replace(" -", " --"), (plain.UDP, 8080, "172.17.0.2", 80)),
        (COMMAND.replace("tcp", "sctp"), (plain.SCTP, 8080, "172.17.0.2", 80)),
        (COMMAND.replace("172.17.0.2", "fd00::2").replace("0.0.0.0", "::"), (plain.TCP, 8080, "fd00::2", 80)),
    ],
)
def test_docker_proxy_s_command_line(command: str, expected: tuple[int, int, str, int]) -> None:
    found = proxy(command)
    assert found
    proto, host_port, address, port = expected
    assert (found.proto, found.host_port, found.container_port) == (proto, host_port, port)
    assert found.container_address == address_value(address)


@pytest.mark.parametrize(
    "command",
    ["", "docker-proxy", COMMAND.replace("tcp", "pigeon"), COMMAND.replace("8080", "many"), COMMAND[:-3], "-proto"],
)
def test_what_is_no_command_line_of_docker_proxy(command: str) -> None:
    assert proxy(command) is None


@given(st.lists(st.sampled_from([*COMMAND.split(), "-", "--", ""]) | st.text(max_size=8), max_size=14))
def test_any_command_line_is_borne(words: list[str]) -> None:
    Proxy.of(Process(1, "docker-proxy", tuple(words)), ())


def test_only_docker_proxies_with_a_socket_here_count() -> None:
    """Another engine's, in another namespace, may stand before a container of the very same address."""
    here, there = (Process(pid, "docker-proxy", tuple(COMMAND.split())) for pid in (1, 2))
    named_alike = Process(3, "nginx", tuple(COMMAND.split()))
    held = {process: (Descriptor(4, inode),) for process, inode in ((here, 44), (there, 55), (named_alike, 44))}
    answers = diag.answers([diag.listening("0.0.0.0:8080", inode=44)])
    found = proxies(Sockets(answers, {}, held), decode_sockets(answers))
    assert [each.process for each in found] == [here]


@pytest.mark.parametrize(
    ("users", "believed"),
    [(None, [0, 1000, 1001, None]), ({0}, [0]), ({0, 1000}, [0, 1000])],
    ids=["unknown", "root", "rootless"],
)
def test_only_the_engine_s_own_docker_proxies_are_believed(users: set[int] | None, believed: list[int | None]) -> None:
    """Any user may call a process so, with whatever words behind it, and would get another's connections."""
    known = None if users is None else frozenset(users)
    everybody = enumerate((0, 1000, 1001, None), 1)
    named = [Process(pid, "docker-proxy", tuple(COMMAND.split()), uid=uid) for pid, uid in everybody]
    held = {process: (Descriptor(4, 44),) for process in named}
    answers = diag.answers([diag.listening("0.0.0.0:8080", inode=44)])
    found = proxies(Sockets(answers, {}, held, known), decode_sockets(answers))
    assert [each.process.uid for each in found] == believed


def held_by(path: str, process: Process | None = None) -> str | int:
    """Who holds a socket whose cgroup has this path: the container's name, another's, or NOBODY."""
    answers = diag.answers([diag.listening("0.0.0.0:80", inode=44, cgroup=7)])
    held = {process: (Descriptor(4, 44),)} if process else {}
    parties = Parties()
    table = decode_sockets(answers)
    (code,) = holders(table, Sockets(answers, {7: path}, held), (WEB, APP), parties).tolist()
    return (WEB, APP)[code].name if code >= 0 else parties.names[-2 - code] if code < NOBODY else NOBODY


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{WEB.id}",
        f"/system.slice/docker-{WEB.id}.scope",
        f"/docker/{WEB.id}/init.scope/worker",
        f"/docker/{OTHER}/docker/{WEB.id}",
        f"/machine.slice/libpod-{WEB.id}.scope/container",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{WEB.id}.scope",
        f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{WEB.id}.scope",
        f"/shop/compose/{WEB.id}",
    ],
)
def test_a_container_s_cgroup(path: str) -> None:
    assert held_by(path) == "web"
    assert held_by(path, Process(12, "nginx")) == "web", "the container, not its process"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/nginx.service", "host: nginx.service"),
        ("/system.slice/evil\x1b[2J.service", "host: evil\ufffd[2J.service"),
        (f"/docker/{OTHER}", NOBODY),
        (f"/docker/{WEB.id[:63]}", NOBODY),
        ("/user.slice/session-1.scope", NOBODY),
        ("/", NOBODY),
        ("", NOBODY),
    ],
)
def test_another_s_cgroup(path: str, expected: str | int) -> None:
    assert held_by(path) == expected
    assert held_by(path, Process(12, "nginx")) == "host: nginx[12]", "a process says more than its unit"


def test_a_cgroup_that_is_not_known() -> None:
    answers = diag.answers([diag.listening("0.0.0.0:80", inode=44, cgroup=None)])
    held = {Process(12, "sshd"): (Descriptor(3, 44), Descriptor(4, 45)), Process(13, "nc"): (Descriptor(3, 99),)}
    parties = Parties()
    codes = holders(decode_sockets(answers), Sockets(answers, {}, held), (WEB,), parties)
    assert codes.tolist() == [parties.code("host: sshd[12]")]


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    [
        (f"0::/system.slice/docker-{WEB.id}.scope\n", "web"),
        (f"12:pids:/docker/{WEB.id}\n1:name=systemd:/docker/{WEB.id}\n0::/\n", "web"),
        (f"0::/docker/{OTHER}\n", "host: nginx[12]"),
        ("0::/system.slice/nginx.service\n", "host: nginx[12]"),
        ("", "host: nginx[12]"),
    ],
)
def test_where_the_socket_s_cgroup_is_not_told_the_process_s_is(cgroups: str, expected: str) -> None:
    """Before Linux 5.8, and with cgroups of version 1."""
    assert held_by("", Process(12, "nginx", cgroups=cgroups)) == expected


@pytest.mark.parametrize(
    ("mode", "pid", "local", "expected"),
    [
        ("host", 12, (WEB.id,), 0),
        ("host", 12, (), -2),
        ("host", 13, (WEB.id,), -2),
        ("shop_default", 12, (WEB.id,), -2),
    ],
)
def test_the_first_process_of_a_host_network_container_is_known_by_its_number(
    mode: str, pid: int, local: tuple[str, ...], expected: int
) -> None:
    """Where the container runs on another machine, its process number is another's here."""
    answers = diag.answers([diag.listening("0.0.0.0:80", inode=44, cgroup=None)])
    held = {Process(12, "nginx"): (Descriptor(3, 44),)}
    containers = (replace(WEB, network_mode=mode, pid=pid),)
    found = holders(decode_sockets(answers), Sockets(answers, {}, held), containers, Parties(), local)
    assert found.tolist() == [expected]


@given(st.lists(st.text(max_size=5)))
def test_codes_of_parties(names: list[str]) -> None:
    parties = Parties()
    codes = [parties.code(name) for name in names]
    assert [parties.names[-2 - code] for code in codes] == names
    assert len(set(codes)) == len(set(names))
    assert set(parties.codes("")) == set(codes)


def test_the_judge_s_addresses() -> None:
    assert number("::ffff:10.0.0.1") == number("10.0.0.1") != int(ipaddress.ip_address("10.0.0.1"))
