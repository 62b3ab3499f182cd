"""Boot the guest images under emulation and check what the demo and the tests rely on: `check.py [tiny|debian-12]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rackbox.guests.build import BUILDERS
from rackbox.guests.cache import Image, default_cache
from rackbox.guests.command import GuestError, run
from rackbox.guests.machine import Hardware, Machine, make_seed
from rackbox.guests.packages import ensure_tools

TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "xorrisofs": "xorriso"}
CTRL_ALT_DEL = ("ctrl", "alt", "delete")
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
TINY_BOOT_S = 60
DEBIAN_BOOT_S = 300
STOP_S = 10
DEAF_S = 2
IDE_CD = Hardware(machine="pc", seed_device=("ide-cd,drive=seed",))
SCSI_CD = Hardware(seed_device=("virtio-scsi-pci", "scsi-cd,drive=seed"))


def expect(truth: bool, message: str) -> None:
    """Raise GuestError with `message` unless `truth`."""
    if not truth:
        raise GuestError(message)


class TinyCheck:
    """The boots of `tiny`: one for each rung of the stop ladder, all with one data disk."""

    def __init__(self, image: Image, work: Path) -> None:
        """Prepare a blank, thin data disk."""
        self._image, self._work = image, work
        self._disk = work / "data.qcow2"
        self._boots = 0
        run(["qemu-img", "create", "-q", "-f", "qcow2", self._disk, "10G"])

    def run(self) -> None:
        """Go through all boots."""
        with self._boot("#cloud-config\n") as guest:
            self._stops(guest, "the power button", lambda: guest.command("system_powerdown"))
        with self._boot("#cloud-config\n", SCSI_CD) as guest:
            self._stops(guest, "Ctrl-Alt-Del", lambda: guest.press(*CTRL_ALT_DEL))
        with self._boot("#!/bin/sh\necho script-ran > /dev/ttyS0\n", IDE_CD) as guest:
            guest.wait_for_serial("script-ran", timeout_s=TINY_BOOT_S)
            self._stops(guest, "the agent", lambda: guest.ask_agent("guest-shutdown"))
        with self._boot("#racksalt stubborn=acpi\n") as guest:
            self._ignores(guest, "the power button", lambda: guest.command("system_powerdown"))
            self._stops(guest, "Ctrl-Alt-Del", lambda: guest.press(*CTRL_ALT_DEL))
        with self._boot("#cloud-config\n", Hardware(memory_mib=96, more_cmdline="stubborn=cad")) as guest:
            self._ignores(guest, "the power button", lambda: guest.command("system_powerdown"))
            self._ignores(guest, "Ctrl-Alt-Del", lambda: guest.press(*CTRL_ALT_DEL))
            self._stops(guest, "the agent", lambda: guest.ask_agent("guest-shutdown"))
        with self._boot("#racksalt stubborn=all\n") as guest:
            self._ignores(guest, "the power button", lambda: guest.command("system_powerdown"))
            self._ignores(guest, "Ctrl-Alt-Del", lambda: guest.press(*CTRL_ALT_DEL))
            self._ignores(guest, "the agent", lambda: _unanswered(guest))

    @contextmanager
    def _boot(self, user_data: str, hardware: Hardware | None = None) -> Iterator[Machine]:
        hardware = hardware or Hardware()
        self._boots += 1
        name, instance = f"tiny{self._boots}", f"i-{self._boots}"
        seed = make_seed(self._work, name=name, instance_id=instance, user_data=user_data)
        folder = self._work / name
        with Machine(self._image, folder, disk=self._disk, seed=seed, hardware=hardware) as guest:
            guest.wait_for_serial(f"racksalt-guest: {name} ready 10.0.2.15", timeout_s=TINY_BOOT_S)
            print(
                f"{name}: ready after {guest.seconds():.1f} s ({guest.cpu_seconds():.1f} s of processor), "
                f"{hardware.machine}, {hardware.memory_mib} MiB, seed on {hardware.seed_device[-1]}"
            )
            self._check_answer(guest, name, instance)
            yield guest

    def _check_answer(self, guest: Machine, name: str, instance: str) -> None:
        answer: dict[str, Any] = json.loads(guest.receive(send=REQUEST).partition(b"\r\n\r\n")[2])
        wanted = {"name": name, "instance_id": instance, "address": "10.0.2.15", "boots": self._boots}
        found = {key: answer.get(key) for key in wanted}
        expect(found == wanted, f"HTTP answered {found}, wanted {wanted}")

    @staticmethod
    def _stops(guest: Machine, what: str, press: Callable[[], object]) -> None:
        before = guest.seconds()
        press()
        expect(guest.ended_within(STOP_S), f"{what} did not stop the guest in {STOP_S} s")
        print(f"  stopped by {what} in {guest.seconds() - before:.2f} s")

    @staticmethod
    def _ignores(guest: Machine, what: str, press: Callable[[], object]) -> None:
        press()
        expect(not guest.ended_within(DEAF_S), f"{what} stopped a guest that was to be deaf to it")
        print(f"  deaf to {what}")


def _unanswered(guest: Machine) -> None:
    try:
        guest.ask_agent("guest-shutdown", timeout_s=DEAF_S)
    except TimeoutError:
        return
    raise GuestError("the agent of a guest that was to be deaf to all answered")


def check_tiny(image: Image, work: Path) -> None:
    """Check `tiny`: its answers, its data disk over reboots, its stop ladder, where it finds a seed."""
    TinyCheck(image, work).run()


def check_debian(image: Image, work: Path) -> None:
    """Check `debian-12`: cloud-init runs to its end, sshd and the guest agent answer, the power button stops it."""
    disk = work / "debian.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image["file"], "-F", image["format"], disk, "5G"])
    user_data = "#cloud-config\nruncmd:\n  - echo root-bytes $(findmnt -bno SIZE /) > /dev/ttyS0\n"
    seed = make_seed(work, name="deb1", instance_id="i-1", user_data=user_data)
    hardware = Hardware(memory_mib=512, guest_port=22)
    with Machine(image, work / "deb1", disk=disk, seed=seed, hardware=hardware) as guest:
        guest.wait_for_serial("deb1 login:", timeout_s=DEBIAN_BOOT_S)
        print(f"deb1: login after {guest.seconds():.1f} s ({guest.cpu_seconds():.1f} s of processor)")
        size = guest.wait_for_serial("root-bytes", timeout_s=DEBIAN_BOOT_S).split()[-1]
        guest.wait_for_serial("finished at", timeout_s=DEBIAN_BOOT_S)
        print(f"deb1: cloud-init done after {guest.seconds():.1f} s ({guest.cpu_seconds():.1f} s of processor)")
        expect(int(size) > 4 * 10**9, f"the root file system did not grow to its disk: {size} bytes")
        banner = guest.receive()
        expect(banner.startswith(b"SSH-2.0-"), f"no ssh banner but {banner!r}")
        found = guest.ask_agent("guest-get-host-name", timeout_s=30)
        expect(found == {"host-name": "deb1"}, f"the guest agent answered {found}")
        before = guest.seconds()
        guest.command("system_powerdown")
        expect(guest.ended_within(60), "the power button did not stop the guest")
        print(f"  stopped by the power button in {guest.seconds() - before:.1f} s")


CHECKS = {"tiny": check_tiny, "debian-12": check_debian}


def main() -> int:
    """Check the guests that the command line names, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("guests", nargs="*", metavar="GUEST", help=f"of {', '.join(CHECKS)}; all by default")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    arguments = parser.parse_args()
    if unknown := set(arguments.guests) - set(CHECKS):
        parser.error(f"no such guest: {', '.join(sorted(unknown))}")
    try:
        ensure_tools(TOOLS)
        for name in arguments.guests or CHECKS:
            with tempfile.TemporaryDirectory(prefix="guest-check-") as work:
                CHECKS[name](BUILDERS[name](arguments.cache), Path(work))
    except GuestError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
