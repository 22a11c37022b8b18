"""What an exception means, by how far the connection had come; and what each fault means."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from lifecycle.apns.faults import (
    FAULTS,
    Fault,
    NoAnswer,
    NotHttp2,
    ProxyRefused,
    Refusal,
    Stage,
    Trouble,
    fault_meaning,
    goaway_trouble,
    reset_trouble,
    trouble_of,
)
from lifecycle.apns.http2 import Http2Error
from lifecycle.apns.reasons import Who

CONNECTING, GREETING, OPEN = Stage.CONNECTING, Stage.GREETING, Stage.OPEN


def alert(name: str) -> SSL.Error:
    """As pyOpenSSL raises it."""
    return SSL.Error([("SSL routines", "", name.lower().replace("_", " "))])


def unverified() -> SSL.Error:
    return SSL.Error([("SSL routines", "", "certificate verify failed")])


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate_expired"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "certificate_revoked"),
        ("TLSV1_ALERT_UNKNOWN_CA", "unknown_ca"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "bad_certificate"),
        ("SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "unsupported_certificate"),
        ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "certificate_unknown"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "certificate_required"),
        ("TLSV1_ALERT_ACCESS_DENIED", "access_denied"),
    ],
)
@pytest.mark.parametrize("stage", Stage)
def test_an_alert_about_the_certificate_is_a_refusal_whenever_it_comes(
    name: str, detail: str, stage: Stage
) -> None:
    assert trouble_of(alert(name), stage) == Trouble(Fault.REFUSED, detail)
    assert detail in set(Refusal)


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError(1, "[SSL] tlsv1 alert unknown ca (_ssl.c:1006)"),
        SSL.Error([("SSL routines", "", "ssl/tls alert unknown ca")]),
    ],
)
def test_an_alert_is_read_whichever_library_and_version_spells_it(error: Exception) -> None:
    assert trouble_of(error, GREETING) == Trouble(Fault.REFUSED, "unknown_ca")


@pytest.mark.parametrize(
    ("error", "stage", "expected"),
    [
        # After the handshake, our certificate is all there is left to judge.
        (alert("SSLV3_ALERT_HANDSHAKE_FAILURE"), GREETING, (Fault.REFUSED, "handshake_failure")),
        (alert("TLSV1_ALERT_DECRYPT_ERROR"), GREETING, (Fault.REFUSED, "decrypt_error")),
        (
            alert("SSLV3_ALERT_HANDSHAKE_FAILURE"),
            CONNECTING,
            (Fault.HANDSHAKE, "handshake_failure"),
        ),
        (alert("TLSV1_ALERT_PROTOCOL_VERSION"), CONNECTING, (Fault.HANDSHAKE, "protocol_version")),
        (alert("TLSV1_ALERT_INTERNAL_ERROR"), CONNECTING, (Fault.LOST, "internal_error")),
        (alert("TLSV1_ALERT_INTERNAL_ERROR"), GREETING, (Fault.LOST, "internal_error")),
        (alert("TLSV1_ALERT_NO_APPLICATION_PROTOCOL"), CONNECTING, (Fault.NO_HTTP2, None)),
        (alert("WRONG_VERSION_NUMBER"), CONNECTING, (Fault.HANDSHAKE, None)),
        (alert("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), OPEN, (Fault.LOST, None)),
        (ssl.SSLCertVerificationError(1, "self-signed"), CONNECTING, (Fault.UNTRUSTED, None)),
        (NotHttp2(), CONNECTING, (Fault.NO_HTTP2, None)),
        (ProxyRefused("407"), CONNECTING, (Fault.PROXY, "proxy_407")),
        (ProxyRefused("502"), CONNECTING, (Fault.UNREACHABLE, "proxy_502")),
        (ProxyRefused("<ht"), CONNECTING, (Fault.PROXY, None)),
        (ConnectionRefusedError(), CONNECTING, (Fault.UNREACHABLE, None)),
        (ssl.SSLEOFError(8, "EOF occurred"), CONNECTING, (Fault.UNREACHABLE, None)),
        (EOFError(), CONNECTING, (Fault.UNREACHABLE, None)),
        (EOFError(), GREETING, (Fault.LOST, "closed_after_handshake")),
        (ConnectionResetError(), GREETING, (Fault.LOST, "closed_after_handshake")),
        (ConnectionResetError(), OPEN, (Fault.LOST, None)),
        (Http2Error("x"), OPEN, (Fault.LOST, None)),
        (SSL.SysCallError(-1, "Unexpected EOF"), OPEN, (Fault.LOST, None)),
        (SSL.ZeroReturnError(), GREETING, (Fault.LOST, "closed_after_handshake")),
        (unverified(), CONNECTING, (Fault.UNTRUSTED, None)),
        (TimeoutError(), CONNECTING, (Fault.UNREACHABLE, None)),
        (TimeoutError(), GREETING, (Fault.UNREACHABLE, None)),
        (TimeoutError(), OPEN, (Fault.STALLED, None)),
        (NoAnswer(Trouble(Fault.STALLED, "x")), OPEN, (Fault.STALLED, "x")),
        (KeyError("secret"), OPEN, (Fault.DEFECT, "KeyError")),
    ],
)
def test_what_an_exception_means_depends_on_how_far_things_had_come(
    error: Exception, stage: Stage, expected: tuple[Fault, str | None]
) -> None:
    assert trouble_of(error, stage) == Trouble(*expected)


def test_the_cause_below_an_exception_decides() -> None:
    error = ConnectionError("gone")
    error.__cause__ = alert("SSLV3_ALERT_CERTIFICATE_REVOKED")
    assert trouble_of(error, GREETING) == Trouble(Fault.REFUSED, "certificate_revoked")


def test_a_wait_for_more_bytes_under_a_timeout_is_no_tls_fault() -> None:
    error = TimeoutError()
    error.__context__ = ssl.SSLWantReadError(2, "The operation did not complete (read)")
    assert trouble_of(error, OPEN) == Trouble(Fault.STALLED)


def test_causes_that_go_in_a_circle_are_survived() -> None:
    error, other = ConnectionError(), ConnectionError()
    error.__cause__, other.__cause__ = other, error
    assert trouble_of(error, OPEN) == Trouble.lost()


@pytest.mark.parametrize(
    ("debug_data", "expected"),
    [
        (b'{"reason":"Shutdown"}', (Fault.LOST, "Shutdown")),
        (b'{"reason":"IdleTimeout"}', (Fault.LOST, "IdleTimeout")),
        (b'{"reason":"BadCertificate"}', (Fault.REFUSED, "BadCertificate")),
        (b'{"reason":"BadCertificateEnvironment"}', (Fault.REFUSED, "BadCertificateEnvironment")),
        (b'{"reason":"Forbidden"}', (Fault.REFUSED, "Forbidden")),
        (b'{"reason":"New One"}', (Fault.LOST, None)),
        (b'{"reason":7}', (Fault.LOST, None)),
        (b"[]", (Fault.LOST, None)),
        (b"", (Fault.LOST, None)),
        (b"\xff\xfe", (Fault.LOST, None)),
    ],
)
def test_a_goaway_says_why(debug_data: bytes, expected: tuple[Fault, str | None]) -> None:
    assert goaway_trouble(debug_data) == Trouble(*expected)


@given(st.binary(max_size=2000))
def test_any_debug_data_is_survived(debug_data: bytes) -> None:
    assert goaway_trouble(debug_data).fault in (Fault.LOST, Fault.REFUSED)


def test_a_reset_stream_is_lost_and_says_its_code() -> None:
    assert reset_trouble(7) == Trouble(Fault.LOST, "reset_refused_stream")
    assert reset_trouble(4711) == Trouble.lost()


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_a_meaning(fault: Fault) -> None:
    meant = fault_meaning(fault)
    assert meant.sentence.endswith(".")
    assert meant.retry == (fault in {Fault.UNREACHABLE, Fault.LOST, Fault.STALLED})
    assert set(FAULTS) == set(Fault)


def test_a_refusal_says_why_where_the_alert_did() -> None:
    sentences = {fault_meaning(Fault.REFUSED, r).sentence for r in (None, *Refusal)}
    assert "APNs refused the push certificate: it has expired." in sentences
    assert "APNs refused the push certificate: it is revoked." in sentences
    assert len(sentences) == 5
    assert fault_meaning("certificate_refused", "unknown_ca").who is Who.CUSTOMER


def test_what_cannot_get_better_is_not_tried_again_with_other_pushes() -> None:
    lasting = {f for f in Fault if Trouble(f).lasting}
    assert lasting == {
        Fault.REFUSED,
        Fault.UNTRUSTED,
        Fault.NO_HTTP2,
        Fault.HANDSHAKE,
        Fault.PROXY,
    }
