import threading
from pathlib import Path

import pytest

from rackbox_lib import cache
from rackbox_lib.progress import Silence


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RACKBOX_CACHE", str(tmp_path))
    return tmp_path


def test_other_inputs_give_another_key() -> None:
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])
    assert cache.digest(["a", "b"]) == cache.digest(["a", b"b"])


def test_a_files_mode_and_content_count_and_compiled_files_do_not(tmp_path: Path) -> None:
    file = tmp_path / "tree" / "file"
    file.parent.mkdir()
    file.write_text("x")
    before = cache.tree_digest(file.parent)
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / "file.pyc").write_text("")
    assert cache.tree_digest(file.parent) == before
    file.chmod(0o755)
    assert cache.tree_digest(file.parent) != before


def test_a_failed_build_leaves_no_entry_and_the_next_starts_clean() -> None:
    def fail(job: cache.Build) -> None:
        (job.folder / "half").touch()
        raise RuntimeError

    def succeed(job: cache.Build) -> None:
        assert not list(job.folder.iterdir())
        (job.folder / "whole").touch()

    with pytest.raises(RuntimeError):
        cache.entry("thing", "1", fail, Silence())
    assert not (cache.cache_dir() / "thing-1").exists()
    assert (cache.entry("thing", "1", succeed, Silence()) / "whole").exists()


def test_many_at_once_build_it_once() -> None:
    builds: list[Path] = []
    together = threading.Barrier(4)

    def call() -> None:
        together.wait()
        cache.entry("thing", "2", lambda job: builds.append(job.folder), Silence())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
