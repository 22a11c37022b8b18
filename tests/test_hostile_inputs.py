"""What fuzzing has found, each by the smallest input that shows it.

Every one of them once ended in an exception that nobody had declared, in an answer of 500 or in a
wait without end. The harness it is for says what must come of it: a value, or a refusal.
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from types import FrameType

import pytest
from starlette.datastructures import Headers

from fuzz.harness import joined, load
from lifecycle.apns.faults import Fault, goaway_trouble
from lifecycle.config import parse_config
from lifecycle.errors import Refused
from lifecycle.evidence_key import verify_signature
from lifecycle.instance.device_files import read_device_file
from lifecycle.mdm_servers import sql_dump, webhook
from lifecycle.mdm_servers.server import Reach, instant
from lifecycle.passphrase import FromFile, parse_source, resolve
from lifecycle.pki import chain as chains
from lifecycle.pki.certificates import issued_by
from lifecycle.pki.chain import TrustStore, complete_chain
from lifecycle.setup_page.guard import Doorkeeper
from lifecycle.vendor import customer_csv, customer_file
from lifecycle.vendor.customer_file import read_customers
from lifecycle.vendor.registry import Changes, NewCustomer
from lifecycle.vendor.run_document import contradictions, parse_document
from lifecycle.wire.messages import CheckWanted
from lifecycle.wire.signatures import SignatureRejected, claimed_credential
from lifecycle.wire.vendors_time import VendorsTime
from tests.pki.conftest import WHEN_VECTORS_ARE_VALID, issue

REPRODUCERS = [
    ("apns_answers", b"[" * 1024),
    ("config", b"a=" + b"[" * 2000),
    ("config", b"a=" + b"9" * 5000),
    ("config", b'[deploy.x]\nkind="nanomdm"\nurl="https://h:99999"\napi_key="env:K"'),
    ("customer_csv", b"slug,name,email\na,b,c@d.e,f\n"),
    ("customer_json", b'[{"slug":"a","name":"\\ud800","email":"c"}]'),
    ("device_file", '{"topic":"mdm.TokenUpdate","checkin_event":{"raw_payload":"é"}}'.encode()),
    ("mdm_answers", '\0{"cert":"é"}'.encode()),
    ("mdm_answers", b'\0{"topic":"t","not_after":"0001-01-01T00:00:00+14:00"}'),
    ("messages", b'{"kind":"check_wanted","after":"0001-01-01T00:00:00+14:00"}'),
    ("oidc_answers", b"[" * 2000),
    ("run_document", b"[" * 2000),
    ("run_document", load("run_document").seeds()["text-answer"]),
    ("signatures", b"S" + joined(b'{"alg":"EdDSA","kid":"\\ud800"}', b"{}")),
    ("signatures", load("signatures").seeds()["late"].replace(b"1" + b"0" * 20, b"1" + b"0" * 400)),
    ("vendor_answers", b'\0{"vendor_time":"9999-12-31T23:59:59Z"}'),
    ("web_headers", joined(b"x", b"http://[", b"", b"")),
    ("words", b"file:~nobody-of-that-name/x"),
    ("words", b"file:~\0"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("harness", "data"), REPRODUCERS, ids=[f"{n}-{name}" for n, (name, _) in enumerate(REPRODUCERS)]
)
def test_what_was_found_once_is_a_value_or_a_refusal_now(harness: str, data: bytes) -> None:
    load(harness).one(data)


@pytest.fixture
def no_endless_wait() -> Generator[None]:
    """Ends a test that would go on for hours; says nothing of how long it may take."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the parser does not come to an end")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_goaway_of_brackets_alone_is_a_lost_connection() -> None:
    assert goaway_trouble(b"[" * 4096).fault is Fault.LOST


def test_an_event_whose_payload_is_no_base64_is_refused() -> None:
    event = {"topic": "mdm.TokenUpdate", "checkin_event": {"raw_payload": "é"}}
    with pytest.raises(Refused) as refused:
        read_device_file(json.dumps(event).encode(), None)
    assert refused.value.codes == ("webhook_unreadable",)


def test_a_webhooks_file_of_a_size_that_would_take_the_memory_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        webhook.token_updates(b"[" * (webhook.MAX_WEBHOOK_BYTES + 1))
    assert refused.value.codes == ("webhook_too_large",)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_has_no_form_in_utc_is_none(text: str) -> None:
    assert instant(text) is None


@pytest.mark.parametrize(
    "hostile",
    [
        b"CREATE TABLE enrollments (\n" * 100_000 + b")\n",
        b"COPY enrollments (id) FROM stdin;\n" * 100_000,
        b"INSERT INTO enrollments (\n" * 100_000,
        b"INSERT INTO enrollments" + b"\n" * 1_000_000,
        b"INSERT INTO enrollments (id) VALUES ('" + b"\nINSERT INTO enrollments (id) VALUES ('',"
        b" '" * 50_000,
    ],
    ids=["create", "copy", "insert", "space", "nested"],
)
@pytest.mark.usefixtures("no_endless_wait")
def test_a_dump_made_to_be_looked_through_again_and_again_is_looked_through_once(
    hostile: bytes,
) -> None:
    with pytest.raises(Refused) as refused:
        list(sql_dump.rows(hostile, ("other",), ("id",)))
    assert refused.value.codes == ("dump_table_missing",)
    with contextlib.suppress(Refused):
        list(sql_dump.rows(hostile, ("enrollments",), ("id",)))


def test_a_row_with_more_values_than_columns_is_refused_by_its_line() -> None:
    with pytest.raises(Refused) as refused:
        read_customers(BytesIO(b"slug,name,email\na,b,c@d.e\nx,y,z@d.e,more\n"), "csv")
    assert refused.value.codes == ("csv_row_too_long",)
    assert "Line 3" in str(refused.value)


def test_half_of_a_surrogate_pair_in_a_customers_file_is_refused_by_its_entry() -> None:
    for column in ("slug", "name", "email", "notes"):
        entry = {"slug": "a", "name": "b", "email": "c@d.e", column: "\udfff"}
        with pytest.raises(Refused) as refused:
            read_customers(BytesIO(json.dumps([entry]).encode()), "json")
        assert refused.value.codes == ("json_not_text",)
        assert "Entry 1" in str(refused.value)
    tagged = {"slug": "a", "name": "b", "email": "c", "tags": ["\udfff"]}
    with pytest.raises(Refused) as refused:
        read_customers(BytesIO(json.dumps([tagged]).encode()), "json")
    assert refused.value.codes == ("json_not_text",)


def test_a_customers_file_has_a_size_and_a_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customer_csv, "MAX_ROWS", 2)
    rows = b"slug,name,email\n" + b"a,b,c@d.e\n" * 2
    assert len(read_customers(BytesIO(rows), "csv")) == 2
    with pytest.raises(Refused) as refused:
        read_customers(BytesIO(rows + b"a,b,c@d.e\n"), "csv")
    assert refused.value.codes == ("customers_too_many",)
    with pytest.raises(Refused) as refused:
        read_customers(BytesIO(b" " * (customer_file.MAX_JSON_BYTES + 1)), "json")
    assert refused.value.codes == ("json_too_large",)


@pytest.mark.parametrize(
    ("column", "code"), [("name", "name_missing"), ("notes", "notes_malformed")]
)
def test_a_nul_in_what_a_person_says_of_a_customer_is_refused(column: str, code: str) -> None:
    good = NewCustomer("acme", "Acme", "it@acme.example")
    bad, changed = replace(good, **{column: "a\0b"}), replace(Changes(), **{column: "a\0b"})  # type: ignore[arg-type]
    assert [finding.code for finding in bad.findings()] == [code]
    assert [finding.code for finding in changed.findings()] == [code]


@pytest.mark.parametrize("kid", ["\ud800", "\0", "a b", "é", "x" * 65, ""])
def test_a_credential_that_no_database_could_look_up_is_malformed(kid: str) -> None:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "EdDSA", "kid": kid}).encode()).decode()
    with pytest.raises(SignatureRejected) as rejected:
        claimed_credential(f"Bearer {head.rstrip('=')}.e30.AAAA")
    assert rejected.value.code == "signature_malformed"


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://[x]/", "\x80"])
def test_an_origin_that_cannot_be_taken_apart_is_not_ours(origin: str) -> None:
    door = Doorkeeper.of("https://setup.example", [])
    assert not door.accepts_form(Headers({"host": "setup.example", "origin": origin}))


@pytest.mark.parametrize(
    "url", ["https://", "https://h:99999", "https://h:0", "https://[", "https://:80", "https://h:x"]
)
@pytest.mark.parametrize(
    "where",
    [
        '[instance]\nvendor = "{}"',
        '[serve]\npublic_url = "{}"',
        '[instance]\npublic_url = "{}"',
        '[serve]\npublic_url = "https://o.example"\n[oidc]\nclient_id = "c"\nissuer = "{}"',
        '[deploy.x]\nkind = "zentral"\napi_key = "env:K"\nurl = "{}"',
    ],
)
def test_an_address_that_cannot_be_taken_apart_is_refused_where_it_is_written(
    where: str, url: str
) -> None:
    with pytest.raises(Refused) as refused:
        parse_config(where.format(url).encode(), Path("config.toml"))
    assert set(refused.value.codes) == {"config_invalid"}


@pytest.mark.parametrize("url", ["https://", "https://h:99999", "https://[", "https://h\x01", "x"])
def test_an_mdm_server_cannot_be_reached_at_an_address_that_is_none(url: str) -> None:
    with pytest.raises(Refused) as refused:
        Reach(url)
    assert refused.value.codes == ("mdm_server_url_malformed",)


@pytest.mark.parametrize("text", [b"a=" + b"[" * 2000, b"a=" + b"9" * 5000, b" " * 2_000_000])
def test_a_configuration_that_is_none_is_unreadable(text: bytes) -> None:
    with pytest.raises(Refused) as refused:
        parse_config(text, Path("config.toml"))
    assert refused.value.codes == ("config_unreadable",)


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "~\0", "a\0b"])
def test_a_passphrase_file_that_there_cannot_be_is_missing(path: str) -> None:
    source = parse_source(f"file:{path}")
    assert isinstance(source, FromFile)
    with pytest.raises(Refused) as refused:
        resolve(source)
    assert refused.value.codes == ("passphrase_missing",)


@pytest.mark.parametrize(
    "instead",
    [
        b"[" * 2000,
        b"[]",
        b"{}",
        b'{"format":"\\ud800","vendor":1,"run":1,"started_at":1,"finished_at":1,"verdicts":1,'
        b'"customers":[]}',
    ],
)
def test_a_signed_file_that_is_no_run_document_is_refused(instead: bytes) -> None:
    with pytest.raises(Refused) as refused:
        contradictions(parse_document(instead))
    assert refused.value.codes == ("not_a_run_document",)


def test_a_public_key_of_a_kind_that_is_not_known_is_unreadable() -> None:
    # id-GostR3410-2001, which no library here knows
    der = bytes.fromhex("3012300b06062a85030202130501000303000102")
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    with pytest.raises(Refused) as refused:
        verify_signature(pem, b"", b"")
    assert refused.value.codes == ("public_key_unreadable",)


class _Clock:
    """Goes on by what it is told."""

    def __init__(self) -> None:
        self.at = datetime(2027, 6, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("year", [1, 1999, 9999])
def test_a_vendors_time_from_which_nothing_can_be_reckoned_is_not_believed(year: int) -> None:
    clock = _Clock()
    time = VendorsTime(clock)
    time.learn(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))
    clock.at += timedelta(days=1)
    assert time.now() == clock.at


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_message_with_a_time_at_the_end_of_the_calendar_is_malformed(text: str) -> None:
    with pytest.raises(ValueError, match="after"):
        CheckWanted.model_validate_json(json.dumps({"kind": "check_wanted", "after": text}))


def test_a_pile_of_cas_that_may_all_have_issued_each_other_costs_a_hundred_signatures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = issue("Same", key_identifiers=False)
    pile = [issue("Same", by=first, key=first.key, key_identifiers=False) for _ in range(40)]
    verified = 0
    really = issued_by

    def counted(*given: object, **named: object) -> bool:
        nonlocal verified
        verified += 1
        return really(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(chains, "issued_by", counted)
    chain, findings = complete_chain(
        pile[0].certificate,
        TrustStore((), ()),
        [one.certificate for one in pile],
        at=WHEN_VECTORS_ARE_VALID,
    )
    assert chain is None
    assert findings
    assert verified <= 200
