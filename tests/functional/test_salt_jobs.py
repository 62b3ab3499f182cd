"""Salt's own job cache, written by Salt, and processes as Salt makes them, as the rack reads and ends them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.payload
import salt.utils.job
import salt.utils.process

from racksalt.adapters import envelope_key, stop_signal
from racksalt.adapters.salt_jobs import SaltJobs
from racksalt.errors import Cancelled
from racksalt.job_trail import Kept, Running

JOB = "20261121093020110233"
MASTER = "master_master"


@pytest.fixture
def opts(tmp_path: Path) -> dict[str, Any]:
    places = {key: str(tmp_path / key) for key in ("cachedir", "extension_modules", "pki_dir", "sock_dir")}
    (tmp_path / "cachedir" / "proc").mkdir(parents=True)
    more = {"id": MASTER, "racksalt": {"envelope_key": str(tmp_path / "envelope.key")}}
    return {**salt.config.DEFAULT_MASTER_OPTS, **places, **more, "grains": {}, "cluster_id": None}


@pytest.fixture
def store(opts: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Salt's own way into the cache."""
    minion = SimpleNamespace(returners=salt.loader.returners(opts, functions={}))
    return lambda load: salt.utils.job.store_job(opts, load, mminion=minion)


Store = Callable[[dict[str, Any]], None]


def call(job: str, answer: Any, *, user: str = "alice", fun: str = "rack_vm.list", **more: Any) -> dict[str, Any]:
    """What Salt stores of a runner's call."""
    told = {"fun": f"runner.{fun}", "jid": job, "user": user, "fun_args": more.pop("fun_args", [])}
    told |= {"_stamp": "2026-11-21T09:30:20.110233", "return": answer, "success": True, **more}
    return {"id": MASTER, "tgt": MASTER, "jid": job, "return": told}


def api_call(opts: dict[str, Any], job: str, answer: Any, **more: Any) -> dict[str, Any]:
    """The same through the API: with an envelope, and the proof of the answer."""
    envelope = envelope_key.make_envelope(
        opts, user="alice", fun="rack_vm.list", address="192.0.2.1", secret_arguments={}
    )
    proved = envelope_key.prove(opts, envelope, job=job, answer=answer)
    return call(job, proved, fun_args=[{"name": "x", "envelope": envelope}], **more)


def test_a_call_of_the_api_is_read_with_its_proof(opts: dict[str, Any], store: Store) -> None:
    store(api_call(opts, JOB, {"vms": [1.5, None, "ä"]}))
    jobs = SaltJobs(opts)
    kept = jobs.read(JOB)
    assert kept is not None and abs(kept.ended_at - time.time()) < 10
    assert kept == Kept(JOB, "rack_vm.list", "alice", kept.ended_at, True, {"vms": [1.5, None, "ä"]}, True)
    (head,) = jobs.newest()
    assert head == Kept(JOB, "rack_vm.list", "alice", kept.ended_at, True, None, True)
    assert jobs.read("20261121093020110234") is None and jobs.keeps_s == 86400


def test_a_call_of_the_shell_has_none(opts: dict[str, Any], store: Store) -> None:
    store(call(JOB, {"error": {"code": "x"}}, user="root", success=False))
    kept = SaltJobs(opts).read(JOB)
    assert kept is not None and (kept.user, kept.ok, kept.proved) == ("root", False, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda load: load["return"].update(user="bob"),
        lambda load: load["return"].update(fun="runner.rack_vm.create"),
        lambda load: load["return"]["return"].update(answer='{"vms": ["forged"]}'),
        lambda load: load["return"]["return"].update(job="1"),
        lambda load: load["return"].update({"return": {"vms": ["forged"]}}),
        lambda load: load["return"]["fun_args"][0].update(envelope="AAAA"),
        lambda load: load.update(id="h1"),
        lambda load: load["return"].update(jid="20261121093020110239"),
    ],
)
def test_what_somebody_else_wrote_is_not_there(
    opts: dict[str, Any], store: Store, change: Callable[[dict[str, Any]], None]
) -> None:
    load = api_call(opts, JOB, {"vms": []})
    change(load)
    store(load)
    assert SaltJobs(opts).read(JOB) is None


def test_other_jobs_and_rubbish_are_passed_over(opts: dict[str, Any], store: Store) -> None:
    jobs = SaltJobs(opts)
    assert list(jobs.newest()) == [] == jobs.running()
    store({"id": "h1", "jid": "20261121093020110001", "return": {"vms": []}, "fun": "rack_vm.list"})
    store(call("20261121093020110002", [], fun="jobs.list_jobs"))
    store({"id": MASTER, "tgt": MASTER, "jid": "20261121093020110003", "return": ["x"]})
    store(call(JOB, {"vms": []}, user="root"))
    for number, text in enumerate([b"", b"\xc1\xff", b"\x81", b"\xa3abc"]):
        folder = Path(opts["cachedir"]) / "jobs" / "zz" / str(number) / MASTER
        folder.mkdir(parents=True)
        (folder / "return.p").write_bytes(text)
    assert [kept.job for kept in jobs.newest()] == [JOB]


def test_a_long_answer_is_not_read_for_a_list(opts: dict[str, Any], store: Store) -> None:
    store(call(JOB, {"vms": ["x" * 1000] * 3000}, user="root"))
    (head,) = SaltJobs(opts).newest()
    assert head.ok and head.answer is None


def write_process(opts: dict[str, Any], pid: Any, *, job: str = JOB, fun: str = "runner.rack_vm.list") -> Path:
    path = Path(opts["cachedir"]) / "proc" / job
    path.write_bytes(salt.payload.dumps({"jid": job, "fun": fun, "user": "alice", "fun_args": [], "pid": pid}))
    return path


@contextlib.contextmanager
def sleeping(name: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", name])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_job_runs_while_its_own_process_does(opts: dict[str, Any]) -> None:
    jobs = SaltJobs(opts)
    with sleeping("salt-run") as process:
        path = write_process(opts, process.pid)
        assert jobs.running() == [Running(JOB, "rack_vm.list", "alice", True)]
        os.utime(path, (time.time() - 60,) * 2)
        assert jobs.running() == [Running(JOB, "rack_vm.list", "alice", False)], "a later process with its number"
        assert not jobs.stop(JOB) and process.poll() is None
    write_process(opts, process.pid)
    assert not jobs.running()[0].lives and not jobs.stop(JOB)
    for pid in (0, -1, "x", None, 2**22 + 1):
        write_process(opts, pid)
        assert not jobs.running()[0].lives and not jobs.stop(JOB)
    write_process(opts, os.getpid(), fun="runner.jobs.active")
    assert jobs.running() == [] and not jobs.stop(JOB)


def test_only_a_process_of_salt_is_asked_to_end(opts: dict[str, Any]) -> None:
    with sleeping("something-else") as other:
        write_process(opts, other.pid)
        assert not SaltJobs(opts).stop(JOB) and other.poll() is None
    with sleeping("salt-run") as process:
        write_process(opts, process.pid)
        assert SaltJobs(opts).stop(JOB)
        assert process.wait(10) == -signal.SIGTERM


def _runner(ends: Any, heeds: bool) -> None:
    """A runner's process: what it does at its end is told."""
    try:
        with stop_signal.heeded() if heeds else contextlib.nullcontext():
            ends.send("begun")
            time.sleep(60)
    except Cancelled:
        ends.send("cancelled")
    finally:
        ends.send("finally")


@pytest.mark.parametrize(("heeds", "told"), [(True, ["begun", "cancelled", "finally"]), (False, ["begun"])])
def test_a_process_of_salts_ends_in_order_where_the_signal_is_heeded(heeds: bool, told: list[str]) -> None:
    """Salt's own handler leaves by ``os._exit``: nothing of what a runner does at its end is done."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    process = salt.utils.process.SignalHandlingProcess(target=_runner, args=(theirs, heeds))
    process.start()
    theirs.close()
    heard = [mine.recv()]
    os.kill(process.pid, signal.SIGTERM)
    with contextlib.suppress(EOFError):
        while True:
            heard.append(mine.recv())
    process.join(10)
    assert heard == told


def test_after_a_call_the_signal_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signal.heeded():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
