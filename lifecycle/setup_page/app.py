"""The setup page over HTTP.

    with setup_page(instance, public_url="https://mdm.example.com/push") as app:
        listen(app, Listening("127.0.0.1", 8444))

It has no sign-in of its own: serve it on loopback, or behind the MDM's login (docs/setup-page.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from lifecycle.errors import Finding, PushcertError, Refused
from lifecycle.language.languages import known_language
from lifecycle.language.markup import clean
from lifecycle.setup_page.attendant import Attendant
from lifecycle.setup_page.choice import LANGUAGE_COOKIE, choose_language, wanted_language
from lifecycle.setup_page.decide import decide
from lifecycle.setup_page.facts import facts_of
from lifecycle.setup_page.forms import Form, Tokens, expired, not_chosen, read_form
from lifecycle.setup_page.guard import Doorkeeper, Guard
from lifecycle.setup_page.instance import SetupInstance
from lifecycle.setup_page.lookout import Lookout
from lifecycle.setup_page.page import MAX_FILE_NAME, Frame, Page, asset, render, render_trouble
from lifecycle.setup_page.situation import Situation

VISITOR_COOKIE = "pushcert-setup"
_ASSETS = {
    "setup.css": "text/css; charset=utf-8",
    "setup.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_YEAR = 365 * 24 * 3600
_FORBIDDEN, _UNPROCESSABLE, _UNAVAILABLE = 403, 422, 503
_UNSTORED = {"cache-control": "no-store"}


@contextmanager
def setup_page(
    instance: SetupInstance,
    *,
    public_url: str | None = None,
    trusted_proxies: tuple[str, ...] = (),
    patience: float = 3.0,
    retry: float = 15.0,
) -> Iterator[FastAPI]:
    """The setup page of one instance, with the threads behind it; they end with the block.

    Args:
        instance: whose page it is.
        public_url: the address that people see, with the path that the page is mounted under;
            None: it is reached by an address of the machine, at the top.
        trusted_proxies: addresses or networks whose ``X-Forwarded-Prefix`` counts.
        patience: for how many seconds a page waits for the vendor before it is shown without.
        retry: after how many seconds an upload is tried again that the vendor was not there for.

    Raises:
        ValueError: a proxy is neither an address nor a network.
    """
    door = Doorkeeper.of(public_url, trusted_proxies)
    lookout = Lookout(instance, patience=patience)
    attendant = Attendant(instance, lookout, patience=patience, retry=retry)
    try:
        yield build_setup_app(instance, lookout, attendant, door)
    finally:
        attendant.close()
        lookout.close()


def build_setup_app(
    instance: SetupInstance, lookout: Lookout, attendant: Attendant, door: Doorkeeper
) -> FastAPI:
    """The application; ``setup_page`` makes what it is made of, and closes it."""
    app = FastAPI(
        title="pushcert setup page",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    served = _Served(instance, lookout, attendant, door)
    app.add_middleware(Guard, door=door)
    app.add_exception_handler(HTTPException, served.missing)
    app.add_exception_handler(PushcertError, served.trouble)
    _add_pages(app, served)
    _add_deeds(app, served)
    return app


def _add_pages(app: FastAPI, served: _Served) -> None:
    @app.get("/", response_class=HTMLResponse)
    def setup_page(request: Request) -> Response:
        return served.respond(request)

    @app.get("/status")
    def status(request: Request) -> Response:
        page, shown = served.page(request)
        changed = page.version != request.query_params.get("version")
        return JSONResponse(
            {
                "version": page.version,
                "title": page.title,
                "refresh": shown.refresh,
                "attempt": shown.attempt,
                "main": page.main if changed else None,
            },
            headers=_UNSTORED,
        )

    @app.get("/request")
    def request_file(request: Request) -> Response:
        data = served.lookout.request()
        shown = served.look(None)
        if data is None or shown.request_file is None:
            return RedirectResponse(f"{request.scope['root_path']}/", status_code=303)
        return Response(
            data,
            media_type="text/plain",
            headers={
                "content-disposition": f'attachment; filename="{shown.request_file}"',
                "cache-control": "no-store",
            },
        )

    @app.get("/healthz")
    def healthz() -> Response:
        return PlainTextResponse("ok\n", headers=_UNSTORED)

    @app.get("/{name}")
    def page_asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(404)
        cached = f"public, max-age={_YEAR}, immutable"
        return Response(asset(name), media_type=_ASSETS[name], headers={"cache-control": cached})


def _add_deeds(app: FastAPI, served: _Served) -> None:
    async def begun(request: Request, deed: Callable[[], str | None]) -> Response:
        number = await run_in_threadpool(deed)
        if number is None:
            return await run_in_threadpool(served.respond, request, expired(), _FORBIDDEN)
        where = f"{request.scope['root_path']}/?attempt={number}"
        return RedirectResponse(where, status_code=303)

    @app.post("/upload")
    async def upload(request: Request) -> Response:
        form = await served.form(request)
        if isinstance(form, Response):
            return form
        data, name = form.data, clean(form.file_name or "")[:MAX_FILE_NAME]
        if data is None:
            return await run_in_threadpool(served.respond, request, not_chosen(), _UNPROCESSABLE)
        return await begun(request, lambda: served.attendant.bring(name, data))

    @app.post("/accept")
    async def accept(request: Request) -> Response:
        form = await served.form(request)
        if isinstance(form, Response):
            return form
        number, topic = form.fields.get("attempt", ""), form.fields.get("topic", "").strip()
        if (await run_in_threadpool(served.look, number)).new_topic is None:
            return await run_in_threadpool(served.respond, request, expired(), _FORBIDDEN)
        return await begun(request, lambda: served.attendant.accept(number, topic))

    @app.post("/again")
    async def again(request: Request) -> Response:
        form = await served.form(request)
        return form if isinstance(form, Response) else await begun(request, served.attendant.again)

    @app.post("/check")
    async def check(request: Request) -> Response:
        form = await served.form(request)
        return form if isinstance(form, Response) else await begun(request, served.attendant.check)


class _Served:
    """What the routes share: the page as it is now, for whoever asks.

    Args:
        instance: whose page it is.
        lookout, attendant: do the work behind it.
        door: knows how people reach it.
    """

    def __init__(
        self,
        instance: SetupInstance,
        lookout: Lookout,
        attendant: Attendant,
        door: Doorkeeper,
    ) -> None:
        self._instance = instance
        self.lookout = lookout
        self.attendant = attendant
        self._door = door
        self._tokens = Tokens()

    def look(self, number: str | None) -> Situation:
        """The situation, to somebody who follows the deed with this number."""
        contact = self.lookout.look()
        with self._instance.vault() as vault:
            facts = facts_of(vault)
        return decide(
            contact,
            facts,
            self.attendant.attempt(number),
            self._instance.clock.now(),
            downloaded=self.lookout.has_been_downloaded(contact.work),
        )

    def page(
        self, request: Request, alert: Finding | None = None, visitor: str | None = None
    ) -> tuple[Page, Situation]:
        """The page, in the language of whoever asks."""
        shown = self.look(request.query_params.get("attempt"))
        return render(shown, self._frame(request, alert, visitor)), shown

    def respond(
        self, request: Request, alert: Finding | None = None, status_code: int = 200
    ) -> Response:
        """The page as an answer, with the cookies that it needs."""
        visitor = request.cookies.get(VISITOR_COOKIE) or self._tokens.new_visitor()
        page, _ = self.page(request, alert, visitor)
        response = HTMLResponse(page.html, status_code=status_code, headers=_UNSTORED)
        self._set_cookies(request, response, visitor)
        return response

    async def form(self, request: Request) -> Form | Response:
        """The form that was sent, or the answer to one that is not taken."""
        if not self._door.accepts_form(request.headers):
            return await run_in_threadpool(self.respond, request, expired(), _FORBIDDEN)
        try:
            form = await read_form(request)
        except Refused as refused:
            alert = refused.findings[0]
            return await run_in_threadpool(self.respond, request, alert, _UNPROCESSABLE)
        if not self._tokens.is_right(request.cookies.get(VISITOR_COOKIE), form.fields.get("token")):
            return await run_in_threadpool(self.respond, request, expired(), _FORBIDDEN)
        return form

    def missing(self, request: Request, error: Exception) -> Response:
        """The answer where there is nothing."""
        status_code = error.status_code if isinstance(error, HTTPException) else 404
        html = render_trouble("missing", (), self._frame(request))
        return HTMLResponse(html, status_code, headers=_UNSTORED)

    def trouble(self, request: Request, error: Exception) -> Response:
        """The answer when the vault cannot be opened: what to do about it."""
        findings = (
            error.findings
            if isinstance(error, Refused)
            else (Finding(getattr(error, "code", "unavailable"), str(error)),)
        )
        html = render_trouble("vault", findings, self._frame(request))
        return HTMLResponse(html, _UNAVAILABLE, headers=_UNSTORED)

    def _frame(
        self, request: Request, alert: Finding | None = None, visitor: str | None = None
    ) -> Frame:
        known = visitor or request.cookies.get(VISITOR_COOKIE)
        return Frame(
            base=request.scope["root_path"],
            language=choose_language(
                request.query_params.get("lang"),
                request.cookies.get(LANGUAGE_COOKIE),
                request.headers.get("accept-language"),
                self.lookout.language,
            ),
            token=self._tokens.token(known) if known else "",
            alert=alert,
        )

    def _set_cookies(self, request: Request, response: Response, visitor: str) -> None:
        path = f"{request.scope['root_path']}/"
        secure = self._door.is_secure
        if visitor != request.cookies.get(VISITOR_COOKIE):
            response.set_cookie(
                VISITOR_COOKIE, visitor, path=path, secure=secure, httponly=True, samesite="lax"
            )
        chosen = wanted_language(request.query_params.get("lang"))
        if chosen is not None:
            response.set_cookie(
                LANGUAGE_COOKIE,
                known_language(chosen),
                path=path,
                max_age=_YEAR,
                secure=secure,
                httponly=True,
                samesite="lax",
            )
