"""A real browser on the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import chromium
from tests.browser.desk import PATIENCE_MS, Desk
from tests.service import Service, running

CHECKPOINTS = Path(__file__).parent.parent.parent / "checkpoints"

expect.set_options(timeout=30_000)  # no test is a stopwatch: machines are shared

REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.effectiveDirective} ${event.blockedURI}`))"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs = pytest.mark.skipif(not chromium.EXECUTABLE.exists(), reason=f"needs {chromium.EXECUTABLE}")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(needs)


@pytest.fixture(scope="module")  # no longer: it leaves an event loop running, in which no other test can start one
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console has to complain of. A test that expects something takes it out."""
    return []


@pytest.fixture
def page(browser: Browser, service: Service, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1200, "height": 800})
    context.add_init_script(REPORT_VIOLATIONS)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def desk(page: Page) -> Desk:
    """The page as it is opened, with the smallest model chosen."""
    desk = Desk(page)
    desk.open()
    return desk


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own, with one model and a queue for one job, that a test may stop and start."""
    models = tmp_path_factory.mktemp("models")
    (models / "digits").symlink_to(CHECKPOINTS / "digits")
    with running(Service(models, tmp_path_factory.mktemp("small"), {"NOISEMILL_MAX_QUEUED": "1"})) as service:
        yield service


@pytest.fixture
def small_desk(browser: Browser, small: Service) -> Iterator[Desk]:
    """The page of that service. What its console says of lost connections is expected."""
    context = browser.new_context(base_url=small.url)
    desk = Desk(context.new_page())
    desk.open()
    yield desk
    context.close()
