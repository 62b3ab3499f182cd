"""What may go wrong with a rack, one verb each; all of them as words, so that a case can name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import yaml

from racksalt import record
from racksalt.away_watch import AwayWatch
from racksalt.errors import Refused, Unavailable
from racksalt.model import Domain, Record
from racksalt.rack_watch import PREFIX, RackWatch
from tests.fakes import FakeHost, FakeRing, FakeSnapshots, signed
from tests.scenarios import view
from tests.scenarios.stage import Stage

Verb = Callable[..., None]
_STRANGER = "1b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e"


def fail(stage: Stage, host: str, *steps: str) -> None:
    """These steps fail on a host from now on: of libvirt, of the disks, of a migration (``move:STEP``)."""

    def fault(step: str) -> None:
        if step in steps:
            raise Refused("disk_failed", f"{step}: no space left on device")

    def move_fault(step: str) -> None:
        if f"move:{step}" in steps:
            raise Unavailable("migration_failed", f"libvirt: {step}")

    found = stage.host(host)
    found.hypervisor.fault = found.volumes.fault = found.doors.fault = fault
    found.mover.at = move_fault


def stranger(stage: Stage, host: str, name: str, memory_mib: str = "512") -> None:
    """A domain that somebody defined by hand."""
    stage.host(host).hypervisor.foreign.append(Domain(_STRANGER, name, "running", 1, int(memory_mib), 1))


def copy(stage: Stage, title: str, host: str, /, **changes: str) -> None:
    """A host shows a VM of another one too, with its record as it is, or with other values."""
    source, found = _vm(stage, title)
    _show(stage, host, source.hypervisor.xml[found.uuid], replace(found, **_typed(found, changes)))


def resign_copy(stage: Stage, title: str, host: str, /, **changes: str) -> None:
    """A host shows what the rack once signed for it: a VM that is another one's by now, or a second one of it."""
    source, found = _vm(stage, title)
    _show(stage, host, source.hypervisor.xml[found.uuid], signed(replace(found, host=host, **_typed(found, changes))))


def forge(stage: Stage, title: str, /, **changes: str) -> None:
    """A host writes other values into the record of a VM of its own."""
    host, found = _vm(stage, title)
    forged = replace(found, **_typed(found, changes))
    host.hypervisor.write_record(found.uuid, record.to_xml(forged))


def undefine(stage: Stage, title: str) -> None:
    """Somebody takes a VM's definition away by hand; its disk stays."""
    host, found = _vm(stage, title)
    del host.hypervisor.xml[found.uuid], host.hypervisor.states[found.uuid]


def edit(stage: Stage, title: str, before: str, after: str) -> None:
    """Somebody edits a VM's definition by hand."""
    host, found = _vm(stage, title)
    assert before in host.hypervisor.xml[found.uuid]
    host.hypervisor.xml[found.uuid] = host.hypervisor.xml[found.uuid].replace(before, after)


def put(stage: Stage, file: str, path: str, *words: str) -> None:
    """Somebody edits one of the rack's files: ``path`` is keys with dots between them; ``-`` takes the last one out."""
    value = " ".join(words)

    def change(data: Any) -> None:
        *parents, last = path.split(".")
        for key in parents:
            data[key] = data.get(key) or {}
            data = data[key]
        if value == "-":
            data.pop(last)
        else:
            data[last] = yaml.safe_load(value)

    stage.fake.files.change(file, change, lambda files: None)


def share(stage: Stage, *hosts: str) -> None:
    """The folder of volumes of these hosts is one and the same."""
    for name in hosts:
        stage.host(name).volumes.files = stage.host(hosts[0]).volumes.files


def unshare(stage: Stage, host: str) -> None:
    """For a look at the end: the host's files are told with another host."""
    stage.host(host).volumes.files = set()


def new_master(stage: Stage) -> None:
    """Another machine, with the rack's files and keys, and nothing else of the old one."""
    stage.fake.claims.held.clear()
    stage.fake.rack.last_known.clear(keep=())
    snapshots = stage.fake.rack.snapshots
    assert isinstance(snapshots, FakeSnapshots)
    snapshots.newest.clear()
    snapshots.pieces.clear()
    restart(stage)


def restart(stage: Stage) -> None:
    """The master's daemons begin anew."""
    stage.watch, stage.away = RackWatch(), AwayWatch()


def answers(stage: Stage, host: str, *, silent: bool) -> None:
    stage.host(host).silent = silent


def returns(stage: Stage, host: str, *, lost: bool) -> None:
    stage.host(host).loses_returns = lost


def boot(stage: Stage, host: str) -> None:
    """The host's own unit at its boot."""
    stage.host(host).away().boot()


def turn(stage: Stage, times: str = "1") -> None:
    for _ in range(int(times)):
        stage.look_after()


def drop_key(stage: Stage) -> None:
    """The key that signed all records so far is gone; another one signs."""
    ring = stage.fake.rack.ring
    assert isinstance(ring, FakeRing)
    ring.numbers = {max(ring.numbers) + 1}


def lose_return(stage: Stage) -> None:
    """What the last job answered is not in Salt's cache."""
    stage.jobs.ended.pop(stage.job)


def _power(stage: Stage, host: str) -> None:
    stage.host(host).crash()


def _fill(stage: Stage, *, full: bool) -> None:
    stage.audit.full = full


def _heal(stage: Stage, host: str) -> None:
    fail(stage, host)


def _wait(stage: Stage, seconds: str) -> None:
    stage.fake.clock.sleep(float(seconds))


def _forget_reports(stage: Stage) -> None:
    stage.fake.rack.last_known.clear(keep=())


def _cut_audit(stage: Stage, lines: str) -> None:
    del stage.audit.texts[-int(lines) :]


def _linger(stage: Stage, host: str) -> None:
    """What goes over to the target stays there for a while when a move of this host's fails."""
    stage.host(host).mover.lingers = True


def _end_lingering(stage: Stage, host: str, title: str) -> None:
    _, found = _vm(stage, title)
    stage.host(host).mover.end_lingering(found.uuid)


def _event(stage: Stage, host: str) -> None:
    """Somebody puts an event on the bus under a host's name."""
    data = {"id": host, "data": {"vms": []}}
    stage.watch.turn(stage.fake.rack, {"tag": f"{PREFIX}host/{host}", "data": data})


def _change_audit(stage: Stage, line: str) -> None:
    texts, at = stage.audit.texts, int(line) - 1
    texts[at] = texts[at].replace(b'"kind"', b'"kund"')


def _remember_audit(stage: Stage, host: str) -> None:
    """As the host does with each change that it is asked for."""
    head = stage.audit.head()
    stage.host(host).heads = (head,) if head else ()


VERBS: Mapping[str, Verb] = {
    "silence": lambda stage, host: answers(stage, host, silent=True),
    "back": lambda stage, host: answers(stage, host, silent=False),
    "lose-returns": lambda stage, host: returns(stage, host, lost=True),
    "keep-returns": lambda stage, host: returns(stage, host, lost=False),
    "crash": _power,
    "boot": boot,
    "fail": fail,
    "heal": _heal,
    "wait": _wait,
    "watch": turn,
    "kill": lambda stage: stage.kill(),
    "stranger": stranger,
    "copy": copy,
    "forge": forge,
    "resign-copy": resign_copy,
    "undefine": undefine,
    "edit": edit,
    "set": put,
    "share": share,
    "unshare": unshare,
    "new-master": new_master,
    "restart-master": restart,
    "lose-cache": _forget_reports,
    "lose-return": lose_return,
    "drop-key": drop_key,
    "fill-audit": lambda stage: _fill(stage, full=True),
    "empty-audit-disk": lambda stage: _fill(stage, full=False),
    "linger": _linger,
    "end-lingering": _end_lingering,
    "event": _event,
    "cut-audit": _cut_audit,
    "change-audit": _change_audit,
    "remember-audit": _remember_audit,
}


def _vm(stage: Stage, title: str) -> tuple[FakeHost, Record]:
    """The first host that has it, and its record there."""
    for host in stage.fake.hosts.values():
        for domain in view.domains(host):
            if domain.record is not None and domain.record.title == title:
                return host, domain.record
    raise AssertionError(f"no VM {title}")


def _show(stage: Stage, host: str, xml: str, changed: Record) -> None:
    """A domain like that one, with this record, its disk and its addresses."""
    target, uuid = stage.host(host), changed.uuid
    target.hypervisor.xml[uuid] = xml
    target.hypervisor.states[uuid] = "stopped"
    target.hypervisor.write_record(uuid, record.to_xml(changed))
    target.hypervisor.leases |= {nic.mac: nic.address for nic in changed.nics}
    target.volumes.files |= set(target.volumes.paths(changed.tenant, uuid))


def _typed(found: Record, changes: Mapping[str, str]) -> dict[str, Any]:
    values = {key: yaml.safe_load(value) for key, value in changes.items()}
    assert all(hasattr(found, key) for key in values)
    return values
