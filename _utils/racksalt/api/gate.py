"""Logins and calls of the API: knows the rack's users and Salt, and nothing of HTTP."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Any, Protocol

import salt.auth
import salt.exceptions
import salt.netapi

from racksalt import acl, envelopes, logins
from racksalt.adapters import envelope_key, running_jobs, this_rack
from racksalt.adapters.htpasswd_file import Htpasswd
from racksalt.adapters.system import SystemClock
from racksalt.api import lowstate
from racksalt.api.lowstate import Call
from racksalt.api.origins import origin
from racksalt.api.sessions import Session, Sessions
from racksalt.api.shares import CallsAtOnce, JobsAtOnce, Turns
from racksalt.api.throttle import Seldom, Throttle, TooMany
from racksalt.errors import BadInput, Denied, RacksaltError, Unavailable
from racksalt.rack_calls import CALLS
from racksalt.settings import Settings

log = logging.getLogger(__name__)

#: So long the master may take to accept a call, not to carry it out; Salt's own three tries of a minute each
#: would hold the caller for that long, and could run a call twice.
_MASTER_TAKES_A_CALL_IN_S = 15
#: Of all threads, this part is shared freely; the rest is for users that have hardly any calls.
_SHARED_PART = 0.75
_DEFAULT_THREADS = 100
#: Refusals that are told each time: a password was checked for it, or a runner was called. A client repeats all others
#: as fast as it can send.
_COSTLY = ("login_refused", "answer_unproved")


class Unauthorized(RacksaltError):
    """No login, or one that has ended."""

    status = 401


class AnswerUnproved(Unavailable):
    """What came is not the runner's own answer: to the caller it was lost, to the audit it is somebody's try."""


class Tell(Protocol):
    """Where logins and refusals are told, for the audit; ``kind`` is login, login_refused or refused."""

    def __call__(
        self, *, kind: str, user: str, address: str, fun: str | None = None, code: str | None = None
    ) -> None: ...


def tell_nobody(*, kind: str, user: str, address: str, fun: str | None = None, code: str | None = None) -> None:
    """Without an audit."""


class Gate:
    """Who is let in, and what a login may call."""

    def __init__(self, opts: Mapping[str, Any], *, tell: Tell = tell_nobody) -> None:
        self._opts = {**opts, "request_channel_timeout": _MASTER_TAKES_A_CALL_IN_S, "request_channel_tries": 1}
        self._tell = tell
        self._passwords = Htpasswd(this_rack.htpasswd_path(opts))
        clock = SystemClock()
        self._throttle = Throttle(clock)
        self._seldom = Seldom(clock)
        self._turns = Turns(max(2, (os.cpu_count() or 2) // 2))
        self._sessions = Sessions(clock, self._fingerprint)
        threads = int((opts.get("rack_api") or {}).get("thread_pool", _DEFAULT_THREADS))
        self._calls = CallsAtOnce(int(threads * _SHARED_PART))
        self._jobs = JobsAtOnce(clock, lambda user: running_jobs.of_user(opts, user))

    def log_in(self, data: Any, address: str) -> dict[str, Any]:
        """The answer to a right password, in Salt's form."""
        given = lowstate.credentials(data)
        try:
            answer = self._log_in(given, address)
        except RacksaltError as error:
            self._refused(error, user=given.username, address=address, kind="login_refused")
            raise
        self._tell(kind="login", user=given.username, address=address)
        return answer

    def _log_in(self, given: lowstate.Credentials, address: str) -> dict[str, Any]:
        self._check_password(given, address)
        made = self._ask_master(given.username)
        token = self._sessions.open(given.username, made["token"], made["expire"])
        if token is None:
            raise _wrong()
        return {
            "token": token,
            "start": made["start"],
            "expire": made["expire"],
            "user": given.username,
            "eauth": "rack",
            "perms": sorted(self._allowed(given.username)),
        }

    def _check_password(self, given: lowstate.Credentials, address: str) -> None:
        """An attempt counts as failed until it is known better."""
        wait_s = self._throttle.attempt(given.username, address)
        if wait_s > 0:
            raise TooMany("login_throttled", f"too many logins; wait {wait_s:.0f} s", retry_after_s=int(wait_s) + 1)
        known = self._throttle.knows(given.username, address)
        try:
            settings = self._settings()
            with self._turns.one_of((given.username, origin(address)) if known else origin(address)):
                right = self._passwords.check(given.username, given.password)
        except (Unavailable, TooMany):
            self._throttle.forgive(given.username, address)
            raise
        if not right or not logins.may_log_in(given.username, settings):
            self._throttle.failed(given.username, address)
            raise _wrong()
        self._throttle.succeeded(given.username, address)

    def log_out(self, token: str | None, *, address: str) -> None:
        """End the login here and in Salt."""
        self.session(token, address=address)
        session = self._sessions.close(token or "")
        if session:
            salt.auth.LoadAuth(self._opts).rm_token(session.salt_token)

    def session(self, token: str | None, *, address: str) -> Session:
        """The login behind a token, by the files as they are now."""
        session = self._sessions.find(token) if token else None
        if session is None:
            error = Unauthorized("login_needed", "send X-Auth-Token with a token of POST /login")
            self._refused(error, user="", address=address)
            raise error
        return session

    def note_refused(self, token: str | None, error: RacksaltError, *, address: str) -> None:
        """A body was refused before it was known whose it is; what a login tried is told."""
        session = self._sessions.find(token) if token else None
        if session:
            self._refused(error, user=session.user, address=address)

    def run(self, call: Call, session: Session, *, address: str) -> Any:
        """One runner call with the login's own Salt token; what it may call is asked here first."""
        try:
            if call.fun not in self._allowed(session.user):
                raise _not_allowed(call)
            return self._run(call, session, address)
        except RacksaltError as error:
            self._refused(error, user=session.user, address=address, fun=call.fun)
            raise

    def _run(self, call: Call, session: Session, address: str) -> Any:
        kwarg = self._sealed(call, session.user, address)
        low = {"fun": call.fun, "kwarg": kwarg, "token": session.salt_token}
        try:
            if call.is_waited_for:
                with self._calls.one_more(session.user):
                    told = self._send(call, {**low, "client": "runner"})
                    return self._proved(call, kwarg[envelopes.ARGUMENT], told)
            with self._jobs.one_more(session.user) as started:
                job = _readable(self._send(call, {**low, "client": "runner_async"}), call)
                started(str(job["jid"]))
                return {"tag": job["tag"], "jid": job["jid"]}
        except salt.exceptions.EauthAuthenticationError as error:
            raise _not_allowed(call) from error
        except salt.exceptions.SaltException as error:
            log.exception("%s of user %s", call.fun, session.user)
            raise Unavailable("rack_unavailable", "the rack does not answer; try again later") from error

    def _send(self, call: Call, low: dict[str, Any]) -> Any:
        with salt.netapi.NetapiClient(self._opts) as client:
            return client.run(low)

    def _proved(self, call: Call, text: str, told: Any) -> Any:
        """The runner's own answer: the bus that it comes over is open to whatever a host may send."""
        try:
            _, answer = envelope_key.proved(self._opts, text, _readable(told, call))
        except ValueError as error:
            log.error("%s: dropped an answer that is not the runner's: %s", call.fun, error)
            raise AnswerUnproved("internal", f"{call.fun}: the answer was lost; look whether it was done") from error
        return _readable(answer, call)

    def _sealed(self, call: Call, user: str, address: str) -> dict[str, Any]:
        """The arguments as they go through Salt: what is secret, and who is calling, in an envelope."""
        known = {field.name for field in dataclasses.fields(CALLS[call.fun].request)}
        open_, secrets = envelopes.without_secrets(call.kwarg, known=known)
        text = envelope_key.make_envelope(
            self._opts, user=user, fun=call.fun, address=address, secret_arguments=secrets
        )
        return {**open_, envelopes.ARGUMENT: text}

    def _refused(
        self, error: RacksaltError, *, user: str, address: str, kind: str = "refused", fun: str | None = None
    ) -> None:
        code = "answer_unproved" if isinstance(error, AnswerUnproved) else error.code
        if code in _COSTLY or self._seldom.is_news(user, address, code=code):
            self._tell(kind=kind, user=user, address=address, fun=fun, code=code)

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


def _wrong() -> Unauthorized:
    return Unauthorized("login_refused", "the name or the password is wrong")


def _not_allowed(call: Call) -> Denied:
    return Denied("function_denied", f"{call.fun} is not among the functions that this login may call", fun=call.fun)
