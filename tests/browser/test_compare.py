"""The same noise under other settings, side by side, in step."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.desk import Desk, wait_until


@pytest.mark.parametrize(
    ("axis", "field", "values"),
    [
        ("sampler", "sampler", ["dpmpp_2m", "ddpm"]),
        ("steps", "steps", [5, 50]),
        ("guidance_scale", "guidance_scale", [1, 4]),
        ("label", "labels", [[0] * 4, [1] * 4]),
    ],
)
def test_jobs_that_differ_in_one_thing_are_shown_in_step(
    desk: Desk, axis: str, field: str, values: list[object]
) -> None:
    desk.page.get_by_role("link", name="Compare").click()
    desk.axis(axis)
    desk.fill(count="4")
    desk.page.get_by_role("button", name="Compare").click()
    expect(desk.page.locator(".columns article.job[data-status=finished]")).to_have_count(2)
    ids = desk.shown()
    assert desk.page.url.endswith(f"#compare={','.join(ids)}")
    requests = [desk.view(job_id)["request"] for job_id in ids]
    assert [request[field] for request in requests] == values
    assert len({request["seed"] for request in requests}) == 1
    for job_id in ids:
        desk.wait_for_results(job_id)

    final = [desk.tiles(job_id, 4) for job_id in ids]
    scrubber = desk.page.locator(".compare > .timeline .scrubber")
    scrubber.focus()
    desk.page.keyboard.press("Home")
    wait_until(desk.page, lambda: all(desk.tiles(job_id, 4) != end for job_id, end in zip(ids, final, strict=True)))
    captions = [desk.job(job_id).locator(".caption").inner_text() for job_id in ids]
    assert all(caption.startswith("step ") for caption in captions)
    desk.page.keyboard.press("End")
    wait_until(desk.page, lambda: all(desk.tiles(job_id, 4) == end for job_id, end in zip(ids, final, strict=True)))


def test_more_than_two_can_be_compared_and_one_looked_at(desk: Desk) -> None:
    desk.page.get_by_role("link", name="Compare").click()
    desk.axis("steps")
    desk.page.get_by_role("button", name="One more").click()
    desk.page.get_by_role("textbox", name="Steps, value 3").fill("20")
    desk.fill(count="1")
    desk.page.get_by_role("button", name="Compare").click()
    expect(desk.page.locator(".columns article.job[data-status=finished]")).to_have_count(3)
    desk.page.get_by_role("button", name="Image 0").last.click()
    expect(desk.page.get_by_role("dialog")).to_contain_text("20 steps of")
    desk.page.keyboard.press("Escape")
    expect(desk.page.locator(".columns h2")).to_have_text(["5 steps", "50 steps", "20 steps"])
