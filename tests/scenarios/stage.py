"""A rack in memory with its callers: runner calls as the runners make them, and processes that die in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from racksalt.away_watch import AwayWatch
from racksalt.errors import RacksaltError, as_result
from racksalt.job_trail import Kept, Running
from racksalt.model import Room
from racksalt.rack_answer import Came, carry_out
from racksalt.rack_watch import RackWatch
from tests.fakes import FakeAudit, FakeHost, FakeJobs, FakeRack, fake_rack

#: A small VM takes 128 MiB, and 64 MiB beside them.
PROFILES = {"small": {"flavor": "m1.tiny", "image": "tiny"}, "large": {"flavor": "m1.large", "image": "tiny"}}


class Killed(BaseException):
    """The runner's process is gone, without a word."""


@dataclass(frozen=True)
class Hook:
    """What happens ``when`` (before or after) a host carries out a function; once, and on any host if none is named."""

    when: str
    function: str
    host: str | None
    then: Callable[[], None]

    def fits(self, when: str, function: str, host: str) -> bool:
        return (self.when, self.function) == (when, function) and self.host in (None, host)


@dataclass
class Stage:
    """One rack, with the writer's two watches. ``job`` is the last job that was no question about jobs."""

    fake: FakeRack
    watch: RackWatch = field(default_factory=RackWatch)
    away: AwayWatch = field(default_factory=AwayWatch)
    hooks: list[Hook] = field(default_factory=list)
    job: str = ""
    #: All that is durable on the master, as it was when the runner died.
    _frozen: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        self.fake.fleet.before = lambda host, function: self._reached("before", function, host)
        self.fake.fleet.after = lambda host, function: self._reached("after", function, host)

    @property
    def audit(self) -> FakeAudit:
        found = self.fake.rack.audit
        assert isinstance(found, FakeAudit)
        return found

    @property
    def jobs(self) -> FakeJobs:
        found = self.fake.rack.jobs
        assert isinstance(found, FakeJobs)
        return found

    def host(self, name: str) -> FakeHost:
        return self.fake.hosts[name]

    def call(self, user: str, fun: str, arguments: Mapping[str, Any]) -> Any:
        """One runner call by a process of its own: its answer, or the error; :class:`Killed` where it dies."""
        now = self.fake.clock.now()
        job = f"{datetime.fromtimestamp(now, UTC):%Y%m%d%H%M%S%f}"
        self.job = self.job if fun.startswith("rack_job.") else job
        self.jobs.processes[job] = Running(job, fun, user, True)
        try:
            answer: Any = carry_out(self.fake.rack, Came(fun, user, arguments, job))
        except RacksaltError as error:
            answer = error
        except Killed:
            self._thaw()
            raise
        finally:
            del self.jobs.processes[job]
        told = as_result(answer) if isinstance(answer, RacksaltError) else answer
        ok = not isinstance(answer, RacksaltError)
        self.jobs.ended[job] = Kept(job, fun, user, self.fake.clock.now(), ok, told, proved=True)
        return answer

    def kill(self) -> None:
        """The process that calls now is gone: nothing that it does on its way out counts."""
        claims, audit, files = self.fake.claims, self.audit, self.fake.files
        self._frozen = dict(claims.held), list(audit.texts), files.data
        raise Killed

    def look_after(self) -> None:
        """The writer's watches, at their next turn."""
        self.fake.clock.sleep(20)
        self.watch.turn(self.fake.rack, None)
        self.away.turn(self.fake.rack)

    def _reached(self, when: str, function: str, host: str) -> None:
        if self._frozen is not None:
            raise Killed
        for hook in [hook for hook in self.hooks if hook.fits(when, function, host)]:
            self.hooks.remove(hook)
            hook.then()

    def _thaw(self) -> None:
        assert self._frozen is not None
        self.fake.claims.held, self.audit.texts, self.fake.files.data = self._frozen
        self._frozen = None


def stage(hosts: int = 3, *, room: Mapping[str, int] | None = None, files: Mapping[str, Any] | None = None) -> Stage:
    """A rack of equal hosts, each with ``room``, whose moves come one after the other."""
    fake = fake_rack(hosts, **{"profiles.yaml": {"profiles": PROFILES}, **(files or {})})
    fake.files.data["hosts.yaml"].setdefault("migrations", {"per_host": 1, "rack": 1})
    for host in fake.hosts.values():
        host.hypervisor.total = Room(**{"vcpus": 8, "memory_mib": 4096, "disk_gib": 100, **(room or {})})
    return Stage(fake)
