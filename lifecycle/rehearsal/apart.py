"""What goes wrong between planes that are apart: the network, the machines, who may ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlmodel import col, func, select

from lifecycle.lab.network_faults import NetworkFault
from lifecycle.rehearsal.distributed import ASKS_EVERY, DistributedDeployment, warnings_in
from lifecycle.rehearsal.surroundings import START
from lifecycle.rehearsal.timeline import Tone
from lifecycle.rehearsal.year import Admin, Year
from lifecycle.vendor import store
from lifecycle.vendor.models import AuditEntry
from lifecycle.vendor.plan import opens_at

BAD_NETWORK_DAY = 60
SERVER_LOST_DAY = 150
STOLEN_DAY = 200
INVITED_AFTER_DAYS = 3
OFF_BEFORE, BACK_AFTER = timedelta(days=14), timedelta(days=10)
"""An instance is off from so long before its renewal opens until so long after."""
ROUNDS = 12
_STALLS = (NetworkFault.STALL, NetworkFault.STALL_AFTERWARDS)

BAD_NETWORK = "every fault of the network"
SERVER_LOST = "server killed"
STOLEN = "instance revoked"
INVITED = "instance invited again"
AWAY = "instance offline for weeks"


class Apart:
    """Strikes a distributed deployment (``Troubles``).

    Args:
        deployment: the one that is played on.
    """

    def __init__(self, deployment: DistributedDeployment) -> None:
        self._deployment = deployment
        self._off_until: int | None = None
        self._was_off = False

    def strike(self, year: Year, day: int) -> None:
        """See ``Troubles.strike``."""
        match day:
            case _ if day == BAD_NETWORK_DAY:
                self._bad_network(year)
            case _ if day == SERVER_LOST_DAY:
                self._lose_server(year)
            case _ if day == STOLEN_DAY:
                self._steal(year)
            case _ if day == STOLEN_DAY + INVITED_AFTER_DAYS:
                self._invite_again(year)
        self._away(year, day)

    def failures(self, year: Year) -> Iterator[str]:
        """See ``Troubles.failures``: nobody warns any more, and keys were changed in time."""
        on = [slug for slug, machine in self._deployment.machines.items() if machine.is_on]
        for slug, events in self._deployment.round(on).items():
            for warning in warnings_in(events):
                yield f"the instance of {slug} warns: {warning}"
        every = timedelta(days=year.stage.plane.config.instance.rotate_days)
        if timedelta(days=year.days) <= every + ASKS_EVERY:
            return
        with year.stage.plane.database.reading() as session:
            changed = dict(
                session.exec(
                    select(AuditEntry.subject, func.count())
                    .where(col(AuditEntry.action) == "credential_rotated")
                    .group_by(col(AuditEntry.subject))
                ).all()
            )
        for slug in on:
            if not changed.get(slug):
                yield f"the instance of {slug} has never changed its keys"

    def _bad_network(self, year: Year) -> None:
        faults = [fault for fault in NetworkFault if fault not in _STALLS]
        year.seen.staged.add(BAD_NETWORK)
        year.say("network", Tone.TROUBLE, "loses, doubles, delays, cuts and fakes messages")
        network = self._deployment.tap.faults
        network.queue(*faults)
        on = [slug for slug, machine in self._deployment.machines.items() if machine.is_on]
        for _ in range(ROUNDS):
            if set(faults) <= set(network.done):
                break
            self._deployment.round(on)
        self._deployment.tap.deliver_late()
        after = self._deployment.round(on)
        if set(faults) <= set(network.done) and not any(map(warnings_in, after.values())):
            year.seen.caught.add(BAD_NETWORK)
            year.say("network", Tone.CAUGHT, f"{len(faults)} kinds of fault, and no harm done")

    def _lose_server(self, year: Year) -> None:
        year.seen.staged.add(SERVER_LOST)
        year.say("vendor", Tone.TROUBLE, "serve is killed (SIGKILL) while every instance asks")
        self._deployment.lose_server()
        on = [slug for slug, machine in self._deployment.machines.items() if machine.is_on]
        after = self._deployment.round(on)
        if not any(map(warnings_in, after.values())):
            year.seen.caught.add(SERVER_LOST)
            year.say("vendor", Tone.CAUGHT, "another serve takes its place; all instances ask it")

    def _steal(self, year: Year) -> None:
        slug = _loud(year)[-1].player.slug
        year.seen.staged.add(STOLEN)
        year.say(slug, Tone.TROUBLE, "the machine of its instance is stolen")
        self._deployment.revoke(slug, "machine stolen")
        if "refused credential_revoked" in self._deployment.round([slug])[slug]:
            year.seen.caught.add(STOLEN)
            year.say(slug, Tone.CAUGHT, "what asks with the old keys is turned away")

    def _invite_again(self, year: Year) -> None:
        slug = _loud(year)[-1].player.slug
        year.seen.staged.add(INVITED)
        machine = self._deployment.machines[slug]
        machine.enrol(self._deployment.invite(slug))
        machine.settled()
        if not warnings_in(self._deployment.round([slug])[slug]):
            year.seen.caught.add(INVITED)

    def _away(self, year: Year, day: int) -> None:
        """An instance is off for weeks, and its renewal opens meanwhile."""
        admin = _loud(year)[-2:][0]
        slug = admin.player.slug
        machine = self._deployment.machines[slug]
        if not self._was_off:
            active = year.stage.record(slug).facts.active
            if active is None:
                return
            opens = opens_at(active, slug, year.stage.plane.policy)
            back = (opens + BACK_AFTER - START).days
            if opens - OFF_BEFORE <= year.stage.clock.now() and back < year.days:
                self._was_off, self._off_until = True, back
                year.seen.staged.add(AWAY)
                year.say(slug, Tone.TROUBLE, "the machine of its instance is switched off")
                machine.off()
        elif self._off_until == day:
            machine.on()
            self._off_until = None
            year.say(slug, Tone.NEWS, "the machine of its instance is on again")
            before = self._renewal_waits(year, slug)
            self._deployment.look()
            if before and not self._renewal_waits(year, slug):
                year.seen.caught.add(AWAY)
                year.say(slug, Tone.CAUGHT, "its renewal, open for days, has its CSR at once")

    @staticmethod
    def _renewal_waits(year: Year, slug: str) -> bool:
        with year.stage.plane.database.reading() as session:
            renewal = store.open_renewal(session, store.customer_by_slug(session, slug))
        return renewal is not None and renewal.csr is None


def _loud(year: Year) -> list[Admin]:
    """The customers who react."""
    return [admin for admin in year.admins.values() if not admin.player.silent]
