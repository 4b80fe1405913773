"""Errors on the page: refused requests, a full queue, no connection, failed and unknown jobs; the CSP."""

from __future__ import annotations

import subprocess

from playwright.sync_api import Route, expect

from tests.browser.app_page import AppPage
from tests.service import Service


def test_validation_error_shows_problem_and_marks_field(app_page: AppPage, console_errors: list[str]) -> None:
    app_page.fill(steps="100000")
    with app_page.page.expect_response("**/generate") as response:
        app_page.page.click("#generate")
    problem = response.value.json()
    assert response.value.status == 422
    alert = app_page.page.get_by_role("alert")
    expect(alert).to_contain_text(problem["title"])
    expect(alert).to_contain_text(problem["detail"])
    expect(app_page.page.locator("#steps")).to_have_attribute("aria-invalid", "true")
    assert "job=" not in app_page.page.url
    assert len(console_errors) == 1
    assert "422" in console_errors.pop()  # Chromium logs every error response


def test_queue_full_shows_retry_after(small_service: Service, small_page: AppPage) -> None:
    small_page.page.goto("/#gallery")
    expect(small_page.page.locator(".empty")).to_contain_text("No jobs yet")
    small_page.open()
    # Otherwise the worker takes each job at once.
    worker = str(small_service.pid("worker"))
    subprocess.run(["kill", "-STOP", worker], check=True)
    try:
        small_page.submit(count="1", steps="10")
        with small_page.page.expect_response("**/generate") as response:
            small_page.page.click("#generate")
        assert response.value.status == 429
        alert = small_page.page.get_by_role("alert")
        expect(alert).to_contain_text(response.value.json()["detail"])
        expect(alert).to_contain_text(f"Try again in {response.value.headers['retry-after']} s")
    finally:
        subprocess.run(["kill", "-CONT", worker], check=True)
    small_page.wait_for_status(small_page.visible_jobs()[0])


def test_offline_error_is_shown_and_clears_after_reconnect(app_page: AppPage, console_errors: list[str]) -> None:
    app_page.fill(count="1", steps="10")
    app_page.page.context.set_offline(True)
    app_page.page.click("#generate")
    expect(app_page.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    app_page.page.context.set_offline(False)
    app_page.run()
    expect(app_page.page.get_by_role("alert")).to_have_count(0)
    assert all("net::ERR_" in each for each in console_errors)
    console_errors.clear()


def test_failed_job_shows_error(app_page: AppPage) -> None:
    job_id = app_page.run(count="1", steps="10")

    def failed(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"status": "failed", "error": "the worker ran out of memory"})

    app_page.page.route(f"**/jobs/{job_id}", failed)
    app_page.page.reload()
    expect(app_page.panel(job_id).locator(".state")).to_have_text("Failed: the worker ran out of memory")


def test_unknown_job_shows_problem(app_page: AppPage, console_errors: list[str]) -> None:
    app_page.page.goto("/#job=none")
    problem = app_page.page.request.get("/jobs/none").json()
    expect(app_page.panel("none").locator(".state")).to_have_text(problem["title"])
    expect(app_page.panel("none").locator(".eta")).to_have_text(problem["detail"])
    assert console_errors
    assert all("404" in each for each in console_errors)
    console_errors.clear()


def test_content_security_policy_allows_own_files_only(app_page: AppPage) -> None:
    policy = app_page.page.request.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
