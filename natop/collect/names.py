"""Names to addresses, within a time: getaddrinfo(3) itself knows no bound and may take half a minute."""

import queue
import socket
import threading
from dataclasses import dataclass
from typing import Any

from natop.model import ProbeError


class Unresolved(Exception):
    """A name that has no address, or not in time; `error` says which."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to, as `socket.connect` takes it."""

    family: socket.AddressFamily
    place: tuple[Any, ...]


def resolve(host: str, port: int, timeout_s: float) -> Address:
    """The address of a literal or a name, IPv4 before IPv6, since Docker's NAT is about that. Raises Unresolved.

    A lookup that takes longer goes on, on a thread that nobody waits for.
    """
    try:
        return _looked_up(host, port, socket.AI_NUMERICHOST)
    except Unresolved:
        pass
    answers: queue.SimpleQueue[Address | Unresolved] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_looked_up(host, port, 0))
        except Unresolved as error:
            answers.put(error)

    threading.Thread(target=look_up, name="natop-lookup", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise Unresolved(ProbeError.UNRESOLVED) from None
    if isinstance(answer, Unresolved):
        raise answer
    return answer


def _looked_up(host: str, port: int, flags: int) -> Address:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label too long for IDNA
        again = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        raise Unresolved(ProbeError.UNRESOLVED if again else ProbeError.UNKNOWN_HOST) from error
    known = [Address(family, place) for family, _, _, _, place in found]
    return min(known, key=lambda each: each.family != socket.AF_INET)
