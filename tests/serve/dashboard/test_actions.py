"""What an operator can do: what the page says before, what happens, and what the log says after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import col, select

from lifecycle.vendor import credentials, registry, store
from lifecycle.vendor.access_models import InstanceCredential, Invitation
from lifecycle.vendor.credentials import NewKeys
from lifecycle.vendor.facts import RenewalReason
from lifecycle.vendor.models import Contact, IsolationCheck, Signer
from lifecycle.vendor.reminding import NOT_WITHIN
from tests.serve.dashboard.conftest import Ops, Visitor, certify, hand_over
from tests.vendor.registries import DAY


@pytest.fixture
def anna(acme: Ops) -> Visitor:
    return acme.signed_in("anna")


def by_anna(ops: Ops) -> list[str]:
    """What the audit log says that anna has done, besides signing in."""
    return [e.action for e in ops.entries(actor="user:anna") if e.action != "signed_in"]


def enrol(ops: Ops, slug: str) -> str:
    with ops.served.database.transaction() as session:
        customer = store.customer_by_slug(session, slug)
        keys = NewKeys(bytes(32), bytes(32), "0.1.0")
        made = credentials.install(session, customer, keys, at=ops.clock.now(), invitation_id=None)
        return made.id


# Renew


def test_renewing_says_who_will_get_what_and_opens_the_renewal(ops: Ops) -> None:
    ops.add("acme")
    with ops.served.database.transaction() as session:
        certify(session, "acme", ends_in=300, now_of=ops.clock)
        customer = store.customer_by_slug(session, "acme")
        customer.next_action_at = None
        session.add(Contact(customer_id=store.key_of(customer), address="ann@acme.example"))
    anna = ops.signed_in("anna")
    anna.get("/customers/acme/renew")
    for sentence in (
        "A renewal of Acme GmbH opens now, whatever the date of expiry.",
        "makes a new key and a CSR at the next tick of pushcert run.",
        "Nobody gets a mail now. Once the request is signed, it goes to it@acme.example,"
        " ann@acme.example.",
        "stays in use until the new one is active.",
    ):
        assert sentence in anna.words(), sentence
    assert ops.renewal("acme") is None, "looking at it does nothing"
    answer = anna.send("/customers/acme/renew", reason="manual", apple_account="")
    assert answer.headers["location"] == "/customers/acme?done=renew"
    renewal = ops.renewal("acme")
    assert renewal is not None
    assert renewal.reason == RenewalReason.MANUAL
    assert by_anna(ops) == ["renewal_opened"]
    assert ops.customer("acme").next_action_at == ops.clock.now(), "the worker looks at once"
    anna.get(answer.headers["location"])
    assert "The renewal is open." in anna.words()


def test_renewing_what_is_being_renewed_says_so_and_changes_nothing(
    acme: Ops, anna: Visitor
) -> None:
    before = acme.renewal("acme")
    assert before is not None
    anna.get("/customers/acme/renew")
    assert f"Renewal {before.id}, open since 2027-02-20, goes on" in anna.words()
    answer = anna.send("/customers/acme/renew", reason="manual")
    assert answer.headers["location"] == "/customers/acme?done=nothing"
    after = acme.renewal("acme")
    assert after is not None
    assert (after.id, after.state) == (before.id, before.state)
    assert by_anna(acme) == []


def test_a_key_in_wrong_hands_begins_anew_once(acme: Ops, anna: Visitor) -> None:
    before = acme.renewal("acme")
    assert before is not None
    anna.get("/customers/acme/renew")
    assert f"Renewal {before.id} is cancelled; its request must not be used" in anna.words()
    for _ in range(2):
        anna.send("/customers/acme/renew", reason="key_compromise")
    after = acme.renewal("acme")
    assert after is not None
    assert (after.reason, after.id) == ("key_compromise", (before.id or 0) + 1)
    assert by_anna(acme) == ["renewal_cancelled", "renewal_opened"]


def test_a_lost_apple_account_needs_the_new_one_and_is_recorded(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/renew")
    assert "every device must enrol again" in anna.words()
    answer = anna.send("/customers/acme/renew", reason="apple_account_changed", apple_account=" ")
    assert answer.status_code == 422
    assert "The new Apple Account is not given." in answer.text
    answer = anna.send("/customers/acme/renew", reason="apple_account_changed", apple_account="no")
    assert answer.status_code == 422
    assert by_anna(acme) == [], "all or nothing"
    anna.send("/customers/acme/renew", reason="apple_account_changed", apple_account="a@n.example")
    assert acme.customer("acme").apple_account == "a@n.example"
    assert by_anna(acme) == ["renewal_cancelled", "customer_edited", "renewal_opened"]


def test_an_account_given_with_another_reason_is_left_aside(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/renew")
    anna.send("/customers/acme/renew", reason="manual", apple_account="a@n.example")
    assert acme.customer("acme").apple_account == "push@acme.example"


def test_a_request_of_a_signer_before_is_signed_again_when_told(acme: Ops, anna: Visitor) -> None:
    with acme.served.database.transaction() as session:
        session.add(
            Signer(
                fingerprint="new",
                common_name="MDM Vendor: Example",
                not_before=acme.clock.now() - DAY,
                not_after=acme.clock.now() + 300 * DAY,
                expires_first="MDM Vendor: Example",
                chain="",
                imported_at=acme.clock.now(),
            )
        )
        customer = store.customer_by_slug(session, "acme")
        customer.next_action_at = None
    anna.get("/customers/acme/renew")
    answer = anna.send("/customers/acme/renew", reason="signer_changed")
    assert answer.headers["location"].endswith("done=renew")
    renewal = acme.renewal("acme")
    assert renewal is not None
    assert renewal.request_dies_at == acme.clock.now()
    assert acme.customer("acme").next_action_at == acme.clock.now()


def test_a_reason_that_there_is_not_is_refused(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/renew")
    assert anna.send("/customers/acme/renew", reason="because").status_code == 422


# Pause and resume


def test_a_pause_says_when_the_certificate_ends_all_the_same(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/pause")
    assert "The certificate ends on 2027-03-15, pause or no pause." in anna.words()
    assert "Nobody gets a mail." in anna.words()
    answer = anna.send("/customers/acme/pause", reason=" moving\n house ", until="2027-03-10")
    assert answer.headers["location"] == "/customers/acme?done=pause"
    customer = acme.customer("acme")
    assert customer.paused_reason == "moving house"
    assert customer.paused_until is not None
    assert customer.paused_until.isoformat() == "2027-03-10T00:00:00+00:00"
    again = anna.send("/customers/acme/pause", reason="moving house", until="2027-03-10")
    assert again.headers["location"] == "/customers/acme?done=nothing"
    assert by_anna(acme) == ["customer_paused"]
    anna.get("/customers/acme")
    assert "paused until 2027-03-10 (moving house)" in anna.words()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"reason": " "}, "No reason is given."),
        ({"reason": "x", "until": "soon"}, "is not a date"),
        ({"reason": "x", "until": "2027-02-28"}, "is not in the future"),
        ({"reason": "x" * 501}, "a value that cannot be"),
    ],
)
def test_a_pause_that_cannot_be_is_refused_with_what_to_do(
    acme: Ops, anna: Visitor, fields: dict[str, str], says: str
) -> None:
    answer = anna.confirm("/customers/acme/pause", **fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert acme.customer("acme").paused_at is None


def test_taking_up_again_says_what_is_owed_then(acme: Ops, anna: Visitor) -> None:
    anna.confirm("/customers/acme/pause", reason="moving")
    anna.get("/customers/acme/renew")
    assert "Take the customer up again first." in anna.words()
    assert 'method="post" action="/customers' not in anna.page.text, "no form that must fail"
    anna.get("/customers/acme/resume")
    assert "what is owed by then is done: expiry 14, to the customer." in anna.words()
    answer = anna.send("/customers/acme/resume")
    assert answer.headers["location"] == "/customers/acme?done=resume"
    assert anna.send("/customers/acme/resume").headers["location"].endswith("done=nothing")
    assert by_anna(acme) == ["customer_paused", "customer_resumed"]


# Remind


def test_reminding_says_who_gets_the_mail_and_writes_it_once(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/remind")
    for sentence in (
        "One mail goes to it@acme.example: the reminder of their open renewal",
        "no mail server is configured (smtp.host)",
        "No message has gone to them so far.",
        "The reminder ladder: its next rung comes as planned.",
    ):
        assert sentence in anna.words(), sentence
    anna_again = acme.signed_in("anna")
    anna_again.get("/customers/acme/remind")
    with ThreadPoolExecutor(2) as both:  # a double click, as two requests at one time
        answers = list(both.map(lambda v: v.send("/customers/acme/remind"), [anna, anna_again]))
    assert sorted(a.headers["location"] for a in answers) == [
        "/customers/acme?done=remind",
        "/customers/acme?done=reminded",
    ]
    (row,) = acme.messages()
    assert (row.kind, row.recipients, row.copies) == ("reminder", ["it@acme.example"], [])
    assert row.attach_request
    assert (row.ladder, row.rung) == (None, None)
    assert by_anna(acme) == ["reminded_by_hand"]


def test_after_a_while_it_can_be_done_again_and_the_page_tells_of_the_last(
    acme: Ops, anna: Visitor
) -> None:
    anna.confirm("/customers/acme/remind")
    anna.get("/customers/acme/remind")
    assert "was reminded by hand at 2027-03-01 09:00 UTC." in anna.words()
    assert "Wait until 13:00 UTC" in anna.words()
    acme.clock.advance(NOT_WITHIN)
    anna.get("/customers/acme/remind")
    assert "The last message to them is of 2027-03-01 09:00 UTC" in anna.words()
    anna.send("/customers/acme/remind")
    assert len(acme.messages()) == 2


def test_who_has_nothing_to_do_is_not_reminded(ops: Ops) -> None:
    ops.add("birch")
    anna = ops.signed_in("anna")
    anna.get("/customers/birch/remind")
    assert "there is nothing to remind of" in anna.words()
    assert "Remind now" not in anna.get("/customers/birch").text
    token = anna.token()
    answer = anna.post("/customers/birch/remind", None, token=token)
    assert answer.status_code == 422
    assert ops.messages() == []


# Isolation


def test_a_check_is_ordered_once_and_audited(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/check")
    assert "makes four test pushes with this customer's certificate" in anna.words()
    for expected in ("check", "nothing"):
        answer = anna.send("/customers/acme/check")
        assert answer.headers["location"] == f"/customers/acme?done={expected}"
    with acme.served.database.reading() as session:
        (check,) = session.exec(select(IsolationCheck)).all()
    assert check.verdict is None
    assert acme.customer("acme").next_action_at == acme.clock.now()
    assert by_anna(acme) == ["isolation_check_ordered"]


def test_nothing_is_checked_without_a_certificate(ops: Ops) -> None:
    ops.add("birch")
    anna = ops.signed_in("anna")
    anna.get("/customers/birch/check")
    assert "has no active certificate to check" in anna.words()
    anna.get("/account")
    answer = anna.post("/customers/birch/check", None, token=anna.token())
    assert answer.status_code == 422


# Instances


def test_a_code_is_shown_once_and_is_nowhere_else(acme: Ops, anna: Visitor) -> None:
    anna.get("/customers/acme/invite")
    assert "It is good for 7 days and for one instance." in anna.words()
    assert "Nobody gets a mail" in anna.words()
    answer = anna.send("/customers/acme/invite")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    code = answer.text.split('id="code">')[1].split("<")[0]
    assert len(code) == 29
    assert code not in anna.get("/customers/acme").text
    assert code not in anna.get("/audit").text
    kept = b"".join(path.read_bytes() for path in acme.directory.glob("vendor.sqlite*"))
    assert code.encode() not in kept
    assert by_anna(acme) == ["instance_invited"]
    assert "An invitation is open since 2027-03-01 09:00" in anna.get("/customers/acme").text


def test_a_code_made_twice_leaves_one_that_is_good_the_one_that_is_seen(
    acme: Ops, anna: Visitor
) -> None:
    anna.get("/customers/acme/invite")
    anna.send("/customers/acme/invite")
    anna.get("/customers/acme/invite")
    assert "The code that anna made on 2027-03-01 and that nobody has used" in anna.words()
    anna.send("/customers/acme/invite")
    with acme.served.database.reading() as session:
        rows = session.exec(select(Invitation).order_by(col(Invitation.id))).all()
    assert [row.withdrawn_at is None for row in rows] == [False, True]


def test_an_invitation_can_be_withdrawn(acme: Ops, anna: Visitor) -> None:
    assert anna.confirm("/customers/acme/invite").status_code == 200
    answer = anna.confirm("/customers/acme/withdraw")
    assert answer.headers["location"] == "/customers/acme?done=withdraw"
    assert by_anna(acme) == ["instance_invited", "invitation_withdrawn"]
    anna.get("/customers/acme/withdraw")
    assert "has no open invitation" in anna.words()


def test_an_instance_is_shut_out_with_a_reason_and_only_after_it_was_said_what_stays(
    acme: Ops, anna: Visitor
) -> None:
    key = enrol(acme, "acme")
    anna.get("/customers/acme/revoke")
    assert "its devices go on getting pushes" in anna.words()
    assert "It cannot be taken back" in anna.words()
    assert anna.send("/customers/acme/revoke", reason="").status_code == 422
    for expected in ("revoke", "nothing"):
        answer = anna.send("/customers/acme/revoke", reason="laptop stolen")
        assert answer.headers["location"] == f"/customers/acme?done={expected}"
    with acme.served.database.reading() as session:
        assert session.get_one(InstanceCredential, key).revoked_at is not None
    (entry,) = acme.entries(action="credential_revoked")
    assert (entry.actor, entry.detail["why"]) == ("user:anna", "laptop stolen")


def test_what_an_instance_over_the_network_does_is_said_with_when(acme: Ops, anna: Visitor) -> None:
    enrol(acme, "acme")
    anna.get("/customers/acme/check")
    assert "when it asks next: within 60 seconds if it is on the network" in anna.words()
    anna.get("/customers/acme/invite")
    assert "the instance that asks over the network now is shut out" in anna.words()


# Off-boarded customers


def test_nothing_can_be_done_about_a_customer_who_has_left(acme: Ops, anna: Visitor) -> None:
    with acme.served.database.transaction() as session:
        customer = store.customer_by_slug(session, "acme")
        registry.offboard(session, customer, at=acme.clock.now(), actor="operator:root")
    anna.get("/customers/acme")
    assert "off-boarded" in anna.words()
    assert "/customers/acme/renew" not in anna.page.text
    token = anna.token()
    for action in ("renew", "pause", "resume", "remind", "check", "invite"):
        anna.get(f"/customers/acme/{action}")
        assert "was off-boarded" in anna.words() or "off-boarded" in anna.words(), action
        answer = anna.post(f"/customers/acme/{action}", None, token=token, reason="manual")
        assert answer.status_code == 422, action
    assert by_anna(acme) == []


def test_an_action_on_nobody_is_not_found(acme: Ops, anna: Visitor) -> None:
    anna.get("/account")
    for action in ("renew", "pause", "resume", "remind", "check", "invite", "withdraw", "revoke"):
        answer = anna.post(f"/customers/nobody/{action}", None, token=anna.token(), reason="manual")
        assert answer.status_code == 404, action


def test_quiet_hours_are_told_before_a_reminder_is_sent(build_ops: object) -> None:
    assert callable(build_ops)
    ops: Ops = build_ops('[smtp]\nhost = "127.0.0.1"\n[reminders]\nquiet_hours = "08:00-10:00"\n')
    ops.add("acme")
    with ops.served.database.transaction() as session:
        certify(session, "acme", ends_in=14, now_of=ops.clock)
        hand_over(session, "acme", ops.clock)
    anna = ops.signed_in("anna")
    anna.get("/customers/acme/remind")
    assert "It waits until 2027-03-01 10:00 UTC, because customers are left alone" in anna.words()
    ops.clock.advance(timedelta(hours=2))
    anna.get("/customers/acme/remind")
    assert "It goes out with the next mail" in anna.words()
