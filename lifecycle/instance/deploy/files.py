"""A deploy target of files: written beside their places, then renamed into them.

Every file is whole or the old one; a reader never sees half of one. Certificate and key in two
files are two renames, a moment apart: software that reads them just then finds a pair that does
not fit, and reads again. The form ``pem`` has both in one file.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lifecycle.disk import disk_trouble
from lifecycle.errors import Refused, refuse
from lifecycle.instance.deploy.plan import About
from lifecycle.instance.paths import sync_directory
from lifecycle.passphrase import PassphraseSource, resolve
from lifecycle.pki.certificates import parse_certificates
from lifecycle.pki.fingerprints import key_fingerprint
from lifecycle.pki.keys import load_pkcs12, load_private_key
from lifecycle.pki.pair import Form, KeyFormat, Options, Pair, Pkcs12Encryption, render
from lifecycle.pki.push_certificate import PushCertificate


@dataclass(frozen=True)
class File:
    """One file of a target.

    Attributes:
        path: where it is; its folder must be there already.
        form: what is in it.
        mode: its permissions.
        passphrase: where the passphrase of what is secret in it comes from; None: no passphrase.
        key_format, encryption: as in ``Options``.
    """

    path: Path
    form: Form
    mode: int
    passphrase: PassphraseSource | None = None
    key_format: KeyFormat = KeyFormat.PKCS8
    encryption: Pkcs12Encryption = Pkcs12Encryption.MODERN

    def options(self) -> Options:
        """With the passphrase, fetched now. Raises what ``resolve`` raises."""
        return Options(resolve(self.passphrase), self.key_format, self.encryption)


class FilesTarget:
    """A ``Target`` of one or more files.

    Args:
        about: what is known of it.
        files: in the order in which they are renamed into place.
        owner, group: names; None: whoever runs pushcert.
    """

    def __init__(
        self, about: About, files: tuple[File, ...], owner: str | None, group: str | None
    ) -> None:
        self._about = about
        self._files = files
        self._owner = owner
        self._group = group

    @property
    def about(self) -> About:
        """See ``Target.about``."""
        return self._about

    def deploy(self, pair: Pair) -> None:
        """See ``Target.deploy``.

        Raises:
            Refused: ``deploy_owner_unknown``, ``deploy_owner_refused``,
                ``deploy_file_unwritable``, ``deploy_file_differs``, or what ``render`` and the
                passphrases raise; before the first rename nothing has changed.
            Unavailable: ``disk_full``, ``disk_read_only``; likewise.
        """
        contents = [render(pair, file.form, file.options()) for file in self._files]
        owner = _id(self._owner, "owner", _user_id)
        group = _id(self._group, "group", _group_id)
        fresh: list[Path] = []
        try:
            for file, content in zip(self._files, contents, strict=True):
                fresh.append(new := file.path.with_name(f".{file.path.name}.pushcert"))
                _write(new, content, file.mode, owner, group)
            for file, new in zip(self._files, fresh, strict=True):
                new.replace(file.path)
                sync_directory(file.path.parent)
        except OSError as error:
            folder = f"The folder {fresh[-1].parent}"
            raise disk_trouble(error, folder) or _unwritable(error) from None
        finally:
            for new in fresh:
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
        self.verify(pair)

    def verify(self, pair: Pair) -> None:
        """See ``Target.verify``. Raises ``Refused`` (``deploy_file_differs``)."""
        for file in self._files:
            why = _difference(file, pair)
            if why is not None:
                raise refuse(
                    "deploy_file_differs",
                    f"{file.path} {why}.",
                    "It is written anew by itself; find out what else writes it.",
                )


def _write(path: Path, content: bytes, mode: int, owner: int, group: int) -> None:
    path.unlink(missing_ok=True)  # of an attempt that a crash ended
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            os.fchown(file.fileno(), owner, group)
        except PermissionError:
            raise refuse(
                "deploy_owner_refused",
                f"This user may not give {path.parent} files of another owner.",
                "Run pushcert as root, or leave out owner and group of the target.",
            ) from None
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _difference(file: File, pair: Pair) -> str | None:
    try:
        data = file.path.read_bytes()
        mode = stat.S_IMODE(file.path.stat().st_mode)
    except OSError as error:
        return f"cannot be read back ({error.strerror})"
    if mode != file.mode:
        return f"has mode {mode:04o} instead of {file.mode:04o}"
    try:
        certificate, key = _read(file, data)
    except Refused as refused:
        return f"is not what was written ({refused.codes[0]})"
    if certificate is not None and certificate != pair.certificate.fingerprint:
        return "holds another certificate"
    if key is not None and key != pair.certificate.key_fingerprint:
        return "holds another key"
    return None


def _read(file: File, data: bytes) -> tuple[str | None, str | None]:
    """Fingerprints of the certificate and of the key in a file; None where it has none."""
    if file.form is Form.P12:
        key, leaf, _ = load_pkcs12(data, resolve(file.passphrase))
        found = PushCertificate.from_certificate(leaf).fingerprint
        return found, key_fingerprint(key.public_key())
    certificate = secret = None
    if file.form is not Form.KEY:
        certificate = PushCertificate.from_certificate(parse_certificates(data)[0]).fingerprint
    if file.form.is_secret:
        secret = key_fingerprint(load_private_key(data, resolve(file.passphrase)).public_key())
    return certificate, secret


def _id(name: str | None, what: str, look_up: Callable[[str], int]) -> int:
    if name is None:
        return -1
    try:
        return look_up(name)
    except KeyError:
        raise refuse(
            "deploy_owner_unknown",
            f"There is no {what} “{name}” on this machine.",
            f"Name one that there is as the target's {what}.",
        ) from None


def _user_id(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _unwritable(error: OSError) -> Refused:
    return refuse(
        "deploy_file_unwritable",
        f"{error.filename or 'A file'} cannot be written ({error.strerror}).",
        "Make the folder, and let the user that runs pushcert write there.",
    )
