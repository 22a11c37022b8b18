"""The lock pins all that a deployment needs, with hashes, and the bill of materials is its like."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "pushcert.txt"
SBOM = ROOT / "packaging" / "sbom.cdx.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_DEVELOPERS = {"fuzz", "test"}


@pytest.fixture(scope="module")
def make_sbom() -> ModuleType:
    """packaging/make_sbom.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("make_sbom", ROOT / "packaging" / "make_sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sbom"] = module
    spec.loader.exec_module(module)
    return module


def needed() -> Iterator[Requirement]:
    """What pyproject.toml wants of a deployment with all its extras."""
    extras = PROJECT["optional-dependencies"]
    for text in (
        *PROJECT["dependencies"],
        *(one for name in sorted(set(extras) - OF_DEVELOPERS) for one in extras[name]),
    ):
        requirement = Requirement(text)
        if requirement.name != "pushcert":
            yield requirement


def test_every_dependency_is_pinned_at_a_version_that_the_project_allows(
    make_sbom: ModuleType,
) -> None:
    pinned = {canonicalize_name(pin.name): pin.version for pin in make_sbom.pins(LOCK.read_text())}
    wanted = list(needed())
    assert len(wanted) > 20
    for requirement in wanted:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement}: run `python packaging/make_lock.py`"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} and {version}: run `python packaging/make_lock.py`"
        )


def test_every_pin_has_hashes_and_is_needed_by_something(make_sbom: ModuleType) -> None:
    found = list(make_sbom.pins(LOCK.read_text()))
    names = {pin.name for pin in found} | {"pushcert"}
    for pin in found:
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in pin.hashes)
        assert pin.via, pin.name
        assert set(pin.via) <= names, pin
    lines = [line for line in LOCK.read_text().splitlines() if line and line[0] not in " #"]
    assert len(lines) == len(found)


@pytest.mark.parametrize("file", [LOCK, SBOM], ids=lambda file: file.name)
def test_no_package_index_is_named(file: Path) -> None:
    text = file.read_text()
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text


def test_the_bill_of_materials_is_that_of_the_lock(make_sbom: ModuleType) -> None:
    made = make_sbom.bom(LOCK.read_text(), PROJECT["version"])
    assert json.loads(SBOM.read_text()) == made, "run `python packaging/make_sbom.py`"


def test_the_bill_of_materials_is_cyclonedx_whose_references_all_lead_somewhere() -> None:
    document = json.loads(SBOM.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    known = {one["bom-ref"] for one in document["components"]}
    assert len(known) == len(document["components"])
    reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
    edges = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    while waiting:
        for ref in edges[waiting.pop()]:
            if ref not in reached:
                reached.add(ref)
                waiting.append(ref)
    assert reached == known
