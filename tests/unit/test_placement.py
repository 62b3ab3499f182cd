"""Placement: the short rule and the long telling agree, and no host is ever given more than it has."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from racksalt import placement
from racksalt.model import (
    CpuModel,
    Domain,
    HostConfig,
    HostCpu,
    HostReport,
    NumaCell,
    Overcommit,
    Record,
    Room,
    RoomPolicy,
)
from racksalt.placement import HostLoad, Wish

ROOMS = st.builds(Room, st.integers(0, 8), st.integers(0, 4096), st.integers(0, 50))
LABELS = st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from(["a", "b"]), max_size=2)
GROUPS = st.sampled_from([None, "db", "web"])
POLICIES = st.builds(
    RoomPolicy,
    reserve=ROOMS,
    overcommit=st.builds(Overcommit, st.floats(0.1, 4), st.floats(0.1, 4), st.floats(0.1, 4)),
    cap=st.dictionaries(st.sampled_from(["vcpus", "memory_mib", "disk_gib"]), st.integers(0, 64)),
    vm_overhead_mib=st.integers(0, 128),
)
CONFIGS = st.builds(
    HostConfig,
    st.sampled_from(["h1", "h2"]),
    st.sampled_from([True, True, False]),
    st.just("x"),
    LABELS,
    st.sampled_from(["kvm", "qemu"]),
    POLICIES,
    st.sampled_from([None, "row1", "row2"]),
    st.sampled_from([(), (), ("acme",)]),
)
MOSTLY = st.sampled_from([True, True, True, False])
UUID = "0b5f2f40-4a4e-4b0e-9d2c-{:012x}"
UUIDS = st.sampled_from([UUID.format(1), UUID.format(2)])
KINDS = st.sampled_from(["affinity", "anti_affinity", "spread"])
CPUS = st.sampled_from([None, HostCpu("Haswell", "Intel", "aes avx2", "Haswell qemu64"), HostCpu("A", "B", "aes", "A")])
LOADS = st.builds(
    HostLoad,
    CONFIGS,
    MOSTLY,
    st.builds(Room, st.integers(2, 8), st.integers(256, 4096), st.integers(4, 50)),
    st.builds(Room, st.integers(0, 3), st.integers(0, 512), st.integers(0, 8)),
    st.dictionaries(
        st.tuples(KINDS, st.sampled_from(["acme", "beta"]), st.sampled_from(["db", "web"])),
        st.frozensets(UUIDS, min_size=1, max_size=2),
        max_size=3,
    ),
    CPUS,
    st.lists(st.builds(NumaCell, st.integers(1, 4), st.integers(100, 600), st.integers(0, 100)), max_size=2).map(tuple),
    st.integers(0, 100),
)
WISHES = st.builds(
    Wish,
    st.sampled_from(["acme", "beta"]),
    st.builds(Room, st.integers(0, 4), st.integers(0, 512), st.integers(0, 8)),
    st.one_of(st.just({}), LABELS),
    GROUPS,
    st.sampled_from([None, None, "h1", "h2"]),
    GROUPS,
    GROUPS,
    st.one_of(st.just({}), LABELS),
    st.sampled_from([None, None, CpuModel("Haswell", ("aes",)), CpuModel("qemu64", ("avx512f",))]),
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
    st.one_of(st.just(""), UUIDS),
)


def load(name: str, total: Room, used: Room | None = None, **config: object) -> HostLoad:
    return HostLoad(HostConfig(name, **config), True, total, used or Room())  # type: ignore[arg-type]


def domain(number: int, room: Room, record: Record | None = None) -> Domain:
    return Domain(UUID.format(number), f"d{number}", "stopped", room.vcpus, room.memory_mib, room.disk_gib, record)


def group(kind: str, name: str) -> tuple[str, str, str]:
    return kind, "acme", name


def record(number: int, room: Room, group: str | None = None) -> Record:
    uuid = UUID.format(number)
    sizes = (room.vcpus, room.memory_mib, room.disk_gib)
    return Record("r", uuid, "acme", f"v{number}", "h1", "f", "i", 1, *sizes, anti_affinity=group)


@given(WISHES, LOADS, st.lists(LOADS, max_size=3))
@settings(max_examples=200)
def test_a_host_fits_when_every_rule_holds(wish: Wish, host: HostLoad, others: list[HostLoad]) -> None:
    wish = placement.among(wish, [host, *others]) if others else wish
    told = placement.verdicts(wish, host)
    assert placement.fits(wish, host) == all(verdict.ok for verdict in told)
    assert tuple(verdict.rule for verdict in told) == placement.RULES


@given(WISHES, st.lists(LOADS, max_size=5))
def test_the_best_host_is_the_first_candidate(wish: Wish, hosts: list[HostLoad]) -> None:
    found = placement.candidates(wish, hosts)
    assert placement.best(wish, hosts) == (found[0] if found else None)
    assert all(placement.fits(wish, host) for host in found)
    assert len(found) == sum(placement.fits(wish, host) for host in hosts)


@given(ROOMS, POLICIES)
def test_capacity_is_the_share_of_what_is_not_reserved_and_at_most_the_cap(total: Room, policy: RoomPolicy) -> None:
    found = placement.capacity(total, policy)
    ratio = {"vcpus": "vcpus", "memory_mib": "memory", "disk_gib": "disk"}
    for name, short in ratio.items():
        free = getattr(total, name) - getattr(policy.reserve, name)
        wanted = max(0, int(free * getattr(policy.overcommit, short)))
        assert getattr(found, name) == min(wanted, policy.cap.get(name, wanted))  # type: ignore[call-overload]


@given(ROOMS, POLICIES, st.lists(ROOMS, max_size=30))
def test_a_host_that_is_filled_never_passes_its_capacity(total: Room, policy: RoomPolicy, rooms: list[Room]) -> None:
    config = HostConfig("h1", room=policy)
    domains: list[Domain] = []
    for number, room in enumerate(rooms):
        host = placement.load_of(config, HostReport("h1", total, tuple(domains)), answers=True)
        if placement.fits(Wish("acme", room), host):
            domains.append(domain(number, room))
        taken = placement.taken_by([one.room for one in domains], policy)
        capacity = placement.capacity(total, policy)
        assert all(
            getattr(taken, name) <= getattr(capacity, name) or not domains
            for name in ("vcpus", "memory_mib", "disk_gib")
        )


def test_the_emptiest_host_comes_first_then_the_name() -> None:
    total = Room(8, 8192, 100)
    hosts = [
        load("h3", total),
        load("h2", total, Room(0, 4096, 0)),
        load("h1", total),
        load("h0", total, Room(7, 0, 0)),
    ]
    wish = Wish("acme", Room(1, 128, 1))
    assert [host.config.name for host in placement.candidates(wish, hosts)] == ["h1", "h3", "h2", "h0"]


def test_the_fullest_resource_afterwards_decides() -> None:
    hosts = [load("a", Room(8, 8192, 10), Room(0, 0, 8)), load("b", Room(8, 8192, 10), Room(5, 0, 0))]
    assert [host.config.name for host in placement.candidates(Wish("acme", Room(1, 1, 1)), hosts)] == ["b", "a"]


def test_the_overhead_of_each_vm_counts() -> None:
    host = load("h1", Room(8, 192, 10), room=RoomPolicy(vm_overhead_mib=64))
    assert placement.fits(Wish("acme", Room(1, 128, 1)), host)
    assert not placement.fits(Wish("acme", Room(1, 129, 1)), host)
    assert placement.taken_by([Room(1, 128, 1)] * 2, host.config.room) == Room(2, 384, 2)


def test_stopped_and_foreign_domains_and_what_is_on_its_way_take_room() -> None:
    config = HostConfig("h1", room=RoomPolicy(vm_overhead_mib=0))
    known = domain(1, Room(1, 100, 1), record(1, Room(1, 100, 1), "db"))
    report = HostReport("h1", Room(8, 1000, 10), (known, domain(2, Room(2, 200, 2))))
    host = placement.with_coming(placement.load_of(config, report, answers=True), [record(3, Room(3, 300, 3), "web")])
    assert host.used == Room(6, 600, 6)
    assert host.groups == {
        group("anti_affinity", "db"): {UUID.format(1)},
        group("anti_affinity", "web"): {UUID.format(3)},
    }


def test_a_host_without_a_report_has_no_room() -> None:
    host = placement.load_of(HostConfig("h1"), None, answers=False)
    assert not placement.fits(Wish("acme", Room(1, 1, 1)), host)


def test_a_group_of_another_tenant_is_another_group() -> None:
    groups = {("anti_affinity", "beta", "db"): frozenset({UUID.format(1)})}
    host = replace(load("h1", Room(8, 1000, 10)), groups=groups)
    assert placement.fits(Wish("acme", Room(1, 1, 1), anti_affinity="db"), host)
    told = {v.rule: v.found for v in placement.verdicts(Wish("acme", Room(1, 1, 1), anti_affinity="db"), host)}
    assert told["anti_affinity"] == []


def test_refusals_are_counted_by_rule_without_a_host() -> None:
    hosts = [load("h1", Room(1, 1000, 1)), load("h2", Room(1, 1000, 9)), load("h3", Room(9, 1000, 9))]
    explained = placement.explain(Wish("acme", Room(2, 1, 2)), hosts)
    assert placement.count_by_rule(explained) == {"vcpus": 2, "disk": 1}
    assert [host for host, _ in placement.refusals(explained)] == ["h1", "h1", "h2"]
    assert next(verdict.found for host, verdict in placement.refusals(explained) if host == "h2") == 1


def test_a_disabled_host_says_why() -> None:
    host = load("h1", Room(8, 1000, 10), enabled=False, reason="new disks")
    told = {v.rule: v for v in placement.verdicts(Wish("acme", Room(1, 1, 1)), host)}
    assert not told["enabled"].ok and told["enabled"].found == "disabled: new disks"


# The rules on groups, on whole hosts, and on hardware.

ONE, BIG = Room(1, 1, 1), Room(8, 1000, 100)


def on(name: str, *vms: Wish, **config: object) -> HostLoad:
    return placement.with_coming(load(name, BIG, **config), vms)


def vm(number: int, **asked: object) -> Wish:
    return Wish("acme", ONE, uuid=UUID.format(number), **asked)  # type: ignore[arg-type]


def taking(wish: Wish, *loads: HostLoad) -> list[str]:
    return sorted(found.config.name for found in placement.candidates(wish, loads))


def test_a_group_that_nobody_is_in_goes_anywhere_and_the_others_follow() -> None:
    h1, h2, web = on("h1"), on("h2"), Wish("acme", ONE, affinity="web")
    assert taking(web, h1, h2) == ["h1", "h2"]
    h2 = on("h2", vm(1, affinity="web"))
    assert taking(web, h1, h2) == ["h2"]
    assert taking(Wish("beta", ONE, affinity="web"), h1, h2) == ["h1", "h2"]
    assert taking(replace(web, anti_affinity="x", affinity=None), h1, h2) == ["h1", "h2"]


def test_a_vm_is_not_in_its_own_way() -> None:
    h1, h2 = on("h1", vm(1, affinity="a", anti_affinity="b", spread="c"), failure_domain="row"), on("h2")
    h3 = on("h3", failure_domain="row")
    assert taking(vm(1, affinity="a", anti_affinity="b", spread="c"), h1, h2, h3) == ["h1", "h2", "h3"]
    assert taking(vm(2, spread="c"), h1, h2, h3) == ["h2"]


def test_a_group_leaves_a_disabled_host_and_meets_again() -> None:
    group = {"affinity": "web"}
    h1, h2, h3 = on("h1", vm(1, **group), vm(2, **group), enabled=False), on("h2"), on("h3")
    assert taking(vm(1, **group), h1, h2, h3) == ["h2", "h3"]
    h3 = on("h3", vm(1, **group))
    assert taking(vm(2, **group), h1, h2, h3) == ["h3"]
    assert taking(Wish("acme", ONE, affinity="other"), h1, h2, h3) == ["h2", "h3"]
    assert taking(Wish("acme", ONE, **group), on("h1", vm(1, **group), enabled=False), h2) == [], "a new one waits"


def test_a_spread_group_has_one_vm_in_each_failure_domain() -> None:
    hosts = [on("h1", vm(1, spread="db"), failure_domain="a"), on("h2", failure_domain="a"), on("h3"), on("h4")]
    assert taking(Wish("acme", ONE, spread="db"), *hosts) == ["h3", "h4"]
    hosts[2] = on("h3", vm(2, spread="db"))
    assert taking(Wish("acme", ONE, spread="db"), *hosts) == ["h4"], "a host without one is a domain of its own"


def test_a_dedicated_host_takes_its_tenants_only_and_a_tenant_is_kept_to_its_labels() -> None:
    hosts = on("h1", tenants=("acme",)), on("h2", labels={"site": "a"})
    assert taking(Wish("acme", ONE), *hosts) == ["h1", "h2"] and taking(Wish("beta", ONE), *hosts) == ["h2"]
    assert taking(Wish("acme", ONE, tenant_labels={"site": "a"}), *hosts) == ["h2"]
    told = {v.rule: v for v in placement.verdicts(Wish("beta", ONE), hosts[0])}["tenants"]
    assert not told.ok and (told.asked, told.found) == ("beta", ["acme"])


def test_a_host_has_to_give_the_racks_cpu_unless_it_emulates() -> None:
    cpu = HostCpu("Haswell", "Intel", "aes avx2", "Haswell qemu64")
    given, unknown, emulated = (
        replace(on("h1"), cpu=cpu),
        on("h2"),
        on("h3", accelerator="qemu"),
    )
    wish = Wish("acme", ONE, cpu=CpuModel("Haswell", ("avx2",)))
    assert taking(wish, given, unknown, emulated) == ["h1", "h3"]
    assert taking(replace(wish, cpu=CpuModel("Haswell", ("avx512f",))), given, unknown) == []


def test_a_vm_for_one_numa_cell_needs_a_cell_of_its_size() -> None:
    small, large = (NumaCell(4, 500), NumaCell(4, 500)), (NumaCell(8, 1000, 100),)
    hosts = replace(on("h1"), cells=small), replace(on("h2"), cells=large), on("h3")
    assert taking(Wish("acme", Room(4, 501, 1), numa=True), *hosts) == ["h2"]
    assert taking(Wish("acme", Room(4, 901, 1), numa=True), *hosts) == [], "huge pages are no memory for it"
    assert taking(Wish("acme", Room(4, 901, 1)), *hosts) == ["h1", "h2", "h3"]


def test_huge_pages_are_counted_apart_from_other_memory() -> None:
    policy = RoomPolicy(vm_overhead_mib=10)
    huge = replace(record(1, Room(1, 300, 1)), huge_pages=True)
    plain = record(2, Room(1, 100, 1))
    domains = domain(1, huge.room, huge), domain(2, plain.room, plain)
    report = HostReport("h1", Room(8, 1000, 10), domains, numa=(NumaCell(8, 1000, 400),))
    host = placement.load_of(HostConfig("h1", room=policy), report, answers=True)
    assert (host.capacity.memory_mib, host.used.memory_mib, host.huge_mib) == (600, 120, 300)
    fits = [placement.fits(Wish("acme", Room(1, size, 1), huge_pages=True), host) for size in (100, 101)]
    assert fits == [True, False]
    assert [placement.fits(Wish("acme", Room(1, size, 1)), host) for size in (470, 471)] == [True, False]


@given(st.lists(st.builds(vm, st.integers(2, 9), affinity=GROUPS, spread=GROUPS, huge_pages=st.booleans()), max_size=3))
def test_a_vm_that_leaves_takes_all_of_its_own_with_it(others: list[Wish]) -> None:
    own = replace(record(1, Room(2, 50, 3), "db"), affinity="web", huge_pages=True)
    before = placement.with_coming(load("h1", BIG), {other.uuid: other for other in others}.values())
    assert placement.without(placement.with_coming(before, [own]), own) == before
