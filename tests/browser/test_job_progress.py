"""A job while it runs: frames, timeline, cancel, and streams that resume after reload, kill, freeze and restart."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.app_page import SIZE, AppPage, wait_until
from tests.service import Service

# Runs for several seconds, so that the test can act meanwhile.
SLOW = {"count": "64", "steps": "400", "sampler": "ddpm", "guidance_scale": "1", "frames": "60"}


def streamed(service: Service, job_id: str) -> int:
    """Number of frame events in the job's stream, read from the API."""
    job = {"urls": {"events": f"/jobs/{job_id}/events"}}
    return sum(event.type == "frame" for event in service.events(job))


def test_grid_updates_while_running_and_ends_as_grid_png(app_page: AppPage) -> None:
    job_id = app_page.submit(count="16", steps="200", sampler="ddpm", guidance_scale="1")
    seen = set()
    while app_page.panel(job_id).get_attribute("data-status") in ("queued", "running"):
        seen.add(b"".join(app_page.grid_pixels(job_id, 16)))
        app_page.page.wait_for_timeout(30)
    app_page.wait_for_results(job_id)
    assert len(seen) >= 5
    assert app_page.image_side(job_id) % SIZE == 0
    assert len(set(app_page.grid_pixels(job_id, 16))) == 16


def test_jobs_run_side_by_side_and_cancel_stops_only_one(app_page: AppPage) -> None:
    long = app_page.submit(count="64", steps="1000", sampler="ddpm")
    app_page.wait_for_status(long, "running")
    short = app_page.submit(count="4", steps="20", sampler="ddim")
    other = app_page.submit(count="2", steps="30")
    assert app_page.visible_jobs() == [other, short, long]
    expect(app_page.panel(long).locator(".eta")).to_contain_text(re.compile("left|compiled"))
    app_page.panel(long).get_by_role("button", name="Cancel").click()
    app_page.wait_for_status(long, "canceled")
    expect(app_page.panel(long).locator(".state")).to_have_text("Canceled")
    expect(app_page.panel(long).get_by_role("button", name="Cancel")).to_have_count(0)
    for job_id in (short, other):
        app_page.wait_for_results(job_id)
    app_page.page.reload()
    app_page.page.wait_for_selector("article.job[data-status]")
    assert app_page.visible_jobs() == [other, short, long]
    app_page.panel(short).get_by_role("button", name="Hide this job").click()
    expect(app_page.panel(short)).to_have_count(0)
    assert app_page.visible_jobs() == [other, long]


def test_timeline_shows_and_plays_earlier_frames(app_page: AppPage) -> None:
    job_id = app_page.run(count="4", steps="100")
    final = app_page.grid_pixels(job_id, 4)
    assert "step 100 of 100" in app_page.caption(job_id)
    app_page.panel(job_id).locator(".scrubber").focus()
    seen = [final]
    for key in ("Home", "ArrowRight", "ArrowRight"):
        app_page.page.keyboard.press(key)
        wait_until(app_page.page, lambda: app_page.grid_pixels(job_id, 4) not in seen)
        seen.append(app_page.grid_pixels(job_id, 4))
    assert "step 15 of 100" in app_page.caption(job_id)
    app_page.page.keyboard.press("End")
    wait_until(app_page.page, lambda: app_page.grid_pixels(job_id, 4) == final)

    app_page.panel(job_id).get_by_role("button", name="Play the denoising steps").click()
    wait_until(app_page.page, lambda: app_page.grid_pixels(job_id, 4) != final)
    wait_until(app_page.page, lambda: app_page.grid_pixels(job_id, 4) == final)
    expect(app_page.panel(job_id).get_by_role("button", name="Play the denoising steps")).to_be_visible()


def test_timeline_stays_on_chosen_frame_while_job_runs(app_page: AppPage) -> None:
    job_id = app_page.submit(**SLOW)
    app_page.wait_for_frames(job_id, 5)
    app_page.panel(job_id).locator(".scrubber").fill("0")
    before = app_page.caption(job_id)
    frames = app_page.frame_count(job_id)
    app_page.wait_for_frames(job_id, frames + 3)
    assert app_page.caption(job_id) == before
    app_page.wait_for_status(job_id)
    assert app_page.caption(job_id) == before


def test_reload_resumes_without_losing_frames(app_page: AppPage, service: Service) -> None:
    job_id = app_page.submit(**SLOW)
    app_page.wait_for_frames(job_id, 5)
    app_page.page.reload()
    app_page.page.wait_for_selector("article.job[data-status]")
    assert app_page.visible_jobs() == [job_id]
    assert app_page.job_view(job_id)["status"] == "running"
    app_page.wait_for_results(job_id)
    assert app_page.frame_count(job_id) == streamed(service, job_id) >= 60


def test_killed_app_resumes_stream_without_losing_frames(small_service: Service, small_page: AppPage) -> None:
    job_id = small_page.submit(**SLOW)
    small_page.wait_for_frames(job_id, 5)
    small_service.kill("app")  # cuts every connection; the worker continues
    expect(small_page.panel(job_id).locator(".connection-lost")).to_be_attached()
    small_page.wait_for_results(job_id)
    assert small_page.frame_count(job_id) == streamed(small_service, job_id) >= 60


def test_frozen_page_resumes_without_losing_frames(app_page: AppPage, service: Service) -> None:
    job_id = app_page.submit(**SLOW)
    app_page.wait_for_frames(job_id, 5)
    state = app_page.page.context.new_cdp_session(app_page.page)
    state.send("Page.setWebLifecycleState", {"state": "frozen"})
    service.finished({"urls": {"job": f"/jobs/{job_id}"}})
    state.send("Page.setWebLifecycleState", {"state": "active"})
    app_page.wait_for_results(job_id)
    assert app_page.frame_count(job_id) == streamed(service, job_id) >= 60


def test_service_restart_resumes_stream_without_losing_frames(small_service: Service, small_page: AppPage) -> None:
    job_id = small_page.submit(**SLOW)
    small_page.wait_for_frames(job_id, 5)
    small_service.stop()
    expect(small_page.panel(job_id).locator(".connection-lost")).to_be_visible()
    small_service.start()
    small_page.wait_for_results(job_id)
    assert small_page.frame_count(job_id) == streamed(small_service, job_id) >= 60


def test_two_tabs_share_connections_and_show_same_jobs(app_page: AppPage) -> None:
    # More streams than the six connections that a browser opens per host.
    ids = [app_page.submit(**SLOW | {"count": "8"}) for _ in range(4)]
    other = AppPage(app_page.page.context.new_page())
    other.open(app_page.page.url)
    for job_id in ids:
        other.wait_for_frames(job_id, 2)
        app_page.wait_for_frames(job_id, 2)
    other.panel(ids[0]).get_by_role("button", name="Cancel").click()
    app_page.wait_for_status(ids[0], "canceled")
    for job_id in ids[1:]:
        for each in (app_page, other):
            each.wait_for_results(job_id)
        assert app_page.grid_pixels(job_id, 8) == other.grid_pixels(job_id, 8)
