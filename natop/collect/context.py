"""Docker contexts, found where the docker command keeps them.

The SDK looks for them only beside an existing config.json, and takes the local engine for one that it does not find.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

DEFAULT = "default"
"""The context that stands in no file: the local engine."""


def client_options(name: str | None) -> dict[str, Any]:
    """The SDK's options for a context, None being the current one. Raises ValueError where it does not exist."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    name = name or os.environ.get("DOCKER_CONTEXT") or _current(folder)
    if name == DEFAULT:
        return {}
    identity = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = json.loads((folder / "contexts" / "meta" / identity / "meta.json").read_bytes())
        endpoint = meta["Endpoints"]["docker"]
        options = {"base_url": str(endpoint["Host"])}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"no Docker context {name!r}; `docker context ls` lists them") from error
    keys = folder / "contexts" / "tls" / identity / "docker"
    return options | _tls(keys, verify=endpoint.get("SkipTLSVerify") is not True)


def _current(folder: Path) -> str:
    try:
        name = json.loads((folder / "config.json").read_bytes()).get("currentContext")
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
