"""The bill of materials of a deployment, in CycloneDX 1.6, from the lock file.

    python packaging/make_sbom.py

The same lock gives the same bytes: there is no time and no random number in it. Every component has
its package URL, the SHA-256 of each file that it may be installed from, and what needs it.
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^    #\s+(?:via(?=\s|$))?\s*(\S+)?")
_OF_OURS = uuid.UUID("6f2f3f6e-2d0b-4f5e-9a55-0c5a5e6a7d11")


@dataclass
class Pin:
    """One package of the lock.

    Attributes:
        name, version: as pinned.
        marker: where it is installed; empty: everywhere.
        hashes: SHA-256 of its files.
        via: names of what needs it.
    """

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=list)
    via: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name.lower().replace('_', '-')}@{self.version}"


def pins(lock: str) -> Iterator[Pin]:
    """What a lock file in pip's form pins, in its order."""
    pin: Pin | None = None
    for line in lock.splitlines():
        match = _PIN.match(line)
        if match is not None:
            if pin is not None:
                yield pin
            pin = Pin(match[1], match[2], match[3] or "")
        elif pin is not None and (found := _HASH.search(line)):
            pin.hashes.append(found[1])
        elif pin is not None and (via := _VIA.match(line)) and via[1]:
            pin.via.append(via[1])
    if pin is not None:
        yield pin


def bom(lock: str, version: str) -> dict[str, object]:
    """The document.

    Args:
        lock: the text of the lock file.
        version: of pushcert.
    """
    found = list(pins(lock))
    ours = f"pkg:pypi/pushcert@{version}"
    serial = uuid.uuid5(_OF_OURS, f"{version}\n{lock}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "pushcert",
                "version": version,
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": ours,
            }
        },
        "components": [_component(pin) for pin in found],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(pin.purl for pin in found if name in pin.via)}
            for name, ref in (("pushcert", ours), *((pin.name, pin.purl) for pin in found))
        ],
    }


def _component(pin: Pin) -> dict[str, object]:
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "hashes": [{"alg": "SHA-256", "content": one} for one in sorted(pin.hashes)],
        "purl": pin.purl,
    }
    if pin.marker:
        component["properties"] = [{"name": "pushcert:marker", "value": pin.marker}]
    return component


def main() -> None:
    """Writes ``packaging/sbom.cdx.json``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements" / "pushcert.txt").read_text()
    made = json.dumps(bom(lock, project["version"]), indent=1, ensure_ascii=False)
    (ROOT / "packaging" / "sbom.cdx.json").write_text(made + "\n")


if __name__ == "__main__":
    main()
