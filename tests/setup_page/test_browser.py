"""A customer's admin before the page, in a real browser, with the lab in Apple's place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.setup_page.conftest import FILE_NAME, Acme, Serve

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
