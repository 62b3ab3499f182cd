"""How a host answers: plainly to who calls it itself, signed over the bus, and not at all without a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import salt.crypt

from racksalt import host_answers
from racksalt.adapters import audit_head_file, this_host
from racksalt.adapters.minion_keys import AcceptedKeys
from racksalt.adapters.this_host import Asked, Minion
from racksalt.errors import Refused
from racksalt.host_answers import Call, Proved
from racksalt.model import Head
from tests.fakes import FakeHypervisor

JOB = "20261010101010123456_r1"
BUS = {"job": JOB, "audit": {"count": 3, "sha256": "0" * 64}}


class Host:
    """This host with a fake hypervisor, its key, and what it kept of the audit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heads: list[Head] = []
        self.minion = Minion({"id": "h1", "pki_dir": str(folder)}, {})
        (folder / "minions").mkdir()
        salt.crypt.write_keys(str(folder), "minion", 2048)
        (folder / "minions/h1").write_bytes((folder / "minion.pub").read_bytes())

    def call(self, asked: Asked, *, bus: Any = BUS) -> Any:
        return this_host.answer_bus(asked, self.minion, function="rack_vm.act", bus=bus)

    def proved(self, returned: Any) -> Any:
        verify = AcceptedKeys(str(self.folder)).verify
        judged = host_answers.judge(returned, Call(JOB, "rack_vm.act"), host="h1", verify=verify)
        assert isinstance(judged, Proved)
        return judged.answer

    @property
    def retcode(self) -> int:
        return int(self.minion.context.get("retcode", 0))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    @contextmanager
    def hypervisor() -> Iterator[FakeHypervisor]:
        yield FakeHypervisor()

    made = Host(tmp_path)
    monkeypatch.setattr(this_host, "hypervisor", hypervisor)
    monkeypatch.setattr(audit_head_file, "keep", made.heads.append)
    return made


def refuse(vms: Any) -> Any:
    raise Refused("no_room", "none left", host="h1")


def break_down(vms: Any) -> Any:
    raise OSError(28, "No space left on device")


def test_an_answer_over_the_bus_is_signed(host: Host) -> None:
    assert host.proved(host.call(lambda vms: {"host": vms.host, "steps": ("a",)})) == {"host": "h1", "steps": ["a"]}
    assert host.retcode == 0 and host.heads == [Head(3, "0" * 64)]


def test_a_refusal_is_signed_too(host: Host) -> None:
    error = host.proved(host.call(refuse))["error"]
    assert (error["code"], error["host"], host.retcode) == ("no_room", "h1", 1)


def test_an_unforeseen_failure_is_signed_as_a_failed_host(host: Host) -> None:
    error = host.proved(host.call(break_down))["error"]
    assert error["code"] == "host_failed" and "No space left" in error["detail"] and host.retcode == 1


def test_a_call_without_a_head_leaves_what_is_known(host: Host) -> None:
    host.proved(host.call(lambda vms: {}, bus={"job": JOB, "audit": None}))
    assert host.heads == []


def test_without_the_bus_the_answer_is_plain(host: Host) -> None:
    assert host.call(lambda vms: {"changed": True}, bus=None) == {"changed": True}
    assert host.call(refuse, bus=None)["error"]["code"] == "no_room"
    with pytest.raises(OSError, match="No space"):
        host.call(break_down, bus=None)


@pytest.mark.parametrize("bus", [{}, {"job": ""}, {"job": "a b"}, {"job": JOB, "audit": 1}, {"job": JOB, "x": 1}, "x"])
def test_a_bus_that_is_none_does_nothing(host: Host, bus: Any) -> None:
    done: list[Any] = []
    assert host.call(done.append, bus=bus)["error"]["code"] == "bad_input"
    assert done == [] and host.retcode == 1


def test_a_host_that_cannot_sign_does_nothing(host: Host) -> None:
    (host.folder / "minion.pem").unlink()
    done: list[Any] = []
    assert host.call(done.append)["error"]["code"] == "host_key"
    assert done == [] and host.heads == [] and host.retcode == 1
    assert host.call(lambda vms: {"changed": True}, bus=None) == {"changed": True}
