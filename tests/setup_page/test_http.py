"""The page over HTTP: who may ask, by which name, from where a form may come, what it may hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.datastructures import Headers

from lifecycle.language.dates import written_day
from lifecycle.pki.upload import MAX_UPLOAD_BYTES
from lifecycle.setup_page.app import VISITOR_COOKIE, setup_page
from lifecycle.setup_page.choice import choose_language
from lifecycle.setup_page.forms import MAX_BODY
from lifecycle.setup_page.guard import Doorkeeper
from lifecycle.vendor.plan import opens_at
from tests.e2e.test_bad_files import UPLOAD_NAMES, UPLOADS
from tests.setup_page.conftest import FILE_NAME, Acme, running

SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def url(unchanged: Acme) -> Iterator[str]:
    with setup_page(unchanged, patience=30.0) as app, running(app) as found:
        yield found


@contextmanager
def browsing(url: str, **more: str) -> Iterator[httpx.Client]:
    """A client that keeps cookies, as a browser does."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False, headers=more) as client:
        yield client


def token_in(document: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', document)
    assert found is not None
    return found[1]


def bring(client: httpx.Client, data: bytes, name: str = FILE_NAME, **more: str) -> httpx.Response:
    token = token_in(client.get("/").text)
    return client.post(
        "/upload",
        data={"token": token, **more},
        files={"certificate": (name, data, "application/x-pem-file")},
        headers=SAME_SITE,
        follow_redirects=True,
    )


class TestAnswers:
    def test_every_answer_has_the_headers_and_no_page_is_kept(self, url: str) -> None:
        with browsing(url) as client:
            for path in ("/", "/status", "/request", "/healthz", "/nothing", "/setup.css"):
                answer = client.get(path)
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'self'" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "same-origin"
                kept = answer.headers["cache-control"]
                assert ("immutable" in kept) if path == "/setup.css" else kept == "no-store"

    def test_the_page_has_no_script_or_style_of_its_own(self, url: str) -> None:
        document = httpx.get(url, trust_env=False).text
        assert re.findall(r"<script[^>]*>[^<]", document) == []
        assert "<style" not in document
        assert " style=" not in document

    def test_the_request_comes_as_a_file_with_the_name_that_letters_give_it(
        self, url: str, unchanged: Acme
    ) -> None:
        answer = httpx.get(url + "/request", trust_env=False)
        assert answer.content == unchanged.request().request.encode()
        assert answer.headers["content-disposition"] == (
            'attachment; filename="acme-push-certificate-request.txt"'
        )

    def test_no_key_and_no_token_of_a_device_is_on_any_page(
        self, url: str, unchanged: Acme
    ) -> None:
        with browsing(url) as client:
            pages = [client.get(path).content for path in ("/", "/status", "/request")]
            pages.append(bring(client, unchanged.active_pem()).content)
        for page in pages:
            assert b"PRIVATE" not in page
            for secret in unchanged.stage.lab.tokens:
                for form in (secret, secret.hex().encode(), secret.hex().upper().encode()):
                    assert form not in page

    def test_what_is_not_there_is_said_in_the_language_of_whoever_asks(self, url: str) -> None:
        with browsing(url, **{"accept-language": "de"}) as client:
            answer = client.get("/wp-login.php")
        assert answer.status_code == 404
        assert "Hier ist nichts" in answer.text
        assert httpx.get(url + "/docs", trust_env=False).status_code == 404
        assert httpx.get(url + "/upload", trust_env=False).status_code in (404, 405)

    def test_status_sends_the_page_only_when_it_has_changed(self, url: str) -> None:
        with browsing(url) as client:
            client.get("/")
            first = client.get("/status").json()
            again = client.get("/status", params={"version": first["version"]}).json()
        assert first["main"] is not None
        assert again["main"] is None
        assert again["version"] == first["version"]


def test_the_day_on_which_the_next_renewal_begins_is_the_planners(settled: Acme) -> None:
    with setup_page(settled, patience=30.0) as app, running(app) as url:
        page = httpx.get(url + "/?lang=de", trust_env=False, timeout=60).text
    active = settled.stage.record("acme").facts.active
    assert active is not None
    begins = opens_at(active, "acme", settled.stage.embedded.policy)
    assert f"Die Erneuerung beginnt am {written_day(begins, 'de')}" in page


class TestVault:
    def test_a_vault_that_cannot_be_used_is_said_with_its_remedy(self, acme: Acme) -> None:
        folder = acme.stage.embedded.vault_directory("acme")
        folder.chmod(0o755)
        with setup_page(acme, patience=30.0) as app, running(app) as url:
            answer = httpx.get(url, trust_env=False)
            folder.chmod(0o700)
            after = httpx.get(url, trust_env=False)
        assert answer.status_code == 503
        assert "chmod" in answer.text
        assert "vault_too_open" in answer.text
        assert after.status_code == 200


class TestNames:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.0.0.1:8444", "localhost", "LOCALHOST:1", "[::1]:80", "10.1.2.3"]
    )
    def test_the_page_is_known_by_addresses_and_as_localhost(self, host: str) -> None:
        assert Doorkeeper.of(None, ()).knows(host)

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example", "[::1", "a b"],
    )
    def test_the_page_is_not_known_by_the_name_of_a_site_that_leads_here(
        self, url: str, host: str
    ) -> None:
        assert not Doorkeeper.of(None, ()).knows(host)
        if host:
            answer = httpx.get(url, headers={"host": host}, trust_env=False)
            assert answer.status_code in (400, 421)
            assert "Acme" not in answer.text

    def test_the_public_address_is_one_of_its_names(self) -> None:
        door = Doorkeeper.of("https://mdm.example.com/push/", ())
        assert door.knows("mdm.example.com")
        assert door.knows("MDM.example.com:443")
        assert not door.knows("www.example.com")
        assert door.prefix(None, None) == "/push"
        assert door.is_secure

    def test_only_a_trusted_proxy_may_name_the_prefix(self) -> None:
        door = Doorkeeper.of(None, ("10.0.0.0/8", "::1"))
        assert door.prefix("10.1.2.3", "/mdm/push/") == "/mdm/push"
        assert door.prefix("::1", "/push") == "/push"
        assert door.prefix("127.0.0.1", "/push") == ""
        assert door.prefix(None, "/push") == ""
        for bad in ("//evil.example", "/a/../b", '/"><script>', "push", "/a b", "/a?b"):
            assert door.prefix("10.1.2.3", bad) == ""

    @pytest.mark.parametrize("strips", [True, False])
    def test_under_a_prefix_every_link_and_every_answer_keeps_it(
        self, unchanged: Acme, strips: bool
    ) -> None:
        public = "https://mdm.example.com/mdm/push"
        headers = {"host": "mdm.example.com", **SAME_SITE}
        path = "" if strips else "/mdm/push"
        with setup_page(unchanged, public_url=public, patience=30.0) as app, running(app) as url:
            client = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
            with client:
                bare = client.get("/mdm/push")
                assert (bare.status_code, bare.headers["location"]) == (308, "/mdm/push/")
                page = client.get(f"{path}/")
                cookie = page.headers["set-cookie"]
                assert "Path=/mdm/push/" in cookie
                assert "Secure" in cookie
                assert "HttpOnly" in cookie
                assert "SameSite=lax" in cookie
                places = re.findall(r'(?:href|src|action|data-status)="(/[^"]*)"', page.text)
                assert len(places) > 5
                assert all(place.startswith("/mdm/push/") for place in places)
                for place in places:
                    if place.partition("?")[0].endswith((".css", ".js", ".svg")):
                        found = client.get(place if not strips else place.removeprefix("/mdm/push"))
                        assert found.status_code == 200
                visitor = page.cookies[VISITOR_COOKIE]
                sent = client.post(
                    f"{path}/upload",
                    data={"token": token_in(page.text)},
                    files={"certificate": ("x.pem", b"nothing")},
                    headers={"cookie": f"{VISITOR_COOKIE}={visitor}"},
                )
        assert sent.status_code == 303
        assert sent.headers["location"].startswith("/mdm/push/?attempt=")


class TestForms:
    def test_a_form_of_this_page_is_taken(self, url: str) -> None:
        with browsing(url) as client:
            answer = bring(client, b"")
        assert answer.status_code == 200
        assert "file_empty" in answer.text

    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
        ],
    )
    def test_a_form_from_elsewhere_is_not_taken_even_with_the_right_token(
        self, url: str, headers: dict[str, str]
    ) -> None:
        with browsing(url) as client:
            token = token_in(client.get("/").text)
            answer = client.post("/check", data={"token": token}, headers=headers)
        assert answer.status_code == 403
        assert "form_expired" in answer.text

    def test_a_browser_that_only_says_its_origin_is_believed(self) -> None:
        door = Doorkeeper.of("https://mdm.example.com/push", ())
        here = {"host": "127.0.0.1:8444"}
        assert door.accepts_form(Headers({**here, "origin": "http://127.0.0.1:8444"}))
        assert door.accepts_form(Headers({**here, "origin": "https://mdm.example.com"}))
        assert not door.accepts_form(Headers({**here, "origin": "https://mdm.example.com.evil"}))
        assert not door.accepts_form(Headers({**here, "origin": "http://127.0.0.1:9999"}))

    @pytest.mark.parametrize("path", ["/upload", "/check", "/again", "/accept"])
    @pytest.mark.parametrize("token", ["", "0" * 64, "ä" * 64])
    def test_nothing_is_done_without_the_token_of_this_browser(
        self, url: str, path: str, token: str
    ) -> None:
        with browsing(url) as client, browsing(url) as other:
            client.get("/")
            others = token_in(other.get("/").text)
            for wrong in (token, others):
                answer = client.post(path, data={"token": wrong}, headers=SAME_SITE)
                assert answer.status_code == 403
                assert "form_expired" in answer.text
                assert 'type="file"' in answer.text, "the page is there all the same"

    def test_a_form_without_a_cookie_is_not_taken(self, url: str) -> None:
        token = token_in(httpx.get(url, trust_env=False).text)
        answer = httpx.post(url + "/check", data={"token": token}, trust_env=False)
        assert answer.status_code == 403

    def test_a_form_without_a_file_says_so(self, url: str) -> None:
        with browsing(url) as client:
            token = token_in(client.get("/").text)
            for files in ({}, {"certificate": ("", b"")}):
                answer = client.post(
                    "/upload", data={"token": token}, files=files or None, headers=SAME_SITE
                )
                assert answer.status_code == 422
                assert "file_not_chosen" in answer.text

    @pytest.mark.parametrize("size", [MAX_BODY + 1, 5 * 2**20, 50 * 2**20])
    def test_a_file_that_is_too_large_gets_an_answer_and_not_a_broken_line(
        self, url: str, size: int
    ) -> None:
        with browsing(url) as client:
            answer = bring(client, b"0" * size)
        assert answer.status_code == 422
        assert "file_too_large" in answer.text

    def test_a_file_just_below_the_limit_is_looked_at(self, url: str) -> None:
        with browsing(url) as client:
            answer = bring(client, b"0" * MAX_UPLOAD_BYTES)
        assert "file_unknown" in answer.text

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=b", b"--b\r\nnonsense"),
            ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--\r\n"),
            ("application/json", b"{}"),
            ("text/plain", b"token=1"),
            ("", b"token=1"),
        ],
    )
    def test_what_is_no_form_is_refused(self, url: str, kind: str, body: bytes) -> None:
        with browsing(url) as client:
            client.get("/")
            headers = {**SAME_SITE, "content-type": kind} if kind else SAME_SITE
            answer = client.post("/upload", content=body, headers=headers)
        assert answer.status_code in (403, 422)
        assert "form_" in answer.text

    def test_many_files_or_fields_are_refused(self, url: str) -> None:
        with browsing(url) as client:
            token = token_in(client.get("/").text)
            several = [("certificate", (f"{n}.pem", b"x")) for n in range(3)]
            answer = client.post("/upload", data={"token": token}, files=several, headers=SAME_SITE)
        assert answer.status_code == 422

    def test_a_new_topic_cannot_be_accepted_where_none_is_wanted(
        self, url: str, unchanged: Acme
    ) -> None:
        before = unchanged.active_pem()
        created = unchanged.create_at_portal()
        with browsing(url) as client:
            refused = bring(client, created)
            number = str(refused.url).partition("attempt=")[2]
            answer = client.post(
                "/accept",
                data={"token": token_in(refused.text), "attempt": number, "topic": "com.apple"},
                headers=SAME_SITE,
            )
        assert answer.status_code == 403
        assert unchanged.active_pem() == before


@pytest.fixture(scope="module")
def bad_files(unchanged: Acme) -> dict[str, tuple[bytes, str]]:
    from lifecycle.pki.request import decode_request
    from lifecycle.rehearsal.stage import CANARY

    other = Acme(unchanged.stage, slug=CANARY)
    if other.state() is None:
        other.renew()
    request = unchanged.request()
    lab = type("Lab", (), {})()
    lab.portal, lab.authority, lab.clock = (
        unchanged.stage.portal,
        unchanged.stage.authority,
        unchanged.stage.clock,
    )
    signer = unchanged.stage.authority.issue_signing_certificate(
        unchanged.stage.authority.aai.key.public_key(), "Example MDM", days=300
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    bench = UPLOADS.Bench(
        lab=lab,
        request=request.request.encode(),
        other_request=other.request().request.encode(),
        active=unchanged.active_pem(),
        other_active=other.active_pem(),
        csr=decode_request(request.request.encode()).csr_der,
        signing_pem=signer.public_bytes(Encoding.PEM),
        account="mdm@acme.example",
        serial=str(request.renew_serial),
    )
    return {bad.name: (bad.data, bad.code) for bad in UPLOADS.bad_uploads(bench)}


@pytest.mark.parametrize("name", UPLOAD_NAMES)
def test_every_bad_file_is_refused_with_words_in_every_language(
    url: str, unchanged: Acme, bad_files: dict[str, tuple[bytes, str]], name: str
) -> None:
    data, code = bad_files[name]
    folder = unchanged.stage.embedded.vault_directory("acme")

    def state() -> str:
        with unchanged.vault() as vault:
            certificates = [held.certificate.fingerprint for held in vault.certificates.history()]
        return hashlib.sha256(f"{certificates} {unchanged.state()} {folder}".encode()).hexdigest()

    before = state()
    with browsing(url) as client:
        answer = bring(client, data)
        found = re.search(r'<section class="found".*?</section>', answer.text, re.DOTALL)
        assert found is not None
        assert code in found[0]
        assert 'class="what" lang="en"' not in found[0], "it has words of its own"
        where = str(answer.url)
        number = where.partition("attempt=")[2]
        for language in ("de", "fr", "es", "ja"):
            if number:
                again = client.get("/", params={"attempt": number, "lang": language})
                assert 'class="what" lang="en"' not in again.text
                assert 'class="found"' in again.text
    assert state() == before


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "letters", "shown"),
    [
        (None, None, None, None, "en"),
        (None, None, None, "de", "de"),
        (None, None, "nl, xx", "fr", "fr"),
        (None, None, "*", "ja", "ja"),
        (None, None, "es-MX, en;q=0.8", "de", "es"),
        (None, None, "nl, en;q=0.2, fr-CH;q=0.9", "de", "fr"),
        (None, None, "de;q=0, en;q=0.5", "de", "en"),
        (None, None, "de;q=x, fr;q=0.1", None, "fr"),
        (None, "ja", "de", "fr", "ja"),
        ("es", "ja", "de", "fr", "es"),
        ("xx", "ja", "de", "fr", "ja"),
        ("DE_at", None, None, None, "de"),
        (None, None, "," * 400 + "de", "fr", "de"),
        (None, None, ";;;=,,q", "fr", "fr"),
    ],
)
def test_the_language_is_the_one_asked_for_then_the_browsers_then_the_letters(
    asked: str | None, kept: str | None, accepted: str | None, letters: str | None, shown: str
) -> None:
    assert choose_language(asked, kept, accepted, letters) == shown


def test_a_language_that_was_chosen_is_kept(url: str) -> None:
    with browsing(url, **{"accept-language": "fr"}) as client:
        assert '<html lang="fr">' in client.get("/").text
        assert '<html lang="ja">' in client.get("/?lang=ja").text
        assert '<html lang="ja">' in client.get("/").text
        assert '<html lang="ja">' in client.get("/?lang=nonsense").text
