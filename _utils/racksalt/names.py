"""What names, notes and labels may look like, for the rack's files and for every request alike."""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid
from typing import Annotated

from racksalt.shape import Holds, Items, Matches, Range

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID as libvirt prints it."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


#: Names of VMs, tenants, hosts, networks: one DNS label, and never what a UUID looks like.
Name = Annotated[
    str, Matches(LABEL, f"a name like {LABEL}"), Holds(lambda text: not is_uuid(text), "a name that is no UUID")
]

#: Names of flavors, images and profiles may hold dots, like ``m1.tiny``.
DottedName = Annotated[str, Matches(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", "a name like m1.tiny")]

#: Names of users: what HTTP basic files and shells agree on.
UserName = Annotated[str, Matches(r"[a-z0-9]([a-z0-9._-]{0,30}[a-z0-9])?", "a user name like alice-2")]

#: ``salt-run`` is called as ``root`` or ``sudo_alice``; the pattern may end in ``*``.
ShellUser = Annotated[str, Matches(r"[a-z_][a-z0-9_-]{0,40}\*?", "a shell user like root or sudo_*")]

Tag = Annotated[str, Matches(r"[a-z0-9]([a-z0-9_.:=-]{0,61}[a-z0-9])?", "a tag like role=web")]
#: A VM's tags.
Tags = Annotated[tuple[Tag, ...], Items(64, once=True)]
LabelKey = Annotated[str, Matches(r"[a-z0-9]([a-z0-9_./-]{0,61}[a-z0-9])?", "a label key like zone")]
LabelValue = Annotated[str, Matches(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", "a label value")]
#: CPU models and features, as libvirt names them.
CpuName = Annotated[str, Matches(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", "a name like Skylake-Server-IBRS or avx2")]
CpuNames = Annotated[
    str, Matches(r"[A-Za-z0-9_.+ -]{0,8000}", "names with spaces between them"), Holds(str.isascii, "ASCII")
]
Sha256 = Annotated[str, Matches(r"[0-9a-f]{64}", "a SHA-256 in hex")]
#: The rack's signature on a record: the key's number, and an HMAC-SHA256 in hex.
SIGNATURE = r"[1-9][0-9]{0,5}:[0-9a-f]{64}"
Signature = Annotated[str, Matches(SIGNATURE, "a signature like 1:5f0c…")]
Uuid = Annotated[str, Matches(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID in lower case")]

_BASE64 = r"[A-Za-z0-9+/]{16,}={0,2}"
#: A host's public key, as Salt keeps it.
PublicKey = Annotated[
    str,
    Matches(
        r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]{100,4000}-----END PUBLIC KEY-----\n?", "a public key in PEM"
    ),
]
#: What only one host can read: a wrapped key, a nonce, and the text under that key.
Sealed = Annotated[str, Matches(rf"{_BASE64}\.{_BASE64}\.{_BASE64}", "a sealed text")]


def _is_printable(text: str) -> bool:
    return all(character == "\n" or character.isprintable() for character in text)


def is_private_mac(text: str) -> bool:
    """Whether it is a locally administered MAC, as the rack's are."""
    return re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text) is not None and int(text[:2], 16) & 3 == 2


def _is_ipv4(text: str) -> bool:
    return re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text) is not None and all(
        int(part) < 256 and part == str(int(part)) for part in text.split(".")
    )


def _is_network(text: str) -> bool:
    address, _, prefix = text.partition("/")
    if not (_is_ipv4(address) and re.fullmatch(r"[1-9][0-9]?", prefix) and 8 <= int(prefix) <= 30):
        return False
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True


def _is_utf8(text: str) -> bool:
    """JSON can hold half a character (a lone surrogate), which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def new_uuid() -> str:
    """A fresh random UUID."""
    return str(uuid.uuid4())


#: Up to 4,096 characters that a terminal and XML can show.
Note = Annotated[
    str,
    Holds(lambda text: len(text) <= 4096, "at most 4096 characters"),
    Holds(_is_printable, "printable characters and newlines"),
]

#: What cloud-init in the guest gets.
UserData = Annotated[
    str,
    Holds(_is_utf8, "text in UTF-8"),
    Holds(lambda text: len(text.encode()) <= 65536, "at most 64 KiB"),
    Holds(lambda text: text.startswith(("#!", "#cloud-config")), "text that starts with #! or #cloud-config"),
]

#: Where an image's file is fetched from.
ImageUrl = Annotated[str, Matches(r"https://[!-~]{3,2000}", "an https:// address")]

#: A locally administered unicast address: the low two bits of the first octet are ``10``.
Mac = Annotated[str, Holds(is_private_mac, "a local MAC in lower case, like 52:54:00:12:34:56")]

Ipv4 = Annotated[str, Holds(_is_ipv4, "an IPv4 address")]
Subnet = Annotated[str, Holds(_is_network, "an IPv4 network from /8 to /30, like 10.80.0.0/20")]

#: A limit; -1 is unlimited.
Limit = Annotated[int, Range(-1, 10**9)]
Count = Annotated[int, Range(0, 10**9)]

#: Whole seconds since the epoch.
When = Annotated[int, Range(0, 10**11)]


def _is_moment(text: str) -> bool:
    try:
        return 1970 <= datetime.datetime.fromisoformat(text).year < 5000
    except ValueError:
        return False


#: A time as people write it; in UTC where it names no zone.
Moment = Annotated[str, Holds(_is_moment, "a time like 2026-11-21 or 2026-11-21T08:30:00Z")]

#: Salt's id of a job. A shell makes a number of it.
JobId = (
    Annotated[str, Matches(r"[0-9]{20}(_[0-9]{1,10})?", "a job's id: 20 digits")]
    | Annotated[int, Range(10**19, 10**20)]
)

#: One line of an authorized_keys file, without options.
SshKey = Annotated[
    str,
    Matches(
        r"(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
        r" [A-Za-z0-9+/]{40,8000}={0,3}( [A-Za-z0-9@._+-]{1,100})?",
        "a public key like 'ssh-ed25519 AAAA… name'",
    ),
]

#: The keys of a new VM.
SshKeys = Annotated[tuple[SshKey, ...], Items(64)]
