"""Properties of every response: security headers, HEAD, 404, 405, CORS; and the API pages."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx
import pytest

from tests.app.http_helpers import assert_problem, generate


def policy_of(response: httpx.Response) -> dict[str, str]:
    header = response.headers["content-security-policy"]
    return dict(part.strip().partition(" ")[::2] for part in header.split(";"))


@pytest.mark.parametrize("path", ["/nothing", "/static/nothing.js", "/static/%2e%2e/main.py", "/static//etc/passwd"])
def test_unknown_path_is_404(http: httpx.Client, path: str) -> None:
    assert_problem(http.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/generate", "POST"),
        ("PUT", "/jobs", "GET, HEAD"),
        ("PUT", f"/jobs/{'f' * 32}", "DELETE, GET, HEAD"),
        ("POST", f"/jobs/{'f' * 32}/events", "GET, HEAD"),
        ("TRACE", "/models/tiny", "GET, HEAD"),
        ("PURGE", "/", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("DELETE", "/static/app.js", "GET, HEAD"),
    ],
)
def test_405_lists_every_method_of_the_path(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = http.request(method, path)
    assert_problem(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/nothing", "/jobs", "/docs", "/generate"])
def test_head_is_answered_as_get_without_body(http: httpx.Client, path: str) -> None:
    whole, head = http.get(path), http.head(path)
    assert head.content == b""
    assert (head.status_code, head.headers) == (whole.status_code, {**whole.headers, "date": head.headers["date"]})


def test_head_of_an_event_stream_returns_at_once(http: httpx.Client) -> None:
    job = generate(http)
    head = http.head(job["urls"]["events"])  # the job never ends
    assert head.headers["content-type"].startswith("text/event-stream")
    assert http.get("/healthz").status_code == 200, "over the same connection"


PATHS = ["/", "/static/index.html", "/static/app.js", "/healthz", "/nothing", "/jobs", "/docs", "/redoc"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_security_headers(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    policy = policy_of(response)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"].split()[0] == policy["connect-src"] == "'self'"
    assert not any("*" in value or "unsafe-eval" in value for value in policy.values())
    assert "unsafe-inline" not in policy["script-src"]


@pytest.mark.parametrize("path", ["/", "/static/index.html"])
def test_page_loads_only_its_own_files_and_no_inline_script(http: httpx.Client, path: str) -> None:
    page = http.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert policy_of(page)["script-src"] == policy_of(page)["style-src"] == "'self'"
    for attribute in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert http.get(attribute).status_code == 200, attribute
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text), "an inline script would not run"
    assert not re.search(r"\bon[a-z]+=|style=", page.text), "nor would an inline handler or style"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_api_pages_load_nothing_from_elsewhere_and_allow_their_inline_script(http: httpx.Client, path: str) -> None:
    page = http.get(path)
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(address.endswith(".js") for address in linked)
    for address in linked:
        assert address.startswith("/")
        assert http.get(address).status_code == 200, address
    for script in re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy_of(page)["script-src"]


def test_other_origins_are_not_allowed(http: httpx.Client) -> None:
    preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in http.options("/generate", headers=preflight).headers
    assert "access-control-allow-origin" not in http.get("/jobs", headers=preflight).headers


def test_trailing_slash_is_404_and_no_redirect(http: httpx.Client) -> None:
    """A redirect would repeat the Host that the client claims."""
    assert_problem(http.get("/jobs/"), 404)
