"""Booting this host again, once its answer is on its way."""

from __future__ import annotations

import subprocess

from racksalt.errors import Unavailable

_SOON_S = 3


def soon() -> dict[str, int]:
    """By systemd, which is not ended with the minion."""
    words = ["systemd-run", "--collect", f"--on-active={_SOON_S}", "systemctl", "reboot"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise Unavailable("reboot_failed", f"systemd does not take the reboot: {done.stderr.strip()[:300]}")
    return {"reboots_in_s": _SOON_S}
