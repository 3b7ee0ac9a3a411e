"""What `natop demo` says where private namespaces are forbidden, and what it runs where there is no terminal."""

import errno
from pathlib import Path

import pytest

from natop.demo.namespaces import why_forbidden

SETTINGS = [
    ("kernel/unprivileged_userns_clone", "0", errno.EPERM),
    ("user/max_user_namespaces", "0", errno.ENOSPC),
    ("user/max_net_namespaces", "0", errno.ENOSPC),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", errno.EACCES),
]


def fake_proc(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("path", "value", "number"), SETTINGS)
def test_the_setting_is_named_with_its_value(tmp_path: Path, path: str, value: str, number: int) -> None:
    proc = fake_proc(tmp_path, {f"sys/{path}": value + "\n", "self/status": "Name:\tx\nSeccomp:\t2\n"})
    lines = why_forbidden(OSError(number, "no"), proc)
    name = path.replace("/", ".")
    assert 1 <= len(lines) <= 3
    assert lines[0].endswith(f"{name} is {value}")
    assert "sudo natop demo" in lines[1]
    assert f"sysctl {name}=" in lines[1]


def test_a_seccomp_filter_is_named(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, {"sys/user/max_user_namespaces": "100\n", "self/status": "Name:\tx\nSeccomp:\t2\n"})
    assert "seccomp" in why_forbidden(PermissionError(errno.EPERM, "no"), proc)[0]


def test_an_unknown_reason_shows_the_error_and_offers_sudo(tmp_path: Path) -> None:
    lines = why_forbidden(OSError(errno.ENOMEM, "Cannot allocate memory"), tmp_path)
    assert lines == ("cannot make private namespaces: Cannot allocate memory", "run `sudo natop demo`")
