"""/docs and /redoc are drawn under their Content-Security-Policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.app.http_helpers import serving

LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"  # in ReDoc's footer; it must be blocked


@pytest.mark.parametrize(("path", "drawn"), [("/docs", "#operations-jobs-generate"), ("/redoc", "#tag\\/jobs")])
def test_api_page_is_drawn_without_policy_violations(browser: Browser, redis_url: str, path: str, drawn: str) -> None:
    with serving(redis_url=redis_url) as url:
        page = browser.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url + path)
        page.wait_for_selector(drawn, timeout=30_000)
        page.close()
    assert [problem for problem in problems if LOGO not in problem] == []
