"""The deploy targets of an instance, put together from the configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from lifecycle.config import Config
from lifecycle.config_deploy import (
    CUSTOMER,
    CommandSection,
    FilesSection,
    ServerSection,
    TargetSection,
)
from lifecycle.errors import InternalFault
from lifecycle.instance.deploy.plan import About
from lifecycle.instance.deploy.target import Target, secret_of, settings_digest
from lifecycle.pki.pair import Form, KeyFormat, Pkcs12Encryption
from lifecycle.secret import secret_source

ALONE = "instance"
"""Stands for the slug where there is one instance, which does not know its own."""


def configured_targets(config: Config, slug: str | None = None) -> tuple[Target, ...]:
    """The targets of one instance, in the order of the file.

    Args:
        config: the configuration.
        slug: of the customer; None on a machine with one instance, which all targets are for.
    """
    return tuple(
        _target(config, name, section, slug or ALONE)
        for name, section in config.deploy.items()
        if slug is None or section.customer in (None, slug)
    )


def targets_by_customer(config: Config) -> dict[str, str | None]:
    """Each target's name, with the slug of the customer it is for (None: all of them)."""
    return {name: section.customer for name, section in config.deploy.items()}


def _target(config: Config, name: str, section: TargetSection, slug: str) -> Target:
    if isinstance(section, FilesSection):
        return _files(config, name, section, slug)
    if isinstance(section, CommandSection):
        return _command(name, section, slug)
    if isinstance(section, ServerSection):
        return _server(config, name, section, slug)
    raise InternalFault(f"Deploy targets of the kind {section.kind} are not built.")


def _about(name: str, section: TargetSection, place: str, slug: str) -> About:
    hours = section.recheck_hours
    return About(
        name=name,
        kind=section.kind,
        place=place,
        settings=settings_digest(slug, section.model_dump(mode="json")),
        needs=section.needs,
        recheck=timedelta(hours=hours) if hours else None,
    )


def _files(config: Config, name: str, section: FilesSection, slug: str) -> Target:
    from lifecycle.instance.deploy.files import File, FilesTarget

    def file(form: str, path: Path) -> File:
        kind = Form(form)
        passphrase = section.p12_passphrase if kind is Form.P12 else section.key_passphrase
        return File(
            path=config.path(Path(str(path).replace(CUSTOMER, slug))),
            form=kind,
            mode=int(section.mode if kind.is_secret else section.certificate_mode, 8),
            passphrase=secret_source(config, passphrase) if kind.is_secret else None,
            key_format=KeyFormat(section.key_format),
            encryption=Pkcs12Encryption(section.p12_encryption),
        )

    files = tuple(file(form, path) for form, path in section.paths.items())
    place = ", ".join(str(one.path) for one in files)
    about = _about(name, section, place, slug)
    return FilesTarget(about, files, section.owner, section.group)


def _command(name: str, section: CommandSection, slug: str) -> Target:
    from lifecycle.instance.deploy.command import Command, CommandTarget

    command = Command(
        deploy=section.command,
        check=section.check,
        key_by_file=section.key == "file",
        environment=section.environment,
        timeout=section.timeout_seconds,
        customer=slug,
    )
    return CommandTarget(_about(name, section, " ".join(section.command), slug), command)


def _server(config: Config, name: str, section: ServerSection, slug: str) -> Target:
    from lifecycle.mdm_servers.server import Reach

    source = secret_source(config, section.api_key)
    if source is None:
        raise InternalFault("A server without an API key was configured.")
    ca_file = None if section.ca_file is None else config.path(section.ca_file)
    reach = Reach(section.url, ca_file, section.timeout_seconds, section.plain_http)
    about, secret = _about(name, section, section.url, slug), secret_of(source)
    if section.kind == "nanomdm":
        from lifecycle.instance.deploy.nanomdm import NanoMdmTarget
        from lifecycle.mdm_servers.nanomdm import NanoMdm

        return NanoMdmTarget(about, NanoMdm(reach, secret))
    if section.kind == "micromdm":
        from lifecycle.instance.deploy.micromdm import MicroMdmTarget
        from lifecycle.mdm_servers.micromdm import MicroMdm

        return MicroMdmTarget(about, MicroMdm(reach, secret))
    from lifecycle.instance.deploy.zentral import ZentralTarget
    from lifecycle.mdm_servers.zentral import Zentral

    return ZentralTarget(about, Zentral(reach, secret))
