"""``signer``, ``sign``, ``inspect``: the MDM signing certificate, and single files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import (
    AsJson,
    Invocation,
    actor,
    console,
    invocation,
    print_json,
    read_file,
    say_notes,
    write_file,
)
from lifecycle.errors import AttentionNeeded, refuse

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from lifecycle.pki.chain import TrustStore
    from lifecycle.pki.pkcs11_uri import Pkcs11Uri
    from lifecycle.vendor.signer import SignerRecord

signer = typer.Typer(
    no_args_is_help=True, help="The vendor's MDM signing certificate. Example: pushcert signer show"
)

CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="The MDM signing certificate (PEM or DER).")
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="Its private key (PEM or DER), encrypted or not.")
]
P12Option = Annotated[Path | None, typer.Option("--p12", help="Both in one PKCS#12 file.")]
ChainOption = Annotated[
    list[Path] | None, typer.Option("--chain", help="Further CA certificates; may be repeated.")
]
UriOption = Annotated[
    str | None,
    typer.Option("--pkcs11-uri", help="Where the key is in an HSM (RFC 7512), without the PIN."),
]
PassEnv = Annotated[
    str | None,
    typer.Option("--passphrase-env", help="Environment variable with the file's passphrase."),
]
PassFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File with the file's passphrase.")
]


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(signer, name="signer")
    app.command()(sign)
    app.command()(inspect)


def trust_of(run: Invocation) -> TrustStore:
    """Apple's roots and what the configuration adds; Apple's alone where there is none."""
    from lifecycle.pki.chain import TrustStore

    if run.config_option is None and not run.config_file.exists():
        return TrustStore.apple()
    from lifecycle.trust import configured_trust

    return configured_trust(run.config())


def _read_pair(
    certificate: Path | None,
    key: Path | None,
    p12: Path | None,
    passphrase: bytes | None,
) -> tuple[x509.Certificate, RSAPrivateKey, tuple[x509.Certificate, ...]]:
    from lifecycle.pki.chain import parse_certificates
    from lifecycle.pki.keys import load_pkcs12, load_private_key

    if p12 is not None and certificate is None and key is None:
        found_key, leaf, others = load_pkcs12(read_file(p12), passphrase)
        return leaf, found_key, others
    if certificate is None or key is None or p12 is not None:
        raise typer.BadParameter("give --certificate and --key, or --p12 alone")
    found = parse_certificates(read_file(certificate))
    return found[0], load_private_key(read_file(key), passphrase), found[1:]


def _passphrase(env: str | None, file: Path | None) -> bytes | None:
    from lifecycle.passphrase import FromEnvironment, FromFile, resolve

    if env is not None:
        return resolve(FromEnvironment(env))
    return None if file is None else resolve(FromFile(file))


def _pile(chain: list[Path] | None) -> tuple[x509.Certificate, ...]:
    from lifecycle.pki.chain import parse_certificates

    return tuple(c for path in chain or () for c in parse_certificates(read_file(path)))


@signer.command("import")
def import_signer(
    ctx: typer.Context,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    p12: P12Option = None,
    chain: ChainOption = None,
    pkcs11_uri: UriOption = None,
    passphrase_env: PassEnv = None,
    passphrase_file: PassFile = None,
    as_json: AsJson = False,
) -> None:
    """Puts an MDM signing certificate in force; open requests are signed with it from now on.

    The chain is completed and ordered up to Apple's root; one that does not reach a root is
    refused. The key is kept in the signer's directory, encrypted if a passphrase is configured;
    with --pkcs11-uri it stays in the HSM, whose PIN is what signer.pin leads to (docs/hsm.md).

    Example: pushcert signer import --certificate mdm.cer --key mdm.key
    """
    run = invocation(ctx)
    if pkcs11_uri is not None:
        if certificate is None or key is not None or p12 is not None:
            raise typer.BadParameter("--pkcs11-uri goes with --certificate alone")
        from lifecycle.pki.chain import parse_certificates
        from lifecycle.pki.pkcs11_uri import parse_pkcs11_uri

        uri = parse_pkcs11_uri(pkcs11_uri)
        found = parse_certificates(read_file(certificate))
        leaf, others = found[0], found[1:]
    else:
        leaf, private, others = _read_pair(
            certificate, key, p12, _passphrase(passphrase_env, passphrase_file)
        )
    with run.embedded() as embedded:
        pile, trust, now = (*others, *_pile(chain)), embedded.trust, embedded.clock.now()
        if pkcs11_uri is not None:
            record, findings = embedded.signer.install_token(leaf, uri, pile, trust, at=now)
        else:
            record, findings = embedded.signer.install(leaf, private, pile, trust, at=now)
        embedded.worker.register_signer()
        kept = embedded.signer.token()
    say_notes(findings)
    _show(record, kept, as_json)


@signer.command("show")
def show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Says which MDM signing certificate is in force and until when.

    Example: pushcert signer show --json
    """
    with invocation(ctx).embedded() as embedded:
        record, kept = embedded.signer.current(), embedded.signer.token()
    if record is None:
        raise refuse(
            "signer_missing",
            "There is no MDM signing certificate.",
            "Import one with `pushcert signer import --certificate FILE --key FILE`.",
        )
    _show(record, kept, as_json)


@signer.command("check")
def check(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Tries the signing key now; where it can be used again, renewals that waited go on.

    A worker tries a key that could not be used by itself, but never again a PIN that a token has
    refused: that is this command's.

    Example: pushcert signer check
    """
    from lifecycle.vendor.signer_state import mark_available

    with invocation(ctx).embedded() as embedded:
        embedded.signer.check_key()
        embedded.signer.ready()
        now = embedded.clock.now()
        with embedded.database.transaction() as session:
            changed = mark_available(session, now, actor=actor())
    if as_json:
        print_json({"usable": True, "was_usable": not changed})
        return
    goes_on = " Renewals that waited for it go on." if changed else ""
    console().print(f"The signing key can be used.{goes_on}", markup=False)


def _show(record: SignerRecord, token: Pkcs11Uri | None, as_json: bool) -> None:
    from lifecycle.pki.fingerprints import short

    if as_json:
        print_json(
            {
                "fingerprint": record.fingerprint,
                "common_name": record.common_name,
                "not_before": record.not_before.isoformat(),
                "not_after": record.not_after.isoformat(),
                "expires_first": record.expires_first,
                "pkcs11_uri": None if token is None else str(token),
            }
        )
        return
    out = console()
    out.print(f"{record.common_name} ({short(record.fingerprint)})", markup=False)
    out.print(f"in force until {record.not_after:%Y-%m-%d %H:%M} UTC", end="")
    out.print(f" (first to expire: {record.expires_first})", markup=False)
    if token is not None:
        out.print(f"its key is in a token: {token}", markup=False)


def sign(
    ctx: typer.Context,
    csr_file: Annotated[
        Path | None, typer.Argument(help="The customer's CSR, PEM or DER; - for stdin.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the request goes; else stdout.")
    ] = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    p12: P12Option = None,
    chain: ChainOption = None,
    passphrase_env: PassEnv = None,
    passphrase_file: PassFile = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="List the CSRs that wait for an approval.")
    ] = False,
    approve: Annotated[
        int | None,
        typer.Option("--approve", metavar="ID", help="Approve the signature of this one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Signs one CSR: gives the push certificate request that the customer uploads to Apple.

    Needs no database. Uses the imported MDM signing certificate, or the files given here. Where
    signing.approval is manual, --pending and --approve are the second person's (docs/hsm.md).

    Example: pushcert sign acme.csr --out acme-request.txt
    """
    run = invocation(ctx)
    if sum((pending, approve is not None, csr_file is not None)) != 1:
        raise typer.BadParameter("give a CSR file, or --pending, or --approve ID")
    if as_json and csr_file is not None:
        raise typer.BadParameter("--json goes with --pending and --approve")
    if csr_file is None:
        from cli import approving

        if approve is None:
            approving.list_pending(run, as_json)
        else:
            approving.approve_one(run, approve, as_json)
        return
    from lifecycle.pki.csr import read_csr

    csr = read_csr(read_file(csr_file))
    if certificate is None and key is None and p12 is None:
        from cli.approving import require_automatic
        from lifecycle.signing import configured_signer

        require_automatic(run)
        signed = configured_signer(run.config()).sign(csr.der).request
    else:
        from lifecycle.pki.request import KeySigner, sign_request
        from lifecycle.vendor.signer import checked_chain

        leaf, private, others = _read_pair(
            certificate, key, p12, _passphrase(passphrase_env, passphrase_file)
        )
        complete, findings = checked_chain(
            leaf,
            private.public_key(),
            (*others, *_pile(chain)),
            trust_of(run),
            at=datetime.now(UTC),
        )
        say_notes(findings)
        signed = sign_request(csr, KeySigner(private), complete).encode()
    if out is None:
        print(signed)
        return
    write_file(out, signed.encode())
    console(stderr=True).print(
        f"Wrote {out}. Upload it at https://identity.apple.com/pushcert.", markup=False
    )


def inspect(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Any file; - for stdin.")],
    chain: ChainOption = None,
    as_json: AsJson = False,
) -> None:
    """Says what a file is and what is wrong with it, as Apple's portal would see it.

    Exit code 4 when something is wrong with it.

    Example: pushcert inspect 'MDM_ Example_Certificate.pem'
    """
    from lifecycle.pki.inspection import inspect as look

    trust = trust_of(invocation(ctx)).with_extra(_pile(chain))
    found = look(read_file(file), trust, at=datetime.now(UTC))
    if as_json:
        print_json(
            {
                "kind": found.kind,
                "facts": dict(found.facts),
                "findings": [
                    {
                        "code": f.code,
                        "severity": str(f.severity),
                        "message": f.message,
                        "remedy": f.remedy,
                    }
                    for f in found.findings
                ],
            }
        )
    else:
        _print_inspection(found.kind, found.facts, [str(f) for f in found.findings])
    if any(f.refuses for f in found.findings):
        raise AttentionNeeded(f"{file} cannot be used as it is.")


def _print_inspection(kind: str, facts: tuple[tuple[str, str], ...], findings: list[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(kind.replace("_", " "), style="bold"))
    table = Table.grid(padding=(0, 2))
    for label, value in facts:
        table.add_row(Text(label, style="dim"), Text(value, overflow="fold"))
    out.print(table)
    for finding in findings:
        out.print(Text(f"! {finding}", style="yellow"))
