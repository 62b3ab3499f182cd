"""The jobs of a user that run on the master, and no trace of those that were killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import salt.payload

from racksalt.adapters import running_jobs

NOBODYS_PID = 2**22 + 1


def test_the_jobs_of_a_user(tmp_path: Path) -> None:
    opts = {"cachedir": str(tmp_path)}
    assert running_jobs.of_user(opts, "alice") == set()
    folder = tmp_path / "proc"
    folder.mkdir()

    def write(jid: str, **job: Any) -> None:
        (folder / jid).write_bytes(salt.payload.dumps({"jid": jid, "fun": "runner.rack_vm.list", **job}))

    write("1", user="alice", pid=os.getpid())
    write("2", user="bob", pid=os.getpid())
    write("3", user="alice", pid=NOBODYS_PID)
    write("4", user="alice", pid="x")
    write("5", user="alice", pid=-1)
    (folder / "6").write_bytes(b"")
    (folder / "7").write_bytes(b"\xc1\xff")
    (folder / "8").write_bytes(salt.payload.dumps(["x"]))
    assert running_jobs.of_user(opts, "alice") == {"1"}
    assert (folder / "6").exists() and (folder / "3").exists()
