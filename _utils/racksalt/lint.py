"""``rack-lint``: checks the rack's files without a master, before they are put in place or committed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from racksalt import settings
from racksalt.adapters.this_rack import RACK_FILES
from racksalt.adapters.yaml_files import YamlFolder
from racksalt.errors import BadInput

RIGHT, WRONG, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each mistake on a line; 0 when there is none, 1 when there are some, 2 when there is no such folder."""
    folder = _parser().parse_args(arguments).folder
    if not folder.is_dir():
        print(f"rack-lint: {folder}: no such folder", file=sys.stderr)
        return USAGE
    try:
        found = settings.load(YamlFolder(folder))
    except BadInput as error:
        print(error.detail)
        return WRONG
    print(f"{folder}: no mistake; {len(found.hosts)} hosts, {len(found.tenants)} tenants, {len(found.users)} users")
    return RIGHT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rack-lint",
        description="Check the rack's files; each mistake is told with file, line, key, what was found and allowed.",
        epilog="Exit codes: 0 no mistake, 1 mistakes, 2 wrong usage.",
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(RACK_FILES), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
