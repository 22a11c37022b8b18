"""The import rules of the design are tests: breaking one fails here, and says which."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on a checkout, with that checkout's packages first on the path."""
    code = (
        "import sys; sys.path.insert(0, '.');"
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--config", "pyproject.toml", "--no-cache"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages whose imports can be broken."""
    for package in ("lifecycle", "cli"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_rules_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lifecycle/vendor/plan.py", "import lifecycle.instance"),
        ("lifecycle/instance/vault.py", "import lifecycle.vendor.models"),
        ("lifecycle/pki/csr.py", "import lifecycle.vendor"),
        ("lifecycle/wire/messages.py", "from lifecycle import instance"),
        ("lifecycle/language/texts.py", "from lifecycle.vendor import messages"),
        ("lifecycle/setup_page/decide.py", "import lifecycle.vendor.facts"),
        ("lifecycle/setup_page/app.py", "from lifecycle.serve import listen"),
        ("lifecycle/apns/push.py", "import lifecycle.vendor.facts"),
        ("lifecycle/lab/portal.py", "import lifecycle.vendor"),
        ("lifecycle/embedded.py", "import lifecycle.lab.clock"),
        ("lifecycle/vendor/worker.py", "import lifecycle.config"),
        ("lifecycle/mdm_servers/nanomdm.py", "import lifecycle.instance.vault"),
        ("lifecycle/instance/deploy/files.py", "import lifecycle.config_deploy"),
        ("lifecycle/backup/archive.py", "import lifecycle.vendor.models"),
        ("lifecycle/registry_restore.py", "import lifecycle.instance.vault"),
        ("lifecycle/clock.py", "import cli.main"),
        ("lifecycle/serve/dashboard/actions.py", "import lifecycle.vendor.signer"),
    ],
)
def test_a_forbidden_import_is_found(tree: Path, module: str, line: str) -> None:
    path = tree / module
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint_imports(tree)
    assert result.returncode != 0, f"{line} in {module} was not found"
    assert "BROKEN" in result.stdout
