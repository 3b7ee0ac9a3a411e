"""Files written whole or not at all."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""What a write fails with where a disk, a quota or a limit is full; Python does not say of which file."""


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What does not fit into the file is told with the file's name."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """A file beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Who may read what it replaces, may read it. A device or pipe is written to as it is. Raises OSError.
    """
    if path.exists() and not path.is_file():  # asked before the links are followed: /dev/stdout ends in no path
        with _naming(path), path.open("w", encoding="utf-8") as device:
            yield device
        return
    path = Path(os.path.realpath(path))
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    temporary = path.with_name(f".{path.name[:48]}.{os.getpid()}.part")
    try:
        file = temporary.open("x", encoding="utf-8")
    except OSError as error:
        error.filename = str(path)  # what the user named, not what stands in for it
        raise
    with _naming(path), file:
        try:
            with contextlib.suppress(OSError):  # there was none before, or a file system that knows no modes
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Raises OSError."""
    with written_whole(path) as file:
        file.writelines(pieces)


def unused(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3` … that does not exist yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
