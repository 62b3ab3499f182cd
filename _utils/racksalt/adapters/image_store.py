"""The image store of a host: read-only files named by their SHA-256, each with a manifest."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from racksalt.adapters.volume_files import ROOT
from racksalt.adapters.whole_files import replace
from racksalt.errors import BadInput, Refused, Unavailable

_CHUNK = 1 << 20
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class ImageStore:
    """``ROOT/images/SHA256`` and ``SHA256.json``."""

    folder: Path = ROOT / "images"

    def is_present(self, sha256: str) -> bool:
        """Whether the file is there and is what its name says; its manifest saves reading it again."""
        path = self.folder / sha256
        if not path.is_file():
            return False
        if self._manifest(sha256) == _facts(path):
            return True
        with path.open("rb") as file:
            whole = _digest(file) == sha256
        if whole and os.access(self.folder, os.W_OK):
            self._write_manifest(path)
        return whole

    def fetch(self, sha256: str, url: str) -> None:
        """Download over HTTPS; the file appears whole and with the right sum, or not at all."""
        if not url.startswith("https://"):
            raise BadInput(f"image {sha256[:12]}…: url {url!r}; allowed: https://…", code="image_url")
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=".fetch-")
        part = Path(name)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                _download(url, file)
                file.seek(0)
                found = _digest(file)
            if found != sha256:
                raise Refused("image_sum", f"{url}: SHA-256 is {found}, images.yaml says {sha256}")
            part.chmod(0o444)
            part.replace(self.folder / sha256)
            self._write_manifest(self.folder / sha256)
        finally:
            part.unlink(missing_ok=True)

    def _manifest(self, sha256: str) -> dict[str, object] | None:
        try:
            found = json.loads((self.folder / f"{sha256}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write_manifest(self, path: Path) -> None:
        replace(path.with_name(f"{path.name}.json"), json.dumps(_facts(path)).encode(), mode=0o444)


def _facts(path: Path) -> dict[str, object]:
    return {"sha256": path.name, "bytes": path.stat().st_size}


def _digest(file: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        total.update(chunk)
    return total.hexdigest()


def _download(url: str, file: IO[bytes]) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # https only, see fetch()
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable("image_unreachable", f"{url}: {error}; is the image server up?") from error
