"""The dashboard in real Chromium: nothing is blocked, nothing scrolls sideways, all can read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from lifecycle.vendor import audit, sweeps
from tests.serve.dashboard.conftest import PASSWORD, BuildOps, Ops
from tests.vendor.registries import NOW, fill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PAGES = (
    "/",
    "/customers",
    "/customers?q=nobody+is+called+that",
    "/customers/customer-00128",
    "/customers/customer-00140",
    "/customers/customer-00128/renew",
    "/customers/customer-00128/pause",
    "/customers/customer-00140/revoke",
    "/customers/customer-00128/resume",
    "/isolation",
    "/audit",
    "/account",
    "/nowhere",
)
"""Of every kind one; number 140 has an instance, number 128 is held up."""


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go; ``PUSHCERT_SHOTS=FOLDER`` keeps them to be looked at."""
    kept = os.environ.get("PUSHCERT_SHOTS")
    if kept is None:
        return tmp_path_factory.mktemp("shots")
    Path(kept).mkdir(parents=True, exist_ok=True)
    return Path(kept)


@pytest.fixture
def ops(build_ops: BuildOps) -> Ops:
    made = build_ops()
    with made.served.database.transaction() as session:
        fill(session, 600, at=NOW)
        sweeps.begin(session, at=NOW, actor="operator:root", since=None)
        for number in range(12):
            audit.append(
                session,
                at=NOW + timedelta(minutes=number),
                actor="worker",
                action="renewal_blocked",
                subject="customer-00128",
                detail={"renewal": number, "code": "signer_expired"},
            )
    return made


@dataclass
class Seen:
    """What a page did besides showing itself."""

    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def browsing(
    browser: Browser, ops: Ops, *, width: int = 1280, scheme: str = "light", script: bool = True
) -> Iterator[tuple[Page, Seen]]:
    """A new browser, signed in as anna."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=script,
        ignore_https_errors=True,
        base_url=ops.url,
    )
    page, seen = context.new_page(), Seen()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto("/sign-in")
    page.fill("#name", "anna")
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_url(f"{ops.url}/")
    yield page, seen
    context.close()


def test_no_page_breaks_its_own_policy_or_asks_elsewhere_for_anything(
    browser: Browser, ops: Ops
) -> None:
    with browsing(browser, ops) as (page, seen):
        for path in PAGES:
            page.goto(path)
        complaints = [text for text in seen.complaints if "status of 404" not in text]
        assert complaints == []
        assert all(url.startswith(f"{ops.url}/") for url in seen.requests)


def test_the_policy_stops_what_somebody_smuggled_in(browser: Browser, ops: Ops) -> None:
    """Or the test above would show nothing."""
    with browsing(browser, ops) as (page, seen):
        page.evaluate(
            """() => { const s = document.createElement("script"); s.textContent = "window.x = 1";
            document.body.append(s); document.body.setAttribute("style", "color: red");
            const i = new Image(); i.src = "https://127.0.0.1:1/x"; document.body.append(i); }"""
        )
        page.wait_for_timeout(50)
        assert page.evaluate("window.x") is None
        assert sum("Content Security Policy" in text for text in seen.complaints) >= 3


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_serious_on_any_page(
    browser: Browser, ops: Ops, width: int, scheme: str
) -> None:
    with browsing(browser, ops, scheme=scheme, width=width) as (page, _):
        for path in PAGES:
            page.goto(path)
            assert_accessible(page)
        page.goto("/customers/customer-00128/invite")
        page.click("form.confirm button")
        assert page.is_visible("#code")
        assert_accessible(page)
        page.goto("/account")
        page.click("text=Sign out")
        page.wait_for_url("**/sign-in")
        assert_accessible(page)
        page.fill("#name", "nobody")
        page.fill("#password", "wrong horse battery")
        page.click("main button")
        assert page.is_visible("[role=alert]")
        assert_accessible(page)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical", "moderate")
    ]
    assert serious == [], page.url


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (1280, "dark"),
        (768, "light"),
        (390, "light"),
        (390, "dark"),
        (320, "light"),
    ],
)
def test_no_width_scrolls_sideways(
    browser: Browser, ops: Ops, width: int, scheme: str, shots: Path
) -> None:
    with browsing(browser, ops, width=width, scheme=scheme) as (page, _):
        for number, path in enumerate(PAGES):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            page.screenshot(path=shots / f"{number}-{width}-{scheme}.png", full_page=True)
    assert len(list(shots.glob(f"*-{width}-{scheme}.png"))) == len(PAGES)


def test_everything_can_be_done_without_a_script(browser: Browser, ops: Ops) -> None:
    with browsing(browser, ops, script=False) as (page, _):
        page.goto("/customers")
        page.fill("input[name=q]", "customer-00128")
        page.click("form.filters button")
        page.click("main tbody a")
        page.click("text=Pause …")
        page.fill("#why", "moving house")
        page.click("form.confirm button")
        assert "The customer is paused" in page.inner_text("main")
        page.click("text=Sign out")
        page.wait_for_url("**/sign-in")


def test_a_filter_answers_as_soon_as_it_is_chosen(browser: Browser, ops: Ops) -> None:
    with browsing(browser, ops) as (page, _):
        page.goto("/customers")
        page.select_option("select[name=status]", "due")
        page.wait_for_url("**status=due**")
        statuses = set(page.locator("main tbody td .word.due").all_inner_texts())
        assert statuses == {"due"}


def test_the_keyboard_is_enough_and_shows_where_it_is(browser: Browser, ops: Ops) -> None:
    with browsing(browser, ops) as (page, _):
        page.goto("/customers/customer-00128")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        box = page.locator(".skip").bounding_box()
        assert box is not None
        assert box["x"] >= 0, "it is seen once it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "3px"


def test_a_double_click_on_the_button_does_it_once(browser: Browser, ops: Ops) -> None:
    with browsing(browser, ops) as (page, _):
        page.goto("/customers/customer-00128/invite")
        page.dblclick("form.confirm button")
        page.wait_for_selector("#code")
    assert len(ops.entries(action="instance_invited")) == 1


def test_the_cookie_is_out_of_a_scripts_reach(browser: Browser, ops: Ops) -> None:
    with browsing(browser, ops) as (page, _):
        assert page.evaluate("document.cookie") == ""
        kept = {cookie.get("name"): cookie for cookie in page.context.cookies()}
        session = kept["__Host-pushcert"]
        assert session.get("httpOnly")
        assert session.get("secure")
        assert session.get("sameSite") == "Lax"
        assert list(kept) == ["__Host-pushcert"]


def test_a_page_of_ours_is_shown_in_no_frame(browser: Browser, ops: Ops, tmp_path: Path) -> None:
    (tmp_path / "trap.html").write_text(f'<iframe src="{ops.url}/sign-in"></iframe>')
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "trap.html").as_uri())
    page.wait_for_timeout(300)
    assert any("frame-ancestors" in text for text in said)
    context.close()
