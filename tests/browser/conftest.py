"""Fixtures for tests in a real browser against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import chromium
from tests.browser.app_page import MODEL, TIMEOUT_MS, AppPage
from tests.service import Service, running

CHECKPOINTS = Path(__file__).parent.parent.parent / "checkpoints"
TEST_SECONDS = 900
COMPILE_SECONDS = 600

expect.set_options(timeout=60_000)  # generous, because machines are shared

REPORT_CSP_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.effectiveDirective} ${event.blockedURI}`))"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs_chromium = pytest.mark.skipif(not chromium.EXECUTABLE.exists(), reason=f"needs {chromium.EXECUTABLE}")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(needs_chromium)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def service(service: Service) -> Service:
    """The shared service; the network of MODEL is compiled, so that no test waits for it."""
    service.finished(service.generate(model=MODEL, count=1, steps=1), COMPILE_SECONDS)
    return service


@pytest.fixture(scope="module")  # not session: it keeps an event loop running, so other tests could not start one
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def console_errors() -> list[str]:
    """Errors in the browser's console, which fail the test. A test that expects some clears the list."""
    return []


@pytest.fixture
def page(browser: Browser, service: Service, console_errors: list[str]) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1200, "height": 800})
    context.add_init_script(REPORT_CSP_VIOLATIONS)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.on("console", lambda message: console_errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: console_errors.append(str(error)))
    yield page
    context.close()
    assert console_errors == []


@pytest.fixture
def app_page(page: Page) -> AppPage:
    """The page after loading, with the smallest model chosen."""
    app_page = AppPage(page)
    app_page.open()
    return app_page


@pytest.fixture(scope="module")
def small_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A separate service with one model and a queue for one job, which a test may stop and start."""
    models = tmp_path_factory.mktemp("models")
    (models / MODEL).symlink_to(CHECKPOINTS / MODEL)
    with running(Service(models, tmp_path_factory.mktemp("small"), {"NOISEMILL_MAX_QUEUED": "1"})) as service:
        yield service


@pytest.fixture
def small_page(browser: Browser, small_service: Service) -> Iterator[AppPage]:
    """The page of that service. Console errors about lost connections are expected, so none are recorded."""
    context = browser.new_context(base_url=small_service.url)
    app_page = AppPage(context.new_page())
    app_page.page.set_default_timeout(TIMEOUT_MS)
    app_page.open()
    yield app_page
    context.close()
