"""Device tokens and push magics: values that must never be shown."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Self

from lifecycle.errors import refuse
from lifecycle.pki.fingerprints import Fingerprint, short, token_fingerprint

MIN_TOKEN_BYTES = 16
MAX_TOKEN_BYTES = 100
"""Apple says not to assume a length; today's tokens have 32 bytes."""
MAX_MAGIC = 256


@dataclass(frozen=True, slots=True)
class DeviceToken:
    """The address of a device at APNs. Its ``repr`` is a fingerprint.

    Attributes:
        raw: the token's bytes.
    """

    raw: bytes = field(repr=False)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """A token as a TokenUpdate message carries it. Raises ``Refused``."""
        if not MIN_TOKEN_BYTES <= len(raw) <= MAX_TOKEN_BYTES:
            raise refuse(
                "device_token_malformed",
                f"A device token of {len(raw)} bytes cannot be right.",
                "Take it from the device's latest TokenUpdate message.",
            )
        return cls(bytes(raw))

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """A token written in hexadecimal. Raises ``Refused``; the text is not repeated."""
        try:
            raw = bytes.fromhex(text.strip())
        except ValueError:
            raise refuse(
                "device_token_malformed",
                "The device token is not hexadecimal.",
                "Take it from the device's latest TokenUpdate message.",
            ) from None
        return cls.from_bytes(raw)

    @property
    def hex(self) -> str:
        """The token as the path of a push carries it; for nothing else."""
        return self.raw.hex()

    @property
    def fingerprint(self) -> Fingerprint:
        """What stands for the token everywhere else."""
        return token_fingerprint(self.raw)

    def __repr__(self) -> str:
        return f"DeviceToken({short(self.fingerprint)})"


@dataclass(frozen=True, slots=True)
class PushMagic:
    """What a device expects in a push; it ignores a push with another one."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.text or len(self.text) > MAX_MAGIC:
            raise refuse(
                "push_magic_malformed",
                f"A push magic has 1 to {MAX_MAGIC} characters.",
                "Take it from the device's latest TokenUpdate message.",
            )

    @classmethod
    def random(cls, rng: random.Random) -> Self:
        """One that no device has: a push that carries it wakes nobody."""
        return cls(f"{rng.getrandbits(128):032X}")
