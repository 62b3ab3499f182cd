"""Errors in this host's journal: of libvirt and its QEMUs, and of the minion with all that Racksalt does in it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from racksalt import audit
from racksalt.errors import Unavailable
from racksalt.host_errors import Errors, Line

_UNITS = ("libvirtd", "virtqemud", "virtlogd", "virtlockd", "salt-minion", "racksalt-guests", "racksalt-boot")
#: So many lines are looked through, the newest.
_MOST_READ = 5000
_MOST_CHARACTERS = 300
_TIMEOUT_S = 20
#: What Salt writes to its standard error comes with one priority for everything.
_ERROR = re.compile(r"\[(ERROR|CRITICAL) *\]")
_SYSLOG_ERROR = 3
#: Salt's minion says this after most jobs, of an event loop that it has done with: nothing is lost by it.
_NO_ERROR = re.compile(r"\[ERROR *\] Task was destroyed but it is pending!$")


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of systemd, read by its own program."""

    program: str = "journalctl"

    def errors(self, *, since_s: int, limit: int) -> Errors:
        """All of the last ``since_s`` seconds counted, and the newest ``limit`` told."""
        found = list(self._errors(since_s))
        return Errors(len(found), tuple(found[-limit:] if limit else ()))

    def _errors(self, since_s: int) -> Iterator[Line]:
        for text in self._read(since_s).splitlines():
            try:
                entry = json.loads(text)
            except ValueError:
                continue
            message = entry.get("MESSAGE")
            if isinstance(message, str) and _is_error(entry, message):
                yield Line(_time(entry), str(entry.get("_SYSTEMD_UNIT", "")), message.strip()[:_MOST_CHARACTERS])

    def _read(self, since_s: int) -> str:
        units = [f"--unit={unit}" for unit in _UNITS]
        fields = "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,__REALTIME_TIMESTAMP"
        options = ["--quiet", "--no-pager", "--output=json", fields, f"--lines={_MOST_READ}", f"--since=-{since_s}s"]
        try:
            done = subprocess.run(
                [self.program, *options, *units], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable("journal_unreadable", f"{self.program}: {error}") from error
        if done.returncode != 0 and not done.stdout:
            raise Unavailable("journal_unreadable", f"{self.program}: {done.stderr.strip()[-200:] or 'failed'}")
        return done.stdout


def _is_error(entry: dict[str, Any], message: str) -> bool:
    if _ERROR.match(message):
        return not _NO_ERROR.match(message.strip())
    priority = entry.get("PRIORITY", "")
    return isinstance(priority, str) and priority.isdigit() and int(priority) <= _SYSLOG_ERROR


def _time(entry: dict[str, Any]) -> str:
    at = entry.get("__REALTIME_TIMESTAMP", "0")
    return audit.moment(int(at) / 1e6 if isinstance(at, str) and at.isdigit() else 0.0)
