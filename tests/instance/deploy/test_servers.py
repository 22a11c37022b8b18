"""NanoMDM, MicroMDM and Zentral as deploy targets, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lifecycle.errors import PushcertError, Refused, Unavailable
from lifecycle.instance.deploy.micromdm import MicroMdmTarget
from lifecycle.instance.deploy.nanomdm import NanoMdmTarget
from lifecycle.instance.deploy.plan import About
from lifecycle.instance.deploy.zentral import ZentralTarget
from lifecycle.mdm_servers.micromdm import MicroMdm
from lifecycle.mdm_servers.nanomdm import NanoMdm
from lifecycle.mdm_servers.server import Reach
from lifecycle.mdm_servers.zentral import Zentral
from lifecycle.pki.keys import load_private_key
from tests.mdm_servers.stand_ins import (
    API_KEY,
    MicroMdmServer,
    NanoMdmServer,
    Reply,
    Request,
    StandIn,
    ZentralServer,
)

if TYPE_CHECKING:
    from tests.instance.conftest import World

OTHER_TOPIC = "com.apple.mgmt.External.ffffffff-2222-4c22-9a33-5d6e7f809102"


def about(server: StandIn, kind: str) -> About:
    return About(kind, kind, server.url, "settings")


def nano(server: NanoMdmServer, key: str = API_KEY) -> NanoMdmTarget:
    client = NanoMdm(Reach(server.url, timeout=5), lambda: key.encode())
    return NanoMdmTarget(about(server, "nanomdm"), client)


def micro(server: MicroMdmServer, key: str = API_KEY) -> MicroMdmTarget:
    client = MicroMdm(Reach(server.url, timeout=5), lambda: key.encode())
    return MicroMdmTarget(about(server, "micromdm"), client)


def zentral(server: ZentralServer, key: str = API_KEY) -> ZentralTarget:
    client = Zentral(Reach(server.url, timeout=5), lambda: key.encode())
    return ZentralTarget(about(server, "zentral"), client)


@pytest.fixture
def acme(world: World) -> World:
    world.renew()
    return world


@pytest.fixture
def nanomdm() -> Iterator[NanoMdmServer]:
    with NanoMdmServer() as server:
        yield server


@pytest.fixture
def micromdm() -> Iterator[MicroMdmServer]:
    with MicroMdmServer() as server:
        yield server


@pytest.fixture
def zentral_server() -> Iterator[ZentralServer]:
    with ZentralServer() as server:
        yield server


class TestNanoMdm:
    def test_it_gets_certificate_and_key_and_is_asked_what_it_has(
        self, acme: World, nanomdm: NanoMdmServer
    ) -> None:
        pair = acme.pair()
        nano(nanomdm).deploy(pair)
        certificate, key = nanomdm.stored[pair.certificate.topic]
        assert certificate.decode() == pair.certificate.pem
        assert load_private_key(key, None).public_key() == pair.key.public_key()
        assert [request.method for request in nanomdm.requests] == ["PUT", "GET"]
        assert nanomdm.requests[1].path == f"/v1/pushcert?topic={pair.certificate.topic}"

    def test_the_intermediate_stays_out_because_the_last_certificate_counts(
        self, acme: World, nanomdm: NanoMdmServer
    ) -> None:
        assert acme.pair().intermediates
        nano(nanomdm).deploy(acme.pair())
        assert nanomdm.requests[0].body.count(b"BEGIN CERTIFICATE") == 1

    def test_topics_of_others_are_left_alone(self, acme: World, nanomdm: NanoMdmServer) -> None:
        nanomdm.stored[OTHER_TOPIC] = (b"certificate", b"key")
        nano(nanomdm).deploy(acme.pair())
        assert nanomdm.stored[OTHER_TOPIC] == (b"certificate", b"key")

    def test_a_server_that_cannot_say_what_it_has_is_believed(
        self, acme: World, nanomdm: NanoMdmServer
    ) -> None:
        """Before there was a GET, NanoMDM took any request for an upload."""
        old: Reply = (500, {"error": "tls: failed to find any PEM data in certificate input"})
        nanomdm.instead = lambda request: old if request.method == "GET" else None
        nano(nanomdm).deploy(acme.pair())
        nanomdm.instead = lambda request: (405, b"") if request.method == "GET" else None
        nano(nanomdm).deploy(acme.pair())

    def test_what_it_says_of_its_upload_counts_too(
        self, acme: World, nanomdm: NanoMdmServer
    ) -> None:
        other: Reply = (200, {"topic": OTHER_TOPIC, "not_after": "2028-01-01T00:00:00Z"})
        nanomdm.instead = lambda request: other if request.method == "PUT" else None
        with pytest.raises(Refused) as refused:
            nano(nanomdm).deploy(acme.pair())
        assert refused.value.codes == ("deploy_other_topic",)

    def test_last_years_certificate_is_found_by_its_end(
        self, acme: World, nanomdm: NanoMdmServer
    ) -> None:
        nano(nanomdm).deploy(acme.pair())
        acme.clock.advance(timedelta(days=330))
        acme.renew()
        with pytest.raises(Refused) as refused:
            nano(nanomdm).verify(acme.pair())
        assert refused.value.codes == ("deploy_other_expiry",)
        assert nanomdm.made("PUT")[1:] == [], "verifying changes nothing"


class TestMicroMdm:
    def test_the_key_goes_there_as_pkcs1_because_it_reads_nothing_else(
        self, acme: World, micromdm: MicroMdmServer
    ) -> None:
        micro(micromdm).deploy(acme.pair())
        assert micromdm.stored is not None
        assert micromdm.stored[1].startswith(b"-----BEGIN RSA PRIVATE KEY-----")
        assert [request.method for request in micromdm.requests] == ["PUT", "GET"]
        assert set(json.loads(micromdm.requests[0].body)) == {"cert", "key"}

    def test_another_pair_on_the_server_is_found(
        self, acme: World, micromdm: MicroMdmServer
    ) -> None:
        micro(micromdm).deploy(acme.pair())
        acme.renew()
        with pytest.raises(Refused) as refused:
            micro(micromdm).verify(acme.pair())
        assert refused.value.codes == ("deploy_other_certificate",)


class TestZentral:
    def test_it_says_what_a_person_must_do_because_its_api_takes_nothing(
        self, acme: World, zentral_server: ZentralServer
    ) -> None:
        zentral_server.certificates["made, not uploaded"] = None
        with pytest.raises(Refused) as refused:
            zentral(zentral_server).deploy(acme.pair())
        assert refused.value.codes == ("zentral_by_hand",)
        assert "instance export" in str(refused.value)
        assert zentral_server.made("PUT") == zentral_server.made("POST") == []

    @pytest.mark.parametrize("paged", [True, False])
    def test_it_is_done_once_zentral_has_the_certificate(
        self, acme: World, zentral_server: ZentralServer, paged: bool
    ) -> None:
        zentral_server.paged = paged
        for number in range(5):
            pem = acme.authority.issue(acme.pair().key.public_key(), OTHER_TOPIC)  # type: ignore[arg-type]
            zentral_server.certificates[f"other {number}"] = pem
        zentral_server.certificates["ours"] = acme.pair().certificate.pem.encode()
        zentral(zentral_server).deploy(acme.pair())


Make = Callable[..., Any]


@pytest.fixture(params=["nanomdm", "micromdm", "zentral"])
def any_server(request: pytest.FixtureRequest) -> Iterator[tuple[StandIn, Make]]:
    kinds: dict[str, tuple[type[StandIn], Make]] = {
        "nanomdm": (NanoMdmServer, nano),
        "micromdm": (MicroMdmServer, micro),
        "zentral": (ZentralServer, zentral),
    }
    kind, make = kinds[request.param]
    with kind() as server:
        yield server, make


class TestFaults:
    """What every server can do wrong."""

    def failing(self, acme: World, target: Any) -> PushcertError:
        with pytest.raises(PushcertError) as raised:
            target.deploy(acme.pair())
        return raised.value

    def test_a_wrong_api_key_is_for_a_person(
        self, acme: World, any_server: tuple[StandIn, Make]
    ) -> None:
        server, make = any_server
        fault = self.failing(acme, make(server, "not-the-key"))
        assert isinstance(fault, Refused)
        assert fault.codes == ("mdm_server_denied",)
        assert "not-the-key" not in str(fault)

    def test_a_server_that_is_down_is_tried_again(
        self, acme: World, any_server: tuple[StandIn, Make]
    ) -> None:
        server, make = any_server
        target = make(server)
        server.stop()
        fault = self.failing(acme, target)
        assert isinstance(fault, Unavailable)
        assert fault.code == "mdm_server_down"

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_a_server_that_fails_is_tried_again(
        self, acme: World, any_server: tuple[StandIn, Make], status: int
    ) -> None:
        server, make = any_server
        server.instead = lambda _: (status, {"error": "disk full."})
        fault = self.failing(acme, make(server))
        assert isinstance(fault, Unavailable)
        assert fault.code == "mdm_server_failing"
        assert "disk full" in str(fault)

    @pytest.mark.parametrize(
        "answer",
        [
            (200, b"<html>Welcome</html>"),
            (200, {}),
            (200, []),
            (200, {"topic": None, "not_after": 5, "cert": "AAAA", "results": 7}),
            (204, b""),
            (404, b"404 page not found\n"),
        ],
    )
    def test_an_answer_of_something_else_is_refused(
        self, acme: World, any_server: tuple[StandIn, Make], answer: Reply
    ) -> None:
        server, make = any_server
        server.instead = lambda _: answer
        fault = self.failing(acme, make(server))
        assert isinstance(fault, Refused)
        assert fault.codes[0] in ("mdm_server_answer_wrong", "zentral_by_hand")

    def test_a_refused_request_is_for_a_person(
        self, acme: World, any_server: tuple[StandIn, Make]
    ) -> None:
        server, make = any_server
        server.instead = lambda _: (400, {"error": "parse X509 key pair"})
        fault = self.failing(acme, make(server))
        assert isinstance(fault, Refused)
        assert fault.codes == ("mdm_server_refused",)

    def test_no_redirect_is_followed_with_a_key(
        self, acme: World, any_server: tuple[StandIn, Make]
    ) -> None:
        server, make = any_server
        with NanoMdmServer() as elsewhere:
            there = {"Location": f"{elsewhere.url}/v1/pushcert"}
            server.instead = lambda _: (307, b"", there)
            fault = self.failing(acme, make(server))
            assert isinstance(fault, Refused)
            assert fault.codes == ("mdm_server_redirects",)
            assert elsewhere.requests == []

    @pytest.mark.parametrize("status", [400, 500])
    def test_a_server_that_echoes_what_it_was_sent_is_not_quoted(
        self, acme: World, any_server: tuple[StandIn, Make], status: int
    ) -> None:
        server, make = any_server
        secret = acme.pair()

        def echo(request: Request) -> Reply:
            words = request.body.decode() + request.headers["Authorization"] + API_KEY
            return status, {"error": f"cannot read: {words}", "detail": words}

        server.instead = echo
        said = str(self.failing(acme, make(server)))
        assert API_KEY not in said
        body = secret.certificate.pem.split("\n")[3]
        assert body not in said
        assert "-----" not in said
