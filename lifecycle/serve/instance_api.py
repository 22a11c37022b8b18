"""``/v1``: what an instance may ask and hand in; one route for each call of ``VendorLink``.

A route takes the customer from the credential that signed the request, never from the message.
Messages are the wire schema's; nothing is decided here.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from lifecycle.errors import refuse
from lifecycle.serve.authentication import Caller, SignedFirst, authenticated, served_by
from lifecycle.serve.served import Served
from lifecycle.vendor import credentials, invitations
from lifecycle.vendor.credentials import NewKeys
from lifecycle.vendor.desk import Desk
from lifecycle.vendor.models import Customer
from lifecycle.wire.enrolment import Enrolment, EnrolmentReceipt, KeyChange, KeyReceipt
from lifecycle.wire.messages import (
    CertificateReceipt,
    CertificateSubmission,
    CsrSubmission,
    Report,
    Work,
)
from lifecycle.wire.problems import MEDIA_TYPE, Problem
from lifecycle.wire.signatures import proves_possession

PREFIX = "/v1"
_PROBLEM = {"model": Problem, "content": {MEDIA_TYPE: {}}}
_COMMON: dict[int | str, dict[str, Any]] = {
    413: {**_PROBLEM, "description": "The message is too large."},
    422: {**_PROBLEM, "description": "Refused, with every finding; nothing was written."},
    500: {**_PROBLEM, "description": "An error of the server's."},
    503: {**_PROBLEM, "description": "Try again later; the database cannot be used."},
}
_SIGNED: dict[int | str, dict[str, Any]] = {
    401: {**_PROBLEM, "description": "The signature proves nothing; `code` says why."},
    **_COMMON,
}
INSTANCE: dict[str, Any] = {"security": [{"instance": []}], "x-role": "instance"}
INVITED: dict[str, Any] = {"security": [], "x-role": "code"}

api = APIRouter(prefix=PREFIX, tags=["instance"], route_class=SignedFirst)
Signed = Annotated[Caller, Depends(authenticated)]


def _desk(served: Served, caller: Caller) -> Desk:
    return served.desk(caller.bearer.slug, caller.bearer.credential_id)


@api.get("/work", response_model=Work, responses=_SIGNED, openapi_extra=INSTANCE)
def work(request: Request, caller: Signed) -> Response:
    """What the vendor wants from this instance now, and how its books stand."""
    served = served_by(request)
    wanted = _desk(served, caller).work()
    said = wanted.model_copy(
        update={
            "ask_again_seconds": served.config.serve.poll_seconds,
            "vendor_time": served.clock.now(),
        }
    )
    # Written once: handing it to FastAPI would have it validated and written again.
    return Response(said.model_dump_json(), media_type="application/json")


@api.post("/csr", status_code=204, responses=_SIGNED, openapi_extra=INSTANCE)
def submit_csr(request: Request, caller: Signed, submission: CsrSubmission) -> None:
    """Hands in the CSR of the open renewal. It is queued here and signed elsewhere."""
    _desk(served_by(request), caller).submit_csr(submission)


@api.post("/certificate", responses=_SIGNED, openapi_extra=INSTANCE)
def submit_certificate(
    request: Request, caller: Signed, submission: CertificateSubmission
) -> CertificateReceipt:
    """Hands in the certificate that the portal issued, public part only."""
    return _desk(served_by(request), caller).submit_certificate(submission)


@api.post("/reports", status_code=204, responses=_SIGNED, openapi_extra=INSTANCE)
def report(request: Request, caller: Signed, said: Report) -> None:
    """Reports what happened in the instance, or what a person there wants."""
    _desk(served_by(request), caller).report(said)


@api.post("/credential", responses=_SIGNED, openapi_extra=INSTANCE)
def change_keys(request: Request, caller: Signed, change: KeyChange) -> KeyReceipt:
    """Puts new keys in the place of those that sign this request."""
    served = served_by(request)
    credential_id = caller.bearer.credential_id
    keys = NewKeys(bytes(change.public_key), bytes(change.sealing_key), change.version)
    if not proves_possession(bytes(change.proof), credential_id, keys.public_key):
        raise refuse(
            "possession_unproven",
            "The request does not prove that the instance holds the new private key.",
            "Change the keys with `pushcert instance rotate`, which proves it.",
        )
    with served.database.transaction() as session:
        new = credentials.rotate(session, credential_id, keys, at=served.clock.now())
    return KeyReceipt(credential_id=new)


@api.post("/enrolment", responses=_COMMON, openapi_extra=INVITED)
def enrol(request: Request, enrolment: Enrolment) -> EnrolmentReceipt:
    """Makes the sender the instance of the customer whose one-time code it gives."""
    served = served_by(request)
    keys = NewKeys(bytes(enrolment.public_key), bytes(enrolment.sealing_key), enrolment.version)
    with served.database.transaction() as session:
        credential = invitations.redeem(session, enrolment.code, keys, at=served.clock.now())
        customer = session.get_one(Customer, credential.customer_id)
        return EnrolmentReceipt(
            credential_id=credential.id,
            vendor=served.config.vendor.name,
            customer=customer.name,
        )
