"""An instance on a machine of its own deploys by itself, and its vendor hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sqlmodel import select

from lifecycle.errors import Unavailable
from lifecycle.pki.keys import generate_key
from lifecycle.pki.upload import read_upload
from lifecycle.standalone import Standalone
from lifecycle.vendor.models import Certificate, Deployment
from tests.instance.conftest import TOPIC, PushAuthority
from tests.mdm_servers.stand_ins import API_KEY, NanoMdmServer

if TYPE_CHECKING:
    from tests.serve.conftest import BuildVendor, Vendor


@pytest.fixture
def authority(tmp_path: Path) -> PushAuthority:
    made = PushAuthority(generate_key(), generate_key())
    pem = b"".join(c.public_bytes(Encoding.PEM) for c in (made.root, made.issuer))
    (tmp_path / "push-ca.pem").write_bytes(pem)
    return made


@pytest.fixture
def trusting(build_vendor: BuildVendor, authority: PushAuthority, tmp_path: Path) -> Vendor:
    """A vendor that trusts the authority."""
    assert authority.root
    return build_vendor(f'[trust]\nextra = ["{tmp_path / "push-ca.pem"}"]\n')


@pytest.fixture
def nanomdm(monkeypatch: pytest.MonkeyPatch) -> Iterator[NanoMdmServer]:
    monkeypatch.setenv("MDM_API_KEY", API_KEY)
    with NanoMdmServer() as server:
        yield server


@pytest.fixture
def acme(trusting: Vendor, nanomdm: NanoMdmServer, tmp_path: Path) -> Standalone:
    """An instance that deploys to its NanoMDM."""
    trusting.enrolled("acme")
    file = tmp_path / "customers" / "acme" / "config.toml"
    configured = (
        f'{file.read_text()}\n[trust]\nextra = ["{tmp_path / "push-ca.pem"}"]\n'
        f'[deploy.nanomdm]\nkind = "nanomdm"\nurl = "{nanomdm.url}"\n'
        'api_key = "env:MDM_API_KEY"\ntimeout_seconds = 5.0\n'
    )
    file.write_text(configured)
    from lifecycle.config import load_config

    return trusting.opened.enter_context(
        Standalone(load_config(file), trusting.clock, sleep=trusting.slept.append)
    )


def adopt(alone: Standalone, authority: PushAuthority) -> None:
    key = generate_key()
    upload = read_upload(authority.issue(key.public_key()))
    with alone.agent() as agent:
        agent.adopt_pair(key, upload)


def known(vendor: Vendor) -> list[tuple[str, str | None]]:
    with vendor.served.database.reading() as session:
        return [(row.target, row.code) for row in session.exec(select(Deployment))]


def test_what_is_adopted_is_known_to_the_vendor_and_deployed(
    trusting: Vendor, acme: Standalone, authority: PushAuthority, nanomdm: NanoMdmServer
) -> None:
    adopt(acme, authority)
    with trusting.served.database.reading() as session:
        (row,) = session.exec(select(Certificate))
    assert (row.state, row.topic) == ("active", TOPIC)
    assert list(nanomdm.stored) == [TOPIC]
    assert known(trusting) == [("nanomdm", None)]


def test_a_server_that_is_down_is_in_the_vendors_books_until_it_is_back(
    trusting: Vendor, acme: Standalone, authority: PushAuthority, nanomdm: NanoMdmServer
) -> None:
    nanomdm.stop()
    adopt(acme, authority)
    assert known(trusting) == [("nanomdm", "mdm_server_down")]
    with nanomdm:
        trusting.clock.advance(timedelta(hours=1))
        assert "deployed" in acme.step().codes
    assert known(trusting) == [("nanomdm", None)]


def test_while_the_vendor_is_away_it_is_deployed_all_the_same(
    trusting: Vendor, acme: Standalone, authority: PushAuthority, nanomdm: NanoMdmServer
) -> None:
    nanomdm.stop()
    adopt(acme, authority)
    trusting.opened.close()
    trusting.clock.advance(timedelta(days=400))  # its keys are to be changed as well
    with nanomdm:
        with pytest.raises(Unavailable):
            acme.step()
        assert list(nanomdm.stored) == [TOPIC]
