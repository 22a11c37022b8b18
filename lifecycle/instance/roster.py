"""The devices a vault knows: tokens and push magics sealed, everything else in plain sight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from lifecycle.apns.token import DeviceToken, PushMagic
from lifecycle.errors import Finding, Refused
from lifecycle.instance.devices import MAX_FINDINGS, Device
from lifecycle.instance.models import DeviceRow
from lifecycle.instance.safe import Safe
from lifecycle.pki.fingerprints import Fingerprint
from lifecycle.pki.topic import Topic

_TOKEN = "device token"  # noqa: S105 - the kind of a sealed value
_MAGIC = "push magic"


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """What the vault knows about a device without opening anything.

    Attributes:
        udid, topic, token_fingerprint: of the device.
        canary: chosen for probing.
        seen_at: when its token was last imported, UTC.
        gone_at: when APNs said that its token is no longer registered; None while it is.
    """

    udid: str
    topic: Topic
    token_fingerprint: Fingerprint
    canary: bool
    seen_at: datetime
    gone_at: datetime | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: UDIDs that were new, and UDIDs whose values were renewed.

    ``left_out`` is how many a server's file had that are of another topic or enrolled no more.
    """

    added: tuple[str, ...]
    updated: tuple[str, ...]
    left_out: int = 0


class Roster:
    """The devices in a vault.

    Args:
        safe: the open vault.
    """

    def __init__(self, safe: Safe) -> None:
        self._safe = safe

    def enrolled(self) -> int:
        """How many there are, without those that APNs says are gone."""
        return sum(device.gone_at is None for device in self.all())

    def all(self) -> tuple[KnownDevice, ...]:
        """Every device, by UDID."""
        with self._safe.database.reading() as session:
            rows = session.exec(select(DeviceRow).order_by(col(DeviceRow.udid)))
            return tuple(_known(row) for row in rows)

    def reachable(self, topic: Topic, limit: int) -> tuple[KnownDevice, ...]:
        """At most ``limit`` devices of ``topic`` that are not gone: canaries first, then those
        seen last."""
        statement = (
            select(DeviceRow)
            .where(DeviceRow.topic == str(topic), col(DeviceRow.gone_at).is_(None))
            .order_by(
                col(DeviceRow.canary).desc(), col(DeviceRow.seen_at).desc(), col(DeviceRow.udid)
            )
            .limit(limit)
        )
        with self._safe.database.reading() as session:
            return tuple(_known(row) for row in session.exec(statement))

    def topics(self) -> frozenset[Topic]:
        """The topics that devices were registered under."""
        with self._safe.database.reading() as session:
            found = session.exec(select(DeviceRow.topic).distinct())
            return frozenset(Topic(topic) for topic in found)

    def token_fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of every device, sorted."""
        statement = select(DeviceRow.token_fingerprint).order_by(col(DeviceRow.token_fingerprint))
        with self._safe.database.reading() as session:
            return tuple(Fingerprint(found) for found in session.exec(statement))

    def open(self, udid: str) -> Device:
        """The device with its token and push magic.

        Raises:
            Refused: ``device_unknown``, ``sealed_value_damaged``, or what ``Safe.sealer``
                raises.
        """
        return self.open_all([udid])[0]

    def open_all(self, udids: Sequence[str]) -> list[Device]:
        """The devices with their tokens and push magics, in the order asked for.

        Raises: as ``open``.
        """
        with self._safe.database.reading() as session:
            rows = [_row(session, udid) for udid in udids]
        return [self._opened(row) for row in rows]

    def require(self, udids: Iterable[str]) -> None:
        """Checks that all these devices are known.

        Raises:
            Refused: ``device_unknown``, for each that is not.
        """
        with self._safe.database.reading() as session:
            unknown = [udid for udid in udids if session.get(DeviceRow, udid) is None]
        if unknown:
            raise Refused(_unknown(udid) for udid in unknown[:MAX_FINDINGS])

    def add_all(self, devices: Sequence[Device], topic: Topic | None, now: datetime) -> Imported:
        """Takes devices in, or renews their values; all of them or none.

        Args:
            devices: as read.
            topic: the instance's topic, which every device must have; None where no
                certificate is active yet (then all must have the same).
            now: when they were seen, UTC.

        Raises:
            Refused: ``device_topic_foreign``, ``device_topics_differ``, ``device_token_shared``;
                nothing was imported.
        """
        findings = [*_topic_findings(devices, topic), *_shared_within(devices)]
        if findings:
            raise Refused(findings[:MAX_FINDINGS])
        sealed = {device.udid: self._sealed(device, now) for device in devices}
        with self._safe.database.transaction() as session:
            known = {row.udid: row for row in session.exec(select(DeviceRow))}
            taken = _shared_with(devices, known.values())
            if taken:
                raise Refused(taken[:MAX_FINDINGS])
            for udid, fresh in sealed.items():
                _merge(session, known.get(udid), fresh)
        return Imported(
            added=tuple(udid for udid in sealed if udid not in known),
            updated=tuple(udid for udid in sealed if udid in known),
        )

    def set_canary(self, udid: str, canary: bool) -> None:
        """Chooses a device for probing, or no longer. Raises ``Refused``: ``device_unknown``."""
        with self._safe.database.transaction() as session:
            row = _row(session, udid)
            row.canary = canary
            session.add(row)

    def note_answer(self, token_fingerprint: Fingerprint, status: int | None, at: datetime) -> None:
        """Notes what APNs said about a token: 410, it is gone; 200, it is there.

        A device whose token has been renewed since is not touched: the answer was about the
        earlier one. Nothing is written when nothing changes.
        """
        if status not in (200, 410):
            return
        statement = select(DeviceRow).where(DeviceRow.token_fingerprint == token_fingerprint)
        with self._safe.database.reading() as session:
            row = session.exec(statement).first()
        if row is None or (row.gone_at is not None) == (status == 410):
            return
        with self._safe.database.transaction() as session:
            for row in session.exec(statement):
                row.gone_at = at if status == 410 else None
                session.add(row)

    def remove(self, udid: str) -> None:
        """Forgets a device. Raises ``Refused``: ``device_unknown``."""
        with self._safe.database.transaction() as session:
            session.delete(_row(session, udid))

    def _opened(self, row: DeviceRow) -> Device:
        sealer = self._safe.sealer
        return Device(
            udid=row.udid,
            topic=Topic(row.topic),
            token=DeviceToken.from_bytes(sealer.open(_TOKEN, row.udid, row.sealed_token)),
            push_magic=PushMagic(sealer.open(_MAGIC, row.udid, row.sealed_magic).decode()),
        )

    def _sealed(self, device: Device, now: datetime) -> DeviceRow:
        sealer = self._safe.sealer
        return DeviceRow(
            udid=device.udid,
            topic=str(device.topic),
            token_fingerprint=device.token.fingerprint,
            sealed_token=sealer.seal(_TOKEN, device.udid, device.token.raw),
            sealed_magic=sealer.seal(_MAGIC, device.udid, device.push_magic.text.encode()),
            seen_at=now,
        )


def _merge(session: Session, row: DeviceRow | None, fresh: DeviceRow) -> None:
    if row is None:
        session.add(fresh)
        return
    row.topic, row.token_fingerprint = fresh.topic, fresh.token_fingerprint
    row.sealed_token, row.sealed_magic = fresh.sealed_token, fresh.sealed_magic
    row.seen_at, row.gone_at = fresh.seen_at, None
    session.add(row)


def _row(session: Session, udid: str) -> DeviceRow:
    row = session.get(DeviceRow, udid)
    if row is None:
        raise Refused(_unknown(udid))
    return row


def _unknown(udid: str) -> Finding:
    return Finding(
        "device_unknown",
        f"No device with the UDID {udid} is known here.",
        "Import its TokenUpdate message with `pushcert instance device import FILE`.",
    )


def _topic_findings(devices: Sequence[Device], topic: Topic | None) -> list[Finding]:
    if topic is not None:
        return [
            Finding(
                "device_topic_foreign",
                f"The device {device.udid} is registered under {device.topic}; this instance's"
                f" topic is {topic}.",
                "Import it into the instance it is enrolled in, or enrol it here first.",
            )
            for device in devices
            if device.topic != topic
        ]
    topics = sorted({device.topic for device in devices})
    if len(topics) <= 1:
        return []
    return [
        Finding(
            "device_topics_differ",
            f"The devices are registered under different topics: {', '.join(topics)}.",
            "Import only the devices of one instance.",
        )
    ]


def _shared_within(devices: Sequence[Device]) -> list[Finding]:
    first: dict[Fingerprint, str] = {}
    return [
        _shared(device.udid, owner)
        for device in devices
        if (owner := first.setdefault(device.token.fingerprint, device.udid)) != device.udid
    ]


def _shared_with(devices: Sequence[Device], known: Iterable[DeviceRow]) -> list[Finding]:
    # A token that moves from one device to another within one import is still refused: APNs
    # gives a token to one device only.
    owners = {row.token_fingerprint: row.udid for row in known}
    return [
        _shared(device.udid, owner)
        for device in devices
        if (owner := owners.get(device.token.fingerprint, device.udid)) != device.udid
    ]


def _shared(udid: str, owner: str) -> Finding:
    return Finding(
        "device_token_shared",
        f"The device {udid} has the same token as {owner}.",
        "Take the token from each device's own latest TokenUpdate message.",
    )


def _known(row: DeviceRow) -> KnownDevice:
    return KnownDevice(
        udid=row.udid,
        topic=Topic(row.topic),
        token_fingerprint=Fingerprint(row.token_fingerprint),
        canary=row.canary,
        seen_at=row.seen_at,
        gone_at=row.gone_at,
    )
