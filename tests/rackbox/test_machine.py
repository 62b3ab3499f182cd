"""What is read from the outer machine."""

from pathlib import Path

from rackbox_lib.cgroup import mounts
from rackbox_lib.environments import Requirements, read_requirements, settle
from rackbox_lib.node_disk import mounts_below
from rackbox_lib.packages import parse_sources
from rackbox_lib.preflight import too_few_inotify, too_little_memory


def test_only_debians_own_sources_are_used() -> None:
    targets = (
        "Debian|http://mirror.invalid/debian/|trixie|main\n"
        "Debian|http://mirror.invalid/debian/|trixie|main\n"
        "Example|http://packages.invalid/|trixie|main\n"
    )
    assert parse_sources(targets) == "deb http://mirror.invalid/debian/ trixie main\n"


def test_cgroups_of_a_version_2_machine() -> None:
    assert mounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n") == [Path("/sys/fs/cgroup")]


def test_cgroups_of_a_version_1_machine() -> None:
    text = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    assert mounts(text) == [Path(f"/sys/fs/cgroup/{name}") for name in ("unified", "systemd", "cpu")]


def test_only_mounts_below_the_folder_are_unmounted() -> None:
    text = (
        "1 0 254:0 / / rw - ext4 /dev/a rw\n"
        "2 1 0:1 / /srv/rack/h1/root rw - overlay overlay rw\n"
        "3 1 0:2 / /srv/rack-two/h1/root rw - overlay overlay rw\n"
        "4 1 0:3 / /srv/rack/a\\040b rw - overlay overlay rw\n"
    )
    assert mounts_below(Path("/srv/rack"), text) == [Path("/srv/rack/h1/root"), Path("/srv/rack/a b")]


def test_shortfalls_name_need_find_and_remedy() -> None:
    line = too_little_memory("MemAvailable:    1048576 kB\n", 4)
    assert line == "memory: 4 nodes need 1312 MiB, found 1024 MiB available; use fewer --hosts"
    assert too_little_memory("MemAvailable:    2097152 kB\n", 4) is None
    assert too_few_inotify(128, 10, 4) is None
    assert "sysctl fs.inotify.max_user_instances=512" in (too_few_inotify(128, 10, 20) or "")


def test_requirements_come_from_the_project_file(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    assert "cherrypy" in read_requirements(project).runtime
    project.write_text('[build-system]\nrequires = ["builder"]\n[project]\ndependencies = ["one>=1"]\n')
    assert read_requirements(project) == Requirements(("one>=1",), ("builder",))


def test_programs_name_the_final_place_and_a_hard_linked_twin_stays(tmp_path: Path) -> None:
    programs, twins = tmp_path / "env" / "bin", tmp_path / "twin"
    programs.mkdir(parents=True)
    twins.mkdir()
    script = programs / "tool"
    script.write_text(f"#!{tmp_path}/env/bin/python3\n")
    script.chmod(0o755)
    (twins / "tool").hardlink_to(script)
    settle(tmp_path / "env", "/opt/final")
    assert script.read_text() == "#!/opt/final/bin/python3\n"
    assert script.stat().st_mode & 0o777 == 0o755
    assert (twins / "tool").read_text() == f"#!{tmp_path}/env/bin/python3\n"
