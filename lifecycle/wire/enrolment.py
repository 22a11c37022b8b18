"""The messages with which an instance makes itself known to the vendor, and changes its keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Base64Bytes, Field

from lifecycle.wire.messages import Message

Version = Annotated[str, Field(max_length=64, pattern=r"^[^\x00]*$")]
Key = Annotated[Base64Bytes, Field(max_length=128)]


class Enrolment(Message):
    """Asks to be the instance of the customer who was given the code.

    Attributes:
        code: of the invitation.
        public_key: Ed25519, 32 bytes; the private half stays in the instance.
        sealing_key: X25519, 32 bytes; likewise.
        version: of pushcert in the instance.
    """

    code: Annotated[str, Field(min_length=1, max_length=64)]
    public_key: Key
    sealing_key: Key
    version: Version | None = None


class EnrolmentReceipt(Message):
    """The instance is known from here on.

    Attributes:
        credential_id: to sign requests with.
        vendor, customer: names, to show a person that the code was the right one.
    """

    credential_id: str
    vendor: str
    customer: str


class KeyChange(Message):
    """Asks to put new keys in the place of those that sign this request.

    ``proof`` is made with the new key: ``lifecycle.wire.signatures.possession``.
    """

    public_key: Key
    sealing_key: Key
    proof: Key
    version: Version | None = None


class KeyReceipt(Message):
    """The new keys are known; the old ones are good for another day, or until these are used."""

    credential_id: str
