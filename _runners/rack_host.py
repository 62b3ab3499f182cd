"""The hosts of the rack. For operators."""

from __future__ import annotations

from typing import Any

from racksalt.adapters import this_rack

__virtualname__ = "rack_host"

__opts__: dict[str, Any]
__context__: dict[str, Any]
__user__: str
#: Salt puts the job id here.
__jid__ = ""


def __virtual__() -> str:
    return __virtualname__


def list_(**unknown: Any) -> Any:
    """Each host in one line: whether it answers and takes VMs, and how full it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.list
    """
    return _answer("rack_host.list", locals())


def show(name: Any = None, **unknown: Any) -> Any:
    """One host with its labels, its rules for room, and its VMs.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.show h1
    """
    return _answer("rack_host.show", locals())


def status(since: Any = None, limit: Any = None, **unknown: Any) -> Any:
    """The whole rack on one page: hosts and VMs by state, what waits, failed jobs, slow calls, errors in hosts' logs.

    since
        How far back to look for failed jobs, slow calls and errors, in seconds; 3600 where it is left out.
    limit
        How many of each are shown; errors are counted in any case.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.status since=86400
    """
    return _answer("rack_host.status", locals())


def drift(
    host: Any = None,
    adopt: Any = None,
    revert: Any = None,
    tenant: Any = None,
    name: Any = None,
    flavor: Any = None,
    address: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Where hosts are not as the VMs' records say, one line each; or set one line right. Nothing is ever removed.

    host
        Only the lines of this host.
    adopt
        The id of a line: what is there is taken as right.
    revert
        The id of a line: what the record says is put back, or what belongs to nothing is moved out of the way.
    tenant, name, flavor, address
        For adopting a domain without a record: see ``rack_vm.adopt``.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.drift host=h2
    """
    return _answer("rack_host.drift", locals())


def enable(name: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let new VMs come to a host again.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.enable h1
    """
    return _answer("rack_host.enable", locals())


def disable(name: Any = None, reason: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Let no new VM come to a host; the ones on it go on. The reason is kept in ``hosts.yaml``.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.disable h1 reason='new disks'
    """
    return _answer("rack_host.disable", locals())


def forget(name: Any = None, vms: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Give up a disabled host that is away: the names, addresses and quota of its VMs are free again.

    ``vms`` says how many VMs are lost with it; ``test=True`` lists them. Should it come back, its VMs do not count, and
    are not started at its boot: adopt each of them, or remove it, and enable the host then.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.forget h3 vms=4
    """
    return _answer("rack_host.forget", locals())


def balance(apply: Any = None, max_moves: Any = None, min_gain: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Move VMs until the hosts are alike in load, by the score of Ganeti's ``hbal``.

    ``test=True`` prints the moves with what each gains, and ``apply=HASH`` carries out exactly those. No more than
    ``max_moves`` are made, and none that gains less than ``min_gain``. Disabled and silent hosts are left as they are.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.balance test=True
    """
    return _answer("rack_host.balance", locals())


def drain(
    name: Any = None,
    apply: Any = None,
    partial: Any = None,
    inventory: Any = None,
    test: Any = None,
    **unknown: Any,
) -> Any:
    """Take a host out of placement, and move all its VMs to others; it stays disabled.

    ``test=True`` prints the plan with its hash, and ``apply=HASH`` carries out exactly that one, or stops before its
    first step where facts have changed since. A VM that no host can take refuses the whole drain, with the numbers of
    every host; ``partial=True`` moves the others. ``inventory=FILE`` plans on a rack that was saved.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.drain h2 test=True
    """
    return _answer("rack_host.drain", locals())


def update(hosts: Any = None, reboot: Any = None, apply: Any = None, test: Any = None, **unknown: Any) -> Any:
    """Bring hosts up to date one after the other: each is emptied, gets its highstate, and takes VMs again.

    Without ``hosts`` it is all of them. With ``reboot=True`` each is booted again, and waited for. The first host that
    fails ends it, and stays out of placement.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.update hosts='[h1, h2]' reboot=True test=True
    """
    return _answer("rack_host.update", locals())


def find(
    flavor: Any = None,
    tenant: Any = None,
    labels: Any = None,
    affinity: Any = None,
    anti_affinity: Any = None,
    spread: Any = None,
    inventory: Any = None,
    **unknown: Any,
) -> Any:
    """Which hosts could take a flavor, the first choice first, and what refuses it on the others.

    inventory
        A file on the master that :py:func:`inventory` wrote, in place of the rack as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.find flavor=m1.large
    """
    return _answer("rack_host.find", locals())


def capacity(flavor: Any = None, tenant: Any = None, labels: Any = None, inventory: Any = None, **unknown: Any) -> Any:
    """How many more VMs of a flavor fit: on each host, and so that any one host may be lost.

    inventory
        A file on the master that :py:func:`inventory` wrote, in place of the rack as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.capacity flavor=m1.large
    """
    return _answer("rack_host.capacity", locals())


def survive(host: Any = None, inventory: Any = None, **unknown: Any) -> Any:
    """What if a host is lost: where its VMs find a place, and which have none; without ``host``, for each host.

    inventory
        A file on the master that :py:func:`inventory` wrote, in place of the rack as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.survive h2
    """
    return _answer("rack_host.survive", locals())


def baseline(inventory: Any = None, **unknown: Any) -> Any:
    """The CPU that all hosts share, for ``cpu`` in ``hosts.yaml``: with it, any VM can move to any host.

    inventory
        A file on the master that :py:func:`inventory` wrote, in place of the rack as it is.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.baseline
    """
    return _answer("rack_host.baseline", locals())


def inventory(**unknown: Any) -> Any:
    """The whole rack as one value with its fingerprint: the same for the same hosts and VMs, whoever reads it.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.inventory --out=json
    """
    return _answer("rack_host.inventory", locals())


def rebuild_inventory(test: Any = None, **unknown: Any) -> Any:
    """Drop what the master keeps of the hosts' reports, and read all hosts anew.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.rebuild_inventory
    """
    return _answer("rack_host.rebuild_inventory", locals())


def rotate_key(test: Any = None, **unknown: Any) -> Any:
    """Sign the records of all VMs with a new key; the older ones go when every host has confirmed.

    CLI Example:

    .. code-block:: bash

        salt-run rack_host.rotate_key test=True
    """
    return _answer("rack_host.rotate_key", locals())


def _answer(fun: str, arguments: dict[str, Any]) -> Any:
    return this_rack.answer(fun, arguments, user=__user__, opts=__opts__, context=__context__, job=__jid__)


__func_alias__ = {"list_": "list"}
