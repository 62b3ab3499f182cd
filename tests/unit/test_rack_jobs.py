"""Jobs are found by those whose they are, with their true end, and ended by them alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from racksalt import errors, job_trail, rack_answer
from racksalt.errors import BadInput, Cancelled, Conflict, Denied, NotFound, RacksaltError
from racksalt.job_trail import Kept, Running
from racksalt.rack_answer import Came
from tests.fakes import FakeAudit, FakeJobs, FakeRack, fake_rack

CREATE = {"flavor": "m1.tiny", "image": "tiny"}


class Killed(BaseException):
    """Nobody catches it: the runner is gone in the middle."""


def jobs_of(rack: FakeRack) -> FakeJobs:
    assert isinstance(rack.rack.jobs, FakeJobs)
    return rack.rack.jobs


def new_job(rack: FakeRack) -> str:
    """A job's id as Salt makes it: the time of now."""
    rack.clock.sleep(1)
    return f"{datetime.fromtimestamp(rack.clock.now(), UTC):%Y%m%d%H%M%S%f}"


def begin(rack: FakeRack, fun: str, *, user: str) -> str:
    job = new_job(rack)
    jobs_of(rack).processes[job] = Running(job, fun, user, True)
    return job


def run(rack: FakeRack, fun: str, *, user: str = "alice", proved: bool = True, **arguments: Any) -> str:
    """A call as Salt carries it out and keeps it; the job's id."""
    job = begin(rack, fun, user=user)
    answer, ok = answered(rack, fun, user, job, arguments)
    rack.clock.sleep(1)
    del jobs_of(rack).processes[job]
    jobs_of(rack).ended[job] = Kept(job, fun, user, rack.clock.now(), ok, answer, proved)
    return job


def answered(rack: FakeRack, fun: str, user: str, job: str, arguments: dict[str, Any]) -> tuple[Any, bool]:
    try:
        return rack_answer.carry_out(rack.rack, Came(fun, user, arguments, job)), True
    except RacksaltError as error:
        return errors.as_result(error), False


def die(rack: FakeRack, fun: str, *, user: str = "alice", lines: int = 1, **arguments: Any) -> str:
    """A call whose runner is killed on the way to a host; ``lines`` of it come into the audit."""
    job = begin(rack, fun, user=user)
    texts = rack.rack.audit.texts if isinstance(rack.rack.audit, FakeAudit) else []
    before = len(texts)
    with pytest.raises(Killed):
        rack_answer.carry_out(rack.rack, Came(fun, user, arguments, job))
    del texts[before + lines :]
    jobs_of(rack).processes[job] = Running(job, fun, user, False)
    rack.fleet.before = rack.fleet.after = lambda host, function: None
    return job


def die_at(rack: FakeRack, function: str, *, when: str) -> None:
    def killed(host: str, called: str) -> None:
        if called == function:
            raise Killed

    setattr(rack.fleet, when, killed)


def ask(rack: FakeRack, call: str, *, by: str = "alice", **arguments: Any) -> Any:
    return rack_answer.carry_out(rack.rack, Came(f"rack_job.{call}", by, arguments, new_job(rack)))


def show(rack: FakeRack, job: str, *, by: str = "alice") -> dict[str, Any]:
    told: dict[str, Any] = ask(rack, "show", by=by, job=job)
    return told


def listed(rack: FakeRack, *, by: str = "alice", **asked: Any) -> list[str]:
    return [line["job"] for line in ask(rack, "list", by=by, **asked)["jobs"]]


def make(rack: FakeRack, name: str = "web1", *, user: str = "alice") -> str:
    return run(rack, "rack_vm.create", user=user, name=name, **CREATE)


def test_the_result_of_a_create_is_shown_to_its_user_and_tenant_alone() -> None:
    rack = fake_rack()
    job = make(rack)
    told = show(rack, job)
    assert (told["state"], told["fun"], told["user"]) == ("done", "rack_vm.create", "alice")
    assert (told["tenant"], told["object"]) == ("acme", "web1")
    assert told["started_at"] < told["ended_at"] and told["result"]["vm"]["name"] == "web1"
    assert show(rack, job, by="carol") == told == show(rack, job, by="olivia")
    with pytest.raises(NotFound) as refused:
        show(rack, job, by="bob")
    with pytest.raises(NotFound) as unknown:
        show(rack, str(int(job) + 1), by="bob")
    assert refused.value.code == unknown.value.code == "job_not_found"
    assert set(refused.value.facts) == set(unknown.value.facts) == {"job"}


def test_a_foreign_job_is_waited_for_as_long_as_none() -> None:
    waits = []
    for make_one in (True, False):
        rack = fake_rack()
        job = make(rack) if make_one else new_job(rack)
        if not make_one:
            rack.clock.sleep(1)
        began = rack.clock.time
        with pytest.raises(NotFound):
            show(rack, job, by="bob")
        waits.append(rack.clock.time - began)
    assert abs(waits[0] - waits[1]) < 0.3, waits


def test_a_job_that_was_just_started_is_waited_for() -> None:
    rack = fake_rack()
    job, slept = new_job(rack), rack.clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        jobs_of(rack).processes[job] = Running(job, "rack_vm.list", "alice", True)

    rack.clock.sleep = sleep  # type: ignore[method-assign]
    assert show(rack, job)["state"] == "running"


def test_an_answer_that_is_about_to_be_kept_is_waited_for() -> None:
    rack = fake_rack()
    job = make(rack)
    kept, slept = jobs_of(rack).ended.pop(job), rack.clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        jobs_of(rack).ended[job] = kept

    told_at = new_job(rack)
    rack.clock.sleep = sleep  # type: ignore[method-assign]
    told = rack_answer.carry_out(rack.rack, Came("rack_job.show", "alice", {"job": job}, told_at))
    assert told["result"]["changed"]


def test_an_error_stands_under_result() -> None:
    rack = fake_rack()
    make(rack)
    told = show(rack, make(rack))
    assert told["state"] == "failed" and told["result"]["error"]["code"] == "name_in_use"
    assert "retcode" not in told["result"]


def test_a_read_is_its_users_own() -> None:
    rack = fake_rack()
    make(rack)
    job = run(rack, "rack_vm.list")
    assert show(rack, job)["result"]["vms"] and show(rack, job, by="olivia")["state"] == "done"
    for user in ("carol", "bob"):
        with pytest.raises(NotFound):
            show(rack, job, by=user)


def test_a_call_that_names_a_foreign_tenant_is_its_users_own() -> None:
    rack = fake_rack()
    make(rack)
    job = run(rack, "rack_vm.stop", user="bob", name="acme/web1")
    assert show(rack, job, by="bob")["result"]["error"]["code"] == "vm_not_found"
    assert listed(rack, by="bob") == [job]
    with pytest.raises(NotFound):
        show(rack, job, by="alice")
    assert job not in listed(rack, by="carol")


def test_a_user_who_left_the_tenant_sees_nothing_of_it() -> None:
    rack = fake_rack()
    job = make(rack)
    rack.files.data["users.yaml"]["users"]["alice"] = {"tenants": {"beta": "member"}}
    with pytest.raises(NotFound):
        show(rack, job)
    with pytest.raises(NotFound):
        show(rack, job, by="carol")
    assert show(rack, job, by="olivia")["state"] == "done"


def test_what_the_operator_did_in_a_tenant_is_told_without_its_answer() -> None:
    rack = fake_rack()
    job = make(rack, "acme/web1", user="olivia")
    assert "host" in show(rack, job, by="olivia")["result"]["vm"]
    told = show(rack, job)
    assert (told["state"], told["result"], told["user"]) == ("done", None, "olivia")
    assert "h1" not in str(told) and "h2" not in str(told)


def test_what_a_former_operator_did_stays_the_operators() -> None:
    rack = fake_rack()
    job = make(rack, "acme/web1", user="olivia")
    assert [line["operator"] for line in ask_audit(rack, job)] == [True, True]
    rack.files.data["users.yaml"]["users"]["olivia"] = {"tenants": {"acme": "member"}}
    told = show(rack, job)
    assert (told["state"], told["result"]) == ("done", None) and "for the operator" in told["told"]
    assert "h1" not in str(told) and "h2" not in str(told)
    assert show(rack, make(rack, "web2", user="olivia"))["result"]["vm"]["name"] == "web2", "as a member she tells all"


def test_what_a_later_operator_did_as_a_member_stays_the_tenants() -> None:
    rack = fake_rack()
    rack.files.data["users.yaml"]["users"]["anna"] = {"tenants": {"acme": "member"}}
    job = make(rack, user="anna")
    rack.files.data["users.yaml"]["users"]["anna"] = {"operator": True}
    assert show(rack, job)["result"]["vm"]["name"] == "web1" and "operator" not in str(ask_audit(rack, job))


def test_what_nothing_proves_is_not_told() -> None:
    rack = fake_rack()
    job, forged = make(rack), new_job(rack)
    jobs = jobs_of(rack)
    jobs.ended[job] = Kept(job, "rack_vm.create", "alice", rack.clock.now(), True, {"vm": "forged"})
    jobs.ended[forged] = Kept(forged, "rack_vm.list", "alice", rack.clock.now(), True, {"vms": ["forged"]})
    assert "forged" not in str(show(rack, job)) and show(rack, job)["state"] == "done"
    assert listed(rack) == [job] == listed(rack, by="olivia")
    with pytest.raises(NotFound):
        show(rack, forged)
    root = new_job(rack)
    jobs.ended[root] = Kept(root, "rack_vm.list", "root", rack.clock.now(), True, {"vms": []})
    assert "nothing proves" in show(rack, root, by="root")["told"]


def test_the_shells_own_changes_are_proved_by_the_audit() -> None:
    rack = fake_rack()
    job = run(rack, "rack_vm.create", user="root", proved=False, name="acme/web1", **CREATE)
    told = show(rack, job, by="root")
    assert told["result"]["vm"]["name"] == "web1" and "told" not in told
    again = run(rack, "rack_vm.create", user="root", proved=False, name="acme/web1", **CREATE)
    assert show(rack, again, by="root")["result"]["error"]["detail"].startswith("there is a VM")


def test_an_exception_is_for_the_log() -> None:
    rack = fake_rack()
    job = new_job(rack)
    text = "Exception occurred in runner rack_vm.list: Traceback (most recent call last): secret"
    jobs_of(rack).ended[job] = Kept(job, "rack_vm.list", "alice", rack.clock.now(), False, text, True)
    told = show(rack, job)
    assert told["result"]["error"]["code"] == "internal" and "secret" not in str(told)


def test_a_create_whose_return_was_lost_is_done() -> None:
    rack = fake_rack()
    die_at(rack, "rack_vm.create", when="after")
    job = die(rack, "rack_vm.create", name="web1", **CREATE)
    told = show(rack, job)
    assert told["state"] == "done" and told["result"]["vm"]["name"] == "web1", told
    assert rack.vms_on_hosts() == ["acme.web1"]
    assert ask(rack, "list")["jobs"][0]["state"] == "lost", "a list does not look"


def test_a_create_of_a_killed_runner_that_no_host_began_has_failed_in_the_end() -> None:
    rack = fake_rack()
    die_at(rack, "rack_vm.create", when="before")
    job = die(rack, "rack_vm.create", name="web1", **CREATE)
    assert show(rack, job)["state"] == "running" and "held" in show(rack, job)["told"]
    assert rack.claims.held
    rack.clock.sleep(600)
    told = show(rack, job)
    assert told["state"] == "failed" and told["result"]["error"]["code"] == "job_lost"
    assert not rack.claims.held and rack.leftovers() == []


def test_a_create_whose_host_was_cut_off_is_held_until_the_host_answers() -> None:
    rack = fake_rack(hosts=1)
    die_at(rack, "rack_vm.create", when="after")
    job = die(rack, "rack_vm.create", name="web1", **CREATE)
    rack.hosts["h1"].silent = True
    rack.clock.sleep(600)
    assert show(rack, job)["state"] == "running"
    rack.hosts["h1"].silent = False
    assert show(rack, job)["state"] == "done"


def test_a_create_that_came_back_host_silent_is_looked_up() -> None:
    rack = fake_rack(hosts=1)
    real = rack.hosts["h1"]
    job = begin(rack, "rack_vm.create", user="alice")

    def lose(host: str, function: str) -> None:
        real.loses_returns = real.silent = function == "rack_vm.create" or real.silent

    rack.fleet.after = lose
    with pytest.raises(RacksaltError) as told:
        rack_answer.carry_out(rack.rack, Came("rack_vm.create", "alice", {"name": "web1", **CREATE}, job))
    assert told.value.code == "host_silent"
    del jobs_of(rack).processes[job]
    assert show(rack, job)["state"] == "running"
    real.silent = real.loses_returns = False
    rack.fleet.after = lambda host, function: None
    assert show(rack, job)["result"]["vm"]["state"] == "running" and show(rack, job)["state"] == "done"


def test_a_given_request_id_is_the_one_that_is_looked_for() -> None:
    rack = fake_rack()
    wanted = "0d5f6c6e-8d4f-4c55-9a0b-2f6f0a1c9e77"
    die_at(rack, "rack_vm.create", when="after")
    job = die(rack, "rack_vm.create", name="web1", request_id=wanted, **CREATE)
    assert show(rack, job)["result"]["vm"]["name"] == "web1"


def test_the_same_name_by_another_create_is_not_the_lost_one() -> None:
    rack = fake_rack()
    die_at(rack, "rack_vm.create", when="before")
    job = die(rack, "rack_vm.create", name="web1", **CREATE)
    rack.clock.sleep(600)
    assert show(rack, job)["state"] == "failed"
    make(rack)
    assert show(rack, job)["state"] == "failed"


def test_another_change_of_a_killed_runner_is_lost_and_told_with_the_vm_as_it_is() -> None:
    rack = fake_rack()
    make(rack)
    die_at(rack, "rack_vm.act", when="after")
    job = die(rack, "rack_vm.stop", name="web1")
    told = show(rack, job)
    assert (told["state"], told["result"], told["vm"]["state"]) == ("lost", None, "stopped")
    assert "not known" in told["told"]


def test_a_killed_read_has_failed() -> None:
    rack = fake_rack()
    die_at(rack, "rack_host.report", when="before")
    job = die(rack, "rack_vm.list", lines=0)
    told = show(rack, job)
    assert told["state"] == "failed" and told["result"]["error"]["code"] == "job_lost"


def test_jobs_are_listed_the_newest_first() -> None:
    rack = fake_rack()
    first, second = make(rack, "a"), run(rack, "rack_vm.list")
    third = make(rack, "b", user="bob")
    fourth = run(rack, "rack_vm.stop", user="carol", name="acme/a")
    fifth = begin(rack, "rack_vm.list", user="alice")
    assert listed(rack) == [fifth, fourth, second, first]
    assert listed(rack, limit=2) == [fifth, fourth]
    assert listed(rack, state="failed") == [fourth]
    assert listed(rack, fun="rack_vm.list") == [fifth, second]
    assert listed(rack, by="bob") == [third] == listed(rack, by="olivia", user="bob")
    assert [job for job in listed(rack, by="olivia", limit=100) if job in (first, third)] == [third, first]
    with pytest.raises(Denied):
        listed(rack, user="carol")


def test_old_jobs_are_nobodys() -> None:
    rack = fake_rack()
    job = make(rack)
    rack.clock.sleep(2 * 86400)
    jobs_of(rack).ended.clear()
    assert listed(rack) == []
    with pytest.raises(NotFound):
        show(rack, job)


@pytest.mark.parametrize("job", ["1", "x" * 20, "99999999999999999999", "../../etc", None, True])
def test_nonsense_is_no_job(job: Any) -> None:
    with pytest.raises((BadInput, NotFound)):
        show(fake_rack(), job)


def test_a_running_create_is_cancelled_and_its_claim_ends_by_a_look() -> None:
    rack = fake_rack()
    job = begin(rack, "rack_vm.create", user="alice")

    def cancelled_meanwhile(host: str, function: str) -> None:
        if function == "rack_vm.create":
            rack.fleet.before = lambda host, function: None
            ends.append(ask(rack, "cancel", job=job))
            raise Cancelled

    def stop(job: str) -> None:
        del jobs_of(rack).processes[job]

    ends: list[Any] = []
    jobs_of(rack).on_stop = stop
    rack.fleet.before = cancelled_meanwhile
    with pytest.raises(Cancelled):
        rack_answer.carry_out(rack.rack, Came("rack_vm.create", "alice", {"name": "web1", **CREATE}, job))
    assert ends[0]["changed"] and "held" in ends[0]["told"]
    lines = ask_audit(rack, job)
    assert [(line["kind"], line.get("result")) for line in lines] == [("intent", None), ("outcome", "job_cancelled")]
    assert show(rack, job)["state"] == "running"
    rack.clock.sleep(600)
    assert show(rack, job)["state"] == "failed" and rack.leftovers() == []


def ask_audit(rack: FakeRack, job: str) -> list[dict[str, Any]]:
    lines = rack_answer.carry_out(rack.rack, Came("rack_audit.list", "root", {"job": job}, new_job(rack)))["lines"]
    return list(lines)


def test_only_its_user_and_operators_end_a_job() -> None:
    rack = fake_rack()
    rack.files.data["users.yaml"]["users"]["anna"] = {"tenants": {"acme": "member"}}
    rack.files.data["users.yaml"]["users"]["rita"] = {"tenants": {"acme": "reader"}}
    stopped: list[str] = []
    jobs_of(rack).on_stop = stopped.append
    job = begin(rack, "rack_vm.stop", user="alice")
    with pytest.raises(NotFound):
        ask(rack, "cancel", by="bob", job=job)
    with pytest.raises(NotFound):
        ask(rack, "cancel", by="anna", job=job)
    reading = begin(rack, "rack_vm.list", user="rita")
    with pytest.raises(Denied) as told:
        ask(rack, "cancel", by="rita", job=reading)
    assert told.value.code == "role_reader" and stopped == []
    assert ask(rack, "cancel", by="alice", job=job, test=True)["steps"] and stopped == []
    assert ask(rack, "cancel", by="olivia", job=job)["changed"] and stopped == [job]


def test_a_colleagues_change_is_seen_and_not_ended() -> None:
    rack = fake_rack()
    rack.files.data["users.yaml"]["users"]["anna"] = {"tenants": {"acme": "member"}}
    make(rack)
    seen: list[Any] = []

    def look(host: str, function: str) -> None:
        if function == "rack_vm.act":
            rack.fleet.before = lambda host, function: None
            seen.append(show(rack, job, by="anna")["state"])
            with pytest.raises(Denied) as told:
                ask(rack, "cancel", by="anna", job=job)
            seen.append(told.value.code)

    rack.fleet.before = look
    job = begin(rack, "rack_vm.stop", user="alice")
    rack_answer.carry_out(rack.rack, Came("rack_vm.stop", "alice", {"name": "web1"}, job))
    assert seen == ["running", "job_of_another"]


def test_an_ended_job_is_not_cancelled() -> None:
    rack = fake_rack()
    job = make(rack)
    with pytest.raises(Conflict) as told:
        ask(rack, "cancel", job=job)
    assert (told.value.code, told.value.facts["state"]) == ("job_ended", "done")


def test_a_jobs_id_is_its_time() -> None:
    assert job_trail.started_at("19700101000001500000") == 1.5
    assert job_trail.started_at("19700101000001500000_77") == 1.5
    assert job_trail.started_at("99999999999999999999") is None
