"""VMs of the whole rack: placed, claimed and confirmed.

Over salt-api the tenant is the one of the login. On the master's shell the caller is the operator: name a VM
as ``tenant/name``, or say ``tenant=``. Every change takes ``test=True`` and then only tells what it would do.
"""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_vm"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def create(
    name: Any = None,
    flavor: Any = None,
    image: Any = None,
    profile: Any = None,
    tenant: Any = None,
    network: Any = None,
    mac: Any = None,
    host: Any = None,
    labels: Any = None,
    affinity: Any = None,
    anti_affinity: Any = None,
    spread: Any = None,
    tags: Any = None,
    note: Any = None,
    protected: Any = None,
    ssh_keys: Any = None,
    user_data: Any = None,
    start: Any = None,
    request_id: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Create and start a VM, on the host that suits it best.

    name
        ``web1``, or ``acme/web1`` on the shell.
    flavor, image
        Names from the rack's files; or a ``profile`` that names both.
    labels
        What the host must carry, like ``{disk: ssd}``.
    affinity
        A group of the tenant's VMs that share a host.
    anti_affinity
        A group of the tenant's VMs that must not share a host.
    spread
        A group of the tenant's VMs that must not share a failure domain, like a row of racks.
    mac
        A fixed, locally administered MAC address.
    ssh_keys, user_data
        For cloud-init in the guest.
    host
        For operators: this host and no other.
    request_id
        A UUID; the same create with the same id is made only once.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.create acme/web1 flavor=m1.tiny image=tiny
    """
    return _answer("rack_vm.create", locals())


def adopt(
    uuid: Any = None,
    host: Any = None,
    tenant: Any = None,
    name: Any = None,
    flavor: Any = None,
    address: Any = None,
    all: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Take a VM into the rack that is on a host and does not count, running and unchanged. For operators.

    uuid
        The VM, as ``rack_host.drift`` lists it under ``unknown``.
    host
        Where it is, if several hosts show it.
    tenant, name
        What it is to be. Where it has a record, unsigned or wrongly signed, one that says something else is refused.
    flavor, address
        For a VM without a record: a flavor of its size, or none; and the address of its first card on a network of the
        rack, or a free one. Its cards on other networks, its disks and its libvirt name stay its own.
    all
        In place of ``uuid``: every one that may be adopted; the others are told with their reasons.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.adopt 0b5f2f40-4a4e-4b0e-9d2c-0b8f9f1d2c3e host=h2 test=True
    """
    return _answer("rack_vm.adopt", locals())


def why_not(
    name: Any = "any",
    flavor: Any = None,
    image: Any = None,
    profile: Any = None,
    tenant: Any = None,
    network: Any = None,
    host: Any = None,
    labels: Any = None,
    affinity: Any = None,
    anti_affinity: Any = None,
    spread: Any = None,
    inventory: Any = None,
    **unknown: Any,
) -> Any:
    """Why a VM finds no place: every host and every rule with its numbers; tenants see counts by rule.

    inventory
        For operators: a file on the master that ``rack_host.inventory`` wrote, in place of the rack as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.why_not tenant=acme flavor=m1.large image=debian-12
    """
    return _answer("rack_vm.why_not", locals())


def list_(
    tenant: Any = None, tag: Any = None, host: Any = None, state: Any = None, q: Any = None, **unknown: Any
) -> Any:
    """The VMs that the caller may see, by tag, state and part of the name; operators also by host.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.list tag=role=web --out=json
    """
    return _answer("rack_vm.list", locals())


def show(name: Any = None, tenant: Any = None, **unknown: Any) -> Any:
    """One VM: its addresses, sizes, tags and state.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.show acme/web1
    """
    return _answer("rack_vm.show", locals())


def start(name: Any = None, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Start a VM, or let a paused or suspended one go on; a running one stays as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.start acme/web1
    """
    return _answer("rack_vm.start", locals())


def stop(
    name: Any = None,
    tenant: Any = None,
    hard: Any = None,
    ladder: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Stop a VM: ACPI power button, Ctrl-Alt-Del, guest agent, power cut.

    ladder
        The seconds for each rung, like ``{acpi_s: 20, ctrl_alt_del_s: 20, agent_s: 20}``; 0 leaves one out.
    hard
        Cut the power at once.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.stop acme/web1
    """
    return _answer("rack_vm.stop", locals())


def restart(
    name: Any = None,
    tenant: Any = None,
    hard: Any = None,
    ladder: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Stop a VM as :py:func:`stop` does, and start it again.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.restart acme/web1
    """
    return _answer("rack_vm.restart", locals())


def pause(name: Any = None, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Freeze a running VM in memory.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.pause acme/web1
    """
    return _answer("rack_vm.pause", locals())


def resume(name: Any = None, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let a paused VM go on.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.resume acme/web1
    """
    return _answer("rack_vm.resume", locals())


def suspend(name: Any = None, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Write a VM's memory to disk and stop it; the next start goes on from there.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.suspend acme/web1
    """
    return _answer("rack_vm.suspend", locals())


def delete(name: Any = None, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Remove a VM with its disks, its addresses and its room; a protected one is refused.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.delete acme/web1
    """
    return _answer("rack_vm.delete", locals())


def migrate(
    name: Any = None,
    tenant: Any = None,
    target: Any = None,
    live: Any = None,
    bandwidth_mib_s: Any = None,
    auto_converge: Any = None,
    post_copy: Any = None,
    timeout_s: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Move a VM to another host, running or stopped, with its disks; both hosts tell the receipt. For operators.

    target
        The host; without it, the one that suits the VM best.
    live
        ``True``: only if it runs; ``False``: only if it is stopped. A guest is never stopped for it.
    bandwidth_mib_s
        The most that it may take of the network; else ``migrations`` of ``hosts.yaml``.
    auto_converge
        Slow the guest down where it writes faster than its memory goes over.
    post_copy
        Let the guest go ahead of its memory, after the first pass: it ends for sure, and a host or a link that fails
        from then on costs the guest its memory.
    timeout_s
        Give up after so long; else as long as its size takes on a slow network.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.migrate acme/web1 target=h2
    """
    return _answer("rack_vm.migrate", locals())


def note(name: Any = None, note: Any = "", tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Set a VM's note; an empty one takes it away.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.note acme/web1 note='front page'
    """
    return _answer("rack_vm.note", locals())


def tag(name: Any = None, tags: Any = (), tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Replace a VM's tags.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.tag acme/web1 tags='[role=web, prod]'
    """
    return _answer("rack_vm.tag", locals())


def protect(name: Any = None, protected: Any = True, tenant: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Switch a VM's delete protection on or off.

    CLI Example:

    .. code-block:: bash

        salt-run rack_vm.protect acme/web1 protected=False
    """
    return _answer("rack_vm.protect", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
