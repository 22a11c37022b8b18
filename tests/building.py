"""Wheel and sdist, built as anybody would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def build(tree: Path, target: str, out: Path, epoch: int | None = None) -> Path:
    """Builds a wheel or an sdist."""
    environment = {name: text for name, text in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = str(epoch)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made
