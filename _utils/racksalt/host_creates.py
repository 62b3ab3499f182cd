"""A new VM on this host: admitted, made and started, or nothing of it stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from racksalt import domain_xml, seed, shape
from racksalt.domain_xml import DiskFile, DomainPlan, KernelBoot
from racksalt.errors import BadInput, NotFound
from racksalt.host_admission import Admission, check_deadline
from racksalt.host_requests import CreateOnHost, Secrets, seal_context
from racksalt.host_vms import HostVms
from racksalt.model import KernelImage
from racksalt.ports import DiskInMaking
from racksalt.taking_back import take_back, take_back_all


@dataclass(frozen=True, slots=True)
class HostCreates:
    """Creates on one host."""

    vms: HostVms

    def create(self, request: CreateOnHost, *, test: bool = False) -> dict[str, Any]:
        """Make and start a VM; whatever step fails, nothing of it stays.

        What cannot be taken back is named in the error's fact ``left``; the error is why the create failed.
        The room is checked here, under the host's own lock, whatever the writer believed.
        """
        vm = request.record
        admission = Admission(self.vms.host, vm)
        with self.vms.lock(), ExitStack() as undo:
            check_deadline(vm.title, request.deadline, now=self.vms.clock.now())
            with nullcontext() if test else self._begun_disk(request) as disk:
                known = self._admit(request, admission)
                if not known and not test:
                    self._make(request, disk, undo)
            made = undo.pop_all()
        if request.start and not test:
            self._start(vm.uuid, made)
        return {"vm": vm.title, "changed": not known, "steps": [] if known else _steps(request)}

    def _admit(self, request: CreateOnHost, admission: Admission) -> bool:
        """Whether this very VM is there already; refuses what must not be made."""
        report = self.vms.hypervisor.report(cpu=False)
        for domain in report.domains:
            if domain.uuid == request.record.uuid:
                return True
            admission.check_domain(domain)
        admission.check_room(request.room, report)
        return False

    @contextmanager
    def _begun_disk(self, request: CreateOnHost) -> Iterator[DiskInMaking | None]:
        """The disk is made while libvirt is asked, which takes its time where others start; ``None`` without its image.

        Nothing is left of one that is not kept.
        """
        try:
            disk = self._begin_disk(request)
        except NotFound:
            yield None
            return
        try:
            yield disk
        finally:
            disk.drop()

    def _begin_disk(self, request: CreateOnHost) -> DiskInMaking:
        vm, (_, backing) = request.record, self._image_files(request)
        return self.vms.volumes.begin(
            vm.tenant,
            vm.uuid,
            size_bytes=vm.disk_gib * 2**30,
            backing=backing.path if backing else None,
            format=backing.format if backing else "qcow2",
        )

    def _make(self, request: CreateOnHost, begun: DiskInMaking | None, undo: ExitStack) -> None:
        vm = request.record
        secrets = self._secrets(request)
        boot, backing = self._image_files(request)
        take_back(undo, self.vms.volumes.remove, vm.tenant, vm.uuid)
        disk = (begun or self._begin_disk(request)).keep()
        documents = seed.files(vm, request.network, ssh_keys=secrets.ssh_keys, user_data=secrets.user_data)
        seed_path = self.vms.volumes.write_seed(vm.tenant, vm.uuid, documents)
        for nic in vm.nics:
            take_back(undo, self.vms.hypervisor.release_address, nic)
            self.vms.hypervisor.reserve_address(nic)
        plan = DomainPlan(
            vm,
            (DiskFile(disk, "qcow2", backing=backing), DiskFile(seed_path, "raw", readonly=True)),
            request.accelerator,
            self.vms.volumes.console_log(vm.uuid),
            boot,
            request.cpu,
        )
        for step in (self.vms.power_off, self.vms.undefine, self.vms.power_off):
            take_back(undo, step, vm.uuid)
        self.vms.hypervisor.define(domain_xml.build(plan))

    def _secrets(self, request: CreateOnHost) -> Secrets:
        if request.sealed is None:
            return Secrets()
        opened = self.vms.key.unseal(request.sealed, context=seal_context(self.vms.host, request.record.uuid))
        try:
            return shape.parse(Secrets, json.loads(opened))
        except (ValueError, BadInput):
            # What is wrong would be told with what was found, and that is secret.
            raise BadInput("sealed: found what is not the secrets of a VM") from None

    def _image_files(self, request: CreateOnHost) -> tuple[KernelBoot | None, DiskFile | None]:
        image = request.image
        if isinstance(image, KernelImage):
            paths = self.vms.volumes.image_path(image.kernel), self.vms.volumes.image_path(image.initrd)
            return KernelBoot(*paths, image.cmdline), None
        return None, DiskFile(self.vms.volumes.image_path(image.sha256), image.format, readonly=True)

    def _start(self, uuid: str, made: ExitStack) -> None:
        """Start it. What was made for one that cannot be started is taken back under the host's lock, as the same
        create, sent again, may make it anew."""
        try:
            self.vms.start(uuid)
        except BaseException as error:
            take_back_all(made, self.vms.lock, error)


def _steps(request: CreateOnHost) -> list[str]:
    vm = request.record
    steps = [
        f"disk of {vm.disk_gib} GiB from image {vm.image}",
        "cloud-init seed",
        *(f"address {nic.address} in network {nic.network} for {nic.mac}" for nic in vm.nics),
        f"domain {vm.domain} with {vm.vcpus} vCPUs and {vm.memory_mib} MiB",
    ]
    return [*steps, "start"] if request.start else steps
