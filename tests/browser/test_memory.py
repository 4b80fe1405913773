"""Memory of a tab that stays open: jobs that are not shown are evicted, least recently used first."""

from __future__ import annotations

from contextlib import suppress

from playwright.sync_api import Page

from tests.browser.app_page import AppPage, wait_until
from tests.service import Service

JOBS = 20
MAX_JOBS = 12  # 8 idle jobs in the cache, 2 shown, and those hidden within the last 2 s
IMAGES, FRAMES = 4, 2
MAX_BITMAPS = MAX_JOBS * (1 + FRAMES * IMAGES)  # grid.png, and each image of each frame

# The references keep bitmaps from garbage collection, so that only close() frees them. It sets their width to 0.
RECORD_BITMAPS = """window.bitmaps = [];
const decode = createImageBitmap;
window.createImageBitmap = async (...args) => {
  const bitmap = await decode(...args);
  bitmaps.push(bitmap);
  return bitmap;
};"""


def live_jobs(page: Page) -> int:
    """How many Job objects the page's heap holds after a garbage collection."""
    cdp = page.context.new_cdp_session(page)
    expression = "import('/static/client/job.js').then(({ Job }) => Job.prototype)"
    prototype = cdp.send("Runtime.evaluate", {"expression": expression, "awaitPromise": True})["result"]["objectId"]
    jobs = cdp.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]["objectId"]
    length = {"objectId": jobs, "functionDeclaration": "function () { return this.length; }", "returnByValue": True}
    count: int = cdp.send("Runtime.callFunctionOn", length)["result"]["value"]
    cdp.detach()
    return count


def open_bitmaps(page: Page) -> int:
    return int(page.evaluate("bitmaps.filter(({ width }) => width > 0).length"))


def test_jobs_and_bitmaps_off_the_page_are_evicted_and_reload(app_page: AppPage, service: Service) -> None:
    body = {"model": "digits", "count": IMAGES, "steps": FRAMES, "frames": FRAMES, "label": "cycle"}
    kept, *others = [service.finished(service.generate(**body, seed=seed))["id"] for seed in range(JOBS)]
    app_page.page.add_init_script(RECORD_BITMAPS)
    app_page.page.reload()
    for other in others:
        app_page.page.goto(f"/#job={kept}&job={other}")
        for job_id in (kept, other):
            app_page.wait_for_results(job_id)
        app_page.panel(other).locator(".scrubber").fill("0")

    with suppress(AssertionError):  # the assertion below reports the counts
        wait_until(app_page.page, lambda: live_jobs(app_page.page) <= MAX_JOBS, seconds=20)
    counts = {"jobs": live_jobs(app_page.page), "bitmaps": open_bitmaps(app_page.page)}
    assert counts["jobs"] <= MAX_JOBS, counts
    assert counts["bitmaps"] <= MAX_BITMAPS, counts

    app_page.page.goto(f"/#job={kept}&job={others[0]}")
    for job_id in (kept, others[0]):
        app_page.wait_for_results(job_id)
        assert app_page.frame_count(job_id) == FRAMES
