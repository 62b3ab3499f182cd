"""Where a request ends is found however its bytes come, and nothing is waited for that is refused anyway."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from racksalt.api.framing import Incoming, Limits, State

LIMITS = Limits(head=200, body=100)
GET = b"GET / HTTP/1.1\r\nHost: rack\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: rack\r\nContent-Length: 5\r\n\r\nhello"
HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = HEAD + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
TRAILED = HEAD + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
WHOLE = [GET, b"\r\n" + GET, POST, CHUNKED, CHUNKED.replace(b"chunked", b"Chunked "), TRAILED]
BROKEN = [
    b"GET / HTTP/1.1\n",
    b"\r\n\r\n\r\n",
    b"GET / HTTP/1.1\r\n continued: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nno header\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: " + b"a" * 200,
    b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    HEAD + b"x\r\n",
    HEAD + b"\r\n",
    HEAD + b"3\n",
    HEAD + b"ff\r\n",
    HEAD + b"3\r\nabcd",
    HEAD + b"3\r\nabc\rx",
    HEAD + (b"10\r\n" + b"a" * 16 + b"\r\n") * 6,
    HEAD + b"3;" + b"a" * 5000,
    HEAD + b"0\r\n" + b"A: b\r\n" * 30,
]


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 10**6), max_size=9), st.binary(max_size=20))
def test_a_request_is_whole_at_its_last_byte(request: bytes, cuts: list[int], more: bytes) -> None:
    incoming = Incoming(LIMITS)
    for piece in split_at(request[:-1], cuts):
        assert incoming.feed(piece) is State.COMING
    assert incoming.feed(request[-1:] + more) is State.WHOLE
    assert incoming.take() == request and len(incoming) == len(more)


@pytest.mark.parametrize("request_", WHOLE, ids=repr)
def test_byte_by_byte(request_: bytes) -> None:
    incoming = Incoming(LIMITS)
    states = [incoming.feed(request_[at : at + 1]) for at in range(len(request_))]
    assert states == [State.COMING] * (len(request_) - 1) + [State.WHOLE]


@given(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=5))
def test_requests_behind_each_other_are_taken_one_by_one(requests: list[bytes]) -> None:
    incoming = Incoming(LIMITS)
    incoming.feed(b"".join(requests))
    for request in requests:
        assert incoming.state is State.WHOLE and incoming.take() == request
    assert not incoming.begun and incoming.state is State.COMING


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data[:60]))
@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_what_is_refused_anyway_is_not_waited_for(data: bytes, step: int) -> None:
    incoming = Incoming(LIMITS)
    for at in range(0, len(data), step):
        if incoming.feed(data[at : at + step]) is State.BROKEN:
            break
    assert incoming.state is State.BROKEN
    assert data.startswith(incoming.take()) and len(incoming) == 0


@given(st.lists(st.binary(max_size=300), max_size=9))
def test_any_bytes_are_bounded(pieces: list[bytes]) -> None:
    incoming = Incoming(LIMITS)
    for piece in pieces:
        if incoming.feed(piece) is not State.COMING:
            break
        assert len(incoming) <= LIMITS.head + 2 * LIMITS.body + 4096


def test_who_waits_to_be_told_to_go_on() -> None:
    incoming = Incoming(LIMITS)
    incoming.feed(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert incoming.wants_continue and incoming.state is State.COMING
    incoming.feed(b"hello")
    incoming.take()
    assert not incoming.wants_continue


def test_an_empty_line_after_a_request_begins_none() -> None:
    incoming = Incoming(LIMITS)
    incoming.feed(b"\r\n")
    assert not incoming.begun
    incoming.feed(b"G")
    assert incoming.begun
