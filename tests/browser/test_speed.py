"""Quick where there is much: at the start beside a busy worker, with 1,000 jobs, with 256 images."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.desk import Desk
from tests.service import Service

WEB = Path(__file__).parent.parent.parent / "app/web"
MOST_BYTES = 150_000
INTERACTIVE_MS = 1000
LONG_TASK_MS = 100
JOBS = 1000

# Tasks of the main thread that took more than 50 ms.
WATCH_TASKS = """window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration)))
  .observe({ type: "longtask", buffered: true });"""


def longest_task(page: Page) -> float:
    """In ms; what is shorter than 50 counts as none."""
    return float(page.evaluate("Math.max(0, ...longTasks)"))


def test_all_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) < MOST_BYTES


def test_it_is_interactive_within_a_second_beside_a_busy_worker(desk: Desk) -> None:
    job_id = desk.generate(count="64", steps="1000", sampler="ddpm")
    desk.wait_for(job_id, "running")
    took = []
    for _ in range(3):
        page = desk.page.context.browser.new_context().new_page()
        page.goto(desk.page.url.partition("#")[0], wait_until="commit")
        page.wait_for_selector("#generate:enabled")
        took.append(page.evaluate("performance.now()"))
        page.context.close()
    assert desk.view(job_id)["status"] == "running"
    desk.job(job_id).get_by_role("button", name="Cancel").click()
    print(f"interactive after {sorted(round(ms) for ms in took)} ms")
    assert min(took) < INTERACTIVE_MS  # the machine may be doing something else in one of them


def test_256_images_are_shown_and_updated_without_a_long_task(desk: Desk) -> None:
    desk.page.add_init_script(WATCH_TASKS)
    desk.page.reload()
    desk.open()
    job_id = desk.make(count="256", steps="60", frames="50")
    scrubber = desk.job(job_id).locator(".scrubber")
    for stop in range(0, 50, 5):
        scrubber.fill(str(stop))
        desk.page.wait_for_timeout(20)
    scrubber.fill("49")
    desk.wait_for_results(job_id)
    desk.page.reload()
    desk.wait_for_results(job_id)
    print(f"longest task: {longest_task(desk.page):.0f} ms")
    assert longest_task(desk.page) < LONG_TASK_MS


@pytest.mark.timeout(300)
def test_a_thousand_jobs_scroll_smoothly(page: Page, service: Service) -> None:
    for _ in range(JOBS):
        # 202, or 200 where it has ended before the answer is written.
        body = {"model": "digits", "count": 1, "steps": 1, "frames": 0, "sampler": "ddim"}
        service.http.post("/generate", json=body).raise_for_status()
    page.add_init_script(WATCH_TASKS)
    page.goto("/#gallery")
    entries = page.locator(".jobs li")
    expect(entries.first).to_be_visible()
    page.mouse.move(600, 400)
    while entries.count() < JOBS:
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(50)
    for _ in range(20):
        page.mouse.wheel(0, -3000)
        page.wait_for_timeout(50)
    print(f"longest task: {longest_task(page):.0f} ms")
    assert longest_task(page) < LONG_TASK_MS
