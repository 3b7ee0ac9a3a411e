"""Entering network namespaces: the right one, back again, and nothing left behind."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

import pytest

from natop.collect import conntrack, netns
from natop.collect.host import HostReader
from natop.decode.counters import PROC_FILES
from natop.decode.flows import decode_dump
from natop.feed import CannotRead, LiveFeed, Source, readings
from tests.kernel import product
from tests.lab.inject import Entry, inject
from tests.lab.netns import RUN_NETNS, Namespace, wait_until

ENTRY = Entry(src="10.0.0.1", dst="10.0.0.2")


def here() -> int:
    """The inode of the calling thread's namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def descriptors() -> list[str]:
    """What this process has open; a descriptor that is closed meanwhile is left out."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return sorted(links)


def by_name(namespace: Namespace) -> str:
    return namespace.name


def by_path(namespace: Namespace) -> str:
    return str(namespace.path)


def by_pid(namespace: Namespace) -> str:
    return str(namespace.start("sleep", "1000"))


@pytest.mark.parametrize("named", [by_name, by_path, by_pid])
def test_a_namespace_by_name_path_and_pid(namespace: Namespace, named: Callable[[Namespace], str]) -> None:
    inject(namespace, [ENTRY])
    document = product.snapshot(None, "--no-docker", "--flows", "--netns", named(namespace))
    assert document["host"]["netns"] == f"net:[{namespace.path.stat().st_ino}]"
    assert [flow["orig"]["src"] for flow in document["flows"]] == ["10.0.0.1"]


NO_NAMESPACE = {
    "a name": "natop-none",
    "no name": "",
    "the folder above": "..",
    "a path": "/run/netns/natop-none",
    "a pid": "4194305",  # above the largest pid_max
    "a pid of more digits than a kernel has": "9" * 40,
    "a file of another kind": "/etc/passwd",
    "a namespace of another kind": "/proc/self/ns/mnt",
    "a path through a file": "/etc/passwd/net",
}


@pytest.mark.parametrize("kind", NO_NAMESPACE)
def test_what_is_no_namespace_is_refused(kind: str) -> None:
    before, home = os.listdir(RUN_NETNS), here()
    with pytest.raises(CannotRead, match=r"no network namespace|cannot enter") as refusal:
        Source(NO_NAMESPACE[kind]).open(follow=False)
    assert len(str(refusal.value).splitlines()) <= 3
    assert (os.listdir(RUN_NETNS), here()) == (before, home)


@pytest.mark.parametrize("arguments", [("snapshot", "--flows"), ("-b", "-n", "1")])
def test_an_unknown_namespace_ends_with_status_3(arguments: tuple[str, ...]) -> None:
    done = product.natop(None, *arguments, "--no-docker", "--netns", "natop-none")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no network namespace 'natop-none'" in done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 3


def test_entering_what_does_not_exist_creates_nothing() -> None:
    before, home = os.listdir(RUN_NETNS), here()
    for name in ("natop-none", str(RUN_NETNS / "natop-none")):
        with pytest.raises(netns.NoSuchNetns, match="natop-none"):
            netns.find(name)
    with pytest.raises(netns.NoSuchNetns, match="natop-none"), netns.entered(RUN_NETNS / "natop-none"):
        pytest.fail("the block must not run")
    assert (os.listdir(RUN_NETNS), here()) == (before, home)


def test_a_thread_comes_back_also_after_an_exception(namespace: Namespace) -> None:
    home, inside = here(), namespace.path.stat().st_ino
    with netns.entered(namespace.path):
        assert here() == inside
    assert here() == home
    with pytest.raises(FileNotFoundError, match="mine"), netns.entered(namespace.path):
        os.stat("mine")
    assert here() == home


def test_only_the_calling_thread_is_moved(namespace: Namespace) -> None:
    home, seen = here(), list[int]()
    inside, looked = threading.Event(), threading.Event()

    def bystander() -> None:
        inside.wait(10)
        seen.append(here())
        looked.set()

    thread = threading.Thread(target=bystander)
    thread.start()
    with netns.entered(namespace.path):
        inside.set()
        assert looked.wait(10)
    thread.join()
    assert seen == [home]


def test_threads_read_different_namespaces_at_once(namespace: Namespace) -> None:
    """A dump belongs to the namespace in which it was asked for, though it is received elsewhere and later."""
    with Namespace() as other:
        inject(namespace, [ENTRY])
        inject(other, [Entry(src="10.0.0.9", dst="10.0.0.2", sport=port) for port in range(1, 4)])
        samples = [HostReader(PROC_FILES, place.path, None).sample(dump=True) for place in (namespace, other)]
        assert here() not in (namespace.path.stat().st_ino, other.path.stat().st_ino)
        flows = []
        for sample in samples:
            assert sample.dump is not None
            flows.append(decode_dump(sample.dump).flows)
    assert [len(table) for table in flows] == [1, 3]
    assert flows[1].orig_src.text(0) == "10.0.0.9"


def test_readings_leave_nothing_behind(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    list(readings(Source(namespace.name), 0.5, 1))  # what is loaded once and stays open
    home, open_before, threads_before = here(), descriptors(), threading.enumerate()
    assert len(list(readings(Source(namespace.name), 0.5, 2))) == 2
    feed = LiveFeed(Source(namespace.name), 0.5)
    ticks = iter(feed)
    assert len([next(ticks), next(ticks)]) == 2
    feed.close()
    assert list(ticks) == []
    # A reading of rules that is under way when natop ends is not waited for for long, and then ends by itself.
    wait_until(lambda: threading.enumerate() == threads_before, what="natop's threads to end")
    assert (here(), descriptors()) == (home, open_before)


def test_a_dump_given_up_leaves_nothing_behind(namespace: Namespace) -> None:
    inject(namespace, [Entry(src="10.0.0.1", dst="10.0.0.2", sport=port) for port in range(1, 5001)])
    before, threads_before = descriptors(), threading.enumerate()
    with netns.entered(namespace.path):
        blocks = conntrack.dump()
        assert len(next(blocks)) > 0
    blocks.close()  # type: ignore[attr-defined]  # it is a generator
    assert (descriptors(), threading.enumerate()) == (before, threads_before)


def test_a_namespace_that_vanishes_between_readings() -> None:
    with Namespace() as doomed:
        inject(doomed, [ENTRY])
        with product.start(None, "snapshot", "--no-docker", "--every", "0.5", "--netns", doomed.name) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            doomed.close()
            rest, complaint = process.communicate(timeout=20)
    assert process.returncode == 3
    documents = [json.loads(line) for line in (first, *rest.splitlines())]
    assert all(document["conntrack"]["flows"] == 1 for document in documents)
    assert doomed.name in complaint
    assert len(complaint.splitlines()) <= 3


def test_a_namespace_made_anew_is_not_compared_with_the_old(namespace: Namespace) -> None:
    inject(namespace, [ENTRY])
    taken = readings(Source(namespace.name), 0.5, 3)
    first = next(taken)
    namespace.close()
    with namespace:
        second, third = taken
    assert (first.conntrack.counters["insert"], second.conntrack.counters["insert"]) == (1, 0)
    assert second.host.netns != first.host.netns
    assert (second.interval_s, second.counter_rates) == (None, None)
    assert second.whole is not None
    assert (second.whole.rates, second.whole.counts.total) == (None, 0)
    assert third.counter_rates is not None
    assert set(third.counter_rates.values()) == {0.0}


def test_a_vanished_namespace_ends_a_live_feed() -> None:
    with Namespace() as doomed:
        feed = LiveFeed(Source(str(doomed.start("sleep", "1000"))), 0.5)
        ticks = iter(feed)
        next(ticks)
        doomed.close()
        with pytest.raises(CannotRead, match="cannot enter the network namespace"):
            next(ticks)
        feed.close()
    with pytest.raises(CannotRead, match="--netns"):
        LiveFeed(Source(doomed.name), 0.5)
