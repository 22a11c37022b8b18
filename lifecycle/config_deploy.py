"""The deploy targets in the configuration: ``[deploy.NAME]``, one table for each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lifecycle.config_section import Secret, Section, Url

CUSTOMER = "{customer}"
"""Stands for the customer's slug in a path."""
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_OTHERS_READ = 0o007

Mode = Annotated[str, Field(pattern=r"^0?[0-7]{3}$")]
Source = Annotated[str, Field(pattern=r"^(env|file|command):.+$")]


class TargetSection(Section):
    """What every target has.

    Attributes:
        customer: the slug of the one customer it is for; None: every customer of this machine.
        needs: targets, further up in the file, that must have the certificate first.
        recheck_hours: how long a verification counts; 0: for good.
    """

    kind: str
    customer: str | None = None
    needs: tuple[str, ...] = ()
    recheck_hours: int = Field(default=24, ge=0, le=24 * 365)


class FilesSection(TargetSection):
    """Files, with ``{customer}`` in their paths where there are several customers."""

    kind: Literal["files"]
    certificate: Path | None = None
    chain: Path | None = None
    key: Path | None = None
    pem: Path | None = None
    p12: Path | None = None
    key_format: Literal["pkcs8", "pkcs1"] = "pkcs8"
    key_passphrase: Secret = None
    p12_passphrase: Secret = None
    p12_encryption: Literal["modern", "legacy"] = "modern"
    owner: str | None = None
    group: str | None = None
    mode: Mode = "0600"
    certificate_mode: Mode = "0644"

    @property
    def paths(self) -> dict[str, Path]:
        """The files that are wanted, by form, the key before the certificate."""
        forms = ("key", "pem", "p12", "chain", "certificate")
        return {form: path for form in forms if (path := getattr(self, form)) is not None}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.paths:
            raise ValueError("name a file: certificate, chain, key, pem or p12")
        if len(set(self.paths.values())) != len(self.paths):
            raise ValueError("two of the files have the same path")
        if self.p12 is not None and self.p12_passphrase is None:
            raise ValueError("p12_passphrase goes with p12")
        return self

    @field_validator("mode")
    @classmethod
    def _keeps_others_out(cls, mode: str) -> str:
        if int(mode, 8) & _OTHERS_READ:
            raise ValueError("the files with the key would be open to every user; use 0600 or 0640")
        return mode


class CommandSection(TargetSection):
    """A command of one's own."""

    kind: Literal["command"]
    command: tuple[str, ...] = Field(min_length=1)
    check: tuple[str, ...] = ()
    key: Literal["descriptor", "file"] = "descriptor"
    environment: tuple[str, ...] = ()
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600)


class ServerSection(TargetSection):
    """An MDM server's API."""

    url: Url = Field(pattern=r"^https?://[^?#\s@]+$")
    api_key: Source
    ca_file: Path | None = None
    timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    plain_http: bool = False


class NanoMdmSection(ServerSection):
    """NanoMDM."""

    kind: Literal["nanomdm"]


class MicroMdmSection(ServerSection):
    """MicroMDM."""

    kind: Literal["micromdm"]


class ZentralSection(ServerSection):
    """Zentral."""

    kind: Literal["zentral"]


DeploySection = Annotated[
    FilesSection | CommandSection | NanoMdmSection | MicroMdmSection | ZentralSection,
    Field(discriminator="kind"),
]


def require_order(targets: Mapping[str, TargetSection]) -> None:
    """Every name is plain, and every need is further up. Raises ``ValueError``."""
    seen: set[str] = set()
    for name, target in targets.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name[:40]}' cannot name a deploy target: use a-z, 0-9, _ and -")
        for need in target.needs:
            if need not in seen:
                raise ValueError(f"deploy.{name} needs '{need[:40]}', which is no target above it")
        seen.add(name)


def require_owners(targets: Mapping[str, TargetSection], *, alone: bool) -> None:
    """No two customers get one place. Raises ``ValueError``.

    Args:
        alone: this machine has one customer's instance and no other.
    """
    for name, target in targets.items():
        if not alone and target.customer is None and _has_one_place(target):
            raise ValueError(
                f"deploy.{name} would bring every customer's key to one place: say which customer"
                f" it is for (customer = …), or put {CUSTOMER} into each path"
            )


def _has_one_place(target: TargetSection) -> bool:
    if isinstance(target, FilesSection):
        return not all(CUSTOMER in str(path) for path in target.paths.values())
    return isinstance(target, MicroMdmSection)
