"""Finding finished jobs again: the gallery, and links to jobs."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.app_page import SIZE, AppPage
from tests.service import Service


def test_gallery_lists_opens_and_compares_jobs(app_page: AppPage) -> None:
    ids = [app_page.run(count="4", steps="10") for _ in range(2)]
    app_page.page.get_by_role("link", name="Gallery").click()
    entries = app_page.page.locator(".jobs li")
    expect(entries.first.locator("a")).to_have_attribute("href", f"#job={ids[1]}")
    expect(entries.first).to_contain_text("4 images")
    expect(entries.first.locator("img")).to_have_attribute("data-scaling", "integer")
    entries.nth(1).locator("a").click()
    app_page.wait_for_results(ids[0])

    app_page.page.go_back()
    for k in range(2):
        entries.nth(k).get_by_role("checkbox").check()
    app_page.page.get_by_role("link", name="Compare 2 jobs").click()
    expect(app_page.page.locator(".columns article.job[data-status=finished]")).to_have_count(2)


def test_link_opens_finished_job_and_prefills_form(app_page: AppPage, browser: Browser, service: Service) -> None:
    job_id = app_page.run(count="1", steps="25", seed="7")
    other = AppPage(browser.new_context(base_url=service.url, viewport={"width": 1200, "height": 800}).new_page())
    other.open(app_page.page.url)
    other.wait_for_results(job_id)
    assert "step 25 of 25" in other.caption(job_id)
    expect(other.page.locator("#steps")).to_have_value("25")
    assert other.grid_pixels(job_id, 1) == app_page.grid_pixels(job_id, 1)
    other.page.context.close()


def test_job_of_unserved_model_keeps_integer_scale(app_page: AppPage) -> None:
    job_id = app_page.run(count="9", steps="20")
    side = app_page.image_side(job_id)
    app_page.page.route("**/models", lambda route: route.fulfill(json={"models": []}))
    app_page.page.reload()
    app_page.wait_for_results(job_id)
    assert app_page.image_side(job_id) == side
    expect(app_page.page.get_by_text("No model is served yet.")).to_be_visible()
    app_page.panel(job_id).get_by_role("button", name="Image 3").click()
    canvas = app_page.page.get_by_role("dialog").locator("canvas.image-canvas").first
    assert int(canvas.get_attribute("width") or 0) % SIZE == 0
