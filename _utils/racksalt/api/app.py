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
from typing import Any, ClassVar

import cherrypy
import salt.auth
import salt.exceptions
import salt.netapi
from salt.netapi.rest_cherrypy import app as rest_cherrypy

from racksalt import acl, logins
from racksalt.adapters import this_rack
from racksalt.adapters.htpasswd_file import Htpasswd
from racksalt.adapters.system import SystemClock
from racksalt.api import lowstate
from racksalt.api.lowstate import Call
from racksalt.api.sessions import Session, Sessions
from racksalt.api.throttle import Throttle
from racksalt.errors import BadInput, Denied, RacksaltError, Unavailable

log = logging.getLogger(__name__)

#: 64 KiB of user-data, escaped, and some room; nothing that a tenant sends is larger.
MAX_BODY_BYTES = 256 * 1024
#: So long the master may take to accept a call, not to carry it out; Salt's own three tries of a minute each
#: would hold the caller for that long, and could run a call twice.
_MASTER_TAKES_A_CALL_IN_S = 15


class Unauthorized(RacksaltError):
    """No login, or one that has ended."""

    status = 401


class Throttled(RacksaltError):
    """Too many wrong passwords."""

    status = 429


class Gate:
    """Logins and calls; knows Salt, and nothing of HTTP."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = {**opts, "request_channel_timeout": _MASTER_TAKES_A_CALL_IN_S, "request_channel_tries": 1}
        self._passwords = Htpasswd(this_rack.htpasswd_path(opts))
        clock = SystemClock()
        self._throttle = Throttle(clock)
        self._sessions = Sessions(clock, self._fingerprint)

    def log_in(self, data: Any, address: str) -> dict[str, Any]:
        """The answer to a right password, in Salt's form; throttled before the master is asked."""
        given = lowstate.credentials(data)
        wait_s = self._throttle.wait_s(given.username, address)
        if wait_s > 0:
            raise Throttled(
                "login_throttled", f"too many wrong passwords; wait {wait_s:.0f} s", retry_after_s=int(wait_s) + 1
            )
        made = self._ask_master(given)
        token = self._sessions.open(given.username, made["token"], made["expire"]) if made else None
        if token is None or made is None:
            self._throttle.failed(given.username, address)
            raise Unauthorized("login_refused", "the name or the password is wrong")
        self._throttle.succeeded(given.username, address)
        perms = sorted(self._allowed(given.username))
        return {
            "token": token,
            "start": made["start"],
            "expire": made["expire"],
            "user": given.username,
            "eauth": "rack",
            "perms": perms,
        }

    def log_out(self, token: str) -> None:
        """End the login here and in Salt."""
        self.session(token)
        session = self._sessions.close(token)
        if session:
            salt.auth.LoadAuth(self._opts).rm_token(session.salt_token)

    def session(self, token: str | None) -> Session:
        """The login behind a token, by the files as they are now."""
        session = self._sessions.find(token) if token else None
        if session is None:
            raise Unauthorized("login_needed", "send X-Auth-Token with a token of POST /login")
        return session

    def run(self, call: Call, session: Session) -> Any:
        """One runner call with the login's own Salt token; what it may call is asked here first."""
        if call.fun not in self._allowed(session.user):
            raise _not_allowed(call)
        low = {"client": "runner", "fun": call.fun, "kwarg": call.kwarg, "token": session.salt_token}
        try:
            with salt.netapi.NetapiClient(self._opts) as client:
                return _readable(client.run(low), call)
        except salt.exceptions.EauthAuthenticationError as error:
            raise _not_allowed(call) from error
        except salt.exceptions.SaltException as error:
            log.exception("%s of user %s", call.fun, session.user)
            raise Unavailable("rack_unavailable", "the rack does not answer; try again later") from error

    def _allowed(self, user: str) -> set[str]:
        groups = logins.groups(user, this_rack.settings(self._opts))
        allowed = set(acl.TENANT_CALLS) if groups else set()
        return allowed | set(acl.OPERATOR_CALLS) if acl.OPERATOR_GROUP in groups else allowed

    def _ask_master(self, given: lowstate.Credentials) -> dict[str, Any] | None:
        request = {"username": given.username, "password": given.password, "eauth": given.eauth}
        try:
            made = salt.auth.Resolver(self._opts).mk_token(request)
        except salt.exceptions.SaltException as error:
            raise Unavailable("rack_unavailable", "the Salt master does not answer") from error
        return made if made and "token" in made else None

    def _fingerprint(self, user: str) -> str | None:
        try:
            return logins.fingerprint(user, this_rack.settings(self._opts), self._passwords)
        except BadInput as error:
            log.error("no login holds while the rack's files are wrong: %s", error.detail)
            return None


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
        calls, token = lowstate.calls(_body())
        if token is not None and not self.token_in_body:
            raise BadInput("token: send it in the header X-Auth-Token")
        session = self.gate.session(token or _header_token())
        answers = [_guarded(self.gate, call, session) for call in calls]
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
        self.gate.log_out(_header_token() or "")
        return _json({"return": "Your token has been cleared"})


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
            "server.socket_timeout": 10,
            "tools.sessions.on": False,
        }
        conf["/"] |= {
            "error_page.default": _error_page,
            "request.error_response": _internal_error,
            "tools.log_tracebacks.on": False,
            "tools.html_override.on": False,
            "tools.cors_tool.on": False,
            "tools.trailing_slash.on": False,
        }
        cherrypy.config.update(conf["global"])
        return conf


def get_app(opts: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Api, dict[str, Any]]:
    """The application and its CherryPy configuration; ``settings`` is the ``rack_api`` block of the master's."""
    cherrypy.config["saltopts"] = opts
    cherrypy.config["apiopts"] = dict(settings)
    cherrypy.config["racksalt.gate"] = Gate(opts)
    root = Api()
    return root, root.get_conf()


def _guarded(gate: Gate, call: Call, session: Session) -> Any:
    try:
        return gate.run(call, session)
    except RacksaltError as error:
        return {"error": error.as_dict()}


def _readable(answer: Any, call: Call) -> Any:
    """Salt tells an exception of a runner as text with a traceback, and HTTP 200."""
    if isinstance(answer, str) and answer.lstrip().startswith(("Exception occurred in", "Passed invalid")):
        log.error("%s: %s", call.fun, answer)
        raise Unavailable("internal", f"{call.fun} failed; the operator finds the reason in the master's log")
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        return {"error": answer["error"]}
    return answer


def _not_allowed(call: Call) -> Denied:
    return Denied("function_denied", f"{call.fun} is not among the functions that this login may call", fun=call.fun)


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
            request.racksalt_body = parse(entity.fp.read())

        return read

    request.body.processors.clear()
    request.body.processors["application/json"] = read_with(lowstate.from_json)
    request.body.processors["application/x-www-form-urlencoded"] = read_with(lowstate.from_form)
    request.body.default_proc = _refuse_media_type


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
    code = status.partition(" ")[2].lower().replace(" ", "_")
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
