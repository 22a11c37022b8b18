"""The chain of tests/vectors, as the harnesses trust it, and a time at which it is valid."""

from __future__ import annotations

from datetime import UTC, datetime

from fuzz.harness import vector
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.chain import TrustStore

AT = datetime(2027, 6, 1, tzinfo=UTC)
TRUST = TrustStore.of(
    certificate
    for name in ("root.pem", "wwdr.pem", "aai.pem")
    for certificate in parse_certificates(vector(name))
)
