"""The report of 5,000 customers in a real browser, from a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lifecycle.vendor.report import Report
from lifecycle.vendor.report_html import as_html
from tests.vendor.report_rows import HOSTILE, many

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report() -> Report:
    return many(5000)


@pytest.fixture(scope="module")
def file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("page") / "report.html"
    written.write_text("".join(as_html(report, "Example MDM")))
    return written


@dataclass
class Seen:
    """What a page did besides showing itself."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def opened(
    browser: Browser, file: Path, width: int, *, script: bool = True, scheme: str = "light"
) -> tuple[Page, Seen]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        java_script_enabled=script,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page, seen = context.new_page(), Seen()
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(file.as_uri())
    return page, seen


def shown(page: Page) -> int:
    return int(page.locator("#customers tbody tr:not([hidden])").count())


def test_nothing_is_fetched_and_nothing_is_complained_about(browser: Browser, file: Path) -> None:
    page, seen = opened(browser, file, 1280)
    assert shown(page) == 5000
    assert seen.requests == [file.as_uri()]
    assert seen.complaints == []
    assert page.title() == "Push certificates of Example MDM, 2027-03-01"


def test_a_name_that_means_harm_is_shown_as_it_is(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 1280)
    page.fill("#search", "owned")
    assert shown(page) == 1
    assert HOSTILE in page.locator("#customers tbody tr:not([hidden])").inner_text()
    assert page.locator("#customers img, #customers script").count() == 0


def test_words_and_status_filter_together(browser: Browser, file: Path, report: Report) -> None:
    page, _ = opened(browser, file, 1280)
    page.select_option("#status", "urgent")
    assert shown(page) == report.counts["urgent"]
    page.fill("#search", "REGION:emea held")
    page.fill("#search", "region:emea")
    wanted = [r for r in report.rows if r.status == "urgent" and r.tags]
    assert shown(page) == len(wanted)
    assert page.inner_text("#shown") == f"{len(wanted)} of 5000 shown"
    page.fill("#search", "nobody is called that")
    assert shown(page) == 0


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(
    browser: Browser, file: Path, report: Report
) -> None:
    page, _ = opened(browser, file, 1280)
    expires = page.locator("#customers thead th", has_text="Expires")
    first = page.locator("#customers tbody tr").first.locator("td.date")
    ends = sorted(row.not_after for row in report.rows if row.not_after is not None)
    expires.locator("button").click()
    assert expires.get_attribute("aria-sort") == "ascending"
    assert first.inner_text().startswith(f"{ends[0]:%Y-%m-%d}")
    expires.locator("button").click()
    assert expires.get_attribute("aria-sort") == "descending"
    assert first.inner_text().startswith("none"), "who has no certificate is at the far end"
    page.locator("#customers thead th", has_text="Status").locator("button").click()
    words = page.locator("#customers tbody tr td:nth-child(2)").all_inner_texts()
    assert words[0] == "expired"
    assert words == sorted(words, key=words.index)


def test_without_its_script_the_page_shows_all_and_offers_no_dead_controls(
    browser: Browser, file: Path
) -> None:
    page, _ = opened(browser, file, 1280, script=False)
    assert shown(page) == 5000
    assert not page.is_visible("#search")


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_width_scrolls_sideways(
    browser: Browser, file: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    page, _ = opened(browser, file, width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_light_and_dark_are_different_and_both_can_be_read(browser: Browser, file: Path) -> None:
    colours = set()
    for scheme in ("light", "dark"):
        page, _ = opened(browser, file, 1280, scheme=scheme)
        ink, paper = page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
        )
        assert contrast(ink, paper) > 7
        colours.add((ink, paper))
    assert len(colours) == 2


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, contrast ratio of two colours ``rgb(r, g, b)``."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_it_prints_without_controls_and_with_what_the_filter_left(
    browser: Browser, file: Path
) -> None:
    page, _ = opened(browser, file, 1280)
    page.select_option("#status", "expired")
    left = shown(page)
    page.emulate_media(media="print")
    assert not page.is_visible("#search")
    assert shown(page) == left
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    pages = pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page ") or pdf.count(b"/Type/Page")
    assert 1 <= pages < 40
