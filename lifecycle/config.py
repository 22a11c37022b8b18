"""The configuration: one TOML file, every key with a default, unknown keys refused.

``config.example.toml`` shows each key with its default; a test holds the two together.
Secrets are never in it: it names the environment variable, file or command that gives them.
Nothing but the file counts: a stray environment variable must not change a renewal.
"""

from __future__ import annotations

import re
import tomllib
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator

from lifecycle.config_deploy import DeploySection, require_order, require_owners
from lifecycle.config_section import Secret, Section, Url
from lifecycle.errors import Finding, Refused, refuse

MAX_CONFIG_BYTES = 1024 * 1024
CONFIG_NAME = "config.toml"
CONFIG_VARIABLE = "PUSHCERT_CONFIG"


Language = Literal["en", "de", "fr", "es", "ja"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class VendorSection(Section):
    """Who the vendor is, and where its registry is kept."""

    name: str = "Example MDM"
    database: str = "sqlite:///vendor.sqlite"
    database_password: Secret = None
    ops: tuple[str, ...] = ()
    upload_at: str = "the setup page of your MDM server"
    language: Language = "en"
    templates: Path | None = None
    time_zone: str = "UTC"
    instances: Literal["embedded", "distributed"] = "embedded"

    @field_validator("database")
    @classmethod
    def _is_one_of_ours(cls, url: str) -> str:
        if not url.startswith(("sqlite://", "postgresql+psycopg://", "postgresql://")):
            raise ValueError("a database is sqlite:///FILE or postgresql+psycopg://HOST/NAME")
        parts = urlsplit(url)
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError("the password has no place here; database_password says where it is")
        return url

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("a time zone is written as Europe/Berlin") from None
        return name


class SignerSection(Section):
    """The MDM signing certificate."""

    directory: Path = Path("signer")
    passphrase: Secret = None
    module: Path | None = None
    pin: Secret = None


class SigningSection(Section):
    """Who lets a CSR be signed."""

    approval: Literal["automatic", "manual"] = "automatic"


class TrustSection(Section):
    """CA certificates beside Apple's bundled ones."""

    extra: tuple[Path, ...] = ()


class RenewalSection(Section):
    """When renewals open. Days."""

    window_days: int = Field(default=45, ge=1, le=300)
    spread_days: int = Field(default=10, ge=0, le=200)
    urgent_days: int = Field(default=7, ge=0, le=300)
    retry_minutes: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _opens_before_it_is_urgent(self) -> Self:
        if self.spread_days + self.urgent_days > self.window_days:
            raise ValueError("spread_days and urgent_days together exceed window_days")
        return self


class ReminderSection(Section):
    """The reminder ladder. Days."""

    before_expiry: tuple[int, ...] = (30, 14, 7, 3, 1, 0)
    grace_days: int = Field(default=30, ge=0)
    grace_every_days: int = Field(default=7, ge=1)
    copy_ops_from: int = 7
    after_delivery: tuple[int, ...] = (7, 14, 21, 28)
    quiet_hours: str | None = None
    quiet_days: tuple[Weekday, ...] = ()

    @field_validator("quiet_hours")
    @classmethod
    def _is_a_span(cls, text: str | None) -> str | None:
        if text is not None:
            begin, _, end = text.partition("-")
            if not (_CLOCK.fullmatch(begin) and _CLOCK.fullmatch(end)) or begin == end:
                raise ValueError("quiet hours are written as 20:00-07:00")
        return text

    @field_validator("quiet_days")
    @classmethod
    def _leaves_a_day(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(days)) == 7:
            raise ValueError("a day must be left on which messages go out")
        return days

    @property
    def quiet_span(self) -> tuple[time, time] | None:
        """Beginning and end of the quiet hours, on the vendor's clock; None: there are none."""
        if self.quiet_hours is None:
            return None
        begin, _, end = self.quiet_hours.partition("-")
        return time.fromisoformat(begin), time.fromisoformat(end)

    @field_validator("before_expiry", "after_delivery")
    @classmethod
    def _no_rung_below_zero(cls, rungs: tuple[int, ...]) -> tuple[int, ...]:
        if any(rung < 0 for rung in rungs):
            raise ValueError("rungs are 0 or more days; grace_days covers the time after expiry")
        return rungs


class IsolationSection(Section):
    """Isolation checks."""

    every_days: int = Field(default=7, ge=1)
    retry_hours: int = Field(default=6, ge=1)
    other_tenant: Literal["canary", "ring"] = "canary"
    workers: int = Field(default=0, ge=0, le=256)
    in_flight: int = Field(default=64, ge=1, le=1000)
    connections_per_second: float = Field(default=200.0, gt=0, le=10_000)
    connections_per_second_to_one_address: float = Field(default=100.0, gt=0, le=10_000)
    attempts: int = Field(default=3, ge=1, le=10)
    deadline_minutes: int = Field(default=240, ge=1)


class EvidenceSection(Section):
    """The signed documents that isolation runs leave behind."""

    directory: Path = Path("evidence")
    key: Path = Path("evidence/signing.pem")
    passphrase: Secret = None


class RevocationSection(Section):
    """Revocation checks by OCSP."""

    every_hours: int = Field(default=24, ge=1)
    timeout_seconds: float = Field(default=10.0, gt=0)


class ApnsSection(Section):
    """Where pushes go."""

    host: str = "api.push.apple.com"
    port: int = Field(default=443, ge=1, le=65535)
    ca_file: Path | None = None
    proxy: str | None = None
    attempts: int = Field(default=4, ge=1, le=10)
    backoff_seconds: float = Field(default=0.5, gt=0, le=60)
    timeout_seconds: float = Field(default=10.0, gt=0, le=300)


class SmtpSection(Section):
    """The mail server that reminders go through; without ``host`` they wait in the outbox."""

    host: str | None = None
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "starttls"
    sender: str = "pushcert@localhost"
    reply_to: str | None = None
    username: str | None = None
    password: Secret = None
    ca_file: Path | None = None
    timeout_seconds: float = Field(default=30.0, gt=0)


class DigestSection(Section):
    """One message a day to vendor ops, instead of a copy of each reminder."""

    enabled: bool = False
    at: str = "07:00"

    @field_validator("at")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        if not _CLOCK.fullmatch(text):
            raise ValueError("a time of day is written as 07:00")
        return text


class ChannelSection(Section):
    """A chat channel of vendor ops, reached by an apprise URL."""

    url: Annotated[str, Field(pattern=r"^(env|file|command):.+$")]
    kinds: tuple[Literal["breach", "revoked", "signer_expiry", "ops_reminder", "digest"], ...] = (
        "breach",
        "revoked",
        "signer_expiry",
        "ops_reminder",
        "digest",
    )


class VaultSection(Section):
    """The instances' private stores."""

    directory: Path = Path("instances")
    passphrase: Secret = None


class BackupSection(Section):
    """Who can open a backup: whoever knows the passphrase, or has a recipient's identity."""

    passphrase: Secret = None
    recipients: tuple[str, ...] = ()

    @field_validator("recipients")
    @classmethod
    def _are_public(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
        if not all(recipient.startswith("age1") for recipient in recipients):
            raise ValueError("a recipient is the public key that age-keygen shows: age1...")
        return recipients

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.passphrase is not None and self.recipients:
            raise ValueError("a backup is for recipients, or under a passphrase, not both")
        return self


class RunSection(Section):
    """The scheduler."""

    every_seconds: int = Field(default=60, ge=1)


class ServeSection(Section):
    """``serve``: the instance API, the ops dashboard, metrics and the calendar feed."""

    host: str = "127.0.0.1"
    port: int = Field(default=8443, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    public_url: Url | None = Field(default=None, pattern=r"^https?://[^/?#]+$")
    trusted_proxies: tuple[str, ...] = ()
    poll_seconds: int = Field(default=60, ge=1, le=86_400)
    invitation_days: int = Field(default=7, ge=1, le=365)
    instance_silent_hours: int = Field(default=24, ge=1, le=8760)
    metrics_token: Secret = None
    session_hours: int = Field(default=12, ge=1, le=168)

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class OidcSection(Section):
    """Sign-in to the ops dashboard through an OpenID Connect provider."""

    issuer: Url | None = Field(default=None, pattern=r"^https?://")
    client_id: str | None = None
    client_secret: Secret = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    roles_claim: str = "groups"
    viewers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    ca_file: Path | None = None

    @field_validator("scopes")
    @classmethod
    def _asks_who_it_is(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("without openid among them the provider does not say who it is")
        return scopes

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer is not None and self.client_id is None:
            raise ValueError("client_id goes with issuer")
        return self


class InstanceSection(Section):
    """A customer's instance on a machine of its own; unused in the embedded deployment."""

    vendor: Url | None = Field(default=None, pattern=r"^https?://[^?#]+$")
    directory: Path = Path("instance")
    passphrase: Secret = None
    ca_file: Path | None = None
    proxy: str | None = None
    timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    rotate_days: int = Field(default=90, ge=1, le=3650)
    host: str = "127.0.0.1"
    port: int = Field(default=8444, ge=0, le=65535)
    public_url: Url | None = Field(default=None, pattern=r"^https?://[^?#]+$")
    trusted_proxies: tuple[str, ...] = ()

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError("a proxy is an address or a network: 10.0.0.0/8") from None
        return proxies


class Config(Section):
    """The whole configuration. Relative paths are relative to the file's folder."""

    vendor: VendorSection = VendorSection()
    signer: SignerSection = SignerSection()
    signing: SigningSection = SigningSection()
    trust: TrustSection = TrustSection()
    renewal: RenewalSection = RenewalSection()
    reminders: ReminderSection = ReminderSection()
    isolation: IsolationSection = IsolationSection()
    evidence: EvidenceSection = EvidenceSection()
    revocation: RevocationSection = RevocationSection()
    apns: ApnsSection = ApnsSection()
    smtp: SmtpSection = SmtpSection()
    digest: DigestSection = DigestSection()
    notify: dict[str, ChannelSection] = Field(default_factory=dict)
    vault: VaultSection = VaultSection()
    backup: BackupSection = BackupSection()
    run: RunSection = RunSection()
    serve: ServeSection = ServeSection()
    oidc: OidcSection = OidcSection()
    instance: InstanceSection = InstanceSection()
    deploy: dict[str, DeploySection] = Field(default_factory=dict)
    base: Path = Path()
    """The folder that relative paths are taken from; set on loading, not in the file."""

    @model_validator(mode="after")
    def _people_find_back(self) -> Self:
        if self.oidc.issuer is not None and self.serve.public_url is None:
            raise ValueError("serve.public_url goes with oidc.issuer: people are sent back there")
        return self

    @field_validator("notify")
    @classmethod
    def _has_a_plain_name(cls, channels: dict[str, ChannelSection]) -> dict[str, ChannelSection]:
        for name in channels:
            if not re.fullmatch(r"[a-z0-9_-]{1,32}", name) or name == "mail":
                raise ValueError(f"'{name[:40]}' cannot name a channel: use a-z, 0-9, not 'mail'")
        return channels

    @model_validator(mode="after")
    def _deploys_where_it_may(self) -> Self:
        require_order(self.deploy)
        require_owners(self.deploy, alone=self.instance.vendor is not None)
        return self

    def path(self, path: Path) -> Path:
        """``path``, made absolute from the file's folder."""
        return path if path.is_absolute() else self.base / path

    @property
    def is_one_machine(self) -> bool:
        """Whether the registry is a file of this machine, so that locks on files keep processes
        apart; with a database server others may be at work on other machines."""
        return self.vendor.database.startswith("sqlite:")

    @property
    def database_url(self) -> str:
        """The database URL, with a relative SQLite file made absolute."""
        prefix = "sqlite:///"
        url = self.vendor.database
        if not url.startswith(prefix) or url.startswith("sqlite:////"):
            return url
        return prefix + str(self.path(Path(url.removeprefix(prefix))).absolute())


def load_config(file: Path) -> Config:
    """Reads a configuration file.

    Raises:
        Refused: there is no such file, it is not TOML, or a key is unknown or out of range;
            every fault is named.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise refuse(
            "config_missing",
            f"There is no configuration file {file}.",
            "Make one with `pushcert init`, or name yours with --config.",
        ) from None
    except OSError as error:
        raise _unreadable(file, error) from None
    return parse_config(data, file)


def parse_config(data: bytes, file: Path) -> Config:
    """The configuration in ``data``.

    Args:
        data: TOML, UTF-8.
        file: where it is from; relative paths are taken from its folder.

    Raises:
        Refused: as ``load_config``.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise _unreadable(file, ValueError(f"it has {len(data):,} bytes"))
    try:
        values: dict[str, Any] = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, error) from None
    try:
        return Config(**{**values, "base": file.absolute().parent})
    except ValidationError as error:
        raise Refused(
            Finding(
                "config_invalid",
                f"{file}: {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}.",
                "See config.example.toml for every key.",
            )
            for fault in error.errors(include_input=False)
        ) from None


def _unreadable(file: Path, error: Exception) -> Refused:
    return refuse(
        "config_unreadable", f"{file} cannot be read as TOML ({error}).", "Mend that line."
    )


def find_config(option: Path | None, environment: str | None) -> Path:
    """The file to use: ``--config``, else ``$PUSHCERT_CONFIG``, else ``./config.toml``."""
    if option is not None:
        return option
    return Path(environment) if environment else Path(CONFIG_NAME)
