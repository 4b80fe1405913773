"""Watching pictures come out of the noise, whatever happens meanwhile."""

from __future__ import annotations

import io

from PIL import Image
from playwright.sync_api import Locator, expect

from tests.browser.desk import MODEL, SIZE, Desk, canvas_pixels, enlarged, wait_until
from tests.service import Service

# Seconds, so that something may happen meanwhile.
SLOW = {"count": "64", "steps": "600", "sampler": "ddpm", "guidance_scale": "1", "frames": "60"}


def streamed(service: Service, job_id: str) -> int:
    """How many frames the job's stream holds, by the API."""
    job = {"urls": {"events": f"/jobs/{job_id}/events"}}
    return sum(event.type == "frame" for event in service.events(job))


def test_the_grid_emerges_and_ends_in_grid_png(desk: Desk) -> None:
    job_id = desk.generate(count="16", steps="500", sampler="ddpm", guidance_scale="1")
    seen = set()
    while desk.job(job_id).get_attribute("data-status") in ("queued", "running"):
        seen.add(b"".join(desk.tiles(job_id, 16)))
        desk.page.wait_for_timeout(30)
    desk.wait_for(job_id)
    desk.wait_for_results(job_id)
    assert len(seen) >= 5
    assert desk.side(job_id) % SIZE == 0
    assert len(set(desk.tiles(job_id, 16))) == 16


def test_the_timeline_goes_back_through_the_frames(desk: Desk) -> None:
    job_id = desk.make(count="4", steps="100")
    final = desk.tiles(job_id, 4)
    assert "step 100 of 100" in desk.caption(job_id)
    desk.job(job_id).locator(".scrubber").focus()
    seen = [final]
    for key in ("Home", "ArrowRight", "ArrowRight"):
        desk.page.keyboard.press(key)
        wait_until(desk.page, lambda: desk.tiles(job_id, 4) not in seen)
        seen.append(desk.tiles(job_id, 4))
    assert "step 15 of 100" in desk.caption(job_id)
    desk.page.keyboard.press("End")
    wait_until(desk.page, lambda: desk.tiles(job_id, 4) == final)

    desk.job(job_id).get_by_role("button", name="Play the process").click()
    wait_until(desk.page, lambda: desk.tiles(job_id, 4) != final)
    wait_until(desk.page, lambda: desk.tiles(job_id, 4) == final)
    expect(desk.job(job_id).get_by_role("button", name="Play the process")).to_be_visible()


def test_the_timeline_works_while_the_job_runs(desk: Desk) -> None:
    job_id = desk.generate(**SLOW)
    desk.wait_for_frames(job_id, 5)
    desk.job(job_id).locator(".scrubber").fill("0")
    before = desk.caption(job_id)
    frames = desk.frames(job_id)
    desk.wait_for_frames(job_id, frames + 3)
    assert desk.caption(job_id) == before
    desk.wait_for(job_id)
    assert desk.caption(job_id) == before


def test_a_reload_goes_on_and_loses_no_frame(desk: Desk, service: Service) -> None:
    job_id = desk.generate(**SLOW)
    desk.wait_for_frames(job_id, 5)
    desk.page.reload()
    desk.page.wait_for_selector("article.job[data-status]")
    assert desk.shown() == [job_id]
    assert desk.view(job_id)["status"] == "running"
    desk.wait_for(job_id)
    desk.wait_for_results(job_id)
    assert desk.frames(job_id) == streamed(service, job_id) >= 60


def test_a_lost_connection_is_taken_up_and_loses_no_frame(small: Service, small_desk: Desk) -> None:
    job_id = small_desk.generate(**SLOW)
    small_desk.wait_for_frames(job_id, 5)
    small.kill("app")  # every connection is cut; the worker goes on
    expect(small_desk.job(job_id).locator(".lost")).to_be_attached()
    small_desk.wait_for(job_id)
    small_desk.wait_for_results(job_id)
    assert small_desk.frames(job_id) == streamed(small, job_id) >= 60


def test_a_page_that_slept_has_every_frame(desk: Desk, service: Service) -> None:
    job_id = desk.generate(**SLOW)
    desk.wait_for_frames(job_id, 5)
    state = desk.page.context.new_cdp_session(desk.page)
    state.send("Page.setWebLifecycleState", {"state": "frozen"})
    service.finished({"urls": {"job": f"/jobs/{job_id}"}})
    state.send("Page.setWebLifecycleState", {"state": "active"})
    desk.wait_for(job_id)
    desk.wait_for_results(job_id)
    assert desk.frames(job_id) == streamed(service, job_id) >= 60


def test_a_restart_of_the_service_is_outlived(small: Service, small_desk: Desk) -> None:
    job_id = small_desk.generate(**SLOW)
    small_desk.wait_for_frames(job_id, 5)
    small.stop()
    expect(small_desk.job(job_id).locator(".lost")).to_be_visible()
    small.start()
    small_desk.wait_for(job_id)
    small_desk.wait_for_results(job_id)
    assert small_desk.frames(job_id) == streamed(small, job_id) >= 60


def test_two_tabs_show_the_same_and_leave_each_other_room(desk: Desk) -> None:
    # More streams in all than a browser opens connections to one host.
    ids = [desk.generate(**SLOW | {"count": "8"}) for _ in range(4)]
    other = Desk(desk.page.context.new_page())
    other.open(desk.page.url)
    for job_id in ids:
        other.wait_for_frames(job_id, 2)
        desk.wait_for_frames(job_id, 2)
    other.job(ids[0]).get_by_role("button", name="Cancel").click()
    desk.wait_for(ids[0], "canceled")
    for job_id in ids[1:]:
        for each in (desk, other):
            each.wait_for(job_id)
            each.wait_for_results(job_id)
        assert desk.tiles(job_id, 8) == other.tiles(job_id, 8)


def test_a_picture_alone_has_its_own_place_and_strip(desk: Desk) -> None:
    desk.page.get_by_role("radio", name="in turn").check()
    job_id = desk.make(count="9", steps="50", seed="7")
    desk.job(job_id).get_by_role("button", name="Image 4, 4").click()
    dialog = desk.page.get_by_role("dialog")
    expect(dialog.locator(".facts")).to_contain_text("Seed7")
    expect(dialog.locator(".facts")).to_contain_text("Index4")
    assert desk.page.url.endswith(f"picture={job_id}/4")

    large = dialog.locator(".large canvas")
    side = int(large.get_attribute("width") or 0)
    assert side % SIZE == 0
    own = Image.open(io.BytesIO(desk.get(f"/jobs/{job_id}/images/4.png")))
    wait_until(desk.page, lambda: canvas_pixels(large) == enlarged(own, side))

    strip = dialog.locator(".strip button")
    expect(strip).to_have_count(20)
    strip.first.click()
    wait_until(desk.page, lambda: canvas_pixels(large) != enlarged(own, side))
    expect(strip.first).to_have_attribute("aria-pressed", "true")
    small = strip.first.locator("canvas")
    wait_until(desk.page, lambda: shrunk(large) == shrunk(small))

    desk.page.reload()
    expect(dialog.get_by_role("heading", name="Image 4")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def shrunk(canvas: Locator) -> bytes:
    side = int(canvas.get_attribute("width") or 0)
    return (
        Image.frombytes("RGBA", (side, side), canvas_pixels(canvas))
        .resize((SIZE, SIZE), Image.Resampling.NEAREST)
        .tobytes()
    )


def test_again_with_this_seed_is_the_same_picture_alone(desk: Desk) -> None:
    job_id = desk.make(count="6", steps="30", seed="7")
    desk.job(job_id).get_by_role("button", name="Image 5").click()
    desk.page.get_by_role("button", name="Again with this seed").click()
    expect(desk.page.get_by_role("dialog")).to_have_count(0)
    wait_until(desk.page, lambda: len(desk.shown()) == 2)
    again = desk.shown()[0]
    desk.wait_for(again)
    request = desk.view(again)["request"]
    assert (request["count"], request["first_index"], request["seed"], request["frames"]) == (1, 5, 7, 30)
    assert desk.get(f"/jobs/{again}/images/0.png") == desk.get(f"/jobs/{job_id}/images/5.png")


def test_more_like_this_is_the_same_noise_in_other_hands(desk: Desk, service: Service) -> None:
    card = service.http.get(f"/models/{MODEL}").json()
    job_id = desk.make(count="3", steps="10", seed="7")
    for name, field, values in (
        ("by every sampler", "sampler", card["samplers"]),
        ("as every class", "labels", [[label] for label in range(10)]),
    ):
        desk.page.goto(f"/#job={job_id}&picture={job_id}/2")
        desk.page.get_by_role("button", name=name).click()
        expect(desk.page.locator(".columns article.job")).to_have_count(len(values))
        requests = [desk.view(each)["request"] for each in desk.shown()]
        assert [request[field] for request in requests] == values
        assert {(request["seed"], request["first_index"], request["count"]) for request in requests} == {(7, 2, 1)}
        for each in desk.shown():
            desk.wait_for(each)
            desk.wait_for_results(each)
