"""Salt's own loader takes the files as they are, and every documented call is one that Salt would make."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.exceptions
import salt.loader
import salt.minion
import salt.pillar
import salt.utils.args

from racksalt import acl, loader_dirs, rack_answer
from racksalt.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"_modules": ("salt", "salt-call"), "_runners": ("salt-run",)}
#: Options of the programs that take a value.
WITH_VALUE = ("-t", "-l")


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in ROOT.glob(f"{kind}/rack*.py"))


def options(folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Salt's own defaults, with every folder of its state below ``folder`` and our files to load."""
    opts = {key: value for key, value in defaults.items() if not key.endswith("_dirs")}
    kinds = {"module": "_modules", "runner": "_runners", "states": "_states", "auth": "_auth", "netapi": "_netapi"}
    dirs = {f"{kind}_dirs": [str(ROOT / name)] for kind, name in kinds.items()}
    places = {key: str(folder / key) for key in ("cachedir", "extension_modules", "pki_dir", "sock_dir")}
    return {**opts, **dirs, "pillar_dirs": [str(ROOT / "_pillar")], **places, "id": "h1", "grains": {}, "pillar": {}}


@pytest.fixture(scope="module")
def minion(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Callable[..., Any]]:
    opts = options(tmp_path_factory.mktemp("minion"), salt.config.DEFAULT_MINION_OPTS)
    loaded: Mapping[str, Callable[..., Any]] = salt.loader.minion_mods(opts, utils={}, whitelist=names("_modules"))
    return loaded


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return options(tmp_path_factory.mktemp("master"), salt.config.DEFAULT_MASTER_OPTS)


@pytest.fixture(scope="module")
def runners(master: dict[str, Any]) -> Mapping[str, Callable[..., Any]]:
    loaded: Mapping[str, Callable[..., Any]] = salt.loader.runner(master, utils={}, whitelist=names("_runners"))
    return loaded


def public(kind: str) -> set[str]:
    """Every public function in the files, under the name that Salt gives it."""
    found = set()
    for name in names(kind):
        text = (ROOT / kind / f"{name}.py").read_text()
        found |= {f"{name}.{match.rstrip('_')}" for match in re.findall(r"^def ([a-z]\w*)\(", text, re.MULTILINE)}
    return found


def test_the_minion_loads_every_execution_module_and_nothing_private(minion: Mapping[str, Any]) -> None:
    assert {name for name in minion if name.startswith("rack_")} == public("_modules")


def test_the_master_loads_every_runner_and_nothing_private(runners: Mapping[str, Any]) -> None:
    assert {name for name in runners if name.startswith("rack_")} == public("_runners")
    assert set(runners) >= {*acl.TENANT_CALLS, *acl.OPERATOR_CALLS}


def test_the_states_load_on_top_of_the_modules(tmp_path: Path, minion: Mapping[str, Any]) -> None:
    opts = options(tmp_path, salt.config.DEFAULT_MINION_OPTS)
    loaded = salt.loader.states(opts, minion, {}, {}, whitelist=names("_states"))
    assert {name for name in loaded if name.startswith("rack_")} == public("_states")


def test_the_eauth_module_tells_users_and_groups_and_has_no_acl(master: dict[str, Any]) -> None:
    loaded = salt.loader.auth(master, whitelist=["rack"])
    assert {name for name in loaded if name.startswith("rack.")} == {"rack.auth", "rack.groups"}


@pytest.mark.parametrize("text", [None, "users: [\n", "users:\n  alice: {password: hidden}\n"])
def test_wrong_files_make_salt_refuse_every_state_and_tell_no_host_what_is_in_them(
    master: dict[str, Any], tmp_path: Path, text: str | None
) -> None:
    """Salt applies no state on a pillar with ``_errors`` (salt/modules/state.py)."""
    if text is not None:
        for path in ROOT.glob("pillar/rack/*.yaml"):
            (tmp_path / path.name).write_text(text if path.name == "users.yaml" else path.read_text())
    roots = {"file_roots": {"base": []}, "pillar_roots": {"base": []}, "ext_pillar": [{"rack_slices": {}}]}
    opts = {**master, **roots, "racksalt": {"rack_files": str(tmp_path)}, "__role": "master"}
    pillar = salt.pillar.Pillar(opts, {}, "h1", "base").compile_pillar()
    (told,) = pillar["_errors"]
    assert "rack-lint" in told and "hidden" not in told and str(tmp_path) not in told
    assert "racksalt" not in pillar


def test_the_pillar_of_a_host_is_its_slice(master: dict[str, Any]) -> None:
    opts = {**master, "racksalt": {"rack_files": str(ROOT / "pillar/rack")}}
    loaded = salt.loader.pillars(opts, {})
    assert loaded["rack_slices"]("h1", {})["racksalt"]["roles"] == ["hypervisor"]
    assert loaded["rack_slices"]("stranger", {}) == {"racksalt": {}}


@pytest.mark.parametrize(
    ("user", "password"), [("root", "x"), ("alice", "x"), ("", ""), (None, None), (["alice"], "x")]
)
def test_nobody_logs_in_without_a_password_file(
    master: dict[str, Any], tmp_path: Path, user: Any, password: Any
) -> None:
    opts = {**master, "racksalt": {"rack_files": str(ROOT / "pillar/rack"), "htpasswd": str(tmp_path / "none")}}
    assert salt.loader.auth(opts, whitelist=["rack"])["rack.auth"](user, password) is False


def test_groups_are_those_of_the_files_whatever_the_load_says(master: dict[str, Any]) -> None:
    opts = {**master, "racksalt": {"rack_files": str(ROOT / "pillar/rack")}}
    groups = salt.loader.auth(opts, whitelist=["rack"])["rack.groups"]
    assert groups("alice", groups=["operator"], operator=True, eauth="rack") == ["tenant"]
    assert groups("olivia") == ["operator"] and groups("root") == [] and groups("nobody") == []


def test_the_api_is_loaded_where_it_is_configured_and_only_there(master: dict[str, Any]) -> None:
    assert "rack_api.start" not in salt.loader.netapi(master)
    assert "rack_api.start" in salt.loader.netapi({**master, "rack_api": {"port": 8000}})


def test_the_entry_point_of_the_wheel_names_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "racksalt_loader"
    installed.mkdir()
    (installed / "__init__.py").touch()
    for kind in ("auth", "engines", "netapi", "pillar", "runners"):
        (installed / kind).symlink_to(ROOT / f"_{kind}")
    monkeypatch.syspath_prepend(tmp_path)
    found = loader_dirs.loader_dirs()
    assert found == {kind: [str(installed / kind)] for kind in ("auth", "engines", "netapi", "pillar", "runners")}


def test_no_dead_path_is_left_that_two_loading_threads_could_stumble_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = str(tmp_path / "python3.zip")
    monkeypatch.setattr(sys, "path", [*sys.path, dead, str(tmp_path)])
    assert importlib.util.find_spec("no_such_module_anywhere") is None
    assert sys.path_importer_cache[dead] is None, "what Python keeps of a path that does not exist"
    loader_dirs.loader_dirs()
    assert dead not in sys.path and dead not in sys.path_importer_cache and str(tmp_path) in sys.path


def examples(kind: str) -> list[tuple[str, str]]:
    """Each documented call with the function that it documents."""
    found = []
    for name in names(kind):
        text = (ROOT / kind / f"{name}.py").read_text()
        for function, doc in re.findall(r'^def ([a-z]\w*)\(.*?"""(.*?)"""', text, re.MULTILINE | re.DOTALL):
            block = doc.partition("CLI Example:")[2].partition(".. code-block:: bash")[2]
            lines = [line.strip() for line in block.splitlines() if line.strip()]
            found += [(f"{name}.{function.rstrip('_')}", line) for line in lines]
    return found


def called(line: str, kind: str) -> tuple[str, list[str]]:
    """The function of a command line, and its arguments."""
    program, *words = shlex.split(line)
    assert program in PROGRAMS[kind], line
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in WITH_VALUE else words[1:]
    if program == "salt":
        words = words[1:]
    return words[0], [word for word in words[1:] if not word.startswith("--out")]


def bound(function: Callable[..., Any], arguments: list[str]) -> inspect.BoundArguments:
    """The arguments as Salt hands them over, without the call."""
    parsed = salt.utils.args.parse_input(arguments)
    positional, keywords = salt.minion.load_args_and_kwargs(function, salt.utils.args.condition_input(*split(parsed)))
    keywords = {key: value for key, value in keywords.items() if not key.startswith("__")}
    return inspect.signature(function).bind(*positional, **keywords)


def split(parsed: Any) -> tuple[list[Any], dict[str, Any]]:
    """``parse_input`` gives positional ones, and keywords in a dict that says so."""
    positional = [item for item in parsed if not (isinstance(item, dict) and item.get("__kwarg__"))]
    keywords = [item for item in parsed if isinstance(item, dict) and item.get("__kwarg__")]
    return positional, {key: value for item in keywords for key, value in item.items() if key != "__kwarg__"}


@pytest.mark.parametrize(("name", "line"), examples("_modules"))
def test_a_documented_call_of_a_host_is_one_that_salt_makes(name: str, line: str, minion: Mapping[str, Any]) -> None:
    function, arguments = called(line, "_modules")
    assert function == name
    assert bound(minion[name], arguments)


@pytest.mark.parametrize(("name", "line"), examples("_runners"))
def test_a_documented_call_of_the_rack_is_one_that_salt_makes(name: str, line: str, runners: Mapping[str, Any]) -> None:
    function, arguments = called(line, "_runners")
    assert function == name
    given = bound(runners[name], arguments).arguments
    assert rack_answer.given(given, {}) == {key: value for key, value in given.items() if value is not None}


def test_every_function_documents_a_call() -> None:
    for kind in PROGRAMS:
        assert {name for name, _ in examples(kind)} == public(kind)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("rack_vm.start", ["acme/web1", "more=1"]), ("rack_vm.act", ["request={}", "user=root"])],
)
def test_salt_refuses_an_argument_that_a_hosts_function_does_not_have(
    name: str, arguments: list[str], minion: Mapping[str, Any]
) -> None:
    with pytest.raises(salt.exceptions.SaltInvocationError):
        bound(minion[name], arguments)


def test_a_runner_refuses_an_argument_that_it_does_not_have(runners: Mapping[str, Any]) -> None:
    given = bound(runners["rack_vm.stop"], ["acme/web1", "user=root", "__pub_user=root"]).arguments
    with pytest.raises(BadInput) as told:
        rack_answer.given(given, {})
    assert [problem["field"] for problem in told.value.facts["problems"]] == ["user"]
