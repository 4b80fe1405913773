"""The dialog of one image: its frames, and generating from the same noise again."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.sync_api import Locator, Route, expect

from tests.browser.app_page import MODEL, SIZE, AppPage, canvas_pixels, enlarged, wait_until
from tests.service import Service


def test_image_dialog_has_address_and_frame_strip(app_page: AppPage) -> None:
    app_page.page.get_by_role("radio", name="in turn").check()
    job_id = app_page.run(count="9", steps="50", seed="7")
    app_page.panel(job_id).get_by_role("button", name="Image 4, 4").click()
    dialog = app_page.page.get_by_role("dialog")
    expect(dialog.locator(".facts")).to_contain_text("Seed7")
    expect(dialog.locator(".facts")).to_contain_text("Index4")
    assert app_page.page.url.endswith(f"picture={job_id}/4")

    large = dialog.locator(".image-large canvas")
    side = int(large.get_attribute("width") or 0)
    assert side % SIZE == 0
    own = Image.open(io.BytesIO(app_page.get(f"/jobs/{job_id}/images/4.png")))
    wait_until(app_page.page, lambda: canvas_pixels(large) == enlarged(own, side))

    strip = dialog.locator(".frame-strip button")
    expect(strip).to_have_count(20)
    strip.first.click()
    wait_until(app_page.page, lambda: canvas_pixels(large) != enlarged(own, side))
    expect(strip.first).to_have_attribute("aria-pressed", "true")
    small = strip.first.locator("canvas")
    wait_until(app_page.page, lambda: shrunk(large) == shrunk(small))

    app_page.page.reload()
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


def test_generate_again_gives_same_image(app_page: AppPage) -> None:
    job_id = app_page.run(count="6", steps="30", seed="7")
    app_page.panel(job_id).get_by_role("button", name="Image 5").click()
    app_page.page.get_by_role("button", name="Generate this image again").click()
    expect(app_page.page.get_by_role("dialog")).to_have_count(0)
    wait_until(app_page.page, lambda: len(app_page.visible_jobs()) == 2)
    again = app_page.visible_jobs()[0]
    app_page.wait_for_status(again)
    request = app_page.job_view(again)["request"]
    assert (request["count"], request["first_index"], request["seed"], request["frames"]) == (1, 5, 7, 30)
    assert app_page.get(f"/jobs/{again}/images/0.png") == app_page.get(f"/jobs/{job_id}/images/5.png")


def test_variations_use_same_noise_with_every_sampler_or_class(app_page: AppPage, service: Service) -> None:
    card = service.http.get(f"/models/{MODEL}").json()
    job_id = app_page.run(count="3", steps="10", seed="7")
    for name, field, values in (
        ("Every sampler", "sampler", card["samplers"]),
        ("Every class", "labels", [[label] for label in range(10)]),
    ):
        app_page.page.goto(f"/#job={job_id}&picture={job_id}/2")
        app_page.page.get_by_role("button", name=name).click()
        expect(app_page.page.locator(".columns article.job")).to_have_count(len(values))
        requests = [app_page.job_view(each)["request"] for each in app_page.visible_jobs()]
        assert [request[field] for request in requests] == values
        assert {(request["seed"], request["first_index"], request["count"]) for request in requests} == {(7, 2, 1)}
        for each in app_page.visible_jobs():
            app_page.wait_for_results(each)


@pytest.mark.parametrize("build", ["torch 2.11, cpu", None])
def test_job_build_is_shown_if_known(app_page: AppPage, build: str | None) -> None:
    job_id = app_page.run(count="1", steps="10")

    def with_build(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"build": build})

    app_page.page.route(f"**/jobs/{job_id}", with_build)
    app_page.page.goto(f"/#job={job_id}&picture={job_id}/0")
    app_page.page.reload()
    for facts in (app_page.panel(job_id).locator(".facts"), app_page.page.get_by_role("dialog").locator(".facts")):
        expect(facts).to_contain_text("Seed")
        expect(facts.get_by_text("Build")).to_have_count(0 if build is None else 1)
