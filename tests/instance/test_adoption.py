"""Which certificate and key in a heap of files belong together."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from lifecycle.errors import Refused, Unavailable
from lifecycle.instance.adoption import find_pair
from lifecycle.pki.keys import generate_key, key_to_pem
from lifecycle.pki.pair import Form, KeyFormat, Options, Pair, Pkcs12Encryption, render
from lifecycle.pki.push_certificate import PushCertificate
from lifecycle.pki.topic import Topic
from lifecycle.pki.upload import read_upload

if TYPE_CHECKING:
    from tests.instance.conftest import PushAuthority, World

PASSPHRASE = b"correct horse"
OTHER = Topic("com.apple.mgmt.External.99999999-3333-4c22-9a33-5d6e7f809103")


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_key()


@pytest.fixture
def certificate(authority: PushAuthority, key: RSAPrivateKey) -> PushCertificate:
    return read_upload(authority.issue(key.public_key())).certificate


@pytest.fixture
def pair(certificate: PushCertificate, key: RSAPrivateKey) -> Pair:
    return Pair(certificate, key)


def openssl(*words: str, stdin: bytes) -> bytes:
    environment = {**os.environ, "PASS": PASSPHRASE.decode()}
    done = subprocess.run(
        ["openssl", *words], input=stdin, capture_output=True, check=True, env=environment
    )
    return done.stdout


def forms(pair: Pair) -> dict[str, bytes]:
    """The key as customers have it, each with the passphrase of this module or none."""
    plain = render(pair, Form.KEY)
    return {
        "pkcs8": plain,
        "pkcs8, encrypted": render(pair, Form.KEY, Options(PASSPHRASE)),
        "pkcs1": render(pair, Form.KEY, Options(key_format=KeyFormat.PKCS1)),
        "der": openssl("pkey", "-outform", "DER", stdin=plain),
        "crlf": plain.replace(b"\n", b"\r\n"),
        **{
            f"DEK-Info, {cipher}": openssl(
                "rsa", "-traditional", f"-{cipher}", "-passout", "env:PASS", stdin=plain
            )
            for cipher in ("des3", "aes128", "aes256")
        },
    }


def test_the_key_is_read_in_every_form_it_may_have(pair: Pair) -> None:
    for name, data in forms(pair).items():
        assert (b"DEK-Info" in data) == name.startswith("DEK-Info")
        files = {"push.key": data, "push.pem": pair.certificate.pem.encode()}
        found = find_pair(files, PASSPHRASE)
        assert found.key.public_key() == pair.key.public_key(), name
        assert found.upload.certificate == pair.certificate


@pytest.mark.parametrize("encryption", Pkcs12Encryption)
def test_pkcs12_has_both(pair: Pair, encryption: Pkcs12Encryption) -> None:
    data = render(pair, Form.P12, Options(PASSPHRASE, encryption=encryption))
    found = find_pair({"push.p12": data}, PASSPHRASE)
    assert found.upload.certificate == pair.certificate
    assert (found.key_file, found.certificate_file) == ("push.p12", "push.p12")


def test_one_file_may_have_both(pair: Pair) -> None:
    found = find_pair({"both.pem": render(pair, Form.PEM)}, None)
    assert found.upload.findings == (), "that a key lies beside it is no news"
    assert found.key.public_key() == pair.key.public_key()


def test_names_say_nothing_and_other_files_are_passed_over(
    pair: Pair, authority: PushAuthority
) -> None:
    other = generate_key()
    files = {
        "VendorPrivateKey.key": key_to_pem(other, b"another passphrase"),
        "a.txt": render(pair, Form.KEY),
        "b.txt": pair.certificate.pem.encode(),
        "mdm.cer": b"\x30\x82nonsense",
        "of-another.pem": authority.issue(other.public_key(), OTHER),
        "readme": b"hello",
        "empty": b"",
    }
    found = find_pair(files, PASSPHRASE)
    assert (found.key_file, found.certificate_file) == ("a.txt", "b.txt")


def test_of_two_years_the_last_counts(key: RSAPrivateKey, authority: PushAuthority) -> None:
    newer = authority.issue(key.public_key(), life=timedelta(days=700))
    older = authority.issue(key.public_key())
    files = {"key": key_to_pem(key, None), "1.pem": newer, "2.pem": older}
    assert find_pair(files, None).certificate_file == "1.pem"


def test_pairs_of_two_topics_are_not_guessed_at(
    pair: Pair, key: RSAPrivateKey, authority: PushAuthority
) -> None:
    files = {
        "key": key_to_pem(key, None),
        "1.pem": pair.certificate.pem.encode(),
        "2.pem": authority.issue(key.public_key(), OTHER),
    }
    with pytest.raises(Refused) as refused:
        find_pair(files, None)
    assert refused.value.codes == ("pair_ambiguous",)
    assert str(OTHER) in str(refused.value)


class TestWithoutAPair:
    def refused(self, files: dict[str, bytes], passphrase: bytes | None = None) -> Refused:
        with pytest.raises(Refused) as refused:
            find_pair(files, passphrase)
        assert refused.value.codes[0] == "pair_missing"
        return refused.value

    def test_it_says_what_is_missing(self, pair: Pair) -> None:
        pem = pair.certificate.pem.encode()
        assert "no private key" in str(self.refused({"push.pem": pem}))
        assert "no push certificate" in str(self.refused({"push.key": render(pair, Form.KEY)}))
        assert "no push certificate" in str(self.refused({}))
        stranger = key_to_pem(generate_key(), None)
        said = str(self.refused({"push.pem": pem, "push.key": stranger}))
        assert pair.certificate.serial in said

    def test_it_says_which_key_could_not_be_opened(self, pair: Pair) -> None:
        pem = pair.certificate.pem.encode()
        locked = render(pair, Form.KEY, Options(PASSPHRASE, KeyFormat.PKCS1))
        files = {"push.pem": pem, "push.key": locked}
        assert self.refused(files).codes == ("pair_missing", "private_key_encrypted")
        wrong = self.refused(files, b"wrong")
        assert "push.key: " in str(wrong)
        assert "passphrase_wrong" in wrong.codes
        p12 = render(pair, Form.P12, Options(PASSPHRASE))
        assert "pkcs12_unreadable" in self.refused({"x.p12": p12}, b"wrong").codes

    def test_no_key_is_in_the_refusal(self, pair: Pair) -> None:
        secret = render(pair, Form.KEY)
        said = str(self.refused({"push.key": secret, "broken.key": secret[:900]}))
        assert secret.split(b"\n")[3].decode() not in said


class TestIntoTheVault:
    def test_the_first_renewal_after_it_keeps_the_topic(
        self, world: World, pair: Pair, key: RSAPrivateKey
    ) -> None:
        held, notes = world.agent.adopt_pair(key, read_upload(pair.certificate.pem.encode()))
        assert (held.certificate, notes) == (pair.certificate, ())
        assert world.vendor.adopted == [pair.certificate.fingerprint], "so that it can be renewed"
        world.clock.advance(timedelta(days=330))
        created = world.renew_until_upload(OTHER)
        with pytest.raises(Refused) as refused:
            world.agent.upload(created)
        assert "topic_changed" in refused.value.codes
        assert world.agent.upload(world.issue()).activated

    def test_without_the_vendor_nothing_is_written(
        self, world: World, pair: Pair, key: RSAPrivateKey
    ) -> None:
        before = world.files()
        world.vendor.is_down = True
        with pytest.raises(Unavailable):
            world.agent.adopt_pair(key, read_upload(pair.certificate.pem.encode()))
        assert world.files() == before

    def test_an_expired_certificate_is_taken_with_a_note(
        self, world: World, pair: Pair, key: RSAPrivateKey
    ) -> None:
        world.clock.advance(timedelta(days=400))
        _, notes = world.agent.adopt_pair(key, read_upload(pair.certificate.pem.encode()))
        assert [note.code for note in notes] == ["certificate_expired"]

    def test_a_vault_in_use_is_refused_before_the_vendor_hears_of_it(
        self, world: World, pair: Pair, key: RSAPrivateKey
    ) -> None:
        world.renew()
        with pytest.raises(Refused) as refused:
            world.agent.adopt_pair(key, read_upload(pair.certificate.pem.encode()))
        assert refused.value.codes == ("vault_in_use",)
        assert world.vendor.adopted == []
