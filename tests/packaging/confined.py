"""Runs a command under what a unit file says of system calls, sockets and memory.

    python tests/packaging/confined.py UNIT COMMAND ARGUMENTS…

systemd itself is not needed for it, only the library that it uses (libseccomp) and its own list
of what is in which group (``systemd-analyze syscall-filter``). What else a unit says (its user,
what it may see of the file system) is not applied here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EQUAL = 4
FAMILIES = 46
PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, REFUSE_EXEC_GAIN = 38, 65, 1


class Comparison(ctypes.Structure):
    """libseccomp's ``struct scmp_arg_cmp``."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def settings(unit: Path, key: str) -> list[str]:
    """The values of a setting, in order, one for each line that has it."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def members(names: Iterable[str]) -> set[str]:
    """System calls by name; a group stands for all that is in it, at any depth."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        listed = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        )
        lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
        found |= members(line for line in lines if line and not line.startswith("#"))
    return found


def allowed_calls(unit: Path) -> set[str]:
    """What the lines of ``SystemCallFilter`` leave."""
    left: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        if line.startswith("~"):
            left -= members(line[1:].split())
        else:
            left |= members(line.split())
    return left


def confine(unit: Path) -> None:
    """Puts this process, and all that it starts, under the unit's rules; for good."""
    calls = allowed_calls(unit)
    families = [
        int(getattr(socket, name))
        for line in settings(unit, "RestrictAddressFamilies")
        for name in line.split()
    ]
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(ERRNO | errno.EPERM))

    def rule(action: int, name: str, *where: Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # another architecture's
        given = (Comparison * len(where))(*where)
        done = library.seccomp_rule_add_array(
            rules, ctypes.c_uint32(action), number, len(where), given
        )
        if done != 0:
            raise OSError(-done, f"no rule can be made for {name}")

    for name in sorted(calls - {"socket"}):
        rule(ALLOW, name)
    for family in range(FAMILIES):
        action = ALLOW if family in families else ERRNO | errno.EAFNOSUPPORT
        rule(action, "socket", Comparison(0, EQUAL, family, 0))
    process = ctypes.CDLL(None, use_errno=True)
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        _must(process.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0))
    _must(process.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _must(library.seccomp_load(rules))


def _must(done: int) -> None:
    if done != 0:
        raise OSError(ctypes.get_errno() or -done, "the kernel does not take the unit's rules")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  (a shell would be one more that is confined)
