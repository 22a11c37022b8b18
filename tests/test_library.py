"""What pushcert offers to other programs: the documented names, typed, and light to import."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lifecycle.exports import offer

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "library.md").read_text()
PACKAGES = ("lifecycle.pki", "lifecycle.apns", "lifecycle.lab")
OFFERED = (*PACKAGES, "lifecycle.errors")


def documented(module: str) -> list[str]:
    """The names in the table under the module's heading."""
    section = PAGE.split(f"### `{module}`\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize("module", OFFERED)
def test_what_is_offered_is_what_is_documented(module: str) -> None:
    names = documented(module)
    assert len(names) == len(set(names)), "a name is documented twice"
    assert sorted(names) == sorted(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", OFFERED)
def test_every_name_that_is_offered_is_there_and_says_what_it_is(module: str) -> None:
    package = importlib.import_module(module)
    for name in package.__all__:
        offered = getattr(package, name)
        if callable(offered) and not isinstance(offered, type(None)):
            assert inspect.getdoc(offered), f"{module}.{name}"
    assert set(package.__all__) <= set(dir(package))


def typed_imports(package: ModuleType) -> set[tuple[str, str]]:
    """What type checkers are told: module and name of each import for them alone."""
    source = inspect.getsource(package).split("if TYPE_CHECKING:")[1].split("\nelse:")[0]
    return {
        (module, name)
        for module, one_line, lines in re.findall(
            r"from (\S+) import (?:\(([^)]*)\)|([^(\n]*))", source
        )
        for name in re.findall(r"\w+", one_line or lines)
    }


@pytest.mark.parametrize("module", PACKAGES)
def test_type_checkers_are_told_what_is_there_at_run_time(module: str) -> None:
    package = importlib.import_module(module)
    told = typed_imports(package)
    assert {name for _, name in told} == set(package.__all__)
    for home, name in told:
        assert getattr(importlib.import_module(home), name) is getattr(package, name)


def test_importing_a_package_loads_nothing_that_takes_time() -> None:
    heavy = ("cryptography", "OpenSSL", "httpx", "h2", "aiosmtpd", "asyncio")
    code = (
        f"import sys, {', '.join(PACKAGES)};"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_of_a_package_is_found_beside_the_names_that_are_offered() -> None:
    code = "from lifecycle.pki import der; import lifecycle.pki; print(der.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "lifecycle.pki.der"


def test_a_star_gives_what_is_documented_and_no_more() -> None:
    found: dict[str, object] = {}
    exec("from lifecycle.pki import *", found)  # noqa: S102  (the statement is what is tested)
    assert sorted(name for name in found if name != "__builtins__") == sorted(
        documented("lifecycle.pki")
    )


@pytest.mark.parametrize("module", PACKAGES)
def test_a_name_that_is_not_offered_is_not_found(module: str) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = importlib.import_module(module).no_such_name
    with pytest.raises(ImportError):
        exec(f"from {module} import no_such_name")  # noqa: S102


def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "__init__.py").touch()
    (tmp_path / "needy" / "rare.py").write_text("import nowhere_to_be_found\nThing = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    get, listed = offer("needy", {"rare": ("Thing",)}, extra="lab")
    assert listed() == ["Thing"]
    with pytest.raises(ModuleNotFoundError, match=r"nowhere_to_be_found.*'pushcert\[lab\]'"):
        get("Thing")
