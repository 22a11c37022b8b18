"""A real PKCS#11 token in software (SoftHSM 2) that can be pulled out and put back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

PIN = "271828"
SO_PIN = "3141592653"
LABEL = "vendor keys"
OBJECT = "mdm; signing 100%"
ID = bytes.fromhex("00a1ff")
MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)


class Token:
    """A token of its own, with room for keys.

    Attributes:
        module: the PKCS#11 module.
        config: what ``SOFTHSM2_CONF`` must name, in this process and in those it starts.
    """

    def __init__(self, folder: Path, module: Path) -> None:
        self.module = module
        self.config = folder / "softhsm2.conf"
        self._slot = folder / "slot"
        self._pulled = folder / "pulled"
        self._slot.mkdir(parents=True)
        self.config.write_text(f"directories.tokendir = {self._slot}\nlog.level = ERROR\n")

    def set_up(self, label: str = LABEL) -> None:
        """Initialises a token with a PIN."""
        self._tool("--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN)

    def put(self, key: RSAPrivateKey, *, label: str = OBJECT, id: bytes = ID) -> None:
        """A key that was made elsewhere goes in; nothing of it stays in a file."""
        file = self.config.with_name("going-in.pem")
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        about = "--token", LABEL, "--pin", PIN, "--label", label, "--id", id.hex()
        self._tool("--import", str(file), *about)
        file.unlink()

    def generate(self, label: str, **attributes: bool) -> None:
        """A key that is made in the token; ``attributes`` are those of its private half."""
        import pkcs11

        library = pkcs11.lib(str(self.module))
        library.reinitialize()
        with library.get_token(token_label=LABEL).open(rw=True, user_pin=PIN) as session:
            session.generate_keypair(
                pkcs11.KeyType.RSA,
                2048,
                label=label,
                store=True,
                private_template={pkcs11.Attribute[k]: v for k, v in attributes.items()},
            )

    def uri(self, *, object: str | None = OBJECT, pin_source: str | None = None) -> str:
        """Where the key is."""
        path = f"token={quote(LABEL)}" + ("" if object is None else f";object={quote(object)}")
        source = "" if pin_source is None else f"&pin-source={quote(pin_source, safe='/|:')}"
        return f"pkcs11:{path}?module-path={quote(str(self.module))}{source}"

    def pull_out(self) -> None:
        """The token is gone, for sessions that are open as well."""
        self._slot.rename(self._pulled)
        self._slot.mkdir()

    def put_back(self) -> None:
        """It is there again."""
        shutil.rmtree(self._slot)
        self._pulled.rename(self._slot)

    @property
    def files(self) -> Path:
        """The token's own store, sealed with its PIN."""
        return self._slot

    def _tool(self, *arguments: str) -> None:
        subprocess.run(
            ["softhsm2-util", *arguments],
            env={"SOFTHSM2_CONF": str(self.config), "PATH": "/usr/bin:/usr/local/bin:/bin"},
            check=True,
            capture_output=True,
        )


@contextmanager
def soft_token(folder: Path) -> Iterator[Token]:
    """A token that has been set up, and is the one that this process and its children see."""
    module = next((path for path in MODULES if path.exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM 2 is not installed")
    token = Token(folder / "softhsm", module)
    token.set_up()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(token.config))
        yield token
