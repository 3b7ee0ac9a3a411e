"""Why an engine could not be read: what was asked and what came, in one plain sentence, and what would help.

The SDK, the HTTP client below it and Python itself say it in words for programmers, and wrap one error into another.
"""

import http.client
import json
import os
import shlex
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from natop.collect.context import NoContext
from natop.model import EngineReading, Gap
from natop.text import clean

E = TypeVar("E", bound=BaseException)
Told = tuple[str, str | None]
"""A reason, and what would help."""

TIMEOUT_S = 3
"""The longest that one request may take."""
_AS_SEEN = "its containers are shown as last seen"
_LOOK = "look at it: systemctl status docker"
_OF_ANOTHER_FORM = "an answer of another form"
_LONGEST = 180
"""Of another program's own words, in characters."""


class Nonsense(Exception):
    """What came is no answer of an engine."""

    def __init__(self, asked: str, came: str) -> None:
        super().__init__(f"asked for {asked}, the Docker Engine gives {came}")


class Unanswered(Exception):
    """The question failed that `asked` names; the cause says how."""

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.asked = asked


class Unusable(Exception):
    """Nobody can be asked with such a URL, or such certificates."""


class HungUp(Exception):
    """The engine has ended a connection that natop would have kept."""


@contextmanager
def asking(what: str) -> Iterator[str]:
    """What fails within, fails as this question."""
    try:
        yield what
    except (Nonsense, Unanswered):
        raise
    except Exception as error:
        raise Unanswered(what) from error


def told_in(answer: object, asked: str, *keys: str) -> Mapping[str, Any]:
    """An answer that is a JSON object with these keys. Raises Nonsense for another."""
    if not isinstance(answer, Mapping):
        raise Nonsense(asked, _OF_ANOTHER_FORM)
    for key in keys:
        if not isinstance(answer.get(key), str):
            raise Nonsense(asked, f"an answer without {key}")
    return answer


def listed_in(answer: object, asked: str, *keys: str) -> list[Mapping[str, Any]]:
    """An answer that is a list of JSON objects with these keys. Raises Nonsense for another."""
    if not isinstance(answer, list):
        raise Nonsense(asked, _OF_ANOTHER_FORM)
    return [told_in(each, asked, *keys) for each in answer]


class Asked(NamedTuple):
    """Which engine, and for what."""

    url: str
    options: tuple[str, ...] = ()
    """What `docker` needs to speak to it."""
    is_needed: bool = False
    """Whether Docker cannot be left out of what is wanted."""

    @property
    def host(self) -> str:
        """The engine's machine, as far as the URL tells."""
        with suppress(ValueError):
            return clean(urlsplit(self.url).hostname or self.url)
        return clean(self.url)


def gap_of(error: Exception, engine: Asked, reading: EngineReading | None) -> Gap:
    """Why the engine could not be read, and what would help; the inventory shown may be an old one."""
    causes = _causes(error)
    reason, remedy = _known(causes, engine) or _on_the_way(causes, engine) or _answered(causes, engine)
    return Gap("docker", f"{reason}; {_AS_SEEN}" if reading else reason, remedy)


def silence(seconds: float) -> Gap:
    """Of an engine that has been asked for a sign of life for so long."""
    return Gap("docker", f"the Docker Engine has not answered for {seconds:.0f} s; {_AS_SEEN}", _LOOK)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that it comes from; some libraries keep that as an argument, or as `reason`."""
    found = [error]
    for each in found:
        told = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        found += [one for one in told if isinstance(one, BaseException) and one not in found]
    return found


def _first(causes: list[BaseException], *kinds: type[E]) -> E | None:
    return next((each for each in causes if isinstance(each, kinds)), None)


def _known(causes: list[BaseException], engine: Asked) -> Told | None:
    """What natop found out itself, or what it lacks."""
    if missing := _first(causes, NoContext):
        return clean(missing), None
    if _first(causes, Unusable):
        return f"no Docker Engine can be asked at {clean(engine.url)}", "check the URL and the certificates"
    if _first(causes, HungUp):
        return "the Docker Engine closed the connection", _LOOK
    if any("paramiko" in str(each) and "nstall" in str(each) for each in causes):
        return "ssh:// needs paramiko, which is not installed", "add it: pipx inject --global natop paramiko"
    return None


def _on_the_way(causes: list[BaseException], engine: Asked) -> Told | None:
    """Why nobody could be asked, or no answer came."""
    from requests.exceptions import Timeout
    from urllib3.exceptions import TimeoutError as ClientTimeout

    other = "name one by --docker-host URL" + ("" if engine.is_needed else ", or --no-docker")
    if _first(causes, PermissionError):
        return "no permission to use the Docker socket", "run: sudo natop, or join the group docker"
    if _first(causes, FileNotFoundError, ConnectionRefusedError):
        return "no Docker Engine is listening there", other
    if _first(causes, socket.gaierror):
        return f"no address is known for {engine.host}, where the Docker Engine should be", other
    if _first(causes, Timeout, ClientTimeout, TimeoutError):
        return f"the Docker Engine gave no answer in {TIMEOUT_S} s", _LOOK
    if refused := _first(causes, ssl.SSLError):
        why = str(getattr(refused, "reason", None) or "it ended").replace("_", " ").lower()
        return f"no TLS connection to the Docker Engine: {clean(why)}", "check DOCKER_TLS_VERIFY and DOCKER_CERT_PATH"
    if spoken := next((each for each in causes if type(each).__module__.startswith("paramiko")), None):
        why = clean(" ".join(str(spoken).split()), _LONGEST)
        return (
            f"no SSH connection to {engine.host}: {why}",
            f"try: {shlex.join(('ssh', engine.host, 'docker', 'version'))}",
        )
    if failed := next((each for each in causes if isinstance(each, OSError) and each.errno), None):
        return f"the Docker Engine cannot be reached: {os.strerror(failed.errno or 0)}", other
    return None


def _answered(causes: list[BaseException], engine: Asked) -> Told:
    """What came in the place of what was asked for."""
    from docker.errors import InvalidVersion

    look = f"see who answers: {shlex.join(('docker', *engine.options, 'version'))}"
    if nonsense := _first(causes, Nonsense):
        return str(nonsense), look
    if _first(causes, InvalidVersion):
        return "natop does not speak an API as old as this Docker Engine's", look
    asked = next((each.asked for each in causes if isinstance(each, Unanswered)), "its version")
    if status := next(filter(None, map(_status, causes)), None):
        return f"asked for {asked}, the Docker Engine answers {status}", look
    return f"asked for {asked}, the Docker Engine gives {_form(causes)}", look


def _status(error: BaseException) -> str | None:
    """What an answer of HTTP says that is a refusal: `500 panic`."""
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", None)
    if code is None:
        return None
    said = getattr(error, "explanation", None) or getattr(response, "reason", None) or ""
    return f"{code} {clean(' '.join(str(said).split()), _LONGEST)}".strip()


def _form(causes: list[BaseException]) -> str:
    """What is wrong with an answer that is none of an engine's."""
    if _first(causes, http.client.RemoteDisconnected):
        return "no answer, and closes the connection"
    if _first(causes, http.client.IncompleteRead):
        return "a part of an answer"
    if _first(causes, http.client.HTTPException):
        return "what is not HTTP"
    if _first(causes, json.JSONDecodeError, UnicodeDecodeError):
        return "what is no JSON"
    if missing := _first(causes, KeyError):
        return f"an answer without {clean(missing.args[0] if missing.args else '')}"
    return _OF_ANOTHER_FORM
