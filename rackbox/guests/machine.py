"""One QEMU process without libvirt, for checks of a guest image: start, seed, serial console, QMP, agent, end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRWPair
from pathlib import Path
from types import TracebackType
from typing import Any

from rackbox.guests.cache import Image
from rackbox.guests.command import GuestError, run

AGENT_PORT = "org.qemu.guest_agent.0"
DELIMITER = b"\xff"
END_TIMEOUT_S = 10


@dataclass(frozen=True)
class Hardware:
    """What a machine is made of; `guest_port` is reached from outside at Machine.address."""

    memory_mib: int = 128
    machine: str = "q35"
    guest_port: int = 80
    seed_device: Sequence[str] = ("virtio-blk-pci,drive=seed",)
    more_cmdline: str = ""


def make_seed(folder: Path, *, name: str, instance_id: str, user_data: str) -> Path:
    """Write a NoCloud seed CD image into `folder`."""
    content = folder / f"seed-{instance_id}"
    content.mkdir()
    (content / "meta-data").write_text(f"instance-id: {instance_id}\nlocal-hostname: {name}\n", encoding="utf-8")
    (content / "user-data").write_text(user_data, encoding="utf-8")
    image = folder / f"seed-{instance_id}.iso"
    run(["xorrisofs", "-quiet", "-volid", "cidata", "-rock", "-joliet", "-o", image, content])
    return image


class Machine:
    """A running guest; used as a context, at whose end its QEMU is gone."""

    def __init__(self, image: Image, folder: Path, *, disk: Path, seed: Path, hardware: Hardware) -> None:
        """Start QEMU with its sockets and console file in `folder`, which must be new for each machine."""
        folder.mkdir()
        self.serial = folder / "serial.log"
        self._qmp, self._agent = folder / "qmp.sock", folder / "agent.sock"
        self.address = ("127.0.0.1", _free_port())
        self.started_at = time.monotonic()
        arguments = self._arguments(image, disk=disk, seed=seed, hardware=hardware)
        self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Machine:
        """Enter a context that ends with the machine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End QEMU, whatever state the guest is in."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=END_TIMEOUT_S)

    def _arguments(self, image: Image, *, disk: Path, seed: Path, hardware: Hardware) -> list[str]:
        host, port = self.address
        arguments = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-machine", hardware.machine]
        arguments += ["-m", str(hardware.memory_mib), "-nodefaults", "-vga", "std", "-display", "none"]
        arguments += ["-serial", f"file:{self.serial}", "-qmp", f"unix:{self._qmp},server=on,wait=off"]
        arguments += ["-netdev", f"user,id=net,hostfwd=tcp:{host}:{port}-:{hardware.guest_port}"]
        arguments += ["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]
        arguments += ["-drive", f"if=none,id=disk,file={disk},format=qcow2", "-device", "virtio-blk-pci,drive=disk"]
        arguments += ["-drive", f"if=none,id=seed,file={seed},format=raw,readonly=on"]
        arguments += [part for device in hardware.seed_device for part in ("-device", device)]
        arguments += ["-chardev", f"socket,id=agent,path={self._agent},server=on,wait=off", "-device", "virtio-serial"]
        arguments += ["-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"]
        if image["kind"] == "kernel":
            cmdline = f"{image['cmdline']} {hardware.more_cmdline}".strip()
            arguments += ["-kernel", image["kernel"], "-initrd", image["initrd"], "-append", cmdline]
        return arguments

    def seconds(self) -> float:
        """Return the time since QEMU was started."""
        return time.monotonic() - self.started_at

    def cpu_seconds(self) -> float:
        """Return the processor time that QEMU has used: unlike the clock, little swayed by a busy host."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))

    def wait_for_serial(self, text: str, *, timeout_s: float) -> str:
        """Wait until a line of the serial console holds `text`, and return that line.

        Raises GuestError with the console's last lines if QEMU ends or the time is up before.
        """
        while True:
            said = self.serial.read_text(errors="replace").splitlines() if self.serial.exists() else []
            for line in said:
                if text in line:
                    return line.strip()
            if self.seconds() > timeout_s or self._process.poll() is not None:
                raise GuestError("\n".join([f"the serial console did not say {text!r}; it ended with:", *said[-10:]]))
            time.sleep(0.05)

    def receive(self, *, send: bytes = b"", timeout_s: float = 10) -> bytes:
        """Connect to the guest's port, send something, and return what it says until it closes or pauses."""
        with socket.create_connection(self.address, timeout=timeout_s) as connection:
            connection.sendall(send)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
                    if not send:
                        break
            except TimeoutError:
                pass
        return b"".join(parts)

    def command(self, name: str, **arguments: Any) -> Any:
        """Give QEMU a QMP command and return its answer."""
        with _lines(self._qmp) as stream:
            stream.readline()
            _say(stream, "qmp_capabilities", {})
            _answer(stream)
            _say(stream, name, arguments)
            return _answer(stream)

    def press(self, *keys: str) -> None:
        """Press keys together, such as ctrl, alt and delete."""
        self.command("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def ask_agent(self, name: str, *, timeout_s: float = 5, **arguments: Any) -> Any:
        """Ask the guest agent, as libvirt does: synchronise first. Raises TimeoutError if it does not answer."""
        with _lines(self._agent, timeout_s=timeout_s) as stream:
            _say(stream, "guest-sync-delimited", {"id": 4711})
            if _answer(stream) != 4711:
                raise GuestError("the guest agent answered another's guest-sync")
            _say(stream, name, arguments)
            return None if name == "guest-shutdown" else _answer(stream)

    def ended_within(self, seconds: float) -> bool:
        """Say whether QEMU ends by itself within `seconds`."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def _lines(path: Path, *, timeout_s: float = 5) -> Iterator[BufferedRWPair]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        with connection.makefile("rwb") as stream:
            yield stream


def _say(stream: BufferedRWPair, name: str, arguments: dict[str, Any]) -> None:
    stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    stream.flush()


def _answer(stream: BufferedRWPair) -> Any:
    """Read on to the next answer, past events and what was left from before a synchronisation."""
    while line := stream.readline():
        message = json.loads(line.rpartition(DELIMITER)[2])
        if "error" in message:
            raise GuestError(str(message["error"]))
        if "return" in message:
            return message["return"]
    raise GuestError("the other end closed the connection without an answer")
