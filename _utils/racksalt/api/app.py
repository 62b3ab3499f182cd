"""salt-api's own form of calls, for tenants: rest_cherrypy's ``API`` with a shorter map of URLs.

Served are ``/`` and ``/run`` (runner calls), ``/login`` and ``/logout``. Stock salt-api also serves every
event of the master to any user (Salt issue 59056), jobs, minions and keys: here they do not exist. A token
comes in a header (or, at ``/run``, in the body), never in a cookie. Answers are JSON, errors too.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from email.errors import MessageError
from typing import Any, ClassVar

import cherrypy
from salt.netapi.rest_cherrypy import app as rest_cherrypy

from racksalt.api import lowstate
from racksalt.api.gate import Gate, Tell, tell_nobody
from racksalt.api.lowstate import Call
from racksalt.api.sessions import Session
from racksalt.errors import BadInput, RacksaltError, Unavailable

log = logging.getLogger(__name__)

#: 64 KiB of user-data, escaped, and some room; nothing that a tenant sends is larger.
MAX_BODY_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
#: For a whole request, for some progress of its answer, and between two requests of a connection.
REQUEST_TIMEOUT_S = 10
#: Connections that come faster than they are accepted.
_BACKLOG = 1024


class Front:
    """What every URL shares: JSON or a form in, JSON out, errors with their status."""

    exposed = True
    _cp_config: ClassVar = {"tools.sessions.on": False, "tools.rack_body.on": True}

    def __init__(self) -> None:
        self.gate: Gate = cherrypy.config["racksalt.gate"]

    def GET(self) -> bytes:
        """What this is."""
        return _json({"return": "Racksalt: POST /login, then POST / with X-Auth-Token"})


class Commands(Front):
    """``POST /``: runner calls with a token in the header."""

    token_in_body = False

    def POST(self) -> bytes:
        """Run one or more calls; the answers stand in ``return``, in order."""
        address = cherrypy.request.remote.ip
        try:
            calls, token = lowstate.calls(_body())
            if token is not None and not self.token_in_body:
                raise BadInput("token: send it in the header X-Auth-Token")
        except BadInput as error:
            self.gate.note_refused(_header_token(), error, address=address)
            raise
        session = self.gate.session(token or _header_token(), address=address)
        answers = [_guarded(self.gate, call, session, address=address) for call in calls]
        _set_status(answers)
        return _json({"return": answers})


class Run(Commands):
    """``POST /run``: the same, with the token in the body."""

    token_in_body = True

    def GET(self) -> bytes:
        """Calls are posted."""
        raise cherrypy.HTTPError(405)


class Login(Front):
    """``POST /login``: name and password for a token."""

    def POST(self) -> bytes:
        """Log in."""
        answer = self.gate.log_in(_body(), cherrypy.request.remote.ip)
        cherrypy.response.headers["X-Auth-Token"] = answer["token"]
        return _json({"return": [answer]})


class Logout(Front):
    """``POST /logout``: end the token in the header."""

    def POST(self) -> bytes:
        """Log out."""
        self.gate.log_out(_header_token(), address=cherrypy.request.remote.ip)
        return _json({"return": "Your token has been cleared"})


class Request(cherrypy._cprequest.Request):  # type: ignore[misc]  # CherryPy is untyped
    """A request whose errors are JSON from its first line on, before its URL and configuration are found."""

    show_tracebacks = False
    show_mismatched_params = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.error_page = {"default": _error_page}

    def process_headers(self) -> None:
        """Encoded words are decoded here, whatever encoding the client names."""
        try:
            super().process_headers()
        except (LookupError, ValueError, MessageError) as error:
            raise cherrypy.HTTPError(400) from error

    def handle_error(self) -> None:
        """CherryPy forgets a class's own ``error_response`` when the request starts."""
        self.error_response = _internal_error
        super().handle_error()


class Api(rest_cherrypy.API):  # type: ignore[misc]  # Salt is untyped
    """rest_cherrypy's application with these URLs and no others."""

    url_map: ClassVar = {"index": Commands, "login": Login, "logout": Logout, "run": Run}
    #: CherryPy serves an icon of its own where there is no such name.
    favicon_ico = None

    def _update_url_map(self) -> None:
        """Stock salt-api adds ``/ws``, ``/hook`` and ``/app`` here."""

    def get_conf(self) -> dict[str, Any]:
        """rest_cherrypy's configuration with our limits and without HTML."""
        conf: dict[str, Any] = super().get_conf()
        conf["global"] |= {
            "server.max_request_body_size": MAX_BODY_BYTES,
            "server.max_request_header_size": MAX_HEAD_BYTES,
            "server.socket_queue_size": _BACKLOG,
            "server.socket_timeout": self.apiopts.get("request_timeout_s", REQUEST_TIMEOUT_S),
            "tools.sessions.on": False,
        }
        conf["/"] |= {
            "error_page.default": _error_page,
            "tools.log_tracebacks.on": False,
            "tools.html_override.on": False,
            "tools.cors_tool.on": False,
            "tools.trailing_slash.on": False,
        }
        cherrypy.config.update(conf["global"])
        return conf


def get_app(opts: Mapping[str, Any], settings: Mapping[str, Any], *, tell: Tell = tell_nobody) -> cherrypy.Application:
    """The application, and CherryPy configured for it; ``settings`` is the master's ``rack_api`` block."""
    cherrypy.config["saltopts"] = opts
    cherrypy.config["apiopts"] = dict(settings)
    cherrypy.config["racksalt.gate"] = Gate(opts, tell=tell)
    root = Api()
    application = cherrypy.Application(root, "", {path: of for path, of in root.get_conf().items() if path != "global"})
    application.request_class = Request
    return application


def _guarded(gate: Gate, call: Call, session: Session, *, address: str) -> Any:
    try:
        return gate.run(call, session, address=address)
    except RacksaltError as error:
        return {"error": error.as_dict()}


def _set_status(answers: list[Any]) -> None:
    """The first error's status stands for the whole answer."""
    for answer in answers:
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            cherrypy.response.status = int(answer["error"].get("status", 422))
            return


def _body() -> Any:
    return cherrypy.serving.request.racksalt_body


def _header_token() -> str | None:
    token: str | None = cherrypy.request.headers.get("X-Auth-Token")
    return token


def _read_body() -> None:
    """Only JSON and forms are read; the size is bounded by the server."""
    request = cherrypy.serving.request
    request.racksalt_body = None
    if request.method != "POST":
        return

    def read_with(parse: Any) -> Any:
        def read(entity: Any) -> None:
            request.racksalt_body = parse(_whole(entity.fp))

        return read

    request.body.processors.clear()
    request.body.processors["application/json"] = read_with(lowstate.from_json)
    request.body.processors["application/x-www-form-urlencoded"] = read_with(lowstate.from_form)
    request.body.default_proc = _refuse_media_type


def _whole(body: Any) -> bytes:
    """All of a body; cheroot tells a large one and a broken one as nearly the same error."""
    try:
        read: bytes = body.read()
    except (OSError, ValueError) as error:
        raise cherrypy.HTTPError(413 if "Too Large" in str(error) else 400) from error
    return read


def _refuse_media_type() -> None:
    """A body of another kind; an empty one, as ``POST /logout`` has it, is of none."""
    if cherrypy.serving.request.headers.get("Content-Length") != "0":
        raise cherrypy.HTTPError(415, "send application/json")


def _json(data: Any) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/json"
    return json.dumps(data).encode()


def _problem(error: RacksaltError) -> bytes:
    cherrypy.response.headers["Content-Type"] = "application/problem+json"
    if "retry_after_s" in error.facts:
        cherrypy.response.headers["Retry-After"] = str(error.facts["retry_after_s"])
    return json.dumps(error.as_dict()).encode()


def _error_page(status: str, message: str, traceback: str, version: str) -> bytes:
    """CherryPy's own refusals, as JSON and without what they are made of."""
    number = int(status.split()[0])
    cherrypy.response.headers["Content-Type"] = "application/problem+json"
    code = status.partition(" ")[2].lower().replace(" ", "_").replace("-", "_")
    return json.dumps({"code": code, "status": number, "detail": status}).encode()


def _internal_error() -> None:
    """Ours with their status; anything else is logged here and told as 503 without a word of the inside."""
    error = sys.exc_info()[1]
    if not isinstance(error, RacksaltError):
        log.error("request failed", exc_info=True)
        error = Unavailable("internal", "the request failed; the operator finds the reason in the log")
    cherrypy.response.status = error.status
    cherrypy.response.body = [_problem(error)]


cherrypy.tools.rack_body = cherrypy.Tool("before_request_body", _read_body, priority=30)
