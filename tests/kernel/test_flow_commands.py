"""The command that a stale flow's details print, run as it stands: that flow goes, and no other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from natop.join.flows import Flows
from natop.model import Kind
from natop.tui.flowfacts import delete_command
from tests.kernel import product
from tests.lab import oracle
from tests.lab.inject import Entry, inject
from tests.lab.netns import Namespace

UDP = Entry(src="10.0.0.1", dst="10.0.0.2", sport=1000, dport=53, proto="udp")
PLAIN = (
    UDP,
    replace(UDP, sport=1001),
    replace(UDP, proto="tcp"),
    replace(UDP, proto="sctp", state=3),
    replace(UDP, proto="icmp", sport=7),
    replace(UDP, proto="icmp", sport=8),
    replace(UDP, src="2001:db8::1", dst="2001:db8::2"),
    replace(UDP, src="2001:db8::1", dst="2001:db8::2", proto="icmpv6", sport=9),
)
ZONED = (*PLAIN, *(replace(each, zone=3) for each in PLAIN))


@pytest.mark.parametrize("entries", [PLAIN, ZONED], ids=["one zone", "two zones"])
def test_each_flow_is_deleted_alone(namespace: Namespace, entries: tuple[Entry, ...]) -> None:
    inject(namespace, entries)
    taken = product.read(namespace)
    found = Flows.of(taken)
    assert found is not None
    stale = np.full(len(found.table), Kind.STALE, np.uint8)
    flows = Flows(found.table, replace(found.attribution, kind=stale), ())
    assert taken.host.entered == str(namespace.path)
    for row in range(len(flows.table)):
        before = {flow["id"] for flow in oracle.flows(namespace)}
        command = delete_command(flows, row, taken.host.entered)
        assert command is not None
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        gone = before - {flow["id"] for flow in oracle.flows(namespace)}
        assert gone == {int(flows.table.id[row])}, command
    assert oracle.flows(namespace) == []


ENTERED = """
from pathlib import Path
from natop.collect.host import HostReader
places = (None, Path("/proc/self/ns/net"), Path({path!r}))
print([HostReader((), place, None).sample(dump=False).entered for place in places])
"""


def test_a_namespace_that_is_natop_s_own_needs_no_entering(namespace: Namespace) -> None:
    command = namespace.enter(sys.executable, "-c", ENTERED.format(path=str(namespace.path)))
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[None, None, None]"
