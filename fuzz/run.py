"""Runs one harness under atheris: ``python -m fuzz.run NAME [libFuzzer's options] [CORPUS]``."""

from __future__ import annotations

import sys

import atheris

INSTRUMENTED = [
    "lifecycle",
    "csv",
    "hpack",
    "json",
    "jwt",
    "plistlib",
    "python_multipart",
    "starlette",
    "tomllib",
]
"""Packages whose branches count as coverage; what is written in Rust or C is opaque."""


def main() -> None:
    """Does not return: atheris ends the process, with 77 for a crash and 70 for a timeout."""
    name = sys.argv[1]
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        from fuzz.harness import load

        harness = load(name)
    atheris.Setup([sys.argv[0], f"-max_len={harness.longest}", *sys.argv[2:]], harness.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
