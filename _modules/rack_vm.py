"""VMs of this host, on libvirt alone: works with ``salt-call --local`` when the master is off.

The runner of the same name is for the whole rack. The functions that take a ``request`` are how the rack's
writer talks to a host: one value, checked again here. What comes with ``bus`` is answered signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from racksalt import host_several, shape
from racksalt.adapters import this_host
from racksalt.drift_requests import EnrollOnHost, RestoreOnHost
from racksalt.host_arrivals import HostArrivals
from racksalt.host_creates import HostCreates
from racksalt.host_departures import HostDepartures
from racksalt.host_drift import HostDrift
from racksalt.host_requests import (
    ActOnHost,
    CreateOnHost,
    EndMove,
    OfferMove,
    PurgeOnHost,
    ReadProgress,
    RecallMove,
    ReceiveMove,
    SendMove,
    SignOnHost,
    WithdrawMove,
)

__virtualname__ = "rack_vm"

__opts__: dict[str, Any]
__context__: dict[str, Any]


def __virtual__() -> str:
    return __virtualname__


def list_() -> Any:
    """Every VM of this host, with its state.

    CLI Example:

    .. code-block:: bash

        salt-call --local rack_vm.list
    """
    return _answer(
        lambda vms: [_shown(domain) for domain in vms.report().domains if domain.record and not domain.incoming]
    )


def show(name: str) -> Any:
    """One VM of this host: its record, state and sizes.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.show acme/web1
    """
    return _answer(lambda vms: _shown(vms.find(name)))


def start(name: str, test: bool = False) -> Any:
    """Start a VM, or let a paused or suspended one go on; a running one stays as it is.

    CLI Example:

    .. code-block:: bash

        salt-call --local rack_vm.start acme/web1
    """
    return _act(name, "start", test=test)


def stop(
    name: str,
    hard: bool = False,
    acpi_s: float = 20.0,
    ctrl_alt_del_s: float = 20.0,
    agent_s: float = 20.0,
    test: bool = False,
) -> Any:
    """Stop a VM: ACPI power button, Ctrl-Alt-Del, guest agent, power cut; each rung has its seconds.

    CLI Example:

    .. code-block:: bash

        salt -t 90 h1 rack_vm.stop acme/web1
    """
    ladder = {"acpi_s": acpi_s, "ctrl_alt_del_s": ctrl_alt_del_s, "agent_s": agent_s}
    return _act(name, "stop", test=test, hard=hard, ladder=ladder)


def restart(name: str, hard: bool = False, test: bool = False) -> Any:
    """Stop a VM as :py:func:`stop` does, and start it again.

    CLI Example:

    .. code-block:: bash

        salt -t 90 h1 rack_vm.restart acme/web1
    """
    return _act(name, "restart", test=test, hard=hard)


def pause(name: str, test: bool = False) -> Any:
    """Freeze a running VM in memory.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.pause acme/web1
    """
    return _act(name, "pause", test=test)


def resume(name: str, test: bool = False) -> Any:
    """Let a paused VM go on.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.resume acme/web1
    """
    return _act(name, "resume", test=test)


def suspend(name: str, test: bool = False) -> Any:
    """Write a VM's memory to disk and stop it; the next start goes on from there.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.suspend acme/web1
    """
    return _act(name, "suspend", test=test)


def delete(name: str, test: bool = False) -> Any:
    """Remove a VM with its disks and its address; a protected one is refused.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.delete acme/web1
    """
    return _act(name, "delete", test=test)


def note(name: str, text: str = "", test: bool = False) -> Any:
    """Set a VM's note; an empty text takes it away.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.note acme/web1 text='front page'
    """
    return _act(name, "note", test=test, note=text)


def tag(name: str, tags: list[str] | None = None, test: bool = False) -> Any:
    """Replace a VM's tags.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.tag acme/web1 tags='[role=web, prod]'
    """
    return _act(name, "tag", test=test, tags=tags or [])


def protect(name: str, on: bool = True, test: bool = False) -> Any:
    """Switch a VM's delete protection on or off.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.protect acme/web1 on=False
    """
    return _act(name, "protect", test=test, protected=on)


def create(request: dict[str, Any], test: bool = False, bus: dict[str, Any] | None = None) -> Any:
    """Make and start a VM that the rack's writer has claimed a place for (``host_requests.CreateOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.create request='{record: {…}, image: {…}, …}'
    """
    return _signed("create", lambda vms: HostCreates(vms).create(shape.parse(CreateOnHost, request), test=test), bus)


def act(request: dict[str, Any], test: bool = False, bus: dict[str, Any] | None = None) -> Any:
    """One change to one VM (``host_requests.ActOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.act request='{uuid: 5f0c…, verb: start}'
    """
    return _signed("act", lambda vms: vms.act(shape.parse(ActOnHost, request), test=test), bus)


def purge(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Remove what a create that was given up left behind (``host_requests.PurgeOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.purge request='{record: {…}}'
    """
    return _signed("purge", lambda vms: vms.purge(shape.parse(PurgeOnHost, request)), bus)


def sign(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Write the rack's signatures into records that are still what was signed (``host_requests.SignOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.sign request='{records: {5f0c…: {sha256: …, signature: …}}}'
    """
    return _signed("sign", lambda vms: vms.sign(shape.parse(SignOnHost, request)), bus)


def enroll(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Write a whole record into a domain, which goes on as it is (``drift_requests.EnrollOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.enroll request='{record: {…}}'
    """
    return _signed("enroll", lambda vms: HostDrift(vms).enroll(shape.parse(EnrollOnHost, request)), bus)


def restore(request: dict[str, Any], test: bool = False, bus: dict[str, Any] | None = None) -> Any:
    """Make a domain's definition and its planned addresses what its record says (``drift_requests.RestoreOnHost``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.restore request='{uuid: 5f0c…, sha256: …}' test=True
    """
    return _signed("restore", lambda vms: HostDrift(vms).restore(shape.parse(RestoreOnHost, request), test=test), bus)


def offer(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """What a VM needs on the host that it is to move to (``host_requests.OfferMove``); changes nothing.

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.offer request='{record: {…}, key: …}'
    """

    def one(vms: Any, asked: Any) -> Any:
        return _departures(vms).offer(shape.parse(OfferMove, asked))

    return _each("offer", request, one, bus, host_several.as_far_as_told)


def receive(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Make what a VM needs that comes from another host, and let that one in (``host_requests.ReceiveMove``).

    CLI Example:

    .. code-block:: bash

        salt h2 rack_vm.receive request='{record: {…}, source: h1, offer: {…}, …}'
    """

    def one(vms: Any, asked: Any) -> Any:
        return _arrivals(vms).receive(shape.parse(ReceiveMove, asked))

    return _each("receive", request, one, bus)


def send(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Move a VM to the host that has made ready for it; there, wait until it has come (``host_requests.SendMove``).

    CLI Example:

    .. code-block:: bash

        salt -L h1,h2 rack_vm.send request='{record: {…}, source: h1, target: h2, …}'
    """

    def one(vms: Any, asked: Any) -> Any:
        move = shape.parse(SendMove, asked)
        comes_here = move.record.host == vms.host
        return _arrivals(vms).await_arrival(move) if comes_here else _departures(vms).send(move)

    if not host_several.are_in(request):
        return _signed("send", lambda vms: one(vms, request), bus)
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer_alone(
        lambda: this_host.turns(minion).send(request, __opts__["id"]), minion, function="rack_vm.send", bus=bus
    )


def conclude(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Do what is left once a VM has moved, at either end (``host_requests.EndMove``).

    CLI Example:

    .. code-block:: bash

        salt -L h1,h2 rack_vm.conclude request='{record: {…}, source: h1, was: running}'
    """

    def one(vms: Any, asked: Any) -> Any:
        return this_host.moves(vms).conclude(shape.parse(EndMove, asked))

    return _each("conclude", request, one, bus)


def progress(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """How far the move of a VM from this host has come (``host_requests.ReadProgress``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.progress request='{uuid: 5f0c…}'
    """
    return _signed("progress", lambda vms: _departures(vms).progress(shape.parse(ReadProgress, request)), bus)


def recall(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Whether this host still sends a VM, or end that (``host_requests.RecallMove``).

    CLI Example:

    .. code-block:: bash

        salt h1 rack_vm.recall request='{uuid: 5f0c…, was: running, abort: true}'
    """
    return _signed("recall", lambda vms: _departures(vms).recall(shape.parse(RecallMove, request)), bus)


def withdraw(request: dict[str, Any], bus: dict[str, Any] | None = None) -> Any:
    """Remove what a move that did not happen left here (``host_requests.WithdrawMove``).

    CLI Example:

    .. code-block:: bash

        salt h2 rack_vm.withdraw request='{record: {…}, source: h1}'
    """
    return _signed("withdraw", lambda vms: _arrivals(vms).withdraw(shape.parse(WithdrawMove, request)), bus)


def _departures(vms: Any) -> HostDepartures:
    return HostDepartures(this_host.moves(vms))


def _arrivals(vms: Any) -> HostArrivals:
    return HostArrivals(this_host.moves(vms))


def _act(name: str, verb: str, *, test: bool, **values: Any) -> Any:
    def call(vms: Any) -> Any:
        request = shape.parse(ActOnHost, {"uuid": vms.find(str(name)).uuid, "verb": verb, **values})
        return vms.act(request, test=test)

    return _answer(call)


def _answer(call: this_host.Asked) -> Any:
    return this_host.answer(call, this_host.Minion(__opts__, __context__))


def _signed(name: str, call: this_host.Asked, bus: dict[str, Any] | None) -> Any:
    minion = this_host.Minion(__opts__, __context__)
    return this_host.answer_bus(call, minion, function=f"rack_vm.{name}", bus=bus)


def _each(
    name: str,
    request: Any,
    one: Callable[[Any, Any], Any],
    bus: dict[str, Any] | None,
    several: Callable[..., Any] = host_several.in_turn,
) -> Any:
    """As :func:`_signed`, of a request for one move or for several."""
    if not host_several.are_in(request):
        return _signed(name, lambda vms: one(vms, request), bus)
    return _signed(name, lambda vms: several(request, vms.host, lambda asked: one(vms, asked)), bus)


def _shown(domain: Any) -> dict[str, Any]:
    return {**shape.plain(domain.record), "state": domain.state}


__func_alias__ = {"list_": "list"}
