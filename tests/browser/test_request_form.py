"""The request form: every setting reaches the API, by mouse and keyboard; the seed lock; the code snippet."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from playwright.sync_api import expect

from tests.browser.app_page import AppPage

LARGEST_SEED = "18446744073709551615"


def test_form_sends_chosen_settings(app_page: AppPage) -> None:
    app_page.page.get_by_role("radio", name="7", exact=True).check()
    app_page.page.get_by_role("button", name="Random seed").click()
    drawn = app_page.page.input_value("#seed")
    job_id = app_page.submit(count="2", steps="20", guidance_scale="1.5", sampler="ddim", frames="5")
    request = app_page.job_view(job_id)["request"]
    assert request["labels"] == [7, 7]
    assert request["seed"] == int(drawn) < 2**53
    assert (request["count"], request["steps"], request["frames"]) == (2, 20, 5)
    assert (request["guidance_scale"], request["sampler"]) == (1.5, "ddim")


def test_form_sends_advanced_settings(app_page: AppPage) -> None:
    app_page.page.get_by_text("Advanced settings").click()
    app_page.fill(first_index="5", sampler="ddim", eta="0.5")
    for name, value in {"spacing": "leading", "thresholding": "dynamic", "priority": "batch"}.items():
        app_page.page.select_option(f"#{name}", value)
    request = app_page.job_view(app_page.submit(count="1", steps="10"))["request"]
    assert (request["first_index"], request["eta"], request["spacing"]) == (5, 0.5, "leading")
    assert (request["thresholding"], request["priority"]) == ("dynamic", "batch")


def test_largest_seed_keeps_all_digits(app_page: AppPage) -> None:
    job_id = app_page.submit(count="1", steps="20", seed=LARGEST_SEED)
    expect(app_page.panel(job_id).locator(".facts")).to_contain_text(LARGEST_SEED)
    assert app_page.job_view(job_id)["request"]["seed"] == int(LARGEST_SEED)


def test_lock_reuses_seed_of_last_job(app_page: AppPage) -> None:
    lock = app_page.page.get_by_role("button", name="Lock the seed")
    first = app_page.run(count="1", steps="10")
    second = app_page.run()
    lock.click()
    third = app_page.run()
    lock.click()
    fourth = app_page.run()
    seeds = [app_page.job_view(job_id)["request"]["seed"] for job_id in (first, second, third, fourth)]
    assert seeds[1] == seeds[2]
    assert len(set(seeds)) == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_code_snippet_sends_same_request(app_page: AppPage) -> None:
    app_page.page.get_by_text("This request as code").click()
    code = app_page.page.locator(".snippet code")
    app_page.fill(count="2", steps="10", seed="11")
    expect(code).to_contain_text('"seed": 11')
    curl = subprocess.run(["bash", "-c", f"{code.inner_text()} -s"], capture_output=True, check=True)
    by_curl = json.loads(curl.stdout)
    by_page = app_page.job_view(app_page.run())
    assert by_curl["request"] == by_page["request"]
    curl_images, page_images = ([app_page.get(url) for url in job["urls"]["images"]] for job in (by_curl, by_page))
    assert curl_images == page_images
    app_page.page.get_by_role("button", name="Python").click()
    compile(code.inner_text(), "snippet", "exec")
    expect(code).to_contain_text('"seed": 11')


def test_form_grid_and_dialog_work_by_keyboard(app_page: AppPage) -> None:
    press = app_page.page.keyboard.press
    app_page.page.focus("#count")
    press("Control+A")
    app_page.page.keyboard.type("4")
    press("Enter")
    app_page.page.wait_for_selector('article.job[data-status="finished"]')
    first_image = app_page.page.get_by_role("button", name="Image 0", exact=False).first
    for _ in range(60):
        press("Tab")
        if first_image.evaluate("(button) => button === document.activeElement"):
            break
    press("ArrowRight")
    press("ArrowDown")
    press("Enter")
    dialog = app_page.page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Image 3")).to_be_visible()
    press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="Image 2")).to_be_visible()
    press("Escape")
    expect(dialog).to_have_count(0)
    assert app_page.page.evaluate("document.activeElement.dataset.position") == "3"
