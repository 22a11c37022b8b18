"""The MDM signing key in a PKCS#11 token (an HSM): found, opened, signed with; never taken out.

A token may go away while we run (a cable, a network HSM's restart, a session that times out). A
call that fails is made once more from the very start — the module set up anew, the slots read, the
login repeated — and only when that fails as well is the key ``Unavailable``. A wrong PIN is never
tried twice, and none is tried on a token whose next wrong one would lock it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lifecycle.errors import PushcertError, Refused, Unavailable, refuse
from lifecycle.pki.digest_info import sha256_info
from lifecycle.pki.pkcs11_uri import Pkcs11Uri

if TYPE_CHECKING:
    import pkcs11

Pin = Callable[[], bytes | None]
"""Fetches the PIN when it is needed, and not before; None: the token wants none."""

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a token says about the key.

    Attributes:
        token, object: their labels.
        leaves: the token would give the key out (CKA_EXTRACTABLE, or not CKA_SENSITIVE).
    """

    token: str
    object: str
    leaves: bool


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session that is logged in, and the key in it."""

    session: Any
    key: Any
    hashes: bool
    each_time: bool
    facts: TokenFacts


class TokenKey:
    """A ``SignsCsr`` over a key in a token.

    Args:
        uri: which key.
        pin: fetches the PIN.
        module: the PKCS#11 module, where the URI names none.
    """

    def __init__(self, uri: Pkcs11Uri, pin: Pin, module: Path | None = None) -> None:
        self._uri = uri
        self._pin = pin
        self._module = uri.module_path or module
        self._opened: _Opened | None = None
        self._tried_pin = b""
        self._refused_pin: bytes | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "TokenKey(<private key in a token>)"

    def sign(self, data: bytes) -> bytes:
        """See ``SignsCsr.sign``.

        Raises:
            Unavailable: the token, or the way to it, is gone just now.
            Refused: it is there and cannot be used: ``token_ambiguous``, ``token_key_missing``,
                ``token_key_ambiguous``, ``token_key_unfit``, ``token_pin_missing``,
                ``token_pin_wrong``, ``token_pin_locked``, ``token_pin_last_try``,
                ``token_module_missing``, ``token_module_unusable``, ``pkcs11_support_missing``, or
                what the source of the PIN raises.
        """
        return self._use(lambda opened: self._sign(opened, data))

    def facts(self) -> TokenFacts:
        """What the token says about the key now. Raises as ``sign`` does."""
        from pkcs11 import Attribute

        def look(opened: _Opened) -> TokenFacts:
            _ = opened.key[Attribute.KEY_TYPE]  # asks the token: what we remember proves nothing
            return opened.facts

        return self._use(look)

    def close(self) -> None:
        """Ends the session; the next use opens another."""
        with self._lock:
            self._close()

    def _use(self, use: Callable[[_Opened], Outcome]) -> Outcome:
        failure = _failure()
        with self._lock:
            if self._opened is not None:
                try:
                    return use(self._opened)
                except failure:
                    self._close()
            try:
                self._opened = self._open()
                return use(self._opened)
            except failure as fault:
                self._close()
                raise self._translated(fault) from None

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(_failure()):
                opened.session.close()

    def _open(self) -> _Opened:
        token = self._token()
        session = token.open(user_pin=self._checked_pin(token))
        try:
            return self._key_in(session, token)
        except (PushcertError, _failure()):
            with suppress(_failure()):
                session.close()
            raise

    def _library(self) -> Any:
        import pkcs11

        if self._module is None:
            raise refuse(
                "token_module_missing",
                "Neither the PKCS#11 URI nor config.toml names the PKCS#11 module.",
                "Add ?module-path=/path/to/module.so to the URI, or set signer.module.",
            )
        try:
            library = pkcs11.lib(str(self._module))
        except pkcs11.PKCS11Error as fault:
            if type(fault) is not pkcs11.PKCS11Error:
                raise
            raise refuse(
                "token_module_unusable",
                f"{self._module} cannot be loaded as a PKCS#11 module.",
                "Name the library that your HSM's maker ships for PKCS#11.",
            ) from None
        # Slots are read when a module is set up, by some modules only then; and what an earlier
        # session left behind (a login, handles of a token that is gone) ends with this.
        library.reinitialize()
        return library

    def _token(self) -> Any:
        uri, found = self._uri, []
        for slot in self._library().get_slots(token_present=True):
            if not _fits(uri.slot_id, slot.slot_id) or not (
                _fits(uri.slot_description, slot.slot_description)
                and _fits(uri.slot_manufacturer, slot.manufacturer_id)
            ):
                continue
            token = slot.get_token()
            if (
                _fits(uri.token, token.label)
                and _fits(uri.serial, _plain(token.serial))
                and _fits(uri.model, token.model)
                and _fits(uri.manufacturer, token.manufacturer_id)
                and _is_set_up(token)
            ):
                found.append(token)
        if not found:
            raise Unavailable(
                "The token with the MDM signing key is not there.",
                "Connect it, or see that its service runs and that the PKCS#11 URI names it.",
            )
        if len(found) > 1:
            raise refuse(
                "token_ambiguous",
                f"{len(found)} tokens fit the PKCS#11 URI.",
                "Add token= or serial= to it.",
            )
        return found[0]

    def _checked_pin(self, token: Any) -> str | None:
        from pkcs11 import TokenFlag

        if not token.flags & TokenFlag.LOGIN_REQUIRED:
            return None
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise _pin_locked()
        pin = self._pin()
        if pin is None:
            raise refuse(
                "token_pin_missing",
                "The token wants a PIN, and no source of it is configured.",
                "Set signer.pin in config.toml: env:NAME, file:PATH or command:PROGRAM.",
            )
        self._tried_pin = _digest(pin)
        if self._refused_pin == self._tried_pin:
            raise _pin_wrong()
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise refuse(
                "token_pin_last_try",
                "The token locks itself at the next wrong PIN, so pushcert tries none.",
                "Log in once with the maker's own tool, and see that signer.pin is the right PIN.",
            )
        try:
            return pin.decode()
        except UnicodeDecodeError:
            raise _pin_wrong() from None

    def _key_in(self, session: Any, token: Any) -> _Opened:
        from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

        wanted: dict[Any, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        if self._uri.object is not None:
            wanted[Attribute.LABEL] = self._uri.object
        if self._uri.id is not None:
            wanted[Attribute.ID] = self._uri.id
        keys = list(session.get_objects(wanted))
        if not keys:
            raise refuse(
                "token_key_missing",
                f"The token “{token.label}” has no private key that fits the PKCS#11 URI.",
                "See with `pkcs11-tool --list-objects --login` what the key is called.",
            )
        if len(keys) > 1:
            raise refuse(
                "token_key_ambiguous",
                f"{len(keys)} private keys in the token “{token.label}” fit the PKCS#11 URI.",
                "Add object= or id= to it.",
            )
        key = keys[0]
        can = token.slot.get_mechanisms()
        hashes = Mechanism.SHA256_RSA_PKCS in can
        if (
            key.key_type is not KeyType.RSA
            or not key[Attribute.SIGN]
            or not (hashes or Mechanism.RSA_PKCS in can)
        ):
            raise refuse(
                "token_key_unfit",
                f"The key in the token “{token.label}” is no RSA key that may make signatures.",
                "Name the key that the CSR of the MDM signing certificate was made with.",
            )
        leaves = _says(key, Attribute.EXTRACTABLE, unknown=False) or not _says(
            key, Attribute.SENSITIVE, unknown=True
        )
        each_time = _says(key, Attribute.ALWAYS_AUTHENTICATE, unknown=False)
        facts = TokenFacts(token.label, str(key.label), leaves)
        return _Opened(session, key, hashes, each_time, facts)

    def _sign(self, opened: _Opened, data: bytes) -> bytes:
        from pkcs11 import Mechanism

        # A key may want its PIN before every single signature (CKA_ALWAYS_AUTHENTICATE).
        pin = (self._pin() or b"").decode() if opened.each_time else None
        if opened.hashes:
            made = opened.key.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS, pin=pin)
        else:
            # For tokens that do not hash by themselves.
            info = sha256_info(data)
            made = opened.key.sign(info, mechanism=Mechanism.RSA_PKCS, pin=pin)
        return bytes(made)

    def _translated(self, fault: Exception) -> PushcertError:
        import pkcs11

        if isinstance(fault, pkcs11.PinIncorrect | pkcs11.PinLenRange | pkcs11.PinInvalid):
            self._refused_pin = self._tried_pin
            return _pin_wrong()
        if isinstance(fault, pkcs11.PinLocked):
            return _pin_locked()
        return Unavailable(
            f"The token with the MDM signing key does not answer ({type(fault).__name__}).",
            "Connect it, or see that its service runs.",
        )


def _failure() -> type[Exception]:
    """What a PKCS#11 module can fail with.

    Raises:
        Refused: ``pkcs11_support_missing``.
    """
    try:
        import pkcs11
    except ImportError:
        raise refuse(
            "pkcs11_support_missing",
            "Keys in an HSM need python-pkcs11, which is not installed.",
            "Run `pip install 'pushcert[hsm]'`.",
        ) from None
    return pkcs11.PKCS11Error


def _says(key: Any, attribute: pkcs11.Attribute, *, unknown: bool) -> bool:
    """A yes or no of the key; ``unknown`` where its token does not tell."""
    try:
        return bool(key[attribute])
    except _failure():
        return unknown


def _is_set_up(token: Any) -> bool:
    from pkcs11 import TokenFlag

    return bool(token.flags & TokenFlag.TOKEN_INITIALIZED)


def _fits(wanted: str | int | None, found: str | int) -> bool:
    return wanted is None or wanted == found


def _plain(serial: bytes | str) -> str:
    text = serial.decode("utf-8", "replace") if isinstance(serial, bytes) else serial
    return text.rstrip("\0 ")


def _digest(pin: bytes) -> bytes:
    return hashlib.sha256(b"refused PIN\0" + pin).digest()


def _pin_wrong() -> Refused:
    return refuse(
        "token_pin_wrong",
        "The token does not take the PIN; pushcert does not try it again.",
        "Correct what signer.pin (or pin-source) leads to, before the token locks itself.",
    )


def _pin_locked() -> Refused:
    return refuse(
        "token_pin_locked",
        "The token has locked the PIN after too many wrong ones.",
        "Unlock it with the maker's own tool (it takes the security officer's PIN).",
    )
