"""What was made is found again: the gallery, links, downloads, and the settings inside a PNG."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Download, expect

from tests.browser.desk import SIZE, Desk
from tests.service import Service

# As a file dropped from outside arrives.
DROP = """([text, name]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  for (const type of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


def saved(download: Download, folder: Path) -> Path:
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


def test_results_can_be_downloaded(desk: Desk, tmp_path: Path) -> None:
    job_id = desk.make(count="4")

    def download(name: str) -> Path:
        with desk.page.expect_download() as started:
            desk.job(job_id).get_by_role("link", name=name, exact=True).click()
        return saved(started.value, tmp_path)

    with Image.open(download("GIF")) as image:
        assert image.format == "GIF"
        assert image.n_frames >= 16  # of 20: Pillow merges frames that are alike
    with Image.open(download("PNG")) as image:
        assert image.format == "PNG"
        assert image.size == (2 * 8 + 1, 2 * 8 + 1)
    assert download("ZIP").read_bytes().startswith(b"PK")


def test_a_shared_link_shows_a_job_that_has_ended(desk: Desk, browser: Browser, service: Service) -> None:
    job_id = desk.make(count="1", steps="25", seed="7")
    other = Desk(browser.new_context(base_url=service.url, viewport={"width": 1200, "height": 800}).new_page())
    other.open(desk.page.url)
    other.wait_for(job_id)
    other.wait_for_results(job_id)
    assert "step 25 of 25" in other.caption(job_id)
    expect(other.page.locator("#steps")).to_have_value("25")
    assert other.tiles(job_id, 1) == desk.tiles(job_id, 1)
    other.page.context.close()


def test_a_job_is_shown_as_sharply_when_its_model_is_gone(desk: Desk) -> None:
    job_id = desk.make(count="9", steps="20")
    side = desk.side(job_id)
    desk.page.route("**/models", lambda route: route.fulfill(json={"models": []}))
    desk.page.reload()
    desk.wait_for_results(job_id)
    assert desk.side(job_id) == side
    expect(desk.page.get_by_text("No model is served yet.")).to_be_visible()
    desk.job(job_id).get_by_role("button", name="Image 3").click()
    picture = desk.page.get_by_role("dialog").locator("canvas.cell").first
    assert int(picture.get_attribute("width") or 0) % SIZE == 0


def test_the_gallery_shows_what_was_made_and_leads_back(desk: Desk) -> None:
    ids = [desk.make(count="4", steps="10") for _ in range(2)]
    desk.page.get_by_role("link", name="Gallery").click()
    entries = desk.page.locator(".jobs li")
    expect(entries.first.locator("a")).to_have_attribute("href", f"#job={ids[1]}")
    expect(entries.first).to_contain_text("4 images")
    expect(entries.first.locator("img")).to_have_attribute("data-fitted", "whole")
    entries.nth(1).locator("a").click()
    desk.wait_for_results(ids[0])

    desk.page.go_back()
    for k in range(2):
        entries.nth(k).get_by_role("checkbox").check()
    desk.page.get_by_role("link", name="Compare 2 jobs").click()
    expect(desk.page.locator(".columns article.job[data-status=finished]")).to_have_count(2)


@pytest.mark.parametrize("dropped", [True, False])
def test_a_png_made_here_brings_its_settings_back(desk: Desk, tmp_path: Path, *, dropped: bool) -> None:
    desk.page.get_by_role("radio", name="3", exact=True).check()
    job_id = desk.make(count="4", steps="20", seed="18446744073709551615", sampler="ddim", guidance_scale="2")
    png = desk.get(f"/jobs/{job_id}/images/2.png")
    desk.page.goto("about:blank")  # all is forgotten, but for the picture
    desk.page.goto("/#gallery" if dropped else "/")
    if dropped:
        desk.page.wait_for_selector(".jobs li")
        desk.page.evaluate(DROP, [base64.b64encode(png).decode(), "three.png"])
    else:
        desk.page.wait_for_selector("#generate")
        (tmp_path / "three.png").write_bytes(png)
        desk.page.set_input_files('input[type="file"]', tmp_path / "three.png")
    expect(desk.page.locator(".notice")).to_contain_text("index 2 of seed 18446744073709551615")
    again = desk.make()
    assert desk.get(f"/jobs/{again}/images/0.png") == png


def test_a_png_without_settings_is_told_apart(desk: Desk, tmp_path: Path) -> None:
    job_id = desk.make(count="4")
    (tmp_path / "sheet.png").write_bytes(desk.get(f"/jobs/{job_id}/grid.png"))
    foreign = PngInfo()
    foreign.add_text("noisemill", "[1]")
    Image.new("L", (8, 8)).save(tmp_path / "foreign.png", pnginfo=foreign)
    for name in ("sheet.png", "foreign.png"):
        desk.page.set_input_files('input[type="file"]', tmp_path / name)
        expect(desk.page.locator(".notice")).to_contain_text(f"{name} carries no settings")
