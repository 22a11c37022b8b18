"""``sign --pending`` and ``sign --approve``: the second pair of eyes, where one is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.invocation import Invocation, actor, console, print_json
from lifecycle.errors import refuse

if TYPE_CHECKING:
    from lifecycle.vendor.approvals import Pending


def list_pending(run: Invocation, as_json: bool) -> None:
    """Shows the CSRs that wait for an approval. Raises ``Refused``: none is ever wanted."""
    from lifecycle.vendor.approvals import pending

    _require_manual(run)
    with run.vendor_side() as side, side.database.reading() as session:
        found = pending(session)
    if as_json:
        print_json([_as_document(one) for one in found])
        return
    if not found:
        console().print("Nothing waits for an approval.")
        return
    from rich.table import Table

    from lifecycle.pki.fingerprints import short

    table = Table("id", "customer", "CSR", "asked for by", "approved by", "waits for", box=None)
    for one in found:
        subject = one.csr.common_name or one.csr.email or ""
        table.add_row(
            str(one.renewal_id),
            one.slug,
            f"{subject} ({one.csr.key_bits} bits, key {short(one.csr.key_fingerprint)})",
            one.opened_by or "",
            ", ".join(one.approved_by),
            one.waits_for.partition(" must ")[0],
        )
    console().print(table)


def approve_one(run: Invocation, renewal_id: int, as_json: bool) -> None:
    """Records the approval of whoever runs the command. Raises ``Refused``."""
    from lifecycle.vendor.approvals import approve

    _require_manual(run)
    with run.vendor_side() as side, side.database.transaction() as session:
        done = approve(session, renewal_id, actor=actor(), at=side.clock.now())
    if as_json:
        print_json(
            {
                "id": done.renewal_id,
                "slug": done.slug,
                "complete": done.complete,
                "waits_for": done.waits_for or None,
            }
        )
        return
    then = "the worker signs it at its next tick" if done.complete else done.waits_for
    console().print(f"Approved the CSR of {done.slug}: {then.rstrip('.')}.", markup=False)


def require_automatic(run: Invocation) -> None:
    """Refuses to sign past the second pair of eyes."""
    if run.config().signing.approval == "manual":
        raise refuse(
            "signing_needs_approval",
            "signing.approval is manual, so the signing key signs what two people stand behind,"
            " and no file that one of them brings.",
            "Let the renewal sign it: `pushcert renew SLUG`, then `pushcert sign --pending`.",
        )


def _require_manual(run: Invocation) -> None:
    if run.config().signing.approval != "manual":
        raise refuse(
            "approval_not_wanted",
            "Nothing waits for an approval: signing.approval is automatic.",
            'Set approval = "manual" under [signing] in config.toml, if two people shall look.',
        )


def _as_document(one: Pending) -> dict[str, object]:
    return {
        "id": one.renewal_id,
        "slug": one.slug,
        "name": one.name,
        "reason": one.reason,
        "opened_at": one.opened_at.isoformat(),
        "opened_by": one.opened_by,
        "csr_received_at": None if one.received_at is None else one.received_at.isoformat(),
        "csr_fingerprint": one.csr.fingerprint,
        "key_fingerprint": one.csr.key_fingerprint,
        "key_bits": one.csr.key_bits,
        "common_name": one.csr.common_name,
        "email": one.csr.email,
        "approved_by": list(one.approved_by),
        "waits_for": one.waits_for,
    }
