"""axe-core audit of every view in light and dark mode and on a phone; reduced motion; the skip link."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.app_page import TIMEOUT_MS, AppPage
from tests.service import Service

AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text()
LARGEST_SEED = "18446744073709551615"


@pytest.fixture(scope="module")
def finished_jobs(service: Service) -> list[str]:
    """Ids of two finished jobs that differ in steps."""
    jobs = [
        service.generate(model="digits", count=16, steps=steps, seed=int(LARGEST_SEED), label="cycle")
        for steps in (10, 20)
    ]
    return [service.finished(job)["id"] for job in jobs]


def submit_invalid(app_page: AppPage) -> None:
    app_page.fill(steps="0", count="no")
    app_page.page.click("#generate")
    app_page.page.get_by_role("alert").wait_for()


def open_details(app_page: AppPage) -> None:
    for summary in app_page.page.locator("#request-form summary").all():
        summary.click()
    app_page.page.get_by_role("radio", name="3", exact=True).check()


def no_action(app_page: AppPage) -> None:
    pass


VIEWS: dict[str, tuple[str, str, Callable[[AppPage], None]]] = {
    "generate": ("/", ".introduction img", open_details),
    "error": ("/", ".introduction img", submit_invalid),
    "job": ("/#job={0}", ".job .scrubber", no_action),
    "jobs": ("/#job={0}&job={1}", ".job .scrubber", no_action),
    "image": ("/#job={0}&picture={0}/3", ".image-dialog .frame-strip button", no_action),
    "unknown job": ("/#job=none", ".job-unavailable button", no_action),
    "comparison form": ("/#compare", ".comparison-axis", no_action),
    "comparison": ("/#compare={0},{1}", ".comparison .scrubber", no_action),
    "gallery": ("/#gallery", ".jobs img", no_action),
    "models": ("/#models", ".models img", no_action),
    "model": ("/#model=digits", ".model img", no_action),
}


@pytest.fixture(params=["light", "dark", "phone"])
def any_page(request: pytest.FixtureRequest, browser: Browser, service: Service) -> Iterator[AppPage]:
    wide = {"viewport": {"width": 1200, "height": 800}, "color_scheme": request.param}
    phone = {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2, "has_touch": True}
    context = browser.new_context(base_url=service.url, **(phone if request.param == "phone" else wide))
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    yield AppPage(page)
    context.close()


def test_axe_finds_no_violation_and_no_view_overflows(any_page: AppPage, finished_jobs: list[str]) -> None:
    page = any_page.page
    found = []
    for name, (address, ready, prepare) in VIEWS.items():
        page.goto("about:blank")
        page.goto(address.format(*finished_jobs))
        page.wait_for_selector(ready)
        prepare(any_page)
        page.evaluate(AXE)
        for violation in page.evaluate("axe.run()")["violations"]:
            nodes = [node["html"][:150] + " " + node["failureSummary"][:200] for node in violation["nodes"][:3]]
            found.append(f"{name}: {violation['id']}: {json.dumps(nodes, indent=1, ensure_ascii=False)}")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > (page.viewport_size or {})["width"]:
            found.append(f"{name}: {width} pixels wide")
    assert not found, "\n".join(found)


def test_job_and_image_dialog_work_on_a_phone(browser: Browser, service: Service) -> None:
    context = browser.new_context(
        base_url=service.url, viewport={"width": 375, "height": 812}, device_scale_factor=2, has_touch=True
    )
    app_page = AppPage(context.new_page())
    app_page.open()
    job_id = app_page.submit(count="16", steps="20", seed=LARGEST_SEED)
    expect(app_page.panel(job_id).locator(".state")).to_be_in_viewport()
    app_page.wait_for_results(job_id)
    assert app_page.page.evaluate("document.documentElement.scrollWidth") <= 375
    app_page.panel(job_id).get_by_role("button", name="Image 0").tap()
    app_page.page.get_by_role("dialog").get_by_role("button", name="Close").tap()
    expect(app_page.page.get_by_role("dialog")).to_have_count(0)
    context.close()


def test_reduced_motion_stops_animations(browser: Browser, service: Service) -> None:
    context = browser.new_context(base_url=service.url, reduced_motion="reduce")
    app_page = AppPage(context.new_page())
    app_page.open()
    job_id = app_page.submit(count="16", steps="1000", sampler="ddpm")
    app_page.wait_for_status(job_id, "running")
    assert app_page.page.evaluate("document.getAnimations().length") == 0
    app_page.panel(job_id).get_by_role("button", name="Cancel").click()
    app_page.wait_for_status(job_id, "canceled")
    app_page.page.goto("/#model=digits")
    expect(app_page.page.get_by_role("link", name="Show the animation")).to_be_visible()
    context.close()


def test_skip_link_moves_focus_to_main(app_page: AppPage) -> None:
    app_page.page.locator("body").press("Tab")
    expect(app_page.page.get_by_role("link", name="Skip to content")).to_be_focused()
    app_page.page.keyboard.press("Enter")
    expect(app_page.page.get_by_role("main")).to_be_focused()
