"""The year: day by day, what owes itself to the clock, and what people do about it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

from sqlmodel import col, select

from lifecycle.errors import Refused
from lifecycle.rehearsal.cast import Mistake, Player, cast
from lifecycle.rehearsal.stage import CANARY, CANARY_ACCOUNT, OPS, Stage
from lifecycle.rehearsal.timeline import Line, Timeline, Tone, told_by, told_by_mail
from lifecycle.vendor.models import AuditEntry
from lifecycle.vendor.plan import opens_at

HOURS = (6, 12, 18)
"""When the scheduler looks, UTC; three times a day is plenty to see everything happen."""

SIGNER_DAYS = 335
"""The first MDM signing certificate lapses while renewals of the year's end are open."""

OUTAGE = range(35, 36)
"""Days on which APNs cannot be reached; the weekly checks of day 35 meet them."""

BREACH_DAY = 100
SIGNER_GAP_DAYS = 2
KILL_AT = 6


@dataclass(slots=True)
class Admin:
    """A customer's admin: what lies on the desk, and what is still to be done wrong."""

    player: Player
    mistakes: list[Mistake]
    request: bytes | None = None
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


class Year:
    """Plays a vendor's year.

    Args:
        stage: an open stage.
        customers, days: how many.
        quiet: nothing goes wrong.
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
        self._progress = progress
        self._day = 0
        self._audited = 0
        self._canary_token = b""
        self._signer_replaced = False
        self._breach_open = False
        self._killed = False

    def play(self) -> None:
        """Plays every day; afterwards the stage is as a vendor's deployment would be."""
        self._set_up()
        for day in range(self.days):
            self._day = day
            for hour in HOURS:
                self.stage.advance_to(day, hour)
                if not self.quiet:
                    self._trouble(day, hour)
                self._look()
                if hour == HOURS[0]:
                    self._visits(day)
            self._progress(day + 1)

    def _set_up(self) -> None:
        self.stage.import_signer(365 if self.quiet else SIGNER_DAYS)
        self.stage.add_customer(CANARY, "Example MDM canary", OPS, CANARY_ACCOUNT, canary=True)
        for admin in self.admins.values():
            player = admin.player
            self.stage.add_customer(player.slug, player.name, player.email, player.apple_account)
        self._say("vendor", Tone.NEWS, f"{len(self.admins)} customers are in the registry")

    def _look(self) -> None:
        """One tick of the deployment, and everything that came of it."""
        self.stage.embedded.tick()
        self._read_audit()
        self._read_mail()

    def _read_audit(self) -> None:
        with self.stage.embedded.database.reading() as session:
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
                self._say(who, *told)
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
            self._say(str(message["To"]), Tone.MAIL, told_by_mail(message))
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
        admin.request = request
        if admin.renewals and admin.player.silent:
            return
        if fresh or admin.visits_on is None:
            wait = 0 if admin.renewals == 0 else admin.player.reacts_after
            admin.visits_on = max(self._day + wait, admin.visits_on or 0)

    def _canary_visit(self, message: EmailMessage) -> None:
        request = _request_in(message)
        if request is None or self.stage.record(CANARY).received is not None:
            return
        self.stage.embedded.upload(CANARY, self._from_portal(CANARY_ACCOUNT, request, CANARY))
        if not self._canary_token:
            self._canary_token = self.stage.enrol_device(CANARY)

    def _visits(self, day: int) -> None:
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
        outcome = self.stage.embedded.upload(player.slug, file)
        admin.last_file = file
        admin.visits_on = None
        admin.renewals += 1
        if not outcome.activated and outcome.setback is not None:
            self._say(player.slug, Tone.CAUGHT, outcome.setback.message)
            self.seen.caught.add("upload during an outage")
        self._read_audit()
        if admin.first_topic is None:
            admin.first_topic = str(outcome.certificate.topic)
            for _ in range(2):
                self.stage.enrol_device(player.slug)
            self._say(player.slug, Tone.NEWS, "two devices enrol")

    def _from_portal(self, account: str, request: bytes, slug: str) -> bytes:
        active = self.stage.record(slug).active
        if active is None:
            return self.stage.portal.create(account, request)
        return self.stage.portal.renew(account, request, active.serial)

    def _err(self, admin: Admin, mistake: Mistake) -> bool:
        """Makes a mistake; True once it was made (some must wait for their day)."""
        player = admin.player
        if mistake is Mistake.WAITS:
            self.stage.gateway.faults.outage = True
            self.seen.staged.add("upload during an outage")
            self._say(player.slug, Tone.TROUBLE, "uploads the certificate while APNs is down")
            return True
        file = self._wrong_file(admin, mistake)
        if file is None:
            return False
        self.seen.staged.add(mistake)
        self._say(player.slug, Tone.TROUBLE, mistake)
        try:
            self.stage.embedded.upload(player.slug, file)
        except Refused as refused:
            self.seen.caught.add(mistake)
            for finding in refused.findings:
                self.seen.refusals[finding.code] += 1
            codes = ", ".join(refused.codes)
            self._say(player.slug, Tone.CAUGHT, f"refused ({codes}): {refused.findings[-1]}")
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
                wrong = next((a.request for a in self.admins.values() if a is not admin), None)
                if active is None or wrong is None:
                    return None
                return portal.renew(player.apple_account, wrong, active.serial)
            case _:
                return None

    def _trouble(self, day: int, hour: int) -> None:
        """What goes wrong by itself, on its day."""
        faults = self.stage.gateway.faults
        if hour == HOURS[0] and day == OUTAGE.start:
            faults.outage = True
            self.seen.staged.add("outage")
            self._say("APNs", Tone.TROUBLE, "cannot be reached")
        elif faults.outage and day not in OUTAGE and hour != HOURS[0]:
            faults.outage = False
            self._say("APNs", Tone.NEWS, "can be reached again")
        if hour == HOURS[0]:
            self._breach(day)
            self._signer(day)
        self._kill()

    def _breach(self, day: int) -> None:
        victim = next(iter(self.admins.values()))
        topic = victim.first_topic
        if day == BREACH_DAY and topic is not None and self._canary_token:
            self.stage.gateway.register(self._canary_token, topic)
            self._breach_open = True
            self.seen.staged.add("breach")
            self._say(
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
            self._say("signer", Tone.TROUBLE, "the MDM signing certificate has lapsed")
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
            or opens_at(facts.active, facts.slug, self.stage.embedded.policy) > now
        ):
            return
        self._killed = True
        self.seen.staged.add("worker killed")
        done = subprocess.run(  # noqa: S603  (this very program)
            [
                sys.executable,
                "-m",
                "lifecycle.rehearsal.victim",
                str(self.stage.directory),
                now.isoformat(),
                str(KILL_AT),
            ],
            check=False,
            capture_output=True,
        )
        self._say(
            admin.player.slug,
            Tone.TROUBLE,
            "the worker is killed (SIGKILL) between two writes of its renewal",
        )
        if done.returncode == -signal.SIGKILL:
            self.seen.caught.add("worker killed")
            self._read_audit()
            self._say(admin.player.slug, Tone.CAUGHT, "the next worker goes on where that one died")

    def _say(self, who: str, tone: Tone, text: str) -> None:
        self.timeline.add(self._day, who, tone, text)


def _request_in(message: EmailMessage) -> bytes | None:
    for part in message.iter_attachments():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            return payload
    return None
