"""A customer's admin before the page, in a real browser, with the lab in Apple's place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.setup_page.page import Frame, asset, render
from lifecycle.vendor.facts import RenewalReason
from tests.setup_page.conftest import FILE_NAME, Acme, Serve, apart
from tests.setup_page.situations import CASES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = os.environ.get("PUSHCERT_PICTURES")
"""A folder for pictures of what the tests see, to be looked at by a person."""


@dataclass
class Seen:
    """What a page did besides showing itself."""

    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


Open = Callable[..., tuple["Page", Seen]]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_page(
            url: str, width: int = 1280, *, script: bool = True, dark: bool = False, **more: Any
        ) -> tuple[Page, Seen]:
            context = browser.new_context(
                viewport={"width": width, "height": 900},
                java_script_enabled=script,
                color_scheme="dark" if dark else "light",
                accept_downloads=True,
                locale=more.pop("locale", "en-GB"),
                **more,
            )
            stack.callback(context.close)
            page, seen = context.new_page(), Seen()
            page.on("console", lambda message: seen.complaints.append(message.text))
            page.on("pageerror", lambda error: seen.complaints.append(str(error)))
            own = url.partition("?")[0]
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith(own) else seen.elsewhere.append(request.url)
                ),
            )
            page.goto(url)
            return page, seen

        yield open_page


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def headline(page: Page) -> str:
    return page.inner_text("#headline")


def download(page: Page) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.click("#download")
    found = waiting.value
    return found.suggested_filename, Path(found.path()).read_bytes()


def bring(page: Page, data: bytes, name: str = FILE_NAME) -> None:
    page.set_input_files(
        "#certificate", {"name": name, "mimeType": "application/x-pem-file", "buffer": data}
    )
    page.click("#upload button")


def serious(page: Page) -> list[str]:
    """What axe-core finds that is serious, or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("width", "dark", "language"),
    [(1280, False, "en"), (390, True, "de"), (390, False, "ja"), (1280, True, "fr")],
)
def test_an_admin_does_the_three_steps_first_wrongly_then_rightly(
    acme: Acme, serve: Serve, opened: Open, width: int, dark: bool, language: str
) -> None:
    last_years = acme.active_pem()
    page, seen = opened(serve(acme) + f"/?lang={language}", width, dark=dark)
    shot = f"{language}-{width}-{'dark' if dark else 'light'}"

    def looked_at(name: str) -> None:
        picture(page, f"{shot}-{name}")
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_attribute("html", "lang") == language

    looked_at("1-take")
    name, request = download(page)
    assert name == "acme-push-certificate-request.txt"
    assert request == acme.request().request.encode()
    page.wait_for_selector(".steps > li:first-child.done")
    looked_at("2-downloaded")
    row = acme.request()
    steps = page.inner_text(".steps")
    for fact in (row.renew_serial, row.renew_common_name, row.apple_account, "Renew"):
        assert str(fact) in steps
    portal = page.locator(".steps > li:nth-child(2) a.button")
    assert portal.get_attribute("href") == "https://identity.apple.com/pushcert"

    created = acme.stage.portal.create("mdm@acme.example", request)
    bring(page, created)
    page.wait_for_selector("#found")
    assert page.evaluate("document.activeElement.id") == "found"
    assert "topic_changed" in (page.text_content("#found") or "")
    assert FILE_NAME in page.inner_text("#found")
    assert str(row.renew_serial) in page.inner_text("#found")
    looked_at("3-created-instead")
    assert acme.active_pem() == last_years

    bring(page, last_years, "last year.pem")
    page.wait_for_selector("#found >> text=last year.pem")
    assert "already_active" in (page.text_content("#found") or "")
    looked_at("4-last-years-file")
    assert acme.active_pem() == last_years

    renewed = acme.stage.portal.renew("mdm@acme.example", request, str(row.renew_serial))
    bring(page, renewed)
    page.wait_for_selector(".about.finished")
    looked_at("5-done")
    assert page.locator(".progress li.done").count() == 4
    assert page.locator(".steps > li.done").count() == 3
    assert acme.active_pem() != last_years
    assert acme.state() is None
    standing = acme.stage.embedded.desk("acme").work().standing
    assert standing is not None
    assert standing.verdict == "isolated"
    page.goto(page.url.partition("?")[0])
    looked_at("6-settled")
    assert seen.complaints == []
    assert seen.elsewhere == []


def test_without_javascript_the_three_steps_work(acme: Acme, serve: Serve, opened: Open) -> None:
    page, seen = opened(serve(acme), 390, script=False)
    _, request = download(page)
    page.reload()
    assert page.locator(".steps > li:first-child.done").count() == 1
    bring(page, acme.create_at_portal())
    assert page.locator("#found").get_attribute("autofocus") is not None
    assert "created instead of renewed" in page.inner_text("#found")
    picture(page, "noscript-refused")
    serial = str(acme.request().renew_serial)
    bring(page, acme.stage.portal.renew("mdm@acme.example", request, serial))
    assert "Done" in headline(page)
    picture(page, "noscript-done")
    assert acme.state() is None
    assert seen.complaints == []


def test_a_file_can_be_dropped_anywhere(acme: Acme, serve: Serve, opened: Open) -> None:
    page, seen = opened(serve(acme))
    transfer = page.evaluate_handle(
        """text => { const transfer = new DataTransfer();
             transfer.items.add(new File([text], "dropped.pem")); return transfer; }""",
        acme.renew_at_portal().decode(),
    )
    # Far from the form: on the heading.
    page.dispatch_event("h1", "dragover", {"dataTransfer": transfer, "bubbles": True})
    assert page.is_visible("#dropping")
    picture(page, "dropping")
    page.dispatch_event("h1", "drop", {"dataTransfer": transfer, "bubbles": True})
    page.wait_for_selector(".about.finished")
    assert "dropped.pem" in page.inner_text(".steps")
    assert acme.state() is None
    assert seen.complaints == []


def test_what_goes_on_is_shown_live_without_loading_the_page_anew(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    page, seen = opened(serve(acme, patience=0.0))
    page.wait_for_selector("#certificate")  # the first answer of the vendor came live, too
    acme.stage.gateway.faults.outage = True
    bring(page, acme.renew_at_portal())
    page.wait_for_selector(".about.accepted")
    page.evaluate("window.sameDocument = true")
    assert page.locator(".progress li.stopped").count() == 1
    assert "firewall" in page.inner_text(".held")
    picture(page, "held-up")
    assert serious(page) == []
    acme.stage.gateway.faults.outage = False
    page.click("text=Try again now")
    page.wait_for_selector(".about.finished, .about.settled")
    assert acme.state() is None
    assert seen.complaints == []


def test_a_live_change_keeps_the_document_and_is_announced(
    settled: Acme, serve: Serve, opened: Open
) -> None:
    page, seen = opened(serve(settled))
    assert headline(page) == "There is nothing to do"
    page.evaluate("window.sameDocument = true")
    settled.renew()
    # A page on which nothing is under way is not asked to look; one that is, looks.
    page.evaluate("document.getElementById('main').dataset.refresh = '1'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector(".about.take")
    assert page.evaluate("window.sameDocument")
    assert "Renew your push certificate" in page.inner_text("#live")
    assert "Renew" in headline(page)
    assert page.is_visible("text=Or drop the file anywhere on this page.")
    assert seen.complaints == []


def test_without_javascript_the_page_renews_itself_while_something_is_under_way(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    page, _ = opened(serve(acme, patience=0.0), script=False)
    page.wait_for_selector("#certificate")
    bring(page, acme.renew_at_portal())
    page.wait_for_selector(".about.finished", timeout=60_000)
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 0


def test_a_vendor_that_is_away_hinders_nobody(acme: Acme, serve: Serve, opened: Open) -> None:
    url = serve(acme, retry=0.2)
    page, seen = opened(url)
    acme.line.cut = True
    page.reload()
    assert "has not answered since" in page.inner_text(".banner")
    assert page.is_visible("#download"), "what was heard last is still good"
    _, request = download(page)
    assert request == acme.request().request.encode()
    picture(page, "away")
    assert serious(page) == []
    bring(page, acme.renew_at_portal())
    page.wait_for_selector(".about.unsent")
    picture(page, "unsent")
    assert serious(page) == []
    acme.line.cut = False
    page.wait_for_selector(".about.finished", timeout=60_000)
    assert acme.state() is None
    assert seen.complaints == []


def test_a_page_started_while_the_vendor_is_away_shows_what_the_vault_knows(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    acme.line.cut = True
    page, _ = opened(serve(acme), 390)
    with acme.vault() as vault:
        active = vault.require_active().certificate
    text = page.inner_text("main")
    assert active.serial in text
    assert active.common_name in text
    assert "The request cannot be fetched" in text
    assert page.is_visible("#certificate")
    picture(page, "started-away")


def test_a_check_can_be_wanted_and_its_verdict_is_shown(
    settled: Acme, serve: Serve, opened: Open
) -> None:
    page, seen = opened(serve(settled))
    assert "Checked on 5 January 2027" in page.inner_text(".verdict")
    settled.stage.clock.advance(timedelta(days=1))
    page.click("text=Check it now")
    page.wait_for_selector(".progress")
    assert "Checked on 6 January 2027" in page.inner_text(".verdict")
    assert seen.complaints == []


def test_a_move_to_another_apple_account_asks_for_the_topic_to_be_typed(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    from lifecycle.pki.upload import read_upload
    from lifecycle.renewing import start

    apart(
        lambda: start(
            acme.stage.embedded,
            "acme",
            RenewalReason.APPLE_ACCOUNT_CHANGED,
            actor="operator:test",
            apple_account="new@acme.example",
        )
    )
    acme.tick()
    page, seen = opened(serve(acme), 390)
    assert "every device must be enrolled again" in page.inner_text(".about")
    assert "new@acme.example" in page.inner_text(".steps")
    file = acme.create_at_portal("new@acme.example")
    topic = read_upload(file).certificate.topic
    bring(page, file)
    page.wait_for_selector(".decide")
    assert "all 2 devices" in page.inner_text(".decide")
    picture(page, "new-topic")
    assert serious(page) == []
    page.fill("#topic", "com.apple.mgmt.External.wrong")
    page.click(".decide button")
    page.wait_for_selector(".decide")
    page.fill("#topic", topic)
    page.click(".decide button")
    page.wait_for_selector(".about.finished")
    with acme.vault() as vault:
        assert vault.require_active().certificate.topic == topic
    assert seen.complaints == []


def test_the_keyboard_leads_past_the_languages_to_the_content(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    page, _ = opened(serve(acme))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "download"


def test_a_file_that_was_chosen_is_not_lost_when_the_page_looks(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    page, _ = opened(serve(acme))
    page.set_input_files(
        "#certificate", {"name": FILE_NAME, "mimeType": "text/plain", "buffer": b"x"}
    )
    with page.expect_response("**/status?*"), page.expect_download():
        page.click("#download")
    assert page.evaluate("document.getElementById('certificate').files.length") == 1


def test_while_a_file_is_sent_the_button_says_so_and_sends_no_other(
    acme: Acme, serve: Serve, opened: Open
) -> None:
    page, _ = opened(serve(acme))
    page.evaluate(
        """addEventListener("submit", (event) => {
             const button = event.target.querySelector("button");
             const live = document.getElementById("live");
             sessionStorage.said = [button.disabled, button.textContent, live.textContent].join();
           })"""
    )
    bring(page, b"nothing")
    page.wait_for_selector("#found")
    said = "The file is being uploaded …"
    assert page.evaluate("sessionStorage.said") == f"true,{said},{said}"


def test_a_file_of_many_megabytes_gets_the_pages_answer_and_not_the_browsers(
    unchanged: Acme, serve: Serve, opened: Open, tmp_path: Path
) -> None:
    film = tmp_path / "holidays.mov"
    film.write_bytes(b"\0" * 30 * 2**20)
    page, seen = opened(serve(unchanged))
    page.set_input_files("#certificate", film)
    page.click("#upload button")
    page.wait_for_selector("#found")
    assert "far too large" in page.inner_text("#found")
    assert [c for c in seen.complaints if "422" not in c] == []


@pytest.mark.parametrize(
    ("width", "dark", "language"), [(1280, False, "en"), (390, True, "de"), (320, False, "ja")]
)
def test_in_no_state_has_axe_anything_serious_to_say(
    browser: Browser, width: int, dark: bool, language: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    documents = {
        f"/{number}": render(case.situation(), Frame("", language, "t")).html
        for number, case in enumerate(CASES.values())
    }

    def answer(route: Any) -> None:
        path = route.request.url.removeprefix("http://127.0.0.1:1").partition("?")[0]
        if path in documents:
            route.fulfill(body=documents[path], content_type="text/html; charset=utf-8")
        elif path == "/setup.css":
            route.fulfill(body=asset("setup.css"), content_type="text/css")
        else:
            route.fulfill(status=204)

    page.route("http://127.0.0.1:1/**", answer)
    try:
        for number, name in enumerate(CASES):
            page.goto(f"http://127.0.0.1:1/{number}")
            assert serious(page) == [], name
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            picture(page, f"state-{language}-{width}-{name.replace(' ', '-').replace(',', '')}")
    finally:
        context.close()
    assert complaints == []
