"""Comparisons: jobs with the same noise that differ in one setting, on one timeline."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.app_page import AppPage, wait_until


@pytest.mark.parametrize(
    ("axis", "field", "values"),
    [
        ("sampler", "sampler", ["dpmpp_2m", "ddpm"]),
        ("steps", "steps", [5, 50]),
        ("guidance_scale", "guidance_scale", [1, 4]),
        ("label", "labels", [[0] * 4, [1] * 4]),
    ],
)
def test_comparison_varies_one_setting_and_shares_the_timeline(
    app_page: AppPage, axis: str, field: str, values: list[object]
) -> None:
    app_page.page.get_by_role("link", name="Compare").click()
    app_page.choose_axis(axis)
    app_page.fill(count="4")
    app_page.page.get_by_role("button", name="Compare").click()
    expect(app_page.page.locator(".columns article.job[data-status=finished]")).to_have_count(2)
    ids = app_page.visible_jobs()
    assert app_page.page.url.endswith(f"#compare={','.join(ids)}")
    requests = [app_page.job_view(job_id)["request"] for job_id in ids]
    assert [request[field] for request in requests] == values
    assert len({request["seed"] for request in requests}) == 1
    for job_id in ids:
        app_page.wait_for_results(job_id)

    def all_differ_from_final() -> bool:
        return all(app_page.grid_pixels(job_id, 4) != end for job_id, end in zip(ids, final, strict=True))

    final = [app_page.grid_pixels(job_id, 4) for job_id in ids]
    scrubber = app_page.page.locator(".comparison > .timeline .scrubber")
    scrubber.focus()
    app_page.page.keyboard.press("Home")
    wait_until(app_page.page, all_differ_from_final)
    captions = [app_page.panel(job_id).locator(".caption").inner_text() for job_id in ids]
    assert all(caption.startswith("step ") for caption in captions)
    app_page.page.keyboard.press("End")
    wait_until(app_page.page, lambda: [app_page.grid_pixels(job_id, 4) for job_id in ids] == final)


def test_comparison_of_three_values_opens_an_image(app_page: AppPage) -> None:
    app_page.page.get_by_role("link", name="Compare").click()
    app_page.choose_axis("steps")
    app_page.page.get_by_role("button", name="Add a value").click()
    app_page.page.get_by_role("textbox", name="Steps, value 3").fill("20")
    app_page.fill(count="1")
    app_page.page.get_by_role("button", name="Compare").click()
    expect(app_page.page.locator(".columns article.job[data-status=finished]")).to_have_count(3)
    app_page.page.get_by_role("button", name="Image 0").last.click()
    expect(app_page.page.get_by_role("dialog")).to_contain_text("20 steps of")
    app_page.page.keyboard.press("Escape")
    expect(app_page.page.locator(".columns h2")).to_have_text(["5 steps", "50 steps", "20 steps"])
