"""The Host header: which hosts are allowed, and which are refused as DNS rebinding."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import ValidationError

from app.hosts import is_allowed
from app.settings import AppSettings
from tests.app.http_helpers import assert_problem, serving


@pytest.mark.parametrize("path", ["/", "/jobs", "/models", "/metrics", "/static/app.js", "/docs", "/openapi.json"])
def test_foreign_host_is_refused_with_421_naming_the_setting(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers={"Host": "rebound.example:8000"})
    assert_problem(answer, 421)
    assert "rebound.example" in answer.json()["detail"]
    assert "NOISEMILL_ALLOWED_HOSTS" in answer.json()["detail"]
    assert "content-security-policy" in answer.headers


def test_foreign_host_cannot_queue_or_cancel(http: httpx.Client) -> None:
    assert_problem(http.post("/generate", json={}, headers={"Host": "rebound.example"}), 421)
    assert_problem(http.delete(f"/jobs/{'f' * 32}", headers={"Host": "rebound.example"}), 421)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "noisemill.localhost", "127.0.0.1:9", "[::1]", "[::1]:8000", "192.168.1.20:8000"],
)
def test_loopback_names_and_ip_addresses_are_answered(http: httpx.Client, host: str) -> None:
    assert http.get("/healthz", headers={"Host": host}).status_code == 200


def test_http_1_0_without_host_is_answered(app_url: str) -> None:
    """Health checks of load balancers send such requests."""
    address = urlsplit(app_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_allowed_hosts_setting_is_used(redis_url: str) -> None:
    with (
        serving(redis_url=redis_url, allowed_hosts="noisemill.example.org, *.lan") as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        for host, status in {"noisemill.example.org": 200, "gpu.lan:8000": 200, "lan": 421, "example.org": 421}.items():
            assert http.get("/healthz", headers={"Host": host}).status_code == status, host


def test_name_of_the_host_option_is_answered(redis_url: str) -> None:
    """`noisemill serve --host gpu-box` waits until http://gpu-box:8000/readyz answers."""
    with serving(redis_url=redis_url, host="GPU-box") as url, httpx.Client(base_url=url, timeout=30) as http:
        assert http.get("/healthz", headers={"Host": "gpu-box:8000"}).status_code == 200
        assert http.get("/healthz", headers={"Host": "other-box"}).status_code == 421


@pytest.mark.parametrize(
    ("host", "names", "allowed"),
    [
        ("a.example", {"*"}, True),
        ("A.Example.", {"a.example"}, True),
        ("b.a.example", {"a.example"}, False),
        ("b.a.example", {"*.a.example"}, True),
        ("c.b.a.example", {"*.a.example"}, True),
        ("ba.example", {"*.a.example"}, False),
        ("localhost.evil.example", set(), False),
        ("notlocalhost", set(), False),
        ("127.0.0.1.evil.example", set(), False),
        ("0x7f.1", set(), False),
        ("[::1", set(), False),
        ("[::1].evil.example", set(), False),
        ("evil.example:80:80", set(), False),
        ("evil.example@localhost", set(), False),
    ],
)
def test_host_names(host: str, names: set[str], allowed: bool) -> None:
    assert is_allowed(host, frozenset(names)) is allowed


@pytest.mark.parametrize("names", ["https://example.org", "example.org:8000", "a b", "*example.org", "a.*.org", "a/b"])
def test_allowed_hosts_setting_refuses_what_is_not_a_name(names: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name"):
        AppSettings(allowed_hosts=names)
