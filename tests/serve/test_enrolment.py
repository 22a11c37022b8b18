"""How an instance becomes known, changes its keys, and is shut out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlmodel import select

from lifecycle.errors import Refused, Unavailable
from lifecycle.vendor import audit, credentials, invitations, store
from lifecycle.vendor.access_models import InstanceCredential, Invitation
from lifecycle.vendor.credentials import ROTATION_GRACE, NewKeys

if TYPE_CHECKING:
    from tests.serve.conftest import Vendor


def codes(vendor: Vendor, slug: str, code: str) -> tuple[str, ...]:
    with pytest.raises(Refused) as refused:
        vendor.instance(slug).enrol(code)
    return refused.value.codes


def revoke(vendor: Vendor, slug: str) -> None:
    with vendor.served.database.transaction() as session:
        customer = store.customer_by_slug(session, slug)
        credentials.revoke_all(
            session, customer, at=vendor.clock.now(), actor="operator:test", why="stolen"
        )


def actions(vendor: Vendor) -> list[str]:
    with vendor.served.database.reading() as session:
        return [entry.action for entry in audit.latest(session, 50)]


class TestTheCode:
    def test_lets_one_instance_in_as_its_customer(self, vendor: Vendor) -> None:
        vendor.add("acme")
        receipt = vendor.instance("acme").enrol(vendor.invite("acme"))
        assert (receipt.vendor, receipt.customer) == ("Example MDM", "Acme")
        standing = vendor.instance("acme").work().standing
        assert standing is not None
        assert standing.customer == "Acme"
        assert actions(vendor)[-2:] == ["instance_invited", "instance_enrolled"]

    def test_is_kept_nowhere(self, vendor: Vendor) -> None:
        vendor.add("acme")
        code = vendor.invite("acme")
        for path in (vendor.directory / "vendor").iterdir():
            assert code.encode() not in path.read_bytes()
            assert code.replace("-", "").encode() not in path.read_bytes()

    def test_may_be_typed_as_people_type(self, vendor: Vendor) -> None:
        vendor.add("acme")
        typed = f" {vendor.invite('acme').lower().replace('-', ' ').replace('0', 'o')} "
        assert vendor.instance("acme").enrol(typed).customer == "Acme"

    def test_is_used_up(self, vendor: Vendor) -> None:
        vendor.add("acme")
        code = vendor.invite("acme")
        vendor.instance("acme").enrol(code)
        assert codes(vendor, "thief", code) == ("invitation_used",)

    def test_expires(self, vendor: Vendor) -> None:
        vendor.add("acme")
        code = vendor.invite("acme", days=7)
        vendor.clock.advance(timedelta(days=7))
        assert codes(vendor, "acme", code) == ("invitation_expired",)

    def test_is_withdrawn_by_hand_and_by_the_next_one(self, vendor: Vendor) -> None:
        vendor.add("acme")
        first, second = vendor.invite("acme"), vendor.invite("acme")
        assert codes(vendor, "acme", first) == ("invitation_withdrawn",)
        with vendor.served.database.transaction() as session:
            customer = store.customer_by_slug(session, "acme")
            now = vendor.clock.now()
            assert invitations.withdraw(session, customer, at=now, actor="operator:test")
            assert invitations.open_invitation(session, customer, now) is None
        assert codes(vendor, "acme", second) == ("invitation_withdrawn",)

    @pytest.mark.parametrize("code", ["AAAAA-AAAAA-AAAAA-AAAAA-AAAAA", "?", "' OR 1=1 --"])
    def test_cannot_be_guessed(self, vendor: Vendor, code: str) -> None:
        assert codes(vendor, "acme", code) == ("invitation_unknown",)

    def test_again_with_the_same_keys_gives_the_same_answer(self, vendor: Vendor) -> None:
        # The answer was lost on the way: the instance does not know that it is known.
        vendor.add("acme")
        code = vendor.invite("acme")
        with vendor.instance("acme").vault() as vault:
            keys = vault.credentials.pending(vendor.clock.now())
        with vendor.served.database.transaction() as session:
            first = invitations.redeem(
                session,
                code,
                NewKeys(keys.public_key, keys.sealing_public_key),
                at=vendor.clock.now(),
            ).id
        receipt = vendor.instance("acme").enrol(code)
        assert receipt.credential_id == first
        with vendor.served.database.reading() as session:
            assert len(session.exec(select(InstanceCredential)).all()) == 1
        assert actions(vendor).count("instance_enrolled") == 1

    def test_of_an_instance_that_is_known_is_not_used(self, vendor: Vendor) -> None:
        alone = vendor.enrolled("acme")
        code = vendor.invite("acme")
        assert alone.enrol(code).customer == "Acme"
        with vendor.served.database.reading() as session:
            used = session.exec(select(Invitation.used_at)).all()
        assert [at is not None for at in used] == [True, False]

    def test_of_an_off_boarded_customer_is_not_made(self, vendor: Vendor) -> None:
        from lifecycle.vendor import registry

        vendor.add("acme")
        with vendor.served.database.transaction() as session:
            customer = store.customer_by_slug(session, "acme")
            registry.offboard(session, customer, at=vendor.clock.now(), actor="operator:test")
        with pytest.raises(Refused) as refused:
            vendor.invite("acme")
        assert refused.value.codes == ("customer_not_in_care",)


class TestTheCredential:
    def test_of_an_instance_before_is_shut_out_by_the_next_one(self, vendor: Vendor) -> None:
        old = vendor.enrolled("acme")
        new = vendor.instance("acme-on-new-hardware")
        new.enrol(vendor.invite("acme"))
        assert new.work().standing is not None
        with pytest.raises(Refused) as refused:
            old.work()
        assert refused.value.codes == ("credential_revoked",)

    def test_that_was_revoked_is_good_for_nothing_and_a_new_code_brings_it_back(
        self, vendor: Vendor
    ) -> None:
        alone = vendor.enrolled("acme")
        revoke(vendor, "acme")
        for call in (alone.work, alone.change_keys, alone.step):
            with pytest.raises(Refused) as refused:
                call()
            assert refused.value.codes == ("credential_revoked",)
        alone.enrol(vendor.invite("acme"))
        assert alone.work().standing is not None

    def test_changes_its_keys_and_the_old_ones_are_good_for_a_day(self, vendor: Vendor) -> None:
        alone = vendor.enrolled("acme")
        with alone.link() as old_link:
            pass
        before = alone.enrolled()
        new = alone.change_keys()
        assert before is not None
        assert new != before.credential_id
        assert alone.work().standing is not None
        assert old_link.work().standing is not None
        vendor.clock.advance(ROTATION_GRACE)
        with pytest.raises(Refused) as refused:
            old_link.work()
        assert refused.value.codes == ("credential_revoked",)
        assert alone.work().standing is not None
        assert actions(vendor)[-1] == "credential_rotated"

    def test_is_changed_once_it_is_old(self, vendor: Vendor) -> None:
        alone = vendor.enrolled("acme")
        first = alone.enrolled()
        alone.step()
        second = alone.enrolled()
        vendor.clock.advance(timedelta(days=alone.config.instance.rotate_days))
        alone.step()
        third = alone.enrolled()
        assert first is not None
        assert second is not None
        assert third is not None
        assert first.credential_id == second.credential_id != third.credential_id

    def test_of_which_the_change_was_answered_into_the_void_is_changed_by_the_next_try(
        self, vendor: Vendor
    ) -> None:
        alone = vendor.enrolled("acme")
        current = alone.enrolled()
        assert current is not None
        with alone.vault() as vault:
            keys = vault.credentials.pending(vendor.clock.now())
        with vendor.served.database.transaction() as session:
            lost = credentials.rotate(
                session,
                current.credential_id,
                NewKeys(keys.public_key, keys.sealing_public_key),
                at=vendor.clock.now(),
            )
        assert alone.work().standing is not None, "the old keys still sign"
        assert alone.change_keys() == lost

    def test_cannot_be_replaced_twice_by_whoever_has_the_old_keys(self, vendor: Vendor) -> None:
        alone = vendor.enrolled("acme")
        old = alone.enrolled()
        alone.change_keys()
        assert old is not None
        with vendor.served.database.transaction() as session, pytest.raises(Refused) as refused:
            credentials.rotate(
                session, old.credential_id, NewKeys(b"k" * 32, b"9" * 32), at=vendor.clock.now()
            )
        assert refused.value.codes == ("credential_replaced",)

    def test_is_seen_and_noted_now_and_then(self, vendor: Vendor) -> None:
        from importlib.metadata import version

        alone = vendor.enrolled("acme")
        alone.work()
        first = _credential(vendor)
        assert first.seen_at == vendor.clock.now()
        assert first.version == version("pushcert")
        vendor.clock.advance(timedelta(minutes=1))
        alone.work()
        assert _credential(vendor).seen_at == first.seen_at
        vendor.clock.advance(timedelta(minutes=5))
        alone.work()
        assert _credential(vendor).seen_at == vendor.clock.now()

    @pytest.mark.parametrize("keys", [NewKeys(b"short", b"9" * 32), NewKeys(b"k" * 32, bytes(32))])
    def test_with_keys_that_are_none_is_refused(self, vendor: Vendor, keys: NewKeys) -> None:
        vendor.add("acme")
        code = vendor.invite("acme")
        with vendor.served.database.transaction() as session, pytest.raises(Refused):
            invitations.redeem(session, code, keys, at=vendor.clock.now())
        assert vendor.instance("acme").enrol(code).customer == "Acme", "the code is still good"


def _credential(vendor: Vendor) -> InstanceCredential:
    with vendor.served.database.reading() as session:
        return session.exec(select(InstanceCredential)).one()


class TestTheVault:
    def test_keeps_the_keys_sealed(self, vendor: Vendor) -> None:
        alone = vendor.enrolled("acme")
        enrolled = alone.enrolled()
        assert enrolled is not None
        secret = enrolled.signer.key.private_bytes_raw()
        for path in alone.directory.iterdir():
            data = path.read_bytes()
            assert secret not in data
            assert secret.hex().encode() not in data

    def test_of_an_instance_that_is_not_known_says_what_to_do(self, vendor: Vendor) -> None:
        with pytest.raises(Refused) as refused:
            vendor.instance("acme").work()
        assert refused.value.codes == ("instance_not_enrolled",)


def test_a_vendor_that_is_away_leaves_the_code_unused(vendor: Vendor) -> None:
    vendor.add("acme")
    code = vendor.invite("acme")
    alone = vendor.instance("acme")
    where = vendor.url
    (alone.config.base / "config.toml").write_text(
        f'[instance]\nvendor = "https://127.0.0.1:9"\nca_file = "{vendor.tls.ca}"\n'
    )
    from lifecycle.config import load_config
    from lifecycle.standalone import Standalone

    away = Standalone(
        load_config(alone.config.base / "config.toml"), vendor.clock, sleep=vendor.slept.append
    )
    with pytest.raises(Unavailable):
        away.enrol(code)
    assert len(vendor.slept) == 2, "three attempts"
    vendor.url = where
    assert vendor.instance("acme").enrol(code).customer == "Acme"
