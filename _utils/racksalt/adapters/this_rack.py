"""The parts of the rack put together on its master, for runners, eauth and the API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from racksalt import access, envelopes, errors, rack_answer, tickets
from racksalt import audit as entries
from racksalt.adapters import audit_files as audits
from racksalt.adapters import envelope_key, key_file, master_snapshots, salt_events, shell_secrets, stop_signal
from racksalt.adapters.audit_files import AuditFiles
from racksalt.adapters.claim_files import ClaimFiles
from racksalt.adapters.inventory_cache import InventoryCache
from racksalt.adapters.key_ring import KeyFiles
from racksalt.adapters.master_snapshots import MasterSnapshots
from racksalt.adapters.minion_keys import AcceptedKeys
from racksalt.adapters.plan_cache import PlanCache
from racksalt.adapters.salt_acl import SaltAcl
from racksalt.adapters.salt_fleet import SaltFleet
from racksalt.adapters.salt_jobs import SaltJobs
from racksalt.adapters.saved_racks import SavedRacks
from racksalt.adapters.system import SystemClock
from racksalt.adapters.tls_files import TlsFiles
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.away_watch import TURN_S as AWAY_TURN_S
from racksalt.away_watch import AwayWatch
from racksalt.errors import Cancelled, Conflict, RacksaltError, Unavailable
from racksalt.model import Head
from racksalt.noted_fleet import NotedFleet
from racksalt.rack import Rack
from racksalt.rack_answer import Came
from racksalt.rack_watch import PREFIX, TICK_S, RackWatch
from racksalt.settings import Settings, current

log = logging.getLogger(__name__)

RACK_FILES = "/etc/racksalt/rack"
HTPASSWD = "/etc/racksalt/htpasswd"
TICKET_KEY = "/etc/racksalt/ticket.key"

#: What these errors tell of the rack's inside is for its shell only.
_FOR_THE_SHELL = (
    "audit_unreadable",
    "audit_unwritable",
    "bad_rack_files",
    "claim_unreadable",
    "not_written",
    "rack_key_missing",
)


def rack_files(opts: Mapping[str, Any]) -> YamlFolder:
    """The folder of the rack's files: ``racksalt: {rack_files: …}`` in the master's configuration."""
    return YamlFolder(Path(_config(opts).get("rack_files", RACK_FILES)))


def htpasswd_path(opts: Mapping[str, Any]) -> Path:
    """The central password file: ``racksalt: {htpasswd: …}`` in the master's configuration."""
    return Path(_config(opts).get("htpasswd", HTPASSWD))


def ticket_key_path(opts: Mapping[str, Any]) -> Path:
    """The key of :mod:`racksalt.tickets`: ``racksalt: {ticket_key: …}`` in the master's configuration."""
    return Path(_config(opts).get("ticket_key", TICKET_KEY))


def make_ticket(opts: Mapping[str, Any], user: str) -> str:
    """What the API hands to the master's eauth once it has checked the password of ``user``."""
    return tickets.make(key_file.read_or_make(ticket_key_path(opts)), user, now=SystemClock().now())


def is_ticket(opts: Mapping[str, Any], user: str, text: str) -> bool:
    """Whether the API made this ticket for ``user`` a moment ago."""
    return tickets.is_valid(key_file.read_or_make(ticket_key_path(opts)), user, text, now=SystemClock().now())


def settings(opts: Mapping[str, Any]) -> Settings:
    """The rack's files as they are now."""
    return current(rack_files(opts))


@contextmanager
def connected(opts: Mapping[str, Any], *, kept: InventoryCache | None = None) -> Iterator[Rack]:
    """The rack of this master, for one or more calls; who connects often has kept a cache from before."""
    opts = dict(opts)  # Salt's own mapping takes milliseconds for each copy that is made below.
    clock = SystemClock()
    claims = ClaimFiles(Path(_config(opts).get("claims", "/var/lib/racksalt/claims")))
    audit, cache = audit_files(opts), kept or InventoryCache(opts)
    fleet = SaltFleet(
        opts,
        clock,
        keys=AcceptedKeys(opts["pki_dir"]),
        silent=cache.bank("racksalt/silent"),
        head=lambda: _head(audit),
        on_dropped=partial(_dropped, audit),
    )
    ring, jobs, acl = key_ring(opts), SaltJobs(opts), SaltAcl(opts)
    snapshots = MasterSnapshots(Path(_config(opts).get("snapshots", master_snapshots.ROOT)))
    try:
        noted = NotedFleet(fleet, cache, clock)
        files, plans = rack_files(opts), PlanCache(cache.bank("racksalt/plans"), clock)
        master = master_id(opts)
        yield Rack(files, noted, claims, cache, clock, master, ring, audit, jobs, acl, snapshots, plans, SavedRacks())
    finally:
        fleet.close()


def audit_files(opts: Mapping[str, Any]) -> AuditFiles:
    """The audit of this master: in the folder ``racksalt: {audit: …}`` of its configuration."""
    return AuditFiles(master_id(opts), SystemClock(), Path(_config(opts).get("audit", audits.ROOT)))


def key_ring(opts: Mapping[str, Any]) -> KeyFiles:
    """The rack's keys, beside the master's own."""
    return KeyFiles(Path(opts["pki_dir"]) / "racksalt")


def tls_authority(opts: Mapping[str, Any]) -> TlsFiles:
    """The rack's certificate authorities, beside the master's own keys."""
    return TlsFiles(Path(opts["pki_dir"]) / "racksalt" / "tls", SystemClock())


def master_id(opts: Mapping[str, Any]) -> str:
    """This master as ``writer`` names it: by its minion's id, which the highstate writes into its configuration."""
    return str(opts.get("racksalt_master") or str(opts.get("id", "")).removesuffix("_master"))


def answer(
    fun: str,
    arguments: Mapping[str, Any],
    *,
    user: str,
    opts: Mapping[str, Any],
    context: dict[str, Any],
    job: str = "",
) -> Any:
    """One runner call: the answer, or the error as plain data; to the API, with the proof that it is this one."""
    text = arguments.get("unknown", {}).get(envelopes.ARGUMENT)
    told = _answer(fun, arguments, user=user, opts=opts, context=context, job=job)
    return envelope_key.prove(opts, text, job=job, answer=told) if isinstance(text, str) else told


def _answer(
    fun: str, arguments: Mapping[str, Any], *, user: str, opts: Mapping[str, Any], context: dict[str, Any], job: str
) -> Any:
    try:
        arguments, address = _opened(fun, arguments, user, opts)
        with stop_signal.heeded(), connected(opts) as rack:
            return rack_answer.carry_out(rack, Came(fun, user, arguments, job, address))
    except Cancelled:
        context["retcode"] = 1
        return errors.as_result(Conflict("job_cancelled", "its process was asked to end before it was done"))
    except RacksaltError as error:
        context["retcode"] = 1
        if error.code in _FOR_THE_SHELL and not _is_shell(user):
            log.error("%s", error.detail)
            error = Unavailable("rack_unavailable", "the rack can decide nothing now; the operator can see why")
        return errors.as_result(error)


def _opened(
    fun: str, arguments: Mapping[str, Any], user: str, opts: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """The arguments with the secrets that came beside them, and the address of the API's caller.

    Over the API they are in its envelope; on the shell they are in a file or on standard input. Nobody else has any.
    What the function does not have is put under ``unknown``, whatever its name, so that it is refused.
    """
    unknown = dict(arguments.get("unknown", {}))
    text = unknown.pop(envelopes.ARGUMENT, None)
    own = set(arguments) - {"unknown"}
    plain = {**arguments, "unknown": unknown}
    if text is not None:
        address, secrets = envelope_key.open_envelope(opts, text, user=user, fun=fun, now=SystemClock().now())
        told = {key: value for key, value in secrets.items() if key in own}
        unknown.update({key: value for key, value in secrets.items() if key not in own})
        return {**plain, **dict.fromkeys(set(envelopes.SECRET_ARGUMENTS) & own), **told}, address
    if any(plain.get(key) is not None for key in shell_secrets.ARGUMENTS):
        access.require_shell(user, settings(opts))
        return {**plain, **shell_secrets.read(plain)}, None
    return plain, None


def _is_shell(user: str) -> bool:
    """By name alone: where the rack's files are wrong, nobody knows their ``shell_operators``."""
    return user == "root" or user.startswith("sudo_")


def tell(opts: Mapping[str, Any]) -> Callable[..., None]:
    """Where the API tells of logins and of what it refuses before any runner is called: in the audit."""
    audit = audit_files(opts)

    def told(*, kind: str, user: str, address: str, fun: str | None = None, code: str | None = None) -> None:
        if kind == "login":
            _append(audit, entries.login(user, address))
        elif kind == "login_refused":
            _append(audit, entries.login_refused(user, address, result=code or ""))
        else:
            _append(audit, entries.refused(entries.Act(user, fun or "", address), code or ""))

    return told


def watch(opts: Mapping[str, Any]) -> None:
    """The master's watch, until the master stops."""
    watching, kept = RackWatch(), InventoryCache(opts)
    for event in salt_events.events(opts, PREFIX, wait_s=TICK_S):
        with connected(opts, kept=kept) as rack:
            watching.turn(rack, event)


def look_after_away(opts: Mapping[str, Any]) -> None:
    """What the writer does for hosts that were away, and for a master after it, until the master stops."""
    watching, clock = AwayWatch(), SystemClock()
    while True:
        with connected(opts) as rack:
            watching.turn(rack)
        clock.sleep(AWAY_TURN_S)


def _append(audit: AuditFiles, entry: entries.Entry) -> None:
    """What has been decided already stands, also where it cannot be written down."""
    try:
        audit.append(entry)
    except Unavailable as error:
        log.error("not in the audit: %s: %s", entry.kind, error.detail)


def _dropped(audit: AuditFiles, host: str, job: str, reason: str) -> None:
    """A host's answer that proves nothing goes into the audit."""
    _append(audit, entries.dropped(host, job, reason=reason))


def _head(audit: AuditFiles) -> Head | None:
    """What hosts are told of the audit. One that cannot be read refuses changes; reading goes on."""
    try:
        return audit.head()
    except Unavailable as error:
        log.error("%s", error.detail)
        return None


def _config(opts: Mapping[str, Any]) -> Mapping[str, Any]:
    config = opts.get("racksalt") or {}
    return config if isinstance(config, Mapping) else {}
