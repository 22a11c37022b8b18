"""The page of an instance on a machine of its own, with the vendor at the other end of TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx

from lifecycle.setup_page.app import setup_page
from lifecycle.standalone import Standalone
from lifecycle.vendor import credentials, registry, store
from lifecycle.vendor.facts import RenewalReason
from tests.serve.conftest import Vendor, build_vendor, tls, vendor
from tests.setup_page.conftest import running

__all__ = ["build_vendor", "tls", "vendor"]


@contextmanager
def served(alone: Standalone) -> Iterator[httpx.Client]:
    with (
        setup_page(alone, patience=60.0) as app,
        running(app) as url,
        httpx.Client(base_url=url, timeout=120, trust_env=False) as client,
    ):
        yield client


def want_renewal(vendor: Vendor, slug: str) -> None:
    with vendor.served.database.transaction() as session:
        customer = store.customer_by_slug(session, slug)
        at = vendor.clock.now()
        registry.request_renewal(
            session, customer, RenewalReason.INITIAL, at=at, actor="operator:test"
        )


def test_the_page_of_an_instance_of_its_own_goes_through_its_vendors_server(
    vendor: Vendor,
) -> None:
    alone = vendor.enrolled("acme")
    with served(alone) as page:
        assert "There is no push certificate yet" in page.get("/").text
        want_renewal(vendor, "acme")
        text = page.get("/").text
        assert "Example MDM is signing the request" in text, "the look has made the CSR"
    with vendor.served.database.reading() as session:
        renewal = store.open_renewal(session, store.customer_by_slug(session, "acme"))
        assert renewal is not None
        assert renewal.csr is not None


def test_an_instance_that_was_shut_out_is_told_so(vendor: Vendor) -> None:
    alone = vendor.enrolled("acme")
    with served(alone) as page:
        page.get("/")
        with vendor.served.database.transaction() as session:
            customer = store.customer_by_slug(session, "acme")
            credentials.revoke_all(
                session, customer, at=vendor.clock.now(), actor="operator:test", why="stolen"
            )
        vendor.clock.advance(timedelta(minutes=1))
        text = page.get("/").text
    assert "Example MDM does not accept this server" in text
    assert "credential_" in text


def test_a_vendor_that_is_gone_is_said_to_be(vendor: Vendor) -> None:
    alone = vendor.enrolled("acme")
    with served(alone) as page:
        assert "There is no push certificate yet" in page.get("/").text
        vendor.opened.close()
        text = page.get("/").text
    assert "has not answered since" in text
    assert "There is no push certificate yet" in text, "what was heard last still stands"


def test_an_instance_that_is_not_enrolled_yet_says_what_to_do(vendor: Vendor) -> None:
    vendor.add("acme")
    alone = vendor.instance("acme")
    with served(alone) as page:
        text = page.get("/").text
    assert "instance_not_enrolled" in text
