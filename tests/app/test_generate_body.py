"""POST /generate: reading of the body, before its fields are validated."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from app import main
from app.body_limit import BodyLimit
from tests.app.http_helpers import assert_problem, jobs_in, serving

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"model"', b"7", b'{"count": 1}}', b"\x00"])
def test_body_that_is_no_json_object_is_422(http: httpx.Client, redis: Redis, body: bytes) -> None:
    assert_problem(http.post("/generate", content=body, headers=JSON), 422, "body", "a JSON object")
    assert jobs_in(redis) == 0


@pytest.mark.parametrize(
    "body",
    [
        "{}".encode("utf-16"),
        b'{"model": "\xe9"}',
        b'{"seed": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"labels": ' + b"[" * 100_000,
    ],
    ids=["utf-16", "not-utf-8", "huge-number", "deep", "deep-field"],
)
def test_body_that_the_parser_cannot_read_is_400(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/generate", content=body, headers=JSON)
    assert_problem(answer, 400)
    assert "JSON object in UTF-8" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"seed": 1, "count": 2, "seed": 3}', "seed"),
        (b'{"seed": 1, "s\\u0065ed": 1}', "seed"),
        (b'{"x": [{"y": 1, "y": 2}]}', "y"),
    ],
    ids=["field", "escaped", "nested"],
)
def test_duplicate_json_key_is_422_naming_the_key(http: httpx.Client, redis: Redis, body: bytes, key: str) -> None:
    """RFC 8259, section 4: what a parser makes of them is unpredictable; Python's silently takes the last."""
    assert_problem(http.post("/generate", content=body, headers=JSON), 422, key, "each key once")
    assert jobs_in(redis) == 0


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/ld+json"],
)
def test_other_media_type_is_415(http: httpx.Client, redis: Redis, content_type: str | None) -> None:
    """Most of these need no preflight in a browser (Fetch standard, section 2.2.2), so any page could send them."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert_problem(http.post("/generate", content=b'{"count":1}', headers=headers), 415)
    assert_problem(http.post("/generate", content=b"", headers=headers), 415)
    assert jobs_in(redis) == 0


def test_media_type_may_have_a_charset(http: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert http.post("/generate", content=b"{}", headers=headers).status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit_is_413(http: httpx.Client, redis: Redis, chunked: bool) -> None:
    large = b'{"model": "' + b"x" * (1 << 18) + b'"}'

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 1 << 14):
            yield large[start : start + (1 << 14)]

    assert_problem(http.post("/generate", content=chunks() if chunked else large, headers=JSON), 413)
    assert jobs_in(redis) == 0


def test_body_of_exactly_the_limit_is_accepted(http: httpx.Client) -> None:
    assert http.post("/generate", content=b'{"count": 1}'.ljust(1 << 18), headers=JSON).status_code == 202


def test_body_that_does_not_arrive_is_408(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "BodyLimit", lambda app, max_bytes: BodyLimit(app, max_bytes, seconds=0.5))
    with serving(redis_url=redis_url) as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=20) as client:
            began = time.monotonic()
            client.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            client.sendall(b"Content-Length: 12\r\n\r\n{")
            answer = client.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    assert time.monotonic() - began < 10
