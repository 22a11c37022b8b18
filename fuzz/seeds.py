"""Writes the corpus: ``python -m fuzz.seeds [NAME…]``.

Each harness makes its own seeds from tests/vectors or with our own code; no real customer's
data is among them. What is there already stays: some seeds have random salts, and what a campaign
found may lie beside them.
"""

from __future__ import annotations

import sys

from fuzz.harness import CORPUS, load, names


def write(name: str) -> int:
    """Writes the seeds of one harness that are not there; gives how many."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    missing = {
        file: data for file, data in load(name).seeds().items() if not (folder / file).exists()
    }
    for file, data in missing.items():
        (folder / file).write_bytes(data)
    return len(missing)


def main() -> None:
    """Writes the seeds of the harnesses named, or of all."""
    for name in sys.argv[1:] or names():
        print(f"{name}: {write(name)} new")


if __name__ == "__main__":
    main()
