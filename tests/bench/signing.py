"""SIGN: what proving one answer costs, on the host and on its master, beside the JSON that any answer needs anyway."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import salt.crypt

from racksalt import host_answers, shape
from racksalt.adapters.minion_keys import AcceptedKeys, OwnKey
from racksalt.host_answers import Call, Proved
from racksalt.model import Domain, HostReport, Nic, Record, Room
from tests.bench.figures import Figure, percentile

_RUNS = 300
_GOAL_S = 0.002
#: What Salt's minions make, and what a site may have set instead (``keysize``).
_BITS = (2048, 4096)
#: Reading and writing 300 kB of JSON takes longer by itself.
_LARGE = "a report of 500 VMs"
_CALL = Call("20261010101010123456_r0123456789abcdef", "rack_host.report")


def measure() -> list[Figure]:
    """The median of both ends together: a host reads its key for each answer, as each job is a process of its own."""
    return [_figure(bits, what, answer) for bits in _BITS for what, answer in _ANSWERS.items()]


def _figure(bits: int, what: str, answer: Any) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        salt.crypt.write_keys(folder, "minion", bits)
        accepted = Path(folder, "minions")
        accepted.mkdir()
        (accepted / "h1").write_bytes(Path(folder, "minion.pub").read_bytes())
        verify = AcceptedKeys(folder).verify

        def prove() -> None:
            signed = host_answers.signed(answer, _CALL, host="h1", sign=OwnKey(folder).sign)
            if not isinstance(host_answers.judge(signed, _CALL, host="h1", verify=verify), Proved):
                raise RuntimeError("an answer was not proved")

        ours, other = _medians(prove, lambda: json.loads(json.dumps(answer)))
    goes_for_it = bits == _BITS[0] and what != _LARGE
    goal, holds = ("< 2 ms", ours < _GOAL_S) if goes_for_it else ("-", None)
    return Figure("SIGN", f"sign and check {what}, RSA {bits}", ours, other, "JSON both ways", "s", goal, holds)


def _medians(*calls: Callable[[], Any]) -> list[float]:
    """Each call's own, taken in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(_RUNS):
        for call, taken in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return [percentile(taken, 50) for taken in times]


def _report(vms: int) -> Any:
    uuid = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
    card = Nic("nat", "52:54:0a:50:00:01", "10.80.0.16")
    records = [
        Record("r", uuid.format(n), "acme", f"web{n}", "h1", "m1.tiny", "debian", 1, 1, 128, 1, (card,), ("role=web",))
        for n in range(vms)
    ]
    domains = [Domain(record.uuid, record.domain, "running", 1, 128, 1, record) for record in records]
    return shape.plain(HostReport("h1", Room(64, 2**18, 4000), tuple(domains), "libvirt 9.0.0", 1.5))


_ANSWERS = {
    "a change": {"vm": "acme/web1", "changed": True, "steps": ["start"]},
    "a report of 50 VMs": _report(50),
    _LARGE: _report(500),
}
