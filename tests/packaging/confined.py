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
EQUAL, MASKED_EQUAL = 4, 7
FAMILIES = 46
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
PR_SET_NO_NEW_PRIVS = 38
CODE_MADE_AT_RUN_TIME = (
    ("mmap", PROT_WRITE | PROT_EXEC),
    ("mprotect", PROT_EXEC),
    ("pkey_mprotect", PROT_EXEC),
    ("shmat", SHM_EXEC),
)
"""What ``MemoryDenyWriteExecute`` forbids: the call, and the bits of its third argument."""


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


class Filter:
    """A seccomp filter that is being made."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._rules = ctypes.c_void_p(self._library.seccomp_init(otherwise))

    def add(self, action: int, call: str, *where: Comparison) -> None:
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # another architecture's
        given = (Comparison * len(where))(*where)
        _must(
            self._library.seccomp_rule_add_array(
                self._rules, ctypes.c_uint32(action), number, len(where), given
            )
        )

    def load(self) -> None:
        _must(self._library.seccomp_load(self._rules))


def confine(unit: Path) -> None:
    """Puts this process, and all that it starts, under the unit's rules; for good."""
    calls = allowed_calls(unit)
    families = [
        int(getattr(socket, name))
        for line in settings(unit, "RestrictAddressFamilies")
        for name in line.split()
    ]
    _must(ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if settings(unit, "MemoryDenyWriteExecute") == ["yes"]:
        code = Filter(ALLOW)
        for call, bits in CODE_MADE_AT_RUN_TIME:
            code.add(ERRNO | errno.EPERM, call, Comparison(2, MASKED_EQUAL, bits, bits))
        code.load()
    rules = Filter(ERRNO | errno.EPERM)
    for call in sorted(calls - {"socket"}):
        rules.add(ALLOW, call)
    for family in range(FAMILIES):
        action = ALLOW if family in families else ERRNO | errno.EAFNOSUPPORT
        rules.add(action, "socket", Comparison(0, EQUAL, family, 0))
    rules.load()


def _must(done: int) -> None:
    if done != 0:
        raise OSError(-done, "the kernel does not take the unit's rules")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  (a shell would be one more that is confined)
