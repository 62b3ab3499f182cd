"""Logins and calls of the API: knows the rack's users and Salt, and nothing of HTTP."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import salt.auth
import salt.exceptions
import salt.netapi

from racksalt import acl, logins
from racksalt.adapters import this_rack
from racksalt.adapters.htpasswd_file import Htpasswd
from racksalt.adapters.system import SystemClock
from racksalt.api import lowstate
from racksalt.api.lowstate import Call
from racksalt.api.sessions import Session, Sessions
from racksalt.api.throttle import Throttle
from racksalt.errors import BadInput, Denied, RacksaltError, Unavailable
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: So long the master may take to accept a call, not to carry it out; Salt's own three tries of a minute each
#: would hold the caller for that long, and could run a call twice.
_MASTER_TAKES_A_CALL_IN_S = 15
#: Each call holds a thread here and a process on the master: one user cannot take them all.
_CALLS_AT_ONCE = 20


class Unauthorized(RacksaltError):
    """No login, or one that has ended."""

    status = 401


class TooMany(RacksaltError):
    """Too many wrong passwords, logins or calls."""

    status = 429


@dataclass
class CallsAtOnce:
    """How many calls of each user are being carried out."""

    most: int = _CALLS_AT_ONCE
    _running: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one_more(self, user: str) -> Iterator[None]:
        """Refuses what is too much."""
        with self._lock:
            if self._running[user] >= self.most:
                raise TooMany(
                    "too_many_calls",
                    f"{self.most} calls of user {user} are being carried out; wait for one to end",
                    retry_after_s=1,
                )
            self._running[user] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[user] -= 1
                if not self._running[user]:
                    del self._running[user]


class Gate:
    """Who is let in, and what a login may call."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self._opts = {**opts, "request_channel_timeout": _MASTER_TAKES_A_CALL_IN_S, "request_channel_tries": 1}
        self._passwords = Htpasswd(this_rack.htpasswd_path(opts))
        clock = SystemClock()
        self._throttle = Throttle(clock)
        self._sessions = Sessions(clock, self._fingerprint)
        self._calls = CallsAtOnce()

    def log_in(self, data: Any, address: str) -> dict[str, Any]:
        """The answer to a right password, in Salt's form. An attempt counts as failed until it is known better."""
        given = lowstate.credentials(data)
        settings = self._settings()
        wait_s = self._throttle.attempt(given.username, address)
        if wait_s > 0:
            raise TooMany("login_throttled", f"too many logins; wait {wait_s:.0f} s", retry_after_s=int(wait_s) + 1)
        right = self._passwords.check(given.username, given.password)
        if not right or not logins.may_log_in(given.username, settings):
            raise Unauthorized("login_refused", "the name or the password is wrong")
        made = self._ask_master(given.username)
        token = self._sessions.open(given.username, made["token"], made["expire"])
        if token is None:
            raise Unauthorized("login_refused", "the name or the password is wrong")
        self._throttle.succeeded(given.username, address)
        return {
            "token": token,
            "start": made["start"],
            "expire": made["expire"],
            "user": given.username,
            "eauth": "rack",
            "perms": sorted(self._allowed(given.username)),
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
            with self._calls.one_more(session.user), salt.netapi.NetapiClient(self._opts) as client:
                return _readable(client.run(low), call)
        except salt.exceptions.EauthAuthenticationError as error:
            raise _not_allowed(call) from error
        except salt.exceptions.SaltException as error:
            log.exception("%s of user %s", call.fun, session.user)
            raise Unavailable("rack_unavailable", "the rack does not answer; try again later") from error

    def _allowed(self, user: str) -> set[str]:
        groups = logins.groups(user, self._settings())
        allowed = set(acl.TENANT_CALLS) if groups else set()
        return allowed | set(acl.OPERATOR_CALLS) if acl.OPERATOR_GROUP in groups else allowed

    def _ask_master(self, user: str) -> dict[str, Any]:
        """A token of Salt's, for a ticket: the password itself goes no further than here."""
        ticket = this_rack.make_ticket(self._opts, user)
        try:
            made = salt.auth.Resolver(self._opts).mk_token({"username": user, "password": ticket, "eauth": "rack"})
        except salt.exceptions.SaltException as error:
            raise Unavailable("rack_unavailable", "the Salt master does not answer") from error
        if not made or "token" not in made:
            log.error("the master refused a ticket for user %s: %s", user, made)
            raise Unavailable("rack_unavailable", "the Salt master refused the login; the operator can see why")
        return dict(made)

    def _fingerprint(self, user: str) -> str | None:
        return logins.fingerprint(user, self._settings(), self._passwords)

    def _settings(self) -> Settings:
        """Files that cannot be read are nobody's wrong password and end no login: the rack is away for a moment."""
        try:
            return this_rack.settings(self._opts)
        except BadInput as error:
            log.error("no login holds while the rack's files are wrong: %s", error.detail)
            raise Unavailable("rack_unavailable", "the rack's files are wrong; the operator can see where") from error


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
