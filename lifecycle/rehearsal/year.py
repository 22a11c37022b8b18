"""The year: day by day, what owes itself to the clock, and what people do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Protocol

from sqlmodel import col, select

from lifecycle.errors import Refused
from lifecycle.rehearsal.cast import Mistake, Player, cast
from lifecycle.rehearsal.stage import CANARY, CANARY_ACCOUNT, OPS, Stage
from lifecycle.rehearsal.timeline import Line, Timeline, Tone, told_by, told_by_mail
from lifecycle.vendor.models import AuditEntry
from lifecycle.vendor.plan import opens_at

HOURS = (6, 12, 18)
"""When the scheduler looks, UTC; plenty to see everything happen. People come at the first."""

SIGNER_DAYS = 335
"""The first MDM signing certificate lapses while renewals of the year's end are open."""

OUTAGE_FROM = 35
"""The first isolation check of the first customer's after this day meets an outage of APNs."""

BREACH_DAY = 100
SIGNER_GAP_DAYS = 2


@dataclass(slots=True)
class Admin:
    """A customer's admin: what lies on the desk, and what is still to be done wrong."""

    player: Player
    mistakes: list[Mistake]
    request: bytes | None = None
    request_since: int = 0
    visits_on: int | None = None
    renewals: int = 0
    first_topic: str | None = None
    last_file: bytes | None = None


@dataclass(slots=True)
class Seen:
    """What was staged, and what was seen of it; the verdict is made of these."""

    staged: set[str] = field(default_factory=set)
    caught: set[str] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    mails: list[EmailMessage] = field(default_factory=list)


class Troubles(Protocol):
    """What goes wrong in one kind of deployment alone."""

    def strike(self, year: Year, day: int) -> None:
        """What goes wrong by itself on this day, before anybody looks."""
        ...

    def failures(self, year: Year) -> Iterator[str]:
        """What is not as it must be after the year."""
        ...


class Year:
    """Plays a vendor's year.

    Args:
        stage: an open stage.
        customers, days: how many.
        quiet: nothing goes wrong.
        hours: when the scheduler looks, UTC.
        more: what else goes wrong, where there is more that can.
        tell: gets every line of the timeline at once.
        progress: told how many days have passed.
    """

    def __init__(
        self,
        stage: Stage,
        customers: int,
        days: int,
        *,
        quiet: bool = False,
        hours: tuple[int, ...] = HOURS,
        more: Troubles | None = None,
        tell: Callable[[Line], None] = lambda _: None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.stage = stage
        self.days = days
        self.quiet = quiet
        self.timeline = Timeline(tell)
        self.seen = Seen()
        self.admins = {
            player.slug: Admin(player, list(player.mistakes))
            for player in cast(customers, stage.rng, quiet=quiet)
        }
        self._hours = hours
        self._more = more
        self._progress = progress
        self._day = 0
        self._now = (0, 0)
        self._audited = 0
        self._canary_token = b""
        self._signer_replaced = False
        self._breach_open = False
        self._killed = False
        self._outage_since = (0, 0)

    def play(self) -> None:
        """Plays every day; afterwards the stage is as a vendor's deployment would be."""
        self._set_up()
        for day in range(self.days):
            self._day = day
            for hour in self._hours:
                self._now = (day, hour)
                self.stage.advance_to(day, hour)
                if not self.quiet:
                    self._trouble(day, hour)
                    if self._more is not None and hour == self._hours[0]:
                        self._more.strike(self, day)
                self._look()
                if hour == self._hours[0]:
                    self._visits(day)
            self._progress(day + 1)

    def more_failures(self) -> Iterator[str]:
        """What ``more`` finds that is not as it must be."""
        if self._more is not None:
            yield from self._more.failures(self)

    def _set_up(self) -> None:
        self.stage.import_signer(365 if self.quiet else SIGNER_DAYS)
        self.stage.add_customer(CANARY, "Example MDM canary", OPS, CANARY_ACCOUNT, canary=True)
        for admin in self.admins.values():
            player = admin.player
            self.stage.add_customer(player.slug, player.name, player.email, player.apple_account)
        self.say("vendor", Tone.NEWS, f"{len(self.admins)} customers are in the registry")

    def _look(self) -> None:
        """One tick of the deployment, and everything that came of it."""
        self.stage.look()
        self._read_audit()
        self._read_mail()

    def _read_audit(self) -> None:
        with self.stage.plane.database.reading() as session:
            entries = session.exec(
                select(AuditEntry)
                .where(col(AuditEntry.seq) > self._audited)
                .order_by(col(AuditEntry.seq))
            ).all()
        for entry in entries:
            self._audited = entry.seq
            told = told_by(entry)
            who = "signer" if entry.action == "signer_in_force" else entry.subject
            if told is not None and who != CANARY:
                self.say(who, *told)
            self._notice(entry)

    def _notice(self, entry: AuditEntry) -> None:
        match entry.action:
            case "isolation_breached":
                self.seen.caught.add("breach")
            case "isolation_isolated" if self._breach_open and "breach" in self.seen.caught:
                self.seen.caught.add("breach healed")
            case "isolation_inconclusive" if self.stage.gateway.faults.outage:
                self.seen.caught.add("outage")
            case "renewal_blocked" if entry.detail.get("code") == "signer_expired":
                self.seen.caught.add("signer lapsed")

    def _read_mail(self) -> None:
        for message in self.stage.mailbox.take():
            self.seen.mails.append(message)
            self.say(str(message["To"]), Tone.MAIL, told_by_mail(message))
            for admin in self.admins.values():
                if admin.player.email in str(message["To"]):
                    self._open_mail(admin, message)
            if "vendor-canary" in str(message["Subject"]) or self._is_for_canary(message):
                self._canary_visit(message)

    def _is_for_canary(self, message: EmailMessage) -> bool:
        return any(CANARY in (part.get_filename() or "") for part in message.iter_attachments())

    def _open_mail(self, admin: Admin, message: EmailMessage) -> None:
        request = _request_in(message)
        if request is None:
            return
        fresh = request != admin.request
        admin.request, admin.request_since = request, self._day
        if admin.renewals and admin.player.silent:
            return
        if fresh or admin.visits_on is None:
            wait = 0 if admin.renewals == 0 else admin.player.reacts_after
            admin.visits_on = max(self._day + wait, admin.visits_on or 0)

    def _canary_visit(self, message: EmailMessage) -> None:
        request = _request_in(message)
        if request is None or self.stage.record(CANARY).received is not None:
            return
        self.stage.upload(CANARY, self._from_portal(CANARY_ACCOUNT, request, CANARY))
        if not self._canary_token:
            self._canary_token = self.stage.enrol_device(CANARY)

    def _visits(self, day: int) -> None:
        if not self.quiet and day >= SIGNER_DAYS and not self._signer_replaced:
            return  # every request is dead, the portal says so; the next signer makes new ones
        for admin in self.admins.values():
            if admin.visits_on is None or admin.visits_on > day or admin.request is None:
                continue
            if Mistake.WAITS in admin.mistakes and admin.renewals and not self._signer_replaced:
                continue  # until the request on the desk has died with its signer
            self._visit(admin)
            self._read_audit()
            self._read_mail()

    def _visit(self, admin: Admin) -> None:
        """At the portal: first everything wrong that this admin does, then the right thing."""
        player = admin.player
        if admin.renewals:
            for mistake in [m for m in admin.mistakes if m is not Mistake.SILENT]:
                if self._err(admin, mistake):
                    admin.mistakes.remove(mistake)
        if admin.request is None:
            return
        file = self._from_portal(player.apple_account, admin.request, player.slug)
        outcome = self.stage.upload(player.slug, file)
        admin.last_file = file
        admin.visits_on = None
        admin.renewals += 1
        if outcome.setback is not None:
            self.say(player.slug, Tone.CAUGHT, outcome.setback)
            self.seen.caught.add("upload during an outage")
        self._read_audit()
        if admin.first_topic is None:
            admin.first_topic = outcome.topic
            for _ in range(2):
                self.stage.enrol_device(player.slug)
            self.say(player.slug, Tone.NEWS, "two devices enrol")

    def _from_portal(self, account: str, request: bytes, slug: str) -> bytes:
        active = self.stage.record(slug).active
        if active is None:
            return self.stage.portal.create(account, request)
        return self.stage.portal.renew(account, request, active.serial)

    def _err(self, admin: Admin, mistake: Mistake) -> bool:
        """Makes a mistake; True once it was made (some must wait for their day)."""
        player = admin.player
        if mistake is Mistake.WAITS:
            self._lose_apns("upload during an outage")
            self.say(player.slug, Tone.TROUBLE, "uploads the certificate while APNs is down")
            return True
        file = self._wrong_file(admin, mistake)
        if file is None:
            return False
        self.seen.staged.add(mistake)
        self.say(player.slug, Tone.TROUBLE, mistake)
        try:
            self.stage.upload(player.slug, file)
        except Refused as refused:
            self.seen.caught.add(mistake)
            for finding in refused.findings:
                self.seen.refusals[finding.code] += 1
            codes = ", ".join(refused.codes)
            self.say(player.slug, Tone.CAUGHT, f"refused ({codes}): {refused.findings[-1]}")
        return True

    def _wrong_file(self, admin: Admin, mistake: Mistake) -> bytes | None:
        player, portal = admin.player, self.stage.portal
        other = next(
            (a for a in self.admins.values() if a is not admin and a.last_file is not None), None
        )
        if admin.request is None:
            return None
        match mistake:
            case Mistake.CREATES:
                return portal.create(player.apple_account, admin.request)
            case Mistake.OLD_FILE:
                return admin.last_file
            case Mistake.FOREIGN_CERTIFICATE:
                return None if other is None else other.last_file
            case Mistake.WRONG_KEY:
                active = self.stage.record(player.slug).active
                others = [a for a in self.admins.values() if a is not admin]
                # The newest: an old one may have died with its signer, and the portal sees that.
                wrong = max(others, key=lambda a: a.request_since).request if others else None
                if active is None or wrong is None:
                    return None
                return portal.renew(player.apple_account, wrong, active.serial)
            case _:
                return None

    def _trouble(self, day: int, hour: int) -> None:
        """What goes wrong by itself, on its day."""
        if self.stage.gateway.faults.outage and self._outage_since != self._now:
            self.stage.gateway.faults.outage = False
            self.say("APNs", Tone.NEWS, "can be reached again")
        if day >= OUTAGE_FROM and "outage" not in self.seen.staged and self._check_is_due():
            self._lose_apns("outage")
            self.say("APNs", Tone.TROUBLE, "cannot be reached")
        if hour == self._hours[0]:
            self._breach(day)
            self._signer(day)
        self._kill()

    def _check_is_due(self) -> bool:
        facts = self.stage.record(next(iter(self.admins))).facts.isolation
        every = self.stage.plane.policy.isolation_every
        return (
            facts.concluded_at is not None and facts.concluded_at + every <= self.stage.clock.now()
        )

    def _lose_apns(self, act: str) -> None:
        self.stage.gateway.faults.outage = True
        self._outage_since = self._now
        self.seen.staged.add(act)

    def _breach(self, day: int) -> None:
        victim = next(iter(self.admins.values()))
        topic = victim.first_topic
        if day == BREACH_DAY and topic is not None and self._canary_token:
            self.stage.gateway.register(self._canary_token, topic)
            self._breach_open = True
            self.seen.staged.add("breach")
            self.say(
                victim.player.slug,
                Tone.TROUBLE,
                "devices of two tenants are registered under its topic",
            )
        if self._breach_open and "breach" in self.seen.caught and topic is not None:
            if "breach healed" in self.seen.caught:
                self._breach_open = False
            else:
                self.stage.gateway.deregister(self._canary_token, topic)
                self.seen.staged.add("breach healed")

    def _signer(self, day: int) -> None:
        if day == SIGNER_DAYS:
            self.seen.staged.add("signer lapsed")
            self.say("signer", Tone.TROUBLE, "the MDM signing certificate has lapsed")
        if day == SIGNER_DAYS + SIGNER_GAP_DAYS:
            self.stage.import_signer(365)
            self._signer_replaced = True
            self._read_audit()

    def _kill(self) -> None:
        """On the day the second customer's renewal opens, its worker dies in the middle."""
        admin = list(self.admins.values())[min(1, len(self.admins) - 1)]
        facts = self.stage.record(admin.player.slug).facts
        now = self.stage.clock.now()
        if (
            self._killed
            or facts.active is None
            or facts.renewal is not None
            or opens_at(facts.active, facts.slug, self.stage.plane.policy) > now
        ):
            return
        self._killed = True
        self.seen.staged.add("worker killed")
        killed = self.stage.deployment.lose_worker()
        self.say(
            admin.player.slug,
            Tone.TROUBLE,
            "the worker is killed (SIGKILL) between two writes of its renewal",
        )
        if killed:
            self.seen.caught.add("worker killed")
            self._read_audit()
            self.say(admin.player.slug, Tone.CAUGHT, "the next worker goes on where that one died")

    def say(self, who: str, tone: Tone, text: str) -> None:
        """Adds a line to the timeline."""
        self.timeline.add(self._day, who, tone, text)


def _request_in(message: EmailMessage) -> bytes | None:
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            return payload
    return None
