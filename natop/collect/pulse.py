"""Whether a Docker Engine still answers: a frozen one keeps its connections open, and looks like one with no news."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker import APIClient

PULSE_S = 12.0
"""Pause between two questions to an engine that answers; each costs it a fraction of a millisecond."""
AGAIN_S = 2.0
"""Pause before the next question to one that does not."""


class Pulse:
    """Asks an engine for a sign of life, now and then and on a thread of its own."""

    def __init__(self, connect: Callable[[], "APIClient"], woken: Callable[[], None]) -> None:
        """`woken` is called, on that thread, when the engine answers again after a silence."""
        self._connect, self._woken = connect, woken
        self._heard_at = time.monotonic()
        self._silent = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="natop-pulse", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float | None:
        """For how long the engine has said nothing; None while it answers."""
        return time.monotonic() - self._heard_at if self._silent else None

    def heard(self) -> None:
        """The engine has said something, to whomever."""
        self._heard_at, self._silent = time.monotonic(), False

    def close(self) -> None:
        """End the thread; a question under way is waited for by nobody."""
        self._closed.set()

    def _run(self) -> None:
        client = None
        while not self._closed.wait(AGAIN_S if self._silent else PULSE_S):
            client = self._asked(client)
        if client:
            client.close()

    def _asked(self, client: "APIClient | None") -> "APIClient | None":
        """Ask once; the client to ask with the next time, None where a new one is needed."""
        asked_at = time.monotonic()
        try:
            client = client or self._connect()
            _ping(client)
        except Exception:  # the thread's edge: whatever the SDK makes of an engine that does not answer
            self._silent = self._heard_at < asked_at
            if client:
                with suppress(Exception):  # whatever its connection makes of it
                    client.close()
            return None
        was_silent = self._silent
        self.heard()
        if was_silent:
            self._woken()
        return client


def _ping(client: "APIClient") -> None:
    """Any answer will do, a refusal too. Raises what the SDK and the HTTP client below it raise without one."""
    from docker.errors import APIError

    try:
        client.ping()
    except APIError:
        return
