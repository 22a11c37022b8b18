"""Wheel and sdist: what is in them, that they are the same bytes whoever builds them, and that
what is installed from them works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.building import build
from tests.documents import blocks

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    ".ci",
    "alembic",
    "bench",
    "cli",
    "docs",
    "fuzz",
    "lifecycle",
    "packaging",
    "requirements",
    "tests",
)
ALONE = (
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "config.example.toml",
    "pyproject.toml",
)
LONGEST = 900
"""Seconds that pip, or a year in the lab, may take on a busy machine."""


def sources() -> Iterator[str]:
    """Every file of the project, from the top of the repository."""
    yield from ALONE
    for part in PARTS:
        for path in (ROOT / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))


def copied(folder: Path, *, umask: int, changed_at: int) -> Path:
    """The project's files as somebody else may have them: other modes, other times."""
    for name in sources():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(0o666 & ~umask)
        os.utime(copy, (changed_at, changed_at))
    return folder


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def test_the_wheel_has_everything_that_an_installed_pushcert_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        inside = set(opened.namelist())
    data = wheel.name.removesuffix("-py3-none-any.whl") + ".data/data"
    expected = {name for name in sources() if name.startswith(("lifecycle/", "cli/"))}
    expected |= {
        name.replace("alembic/", "lifecycle/migrations/")
        for name in sources()
        if name.startswith("alembic/")
    }
    expected |= {"lifecycle/config.example.toml", "lifecycle/py.typed"}
    for kept, where in (
        ("packaging/share/", "share/"),
        ("packaging/systemd/", "share/pushcert/systemd/"),
    ):
        expected |= {
            f"{data}/{where}{name.removeprefix(kept)}"
            for name in sources()
            if name.startswith(kept)
        }
    about = {name for name in inside if ".dist-info/" in name}
    assert inside - about == expected
    assert any(name.endswith("entry_points.txt") for name in about)


def test_the_sdist_has_every_file_of_the_project(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        inside = {member.name.partition("/")[2] for member in opened if member.isfile()}
    assert inside - {"PKG-INFO"} == set(sources())


@pytest.mark.parametrize("target", ["wheel", "sdist"])
@pytest.mark.parametrize("epoch", [None, 1_767_225_600])
def test_two_builds_at_other_times_and_under_other_umasks_are_the_same_bytes(
    target: str, epoch: int | None, tmp_path: Path
) -> None:
    one = copied(tmp_path / "one", umask=0o022, changed_at=1_700_000_000)
    other = copied(tmp_path / "elsewhere" / "other", umask=0o077, changed_at=1_800_000_000)
    made = [
        build(tree, target, tmp_path / f"out-{number}", epoch)
        for number, tree in enumerate((one, other))
    ]
    assert made[0].name == made[1].name
    assert made[0].read_bytes() == made[1].read_bytes()
    if target == "wheel" and epoch is not None:
        with zipfile.ZipFile(made[0]) as opened:
            assert {entry.date_time[:3] for entry in opened.infolist()} == {(2026, 1, 1)}


def test_a_wheel_made_from_the_sdist_is_the_same_wheel(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path)  # noqa: S202  (we made it)
    (tree,) = tmp_path.iterdir()
    again = build(tree, "wheel", tmp_path / "out")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_tests_of_the_sdist_run_on_what_is_in_it(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path)  # noqa: S202  (we made it)
    (tree,) = tmp_path.iterdir()
    # All are found; some are run, among them those that read what lies beside the packages.
    some = ("tests/pki/test_topic.py", "tests/test_library.py", "tests/test_docs.py")
    for arguments in (("--collect-only",), some):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def package_index(tmp_path: Path) -> None:
    """Packages can be fetched."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), "typer"],
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("no package index can be reached; it has what pushcert needs")


@pytest.mark.index
@pytest.mark.usefixtures("package_index")
def test_the_wheel_works_in_an_empty_environment_without_extras_and_with_the_lab(
    wheel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()

    def shell(command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={
                "HOME": str(folder),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                **{name: text for name, text in os.environ.items() if name.startswith("PIP_")},
            },
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done

    shell(f"python3 -m venv .venv && .venv/bin/pip install '{wheel}'")
    assert shell(".venv/bin/pushcert --version").stdout == "pushcert 0.1.0\n"
    shell(".venv/bin/pushcert init vendor")
    shell(".venv/bin/pushcert --config vendor/config.toml report")
    found = shell(".venv/bin/pushcert --config vendor/config.toml doctor --offline --json", 4)
    assert {row["what"]: row["well"] for row in json.loads(found.stdout)}["database"]
    refused = shell(".venv/bin/pushcert lab run", 3)
    assert "pip install 'pushcert[lab]'" in refused.stderr
    share = folder / ".venv/share"
    assert (share / "man/man1/pushcert-report.1").is_file()
    assert (share / "pushcert/systemd/pushcert-run.service").is_file()

    # What README.md tells a newcomer to type, with this wheel in the place of the checkout.
    (first,) = (
        block for block in blocks("README.md", "sh") if "pip install '.[lab]'" in block.text
    )
    played = shell(first.text.replace("'.[lab]'", f"'{wheel}[lab]'"))
    assert played.stdout.splitlines()[-1] == "PASS"
    year = shell(".venv/bin/pushcert lab run --customers 3 --days 200 --json")
    assert json.loads(year.stdout)["passed"]

    # Another product's tests, with the fixtures of the lab.
    shell(".venv/bin/pip install pytest")
    (theirs,) = (
        block for block in blocks("docs/library.md", "python") if "def test_" in block.text
    )
    (folder / "test_product.py").write_text(theirs.text)
    assert "2 passed" in shell(".venv/bin/pytest -q test_product.py").stdout
    # Where the lab is missing, its fixtures say so, and other tests are not disturbed.
    shell(".venv/bin/pip uninstall -q -y h2 aiosmtpd")
    (folder / "test_product.py").write_text("def test_x(): pass\ndef test_y(apns_gateway): pass\n")
    without = shell(".venv/bin/pytest -q test_product.py", 1)
    assert "1 passed, 1 error" in without.stdout
    assert "pip install 'pushcert[lab]'" in without.stdout
