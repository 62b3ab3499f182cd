"""S4: names are names. What is none is refused with 400, and nothing is written anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests import on_rack
from tests.fakes import fake_rack
from tests.on_rack import CREATE, RealRack
from tests.promises import sample
from tests.security.calls import CallCase, in_process, send, status_of, tenant_functions

pytestmark = pytest.mark.promise("S4")

NASTY: dict[str, Any] = {
    "parent folder": "../x",
    "many parents": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "NUL": "x\x00y",
    "newline": "x\ny",
    "newline at the end": "web1\n",
    "carriage return": "x\ry",
    "escape": "\x1b[31mx",
    "colon": "a:b",
    "less than": "<x>",
    "semicolon": "x;reboot",
    "entity": "&ENT;",
    "ampersand": "a&b",
    "quote": "a'b",
    "double quote": 'a"b',
    "backtick": "`id`",
    "dollar": "$(id)",
    "jinja": "{{ 7*7 }}",
    "percent": "%00",
    "star": "*",
    "space": "a b",
    "empty": "",
    "dot": ".",
    "dots": "..",
    "dash first": "-x",
    "dash last": "x-",
    "upper case": "WEB1",
    "umlaut": "wäb1",
    "cyrillic": "wеb1",
    "full width": "ｗeb1",
    "right to left": "web\u202e1",
    "zero width": "web\u200b1",
    "combining": "web1\u0301",
    "dotless i": "wıb",
    "10 kB": "a" * 10240,
    "64 letters": "a" * 64,
    "yaml list": "[a, b]",
    "yaml mapping": "{a: b}",
    "half a character": "\ud800",
}
NOT_TEXT: dict[str, Any] = {"number": 5, "true": True, "list": ["web1"], "mapping": {"name": "web1"}, "float": 1.5}
#: Free text: what is wrong in it, and where it stands.
FREE = {
    "note": ["a\x00b", "a\x1bb", "a\rb", "a\u202eb", "\ud800", "x" * 4097, 5, ["x"]],
    "user_data": ["plain", "", "#cloud", " #cloud-config", "#cloud-config\ud800", "#cloud-config\n" + "x" * 65536, 5],
    "q": ["x" * 64, "a\x00b", "a\nb", 5, ["x"]],
    "user": ["x" * 64, "a\x00b", "a\nb", 5, ["x"]],
    "fun": ["x" * 64, "a\x00b", "a\nb", 5, ["x"]],
}
#: Values that are rules of their own, each with what does not keep them.
RULED: dict[str, list[Any]] = {
    "mac": ["52-54-00-12-34-56", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:0G", "02:00:00:00:00:01\n"],
    "ssh_keys": [
        ["ssh-ed25519"],
        ['command="id" ssh-ed25519 ' + "A" * 68],
        ["ssh-rsa " + "A" * 64 + "\nssh-rsa x"],
        "x",
    ],
    "tags": [["a b"], ["A"], ["x\n"], ["-x"], "role=web", [5], ["a" * 64], {"a": "b"}],
    "labels": [{"a b": "c"}, {"a": "b c"}, {"a": "../x"}, {"A": "b"}, ["a"], "zone=a", {"a": 5}, {"": "a"}],
    "ladder": [
        {"acpi_s": -1},
        {"acpi_s": "5"},
        {"acpi_s": 3601},
        {"nosuch": 1},
        [],
        5,
        {"acpi_s": 1e308},
        {"acpi_s": 10**30},
    ],
    "request_id": ["x", "../x", "7B0F6F0E-3C1C-4F5E-9A39-6D1D0E4F7C11", 5],
    "job": ["5", "2026112109302011023", "202611210930201102333", "20261121093020110233_", -5, 5, True, ["x"]],
    "limit": [0, -1, 1001, "5", 1.5, True, 10**30, [5]],
    "state": ["up", "", "RUNNING", 5, ["running"]],
    "start": ["yes", 1, "true", "", [True]],
    "hard": ["yes", 1, "true"],
    "test": ["yes", 1, "True"],
    "protected": ["yes", 1, 0],
}
for _limit in ("vms", "vcpus", "memory_mib", "disk_gib"):
    RULED[_limit] = ["5", -2, 1.5, True, 10**12, 10**30, [5]]


def _cases() -> Iterator[CallCase]:
    for function in tenant_functions():
        for parameter in function.parameters:
            for says, value in _values(parameter):
                yield CallCase(function.fun, {**function.good(), parameter: value}, f"{parameter}: {says}")


def _values(parameter: str) -> Iterator[tuple[str, Any]]:
    """A parameter without rules of its own is a name: so a new one is tried as the strictest there is."""
    if parameter in FREE:
        yield from ((repr(value)[:30], value) for value in FREE[parameter])
    elif parameter in RULED:
        yield from ((repr(value)[:30], value) for value in RULED[parameter])
        yield from (item for item in NASTY.items() if parameter != "ladder")
    else:
        allowed = ("colon", "dash last") if parameter == "tag" else ()
        yield from (item for item in {**NASTY, **NOT_TEXT}.items() if item[0] not in allowed)
    if parameter == "tag":
        yield ("colon first", ":a")


def test_every_name_in_every_field_of_every_function() -> None:
    rack = fake_rack()
    with in_process(rack):
        assert status_of(send("alice", [_create("own")])[0]) == 200
        hosts, files = rack.vms_on_hosts(), repr(rack.files.data)
        left, xml = rack.leftovers(), [dict(host.hypervisor.xml) for host in rack.hosts.values()]
        count = 0
        for case in _cases():
            answer = send("alice", case.body())[0]
            # A path is a right one, and not a tenant's to name: no file is looked for.
            allowed = (400, 403) if case.says.startswith("inventory:") else (400,)
            assert status_of(answer) in allowed, f"{case}: {answer}"
            count += 1
        assert count > 1500
        assert (rack.vms_on_hosts(), repr(rack.files.data), rack.leftovers()) == (hosts, files, left)
        assert [dict(host.hypervisor.xml) for host in rack.hosts.values()] == xml


def test_every_kind_of_name_for_a_function_and_a_client() -> None:
    rack = fake_rack()
    with in_process(rack):
        for value in [*NASTY.values(), *NOT_TEXT.values()]:
            for key in ("client", "fun", "kwarg"):
                answer = send("alice", {"client": "runner", "fun": "rack_vm.list", key: value})[0]
                allowed = (200, 400) if key == "kwarg" and value in ("",) else (400,)
                assert status_of(answer) in allowed or _is_mapping(key, value), f"{key} {value!r}: {answer}"
            answer = send("alice", {"client": "runner", "fun": "rack_vm.list", "kwarg": {str(value): 1}})[0]
            assert status_of(answer) == 400, f"{value!r} as an argument's name: {answer}"


def _is_mapping(key: str, value: Any) -> bool:
    return key == "kwarg" and isinstance(value, dict)


def _create(name: str) -> dict[str, Any]:
    return {"client": "runner", "fun": "rack_vm.create", "kwarg": {"name": name, **CREATE}}


def test_nasty_names_over_https_write_nothing(rack: RealRack) -> None:
    acme = rack.api("ACME")
    acme.call("rack_vm.create", name="own", start=False, **CREATE)
    before = rack.snapshot()
    creates = [case for case in _cases() if case.fun == "rack_vm.create"]
    others = [case for case in _cases() if case.fun != "rack_vm.create"]
    chosen = [*sample(creates, 30), *sample(others, 30)]
    answers = on_rack.at_once([lambda case=case: acme.post("/", case.body()) for case in chosen], threads=4)
    for case, answer in zip(chosen, answers, strict=True):
        assert answer.status == 400 and answer.error is not None, f"{case}: {answer}"
        assert "Traceback" not in answer.text
    assert rack.snapshot() == before


def test_nasty_names_at_the_login(rack: RealRack) -> None:
    """A name that is none is refused as input or as a wrong name, and does not slow down the next login."""
    nobody = rack.fresh_api()
    for value, key in sample(list(itertools.product([*NASTY.values(), *NOT_TEXT.values()], ("username", "eauth"))), 24):
        body = {"username": "alice", "password": "x", "eauth": "rack", key: value}
        answer = nobody.post("/login", body)
        assert answer.status in (400, 401, 429) and "token" not in (answer.body or {}), f"{key} {value!r}: {answer}"
    assert rack.fresh_api(rack.env["BETA_USER"], rack.env["BETA_PASSWORD"]).login().token


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"5", b'"x"', b"[[]]", b"\xff\xfe", b"[" * 5000, b'{"client": NaN}', b"{}"],
    ids=repr,
)
def test_bodies_that_are_no_calls(rack: RealRack, body: bytes) -> None:
    answer = rack.api("ACME").request("POST", "/", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400 and answer.error is not None, f"{answer}"


def test_other_media_types_and_large_bodies(rack: RealRack) -> None:
    acme = rack.api("ACME")
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-yaml", "x"):
        answer = acme.request("POST", "/", data=b"client: runner", headers={"Content-Type": kind})
        assert answer.status in (400, 415) and answer.body is not None, f"{kind}: {answer}"
    answer = acme.request("POST", "/", data=b"x" * 300_000, headers={"Content-Type": "application/json"})
    assert answer.status == 413 and "Traceback" not in answer.text, f"{answer}"
