"""Docker contexts, found where the docker command keeps them.

The SDK looks for them only beside an existing config.json, and takes the local engine for one that it does not find.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class NoContext(ValueError):
    """The message names the context that does not exist."""


DEFAULT = "default"
"""The context that stands in no file: the local engine."""


def client_options(name: str | None) -> dict[str, Any]:
    """The SDK's options for a context, None being the current one. Raises NoContext where it does not exist."""
    name = name or os.environ.get("DOCKER_CONTEXT") or _current()
    if name == DEFAULT:
        return {}
    url, verify = endpoint(name)
    return {"base_url": url} | _tls(_folder() / "contexts" / "tls" / _identity(name) / "docker", verify=verify)


def endpoint(name: str) -> tuple[str, bool]:
    """A context's URL, and whether its certificate is checked. Raises NoContext where it does not exist."""
    if name == DEFAULT:
        return "", True
    try:
        meta = json.loads((_folder() / "contexts" / "meta" / _identity(name) / "meta.json").read_bytes())
        found = meta["Endpoints"]["docker"]
        return str(found["Host"]), found.get("SkipTLSVerify") is not True
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NoContext(f"no Docker context {name!r}; `docker context ls` lists them") from error


def _folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _identity(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _current() -> str:
    try:
        name = json.loads((_folder() / "config.json").read_bytes()).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return DEFAULT
    return name if isinstance(name, str) and name else DEFAULT


def _tls(keys: Path, *, verify: bool) -> dict[str, Any]:
    """The context's certificates, where it has any."""
    from docker.tls import TLSConfig

    authority, certificate, key = (str(keys / f"{name}.pem") for name in ("ca", "cert", "key"))
    known = [path for path in (authority, certificate, key) if os.path.exists(path)]
    if not known:
        return {}
    pair = (certificate, key) if {certificate, key} <= set(known) else None
    return {"tls": TLSConfig(pair, authority if authority in known else None, verify)}
