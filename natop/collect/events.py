"""What an engine's events say has changed, gathered on a thread of their own until somebody asks.

Of several events about one thing one change is told; those of what natop does not show are dropped where they are read.
The SDK's own reader keeps a line, or a chunk of HTTP, in memory until it ends, however long it gets.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from natop.collect.answers import HungUp, Nonsense

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response
    from urllib3.response import BaseHTTPResponse

EVENTS = {
    "type": ["container", "network"],
    "event": [
        *("create", "start", "die", "stop", "kill", "pause", "unpause", "rename", "update", "destroy"),
        *("connect", "disconnect", "remove"),
        *("died", "cleanup"),
    ],
}
"""The events that change what natop shows, as the engine's filter for them. The last line has Podman's words.

Podman says `die` where it was asked for `died`, and takes a container's addresses away after that, at `cleanup`.
"""
_ACTIONS = frozenset(EVENTS["event"])

LONGEST_EVENT = 1 << 20
"""Bytes; an event's only long part is the labels of its container."""
MOST_WAITING = 10_000
"""Changes that are remembered until they are asked for; where there are more, all is to be read anew."""
_PIECE = 1 << 16
_ASKED = "its events"


class Change(NamedTuple):
    """Something that is no longer as it was read."""

    of_network: bool
    subject: str
    """The id of the network or container; Podman's events of a network have the container's."""
    container: str
    """The id of the container that a network's event is about, or nothing."""


class Changes:
    """The events of one connection to an engine."""

    def __init__(self, client: "APIClient") -> None:
        """Subscribed once this returns: no event from then on is missed. Raises what the SDK does."""
        self._stream = client.events(filters=EVENTS)
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._waiting: dict[Change, None] = {}
        self._end: Exception | None = None
        self._closed = False
        threading.Thread(target=self._run, name="natop-events", daemon=True).start()

    def take(self) -> tuple[Change, ...]:
        """Wait for changes; there are none once `close` was called. Raises Nonsense and HungUp."""
        self._news.wait()
        with self._lock:
            found, self._waiting = tuple(self._waiting), {}
            if self._end is None and not self._closed:
                self._news.clear()
        if self._end and not found and not self._closed:
            raise self._end
        return () if self._closed else found

    def close(self) -> None:
        """Hang up; may be called from any thread, and again."""
        with self._lock:
            self._closed = True
            self._news.set()
        with suppress(Exception):  # the stream may be ending by itself, and one over SSH cannot be closed so
            self._stream.close()

    def _run(self) -> None:
        end: Exception = HungUp()
        try:
            self._follow(self._stream._response)  # type: ignore[attr-defined]  # the SDK has no public way
        except Nonsense as nonsense:
            end = nonsense
        except Exception as error:  # the thread's edge: the HTTP client has many words for a connection that has ended
            end.__cause__ = error
        with self._lock:
            self._end = end
            self._news.set()

    def _follow(self, response: "Response") -> None:
        try:
            if response.status_code != HTTPStatus.OK:
                raise Nonsense(_ASKED, f"status {response.status_code}")
            for line in lines(response.raw):
                self._note(line)
        finally:
            with suppress(Exception):  # whatever a connection that has ended makes of it
                response.close()

    def _note(self, line: bytes) -> None:
        change = change_of(line)
        if change is None:
            return
        with self._lock:
            self._waiting[change] = None
            self._news.set()
        if len(self._waiting) > MOST_WAITING:
            raise Nonsense(_ASKED, f"more than {MOST_WAITING:,} changes at once")


def lines(response: "BaseHTTPResponse") -> Iterator[bytes]:
    """The lines of an answer as they come. Raises Nonsense for one without an end, and what the HTTP client does."""
    begun = bytearray()
    while piece := response.read1(_PIECE, decode_content=False):
        first, *others = piece.split(b"\n")
        begun += first
        for each in others:
            yield bytes(begun)
            begun = bytearray(each)
        if len(begun) > LONGEST_EVENT:
            raise Nonsense(_ASKED, f"more than {LONGEST_EVENT >> 20} MiB without the end of a line")


def change_of(line: bytes) -> Change | None:
    """What an event changes, where it is one that natop shows. Raises Nonsense."""
    if not line.strip():
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Nonsense(_ASKED, "a line that is no JSON") from error
    if not isinstance(event, dict):
        raise Nonsense(_ASKED, "a line that is no JSON object")
    if _text(event.get("Action")) not in _ACTIONS:
        return None
    actor = event.get("Actor")
    actor = actor if isinstance(actor, dict) else {}
    attributes = actor.get("Attributes")
    container = attributes.get("container") if isinstance(attributes, dict) else None
    return Change(event.get("Type") == "network", _text(actor.get("ID")), _text(container))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
