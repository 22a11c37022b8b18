"""A morning of vendor ops: find the stuck customer, follow the timeline, help, see it done.

Everything is real: the command line, the worker, embedded instances, the lab in Apple's place,
a mail server, TLS on loopback and Chromium; at the width of a desk and of a phone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cli.main import app
from lifecycle.clock import SystemClock
from lifecycle.config import load_config
from lifecycle.lab.mailbox import Mailbox
from lifecycle.lab.serve import Lab
from lifecycle.serve.app import build_app
from lifecycle.serve.dashboard.routes import add_dashboard
from lifecycle.serve.listen import Listening
from lifecycle.serve.served import Served
from tests.e2e.test_command_line import Vendor
from tests.serve.conftest import running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PASSWORD = "correct horse battery staple"


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """A deployment with two customers, and a user; no MDM signing certificate yet."""
    mailbox = Mailbox()
    mailbox.start()
    monkeypatch.setenv("ANNA", PASSWORD)
    with Lab(tmp_path / "lab") as lab:
        about = lab.describe()
        made = Vendor(tmp_path / "vendor", lab, mailbox)
        assert CliRunner().invoke(app, ["init", str(made.directory)]).exit_code == 0
        file = made.directory / "config.toml"
        file.write_text(
            f"""
[vendor]
name = "Example MDM"
ops = ["ops@vendor.example"]
[trust]
extra = ["{about["trust_file"]}"]
[apns]
host = "127.0.0.1"
port = {about["apns_port"]}
ca_file = "{about["ca_file"]}"
[smtp]
host = "{mailbox.host}"
port = {mailbox.port}
security = "none"
"""
        )
        made.done("customer", "add", "acme", "--name", "Acme GmbH", "--email", "it@acme.example",
                  "--apple-account", "push@acme.example")  # fmt: skip
        made.add("birch")
        made.done("user", "add", "anna", "--role", "operator", "--password-from", "env:ANNA")
        made.done("tick")
        yield made
    mailbox.stop()


@contextmanager
def dashboard(vendor: Vendor) -> Iterator[str]:
    """The server, on the deployment that the command line works on."""
    with Served(load_config(vendor.directory / "config.toml"), SystemClock()) as served:
        application = build_app(served)
        if not hasattr(application.state, "dashboard"):
            add_dashboard(application, served)
        with running(application, Listening("127.0.0.1", 0)) as url:
            yield url


@contextmanager
def browsing(browser: Browser, url: str, width: int) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": width, "height": 900}, base_url=url)
    yield page
    page.close()


def timeline(page: Page) -> list[str]:
    return page.locator("table.timeline tbody strong").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 390])
def test_ops_finds_the_stuck_customer_follows_the_timeline_and_helps(
    browser: Browser, vendor: Vendor, tmp_path: Path, width: int
) -> None:
    shots = Path(os.environ.get("PUSHCERT_SHOTS", str(tmp_path)))
    with dashboard(vendor) as url, browsing(browser, url, width) as page:

        def shot(name: str) -> None:
            page.screenshot(path=shots / f"story-{name}-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        # Asked for a customer, sent to the sign-in page, and back to the customer.
        page.goto("/customers/acme")
        page.fill("#name", "anna")
        page.fill("#password", PASSWORD)
        page.click("main button")
        page.wait_for_url("**/customers/acme")

        # The overview says that two are stuck, and who must act.
        page.click("text=Overview")
        stuck = page.locator("section[aria-labelledby=stuck]")
        assert stuck.locator("li").count() == 2
        assert "There is no MDM signing certificate." in stuck.inner_text()
        assert "vendor acts" in stuck.inner_text()
        shot("overview")
        stuck.locator("a", has_text="Acme GmbH").click()

        # The customer's page says the same, and the timeline how it came to it.
        assert "vendor must act" in page.inner_text("main")
        told = timeline(page)
        assert told[-1] == "Customer added"
        assert told.index("Renewal 1 held up (signer_missing)") < told.index(
            "CSR received for renewal 1"
        )
        shot("stuck")

        # What it takes is done on the command line; the signing key is not the server's.
        about = vendor.lab.describe()
        vendor.done("signer", "import", "--certificate", about["signing_certificate"],
                    "--key", about["signing_key"])  # fmt: skip
        vendor.done("tick")
        page.reload()
        assert "customer acts" in page.inner_text(".next")
        assert timeline(page)[:2] == [
            "Delivery to it@acme.example",
            "Request of renewal 1 handed over",
        ]

        # Nothing happens there: ops reminds.
        page.click("text=Remind now …")
        assert "One mail goes to it@acme.example" in page.inner_text("main")
        shot("confirm")
        page.click("form.confirm button")
        assert "The reminder is written" in page.inner_text("[role=status]")
        vendor.done("tick")
        page.reload()
        assert timeline(page)[:2] == ["Reminder (by hand) to it@acme.example", "Reminded by hand"]
        assert "sent" in page.locator("table.timeline tbody tr").first.inner_text()
        mails = [m for m in vendor.mailbox.messages if m["To"] == "it@acme.example"]
        assert len(mails) == 2
        shot("reminded")

        # The customer acts, and it is seen.
        vendor.certify("acme", tmp_path / "acme.pem")
        page.goto("/customers/acme")
        assert page.locator("h1 .word").inner_text() == "ok"
        assert any(what.startswith("Certificate ") and what.endswith(" active")
                   for what in timeline(page))  # fmt: skip
        page.click("text=Overview")
        assert "None: every open renewal can go on." in page.inner_text("main")
        assert page.locator("section[aria-labelledby=signer] tbody tr").count() >= 2
        shot("done")

        # The log knows who reminded.
        page.click("text=Audit")
        page.fill("input[name=actor]", "anna")
        page.click("form.filters button")
        assert page.locator("tbody tr", has_text="Reminded by hand").count() == 1
        shot("audit")
