"""The report of 5,000 customers in a real browser, from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lifecycle.vendor.report import Report
from lifecycle.vendor.report_html import as_html
from tests.vendor.report_rows import HOSTILE, many

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


MILLISECONDS = 240_000
"""A bound for a busy machine, and nothing that is measured."""


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
    context.set_default_timeout(MILLISECONDS)
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


def test_who_must_act_filters_too_and_a_topic_finds_its_customer(
    browser: Browser, file: Path, report: Report
) -> None:
    page, _ = opened(browser, file, 1280)
    page.select_option("#acts", "held")
    held = [r for r in report.rows if r.blocked_by is not None and r.acts != "nobody"]
    assert shown(page) == len(held) > 10
    page.select_option("#acts", "breached")
    assert shown(page) == 1
    page.select_option("#acts", "customer")
    assert shown(page) == sum(r.acts == "customer" for r in report.rows)
    page.select_option("#acts", "")
    page.fill("#search", str(report.rows[42].topic))
    assert shown(page) == 1
    found = page.locator("#customers tbody tr:not([hidden])")
    assert report.rows[42].name in (found.text_content() or "")


def test_a_phone_has_no_headings_to_click_and_can_sort_all_the_same(
    browser: Browser, file: Path, report: Report
) -> None:
    page, _ = opened(browser, file, 390)
    assert not page.is_visible("#customers thead")
    first = page.locator("#customers tbody tr").first
    page.select_option("#order", label="by expires")
    ends = min(row.not_after for row in report.rows if row.not_after is not None)
    assert f"{ends:%Y-%m-%d}" in (first.text_content() or "")
    page.select_option("#order", label="most urgent first")
    assert report.rows[0].slug in (first.text_content() or "")


def test_a_filter_touches_only_the_rows_that_change_and_those_out_of_sight_are_not_laid_out(
    browser: Browser, file: Path
) -> None:
    """That is why 5,000 rows answer at once; how long it takes is the machine's affair."""
    page, _ = opened(browser, file, 1280)
    page.select_option("#status", "urgent")
    urgent = shown(page)
    touched = page.evaluate(
        """async (words) => {
          let seen = 0;
          const watcher = new MutationObserver((changes) => { seen += changes.length; });
          const body = document.querySelector("#customers tbody");
          watcher.observe(body, { attributes: true, childList: true, subtree: true });
          const box = document.querySelector("#search");
          box.value = words; box.dispatchEvent(new Event("input"));
          await new Promise((next) => setTimeout(next));
          return seen;
        }""",
        "contoso",
    )
    assert touched == urgent - shown(page) > 0
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        first = "getComputedStyle(document.querySelector('#customers tbody tr')).contentVisibility"
        assert page.evaluate(first) == "auto"


def test_a_number_at_the_top_shows_whom_it_counts(
    browser: Browser, file: Path, report: Report
) -> None:
    page, seen = opened(browser, file, 1280)
    page.fill("#search", "nobody is called that")
    page.get_by_role("button", name="urgent").click()
    assert page.input_value("#status") == "urgent"
    assert shown(page) == report.counts["urgent"]
    page.get_by_role("button", name="isolation breached").click()
    assert (page.input_value("#status"), page.input_value("#acts")) == ("", "breached")
    assert shown(page) == sum(row.verdict == "breached" for row in report.rows)
    assert page.locator("#customers").bounding_box()["y"] < 900, "the table is in sight"  # type: ignore[index]
    assert seen.complaints == []


def test_what_is_drawn_and_what_is_laid_out_as_blocks_is_still_said(
    browser: Browser, file: Path, report: Report
) -> None:
    page, _ = opened(browser, file, 1280)
    assert page.get_by_role("img", name="Expiries by week").count() == 1
    page.select_option("#status", "expired")
    table = page.get_by_role("table").last
    assert table.get_by_role("columnheader").count() == 7
    row = table.get_by_role("row").nth(1)
    assert (row.get_by_role("rowheader").count(), row.get_by_role("cell").count()) == (1, 6)
    # Chromium would know it of td alone; other browsers forget it of what is no table to them.
    assert page.locator("#customers tbody tr").first.locator("td[role=cell]").count() == 6
    page.click("summary")
    weeks = page.locator(".weeks tbody tr")
    assert weeks.first.inner_text().split() == [
        *("expired", "already"),
        str(report.counts["expired"]),
    ]
    counted = sum(int(text) for text in weeks.locator("td").all_inner_texts())
    assert counted == sum(r.not_after is not None and r.status != "paused" for r in report.rows)


def test_the_words_of_the_chart_are_as_large_on_a_phone(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 390)
    ticks = page.locator("svg > text:not(.if-room)")
    boxes = [box for box in (tick.bounding_box() for tick in ticks.all()) if box]
    assert min(box["height"] for box in boxes) > 10
    months = sorted(
        (box["x"], box["x"] + box["width"])
        for box in boxes
        if box["y"] > max(box["y"] for box in boxes) - 2
    )
    assert all(end <= begin for (_, end), (begin, _) in pairwise(months))


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
    page.set_viewport_size({"width": 718, "height": 1000})  # as narrow as a sheet of A4
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.is_visible("#search")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    red = "getComputedStyle(document.querySelector('#customers .word.expired')).color"
    assert contrast(page.evaluate(red), "rgb(255, 255, 255)") > 4.5
    # What makes a browser repeat the headings on each sheet.
    heads = "getComputedStyle(document.querySelector('#customers thead')).display"
    assert page.evaluate(heads) == "table-header-group"
    assert page.evaluate(heads.replace(" thead", " tbody tr:not([hidden])")) == "table-row"
    assert shown(page) == left
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    pages = pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page ") or pdf.count(b"/Type/Page")
    assert 1 <= pages < 40
