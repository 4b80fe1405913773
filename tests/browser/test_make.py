"""Asking for pictures: the form, its words, several jobs side by side, and what stands in the way."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.desk import Desk
from tests.service import Service

LARGEST_SEED = "18446744073709551615"
FIRST_PICTURE_SECONDS = 10


def test_the_form_asks_for_what_was_chosen(desk: Desk) -> None:
    desk.page.get_by_role("radio", name="7", exact=True).check()
    desk.page.get_by_role("button", name="Draw a seed").click()
    drawn = desk.page.input_value("#seed")
    job_id = desk.generate(count="2", steps="20", guidance_scale="1.5", sampler="ddim", frames="5")
    request = desk.view(job_id)["request"]
    assert request["labels"] == [7, 7]
    assert request["seed"] == int(drawn) < 2**53
    assert (request["count"], request["steps"], request["frames"]) == (2, 20, 5)
    assert (request["guidance_scale"], request["sampler"]) == (1.5, "ddim")


def test_what_more_can_be_set_is_asked_for_too(desk: Desk) -> None:
    desk.page.get_by_text("More", exact=True).click()
    desk.fill(first_index="5", sampler="ddim", eta="0.5")
    for name, value in {"spacing": "leading", "thresholding": "dynamic", "priority": "batch"}.items():
        desk.page.select_option(f"#{name}", value)
    request = desk.view(desk.generate(count="1", steps="10"))["request"]
    assert (request["first_index"], request["eta"], request["spacing"]) == (5, 0.5, "leading")
    assert (request["thresholding"], request["priority"]) == ("dynamic", "batch")


def test_the_largest_seed_keeps_all_its_digits(desk: Desk) -> None:
    job_id = desk.generate(count="1", steps="20", seed=LARGEST_SEED)
    expect(desk.job(job_id).locator(".facts")).to_contain_text(LARGEST_SEED)
    assert desk.view(job_id)["request"]["seed"] == int(LARGEST_SEED)


def test_the_lock_keeps_the_seed_of_the_last_pictures(desk: Desk) -> None:
    lock = desk.page.get_by_role("button", name="Keep the seed")
    first = desk.make(count="1", steps="10")
    second = desk.make()
    lock.click()
    third = desk.make()
    lock.click()
    fourth = desk.make()
    seeds = [desk.view(job_id)["request"]["seed"] for job_id in (first, second, third, fourth)]
    assert seeds[1] == seeds[2]
    assert len(set(seeds)) == 3


def test_a_refusal_is_shown_in_the_words_of_the_service(desk: Desk, complaints: list[str]) -> None:
    desk.fill(steps="100000")
    with desk.page.expect_response("**/generate") as response:
        desk.page.click("#generate")
    problem = response.value.json()
    assert response.value.status == 422
    refusal = desk.page.get_by_role("alert")
    expect(refusal).to_contain_text(problem["title"])
    expect(refusal).to_contain_text(problem["detail"])
    expect(desk.page.locator("#steps")).to_have_attribute("aria-invalid", "true")
    assert "job=" not in desk.page.url
    assert len(complaints) == 1
    assert "422" in complaints.pop()  # Chromium reports every refused request


def test_jobs_run_side_by_side_and_cancel_ends_exactly_one(desk: Desk) -> None:
    long = desk.generate(count="64", steps="1000", sampler="ddpm")
    desk.wait_for(long, "running")
    short = desk.generate(count="4", steps="20", sampler="ddim")
    other = desk.generate(count="2", steps="30")
    assert desk.shown() == [other, short, long]
    expect(desk.job(long).locator(".eta")).to_contain_text(re.compile("left|compiled"))
    desk.job(long).get_by_role("button", name="Cancel").click()
    desk.wait_for(long, "canceled")
    expect(desk.job(long).locator(".state")).to_have_text("Canceled")
    expect(desk.job(long).get_by_role("button", name="Cancel")).to_have_count(0)
    for job_id in (short, other):
        desk.wait_for(job_id)
        desk.wait_for_results(job_id)
    desk.page.reload()
    desk.page.wait_for_selector("article.job[data-status]")
    assert desk.shown() == [other, short, long]
    desk.job(short).get_by_role("button", name="Take this job off the page").click()
    expect(desk.job(short)).to_have_count(0)
    assert desk.shown() == [other, long]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_same_as_code_is_the_same(desk: Desk) -> None:
    desk.page.get_by_text("The same as code").click()
    code = desk.page.locator(".snippet code")
    desk.fill(count="2", steps="10", seed="11")
    expect(code).to_contain_text('"seed": 11')
    answer = subprocess.run(["bash", "-c", f"{code.inner_text()} -s"], capture_output=True, check=True)
    by_curl = json.loads(answer.stdout)
    by_page = desk.view(desk.make())
    assert by_curl["request"] == by_page["request"]
    assert [desk.get(url) for url in by_curl["urls"]["images"]] == [desk.get(url) for url in by_page["urls"]["images"]]
    desk.page.get_by_role("button", name="Python").click()
    compile(code.inner_text(), "snippet", "exec")
    expect(code).to_contain_text('"seed": 11')


def test_all_of_it_by_keyboard(desk: Desk) -> None:
    press = desk.page.keyboard.press
    desk.page.focus("#count")
    press("Control+A")
    desk.page.keyboard.type("4")
    press("Enter")
    desk.page.wait_for_selector('article.job[data-status="finished"]')
    tile = desk.page.get_by_role("button", name="Image 0", exact=False).first
    for _ in range(60):
        press("Tab")
        if tile.evaluate("(tile) => tile === document.activeElement"):
            break
    press("ArrowRight")
    press("ArrowDown")
    press("Enter")
    dialog = desk.page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Image 3")).to_be_visible()
    press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="Image 2")).to_be_visible()
    press("Escape")
    expect(dialog).to_have_count(0)
    assert desk.page.evaluate("document.activeElement.dataset.position") == "3"


def test_the_first_picture_comes_soon_for_whoever_just_presses_generate(desk: Desk, page: Page) -> None:
    desk.make(count="1", steps="10")  # the network is compiled
    began = time.monotonic()
    page.goto("about:blank")
    page.goto("/")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("article.job .scrubber, article.job[data-status=finished]")
    assert time.monotonic() - began < FIRST_PICTURE_SECONDS


def test_a_full_queue_says_when_to_try_again(small: Service, small_desk: Desk) -> None:
    small_desk.page.goto("/#gallery")
    expect(small_desk.page.locator(".empty")).to_contain_text("Nothing has been made yet")
    small_desk.open()
    # The worker takes each job at once while it has room, so it is kept from it.
    pids = [small.pid("worker")]
    subprocess.run(["kill", "-STOP", *map(str, pids)], check=True)
    try:
        small_desk.generate(count="1", steps="10")
        with small_desk.page.expect_response("**/generate") as response:
            small_desk.page.click("#generate")
        assert response.value.status == 429
        refusal = small_desk.page.get_by_role("alert")
        expect(refusal).to_contain_text(response.value.json()["detail"])
        expect(refusal).to_contain_text(f"Try again in {response.value.headers['retry-after']} s")
    finally:
        subprocess.run(["kill", "-CONT", *map(str, pids)], check=True)
    small_desk.wait_for(small_desk.shown()[0])


def test_being_offline_is_said_and_passes(desk: Desk, complaints: list[str]) -> None:
    desk.fill(count="1", steps="10")
    desk.page.context.set_offline(True)
    desk.page.click("#generate")
    expect(desk.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    desk.page.context.set_offline(False)
    desk.make()
    expect(desk.page.get_by_role("alert")).to_have_count(0)
    assert all("net::ERR_" in each for each in complaints)
    complaints.clear()


def test_a_failed_job_says_why(desk: Desk) -> None:
    job_id = desk.make(count="1", steps="10")

    def failed(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"status": "failed", "error": "the worker ran out of memory"})

    desk.page.route(f"**/jobs/{job_id}", failed)
    desk.page.reload()
    expect(desk.job(job_id).locator(".state")).to_have_text("Failed: the worker ran out of memory")


def test_a_job_that_is_not_there_is_named_as_such(desk: Desk, complaints: list[str]) -> None:
    desk.page.goto("/#job=none")
    problem = desk.page.request.get("/jobs/none").json()
    expect(desk.job("none").locator(".state")).to_have_text(problem["title"])
    expect(desk.job("none").locator(".eta")).to_have_text(problem["detail"])
    assert complaints
    assert all("404" in each for each in complaints)
    complaints.clear()


def test_the_page_may_load_nothing_but_its_own(desk: Desk) -> None:
    policy = desk.page.request.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
