"""Pins what pushcert needs, with hashes, and writes the bill of materials that follows from it.

    pip install uv && python packaging/make_lock.py

writes ``requirements/pushcert.txt`` (all extras of a deployment; not those of tests) for every
platform and Python that pyproject.toml allows, and ``packaging/sbom.cdx.json``. Versions that are
pinned already stay as long as they fit; with ``--upgrade`` the newest are taken.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from make_sbom import main as write_sbom

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "pushcert.txt"
OF_DEVELOPERS = frozenset({"fuzz", "test"})
"""Extras that no deployment has."""
HEAD = """\
# Made by packaging/make_lock.py; install with:
# pip install --require-hashes -r requirements/pushcert.txt && pip install --no-deps pushcert
"""


def command(project: dict[str, object], more: list[str]) -> list[str]:
    """What resolves the dependencies of ``[project]``; no index is named in the file."""
    extras = project.get("optional-dependencies", {})
    names = sorted(set(extras) - OF_DEVELOPERS) if isinstance(extras, dict) else []
    return [
        *("uv", "pip", "compile", "pyproject.toml"),
        *(word for name in names for word in ("--extra", name)),
        *("--universal", "--python-version", "3.11", "--generate-hashes"),
        *("--no-emit-index-url", "--no-header", "--no-config", "--quiet"),
        *("--output-file", str(LOCK.relative_to(ROOT)), *more),
    ]


def main(more: list[str]) -> None:
    """Writes both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    LOCK.parent.mkdir(exist_ok=True)
    subprocess.run(command(project, more), cwd=ROOT, check=True)  # noqa: S603
    LOCK.write_text(HEAD + LOCK.read_text().removeprefix(HEAD))
    write_sbom()


if __name__ == "__main__":
    main(sys.argv[1:])
