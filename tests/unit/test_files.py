"""Files appear whole or not at all."""

import errno
import os
import re
from pathlib import Path

import pytest

from natop.files import unused, write_whole, written_whole


def only(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_its_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "snapshot.json"
    with written_whole(target) as file:
        file.write("half")
        file.flush()
        assert not target.exists()
    assert target.read_text() == "half"
    assert only(tmp_path) == ["snapshot.json"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "snapshot.json"
    target.write_text("old")

    def fail() -> None:
        with written_whole(target) as file:
            file.write("new")
            raise failure

    with pytest.raises(failure):
        fail()
    assert target.read_text() == "old"
    assert only(tmp_path) == ["snapshot.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_does_not_fit_is_told_with_the_file_s_name(tmp_path: Path, number: int) -> None:
    target = tmp_path / "snapshot.json"

    def fail() -> None:
        with written_whole(target):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=re.escape(str(target))) as failed:
        fail()
    assert failed.value.filename == str(target)
    assert only(tmp_path) == []


def test_another_s_error_is_not_the_file_s(tmp_path: Path) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "snapshot.json"):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.raises(ConnectionRefusedError) as failed:
        fail()
    assert failed.value.filename is None


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("real")
    write_whole(link, ["n", "ew"])
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_who_might_not_read_the_old_file_may_not_read_the_new(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "snapshot.json"
    target.write_text("old")
    target.chmod(mode)
    with written_whole(target) as file:
        (beside,) = (path for path in tmp_path.iterdir() if path != target)
        assert beside.stat().st_mode & 0o777 == mode, "from the first byte on"
        file.write("new")
    assert (target.stat().st_mode & 0o777, target.read_text()) == (mode, "new")


def test_a_device_is_written_to_as_it_is() -> None:
    write_whole(Path("/dev/null"), ["gone"])
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, ["through"])
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert only(tmp_path) == ["pipe"]


def test_a_descriptor_s_name_leads_to_what_it_is_open_on() -> None:
    """As /dev/stdout does, which is a link to a pipe without a path."""
    reader, writer = os.pipe()
    try:
        write_whole(Path(f"/proc/self/fd/{writer}"), ["through"])
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
        os.close(writer)


def test_what_cannot_be_written_raises_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "such" / "folder.json", ["x"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        write_whole(tmp_path / "loop", ["x"])


def test_a_long_name_is_no_reason_to_fail(tmp_path: Path) -> None:
    target = tmp_path / ("🐳" * 62 + ".json")
    write_whole(target, ["x"])
    assert target.read_text() == "x"


def test_unused_counts_up(tmp_path: Path) -> None:
    path = tmp_path / "natop-host.md"
    assert unused(path) == path
    path.touch()
    assert unused(path).name == "natop-host-2.md"
    unused(path).touch()
    assert unused(path).name == "natop-host-3.md"
