"""Minions' keys: what one host signs or is sent in secret, no other one can."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import salt.crypt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from racksalt.adapters.minion_keys import AcceptedKeys, OwnKey
from racksalt.errors import Refused, Unavailable

CONTEXT = "VM 1 on h1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master's folder with the keys of two hosts and one that is not accepted, and each host's own."""
    root = tmp_path_factory.mktemp("pki")
    for folder in ("master/minions", "master/minions_pre", "h1", "h2", "h3"):
        (root / folder).mkdir(parents=True)
    for host, size in (("h1", 2048), ("h2", 4096), ("h3", 2048)):
        salt.crypt.write_keys(str(root / host), "minion", size)
        state = "minions_pre" if host == "h3" else "minions"
        (root / "master" / state / host).write_bytes((root / host / "minion.pub").read_bytes())
    return root


@pytest.fixture
def accepted(pki: Path) -> AcceptedKeys:
    return AcceptedKeys(str(pki / "master"))


def own(pki: Path, host: str) -> OwnKey:
    return OwnKey(str(pki / host))


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_a_hosts_signature_counts_for_itself_and_these_bytes(pki: Path, accepted: AcceptedKeys, host: str) -> None:
    signature = own(pki, host).sign(b"answer")
    assert accepted.verify(host, b"answer", signature)
    assert not accepted.verify(host, b"answer!", signature)
    assert not accepted.verify({"h1": "h2", "h2": "h1"}[host], b"answer", signature)


def test_a_key_that_is_not_accepted_or_removed_proves_nothing(pki: Path, accepted: AcceptedKeys) -> None:
    assert not accepted.verify("h3", b"answer", own(pki, "h3").sign(b"answer"))
    path = pki / "master/minions/h4"
    path.write_bytes((pki / "h1/minion.pub").read_bytes())
    signature = own(pki, "h1").sign(b"answer")
    assert accepted.verify("h4", b"answer", signature)
    path.unlink()
    assert not accepted.verify("h4", b"answer", signature)


@pytest.mark.parametrize("host", ["", ".", "..", "../minions/h1", "h1\0", "/h1", "h1/", "nobody", "\ud800"])
def test_what_is_no_hosts_name_proves_nothing(pki: Path, accepted: AcceptedKeys, host: str) -> None:
    assert not accepted.verify(host, b"answer", own(pki, "h1").sign(b"answer"))
    with pytest.raises(Unavailable):
        accepted.seal(host, "secret", context=CONTEXT)


@given(st.text(max_size=40) | st.binary(max_size=300).map(lambda data: data.hex()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_a_signature(accepted: AcceptedKeys, text: str) -> None:
    assert not accepted.verify("h1", b"answer", text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_sealed_opens_for_its_host_in_its_context(pki: Path, accepted: AcceptedKeys, text: str) -> None:
    sealed = accepted.seal("h1", text, context=CONTEXT)
    assert own(pki, "h1").unseal(sealed, context=CONTEXT) == text
    assert len(text) < 3 or text not in sealed


def test_what_is_sealed_opens_nowhere_else(pki: Path, accepted: AcceptedKeys) -> None:
    sealed = accepted.seal("h1", "secret", context=CONTEXT)
    assert sealed != accepted.seal("h1", "secret", context=CONTEXT)
    for host, context in (("h2", CONTEXT), ("h1", "VM 2 on h1"), ("h1", "")):
        with pytest.raises(Refused) as told:
            own(pki, host).unseal(sealed, context=context)
        assert told.value.code == "not_unsealed"


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_sealed_and_changed_does_not_open(pki: Path, accepted: AcceptedKeys, data: st.DataObject) -> None:
    sealed = accepted.seal("h1", "secret", context=CONTEXT)
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:place] + data.draw(st.sampled_from("A.b=")) + sealed[place + 1 :]
    with suppress(Refused):
        # Base64 has bits that say nothing, so a changed letter may still be the same bytes.
        assert own(pki, "h1").unseal(changed, context=CONTEXT) == "secret"


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "AAAA.AAAA.AAAA", "ü..", "....", "\ud800"])
def test_what_nobody_sealed_does_not_open(pki: Path, text: str) -> None:
    with pytest.raises(Refused):
        own(pki, "h1").unseal(text, context=CONTEXT)


def test_only_rsa_keys_of_salts_are_taken(pki: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (tmp_path / "minions").mkdir()
    (tmp_path / "minions/h1").write_bytes(
        other.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert not AcceptedKeys(str(tmp_path)).verify("h1", b"x", own(pki, "h1").sign(b"x"))
    for content in (
        other.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        b"",
        os.urandom(20),
    ):
        (tmp_path / "minion.pem").write_bytes(content)
        with pytest.raises(Unavailable) as told:
            OwnKey(str(tmp_path)).require()
        assert told.value.code == "host_key"
    with pytest.raises(Unavailable):
        OwnKey(str(tmp_path / "none")).require()


def test_a_host_seals_for_another_one_whose_key_the_master_tells(pki: Path, accepted: AcceptedKeys) -> None:
    sealed = own(pki, "h1").seal_with(accepted.public_key("h2"), "seed", context=CONTEXT)
    assert own(pki, "h2").unseal(sealed, context=CONTEXT) == "seed"
    for host, context in (("h1", CONTEXT), ("h2", "VM 2 on h1")):
        with pytest.raises(Refused):
            own(pki, host).unseal(sealed, context=context)


def test_a_key_that_is_not_accepted_is_not_told(accepted: AcceptedKeys) -> None:
    with pytest.raises(Unavailable) as told:
        accepted.public_key("h3")
    assert told.value.code == "host_key"


@pytest.mark.parametrize("key", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_nothing_is_sealed_with_what_is_no_key(pki: Path, key: str) -> None:
    with pytest.raises(Unavailable) as told:
        own(pki, "h1").seal_with(key, "seed", context=CONTEXT)
    assert told.value.code == "host_key"
