"""Secrets and addresses reach the runner of this very call, and nobody reads, makes or moves them."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt import envelopes
from racksalt.adapters.envelope_key import AesGcm, key_path, make_envelope, open_envelope
from racksalt.adapters.system import SystemClock
from racksalt.envelopes import LIFETIME_S, Envelope
from racksalt.errors import Denied

CIPHER = AesGcm(b"k" * 32)
SECRET = "#cloud-config\npassword: hunter2"
NOW = 1_000_000.0
SENT = Envelope("alice", "rack_vm.create", "192.0.2.1", NOW, {"user_data": SECRET, "ssh_keys": ["ssh-ed25519 AAAA"]})


def refused(text: Any, *, user: str = "alice", fun: str = "rack_vm.create", now: float = NOW) -> Denied:
    with pytest.raises(Denied) as told:
        envelopes.unseal(CIPHER, text, user=user, fun=fun, now=now)
    return told.value


def test_what_was_sealed_is_opened() -> None:
    text = envelopes.seal(CIPHER, SENT)
    assert envelopes.unseal(CIPHER, text, user="alice", fun="rack_vm.create", now=NOW + LIFETIME_S) == SENT


def test_nothing_shows() -> None:
    text = envelopes.seal(CIPHER, SENT)
    assert "hunter2" not in text and b"hunter2" not in base64.b64decode(text)
    assert "hunter2" not in repr(SENT) and "kkk" not in repr(CIPHER)
    assert text != envelopes.seal(CIPHER, SENT)


@pytest.mark.parametrize(
    "wrong",
    [{"user": "bob"}, {"fun": "rack_vm.show"}, {"now": NOW + LIFETIME_S + 1}, {"now": NOW - LIFETIME_S - 1}],
    ids=str,
)
def test_another_call_is_refused_like_a_forged_one(wrong: dict[str, Any]) -> None:
    told = refused(envelopes.seal(CIPHER, SENT), **wrong)
    assert told.as_dict() == refused("x").as_dict() and told.code == "envelope_refused"


@pytest.mark.parametrize("text", [None, "", "x", 5, ["x"], {}, "é", "AAAA", "A" * 400, b"x"], ids=repr)
def test_what_is_no_envelope(text: Any) -> None:
    refused(text)


@pytest.mark.parametrize(
    "plain",
    [b"", b"[]", b"{", b"\xff", b"{}", json.dumps({**dataclasses.asdict(SENT), "at": "x"}).encode()]
    + [json.dumps({**dataclasses.asdict(SENT), key: None}).encode() for key in ("user", "secrets", "address")],
)
def test_what_our_key_sealed_and_is_none(plain: bytes) -> None:
    refused(base64.b64encode(CIPHER.seal(plain)).decode())


@given(st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    sealed = bytearray(base64.b64decode(envelopes.seal(CIPHER, SENT)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    refused(base64.b64encode(sealed).decode())


def test_another_key_opens_nothing() -> None:
    refused(envelopes.seal(AesGcm(b"j" * 32), SENT))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["user_data", "ssh_keys", "name", "envelope_", "User_Data"]), JSON
    )
)  # fmt: skip
def test_secrets_are_taken_out_and_come_back_as_they_were(arguments: dict[str, Any]) -> None:
    shown, secrets = envelopes.without_secrets(arguments)
    assert not {"user_data", "ssh_keys"} & shown.keys() and {**shown, **secrets} == arguments
    text = envelopes.seal(CIPHER, dataclasses.replace(SENT, secrets=secrets))
    assert envelopes.unseal(CIPHER, text, user="alice", fun="rack_vm.create", now=NOW).secrets == secrets


def test_the_key_is_made_at_its_first_use_and_is_roots(tmp_path: Path) -> None:
    opts = {"racksalt": {"envelope_key": str(tmp_path / "etc/envelope.key")}}
    text = make_envelope(opts, user="alice", fun="rack_vm.list", address="::1", secret_arguments={"ssh_keys": []})
    opened = open_envelope(opts, text, user="alice", fun="rack_vm.list", now=SystemClock().now())
    assert opened == ("::1", {"ssh_keys": []})
    assert key_path(opts).stat().st_mode & 0o777 == 0o600 and key_path({}) == Path("/etc/racksalt/envelope.key")
