"""For everyone: audited by axe-core in light and dark, on every view; at the width of a phone; with reduced motion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.desk import PATIENCE_MS, Desk
from tests.service import Service

AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text()
LARGEST_SEED = "18446744073709551615"


@pytest.fixture(scope="module")
def made(service: Service) -> list[str]:
    """Two finished jobs that differ in one thing."""
    jobs = [
        service.generate(model="digits", count=16, steps=steps, seed=int(LARGEST_SEED), label="cycle")
        for steps in (10, 20)
    ]
    return [service.finished(job)["id"] for job in jobs]


def refused(desk: Desk) -> None:
    desk.fill(steps="0", count="no")
    desk.page.click("#generate")
    desk.page.get_by_role("alert").wait_for()


def unfolded(desk: Desk) -> None:
    for summary in desk.page.locator("#ask summary").all():
        summary.click()
    desk.page.get_by_role("radio", name="3", exact=True).check()


def nothing(desk: Desk) -> None:
    pass


VIEWS: dict[str, tuple[str, str, Callable[[Desk], None]]] = {
    "make": ("/", ".intro img", unfolded),
    "refusal": ("/", ".intro img", refused),
    "job": ("/#job={0}", ".job .scrubber", nothing),
    "jobs": ("/#job={0}&job={1}", ".job .scrubber", nothing),
    "picture": ("/#job={0}&picture={0}/3", ".picture .strip button", nothing),
    "missing": ("/#job=none", ".missing button", nothing),
    "comparing": ("/#compare", ".vary", nothing),
    "comparison": ("/#compare={0},{1}", ".compare .scrubber", nothing),
    "gallery": ("/#gallery", ".jobs img", nothing),
    "models": ("/#models", ".models img", nothing),
    "model": ("/#model=digits", ".model img", nothing),
}


@pytest.fixture(params=["light", "dark", "phone"])
def any_desk(request: pytest.FixtureRequest, browser: Browser, service: Service) -> Iterator[Desk]:
    wide = {"viewport": {"width": 1200, "height": 800}, "color_scheme": request.param}
    phone = {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2, "has_touch": True}
    context = browser.new_context(base_url=service.url, **(phone if request.param == "phone" else wide))
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield Desk(page)
    context.close()


def test_no_view_has_a_violation_or_is_wider_than_the_screen(any_desk: Desk, made: list[str]) -> None:
    page = any_desk.page
    found = []
    for name, (address, ready, prepare) in VIEWS.items():
        page.goto("about:blank")
        page.goto(address.format(*made))
        page.wait_for_selector(ready)
        prepare(any_desk)
        page.evaluate(AXE)
        for violation in page.evaluate("axe.run()")["violations"]:
            nodes = [node["html"][:150] + " " + node["failureSummary"][:200] for node in violation["nodes"][:3]]
            found.append(f"{name}: {violation['id']}: {json.dumps(nodes, indent=1, ensure_ascii=False)}")
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > (page.viewport_size or {})["width"]:
            found.append(f"{name}: {width} pixels wide")
    assert not found, "\n".join(found)


def test_a_phone_is_enough(browser: Browser, service: Service) -> None:
    context = browser.new_context(
        base_url=service.url, viewport={"width": 375, "height": 812}, device_scale_factor=2, has_touch=True
    )
    desk = Desk(context.new_page())
    desk.open()
    job_id = desk.generate(count="16", steps="20", seed=LARGEST_SEED)
    expect(desk.job(job_id).locator(".state")).to_be_in_viewport()
    desk.wait_for(job_id)
    desk.wait_for_results(job_id)
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= 375
    desk.job(job_id).get_by_role("button", name="Image 0").tap()
    desk.page.get_by_role("dialog").get_by_role("button", name="Close").tap()
    expect(desk.page.get_by_role("dialog")).to_have_count(0)
    context.close()


def test_nothing_moves_by_itself_where_motion_is_unwanted(browser: Browser, service: Service) -> None:
    context = browser.new_context(base_url=service.url, reduced_motion="reduce")
    desk = Desk(context.new_page())
    desk.open()
    job_id = desk.generate(count="16", steps="1000", sampler="ddpm")
    desk.wait_for(job_id, "running")
    assert desk.page.evaluate("document.getAnimations().length") == 0
    desk.job(job_id).get_by_role("button", name="Cancel").click()
    desk.wait_for(job_id, "canceled")
    desk.page.goto("/#model=digits")
    expect(desk.page.get_by_role("link", name="Show the animation")).to_be_visible()
    context.close()
