"""Build the guest images: `build.py tiny|debian-12 --cache DIR` prints where an image is, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rackbox.guests.cache import default_cache
from rackbox.guests.command import GuestError
from rackbox.guests.debian import build_debian
from rackbox.guests.tiny import build_tiny

BUILDERS = {"tiny": build_tiny, "debian-12": build_debian}

__all__ = ["build_debian", "build_tiny"]


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("guest", choices=sorted(BUILDERS))
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    arguments = parser.parse_args()
    try:
        image = BUILDERS[arguments.guest](arguments.cache)
    except GuestError as error:
        print(f"{arguments.guest}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(image, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
