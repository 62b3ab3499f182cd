"""``make bench``: what the goals are about, measured beside what it is compared with; a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import audit, balance, burst, claim, create, demo, drain, inventory, migration, placement, signing
from tests.bench.figures import Figure, show

RESULTS = Path("bench-results.json")

BENCHES: dict[str, Callable[[], list[Figure]]] = {
    "audit": audit.measure,
    "M1": placement.measure,
    "M2": balance.measure,
    "M3": create.measure,
    "M4": migration.measure,
    "M5": drain.measure,
    "BURST": burst.measure,
    "CLAIM": claim.measure,
    "M8": inventory.rebuilt,
    "M9": inventory.seen_after,
    "M13": demo.measure,
    "SIGN": signing.measure,
}


def main() -> int:
    """Run all benches, or those of ``--only M1,M3``."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHES), help=f"some of {', '.join(BENCHES)}")
    wanted = parser.parse_args().only.split(",")
    if unknown := set(wanted) - set(BENCHES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print(f"{platform.machine()}, {platform.release()}, Python {platform.python_version()}, rackbox guests under TCG\n")
    figures = [figure for name in wanted for figure in BENCHES[name]()]
    print(show(figures))
    RESULTS.write_text(json.dumps([figure.as_dict() for figure in figures], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
