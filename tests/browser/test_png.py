"""Downloads, and the settings inside a PNG, which the form loads again."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Download, expect

from tests.browser.app_page import AppPage

# Drops a file from outside the browser.
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


def test_downloads_png_gif_zip(app_page: AppPage, tmp_path: Path) -> None:
    job_id = app_page.run(count="4")

    def download(name: str) -> Path:
        with app_page.page.expect_download() as started:
            app_page.panel(job_id).get_by_role("link", name=name, exact=True).click()
        return saved(started.value, tmp_path)

    with Image.open(download("GIF")) as image:
        assert image.format == "GIF"
        assert image.n_frames >= 16  # of 20: Pillow merges identical frames
    with Image.open(download("PNG")) as image:
        assert image.format == "PNG"
        assert image.size == (2 * 8 + 1, 2 * 8 + 1)
    assert download("ZIP").read_bytes().startswith(b"PK")


@pytest.mark.parametrize("dropped", [True, False])
def test_png_dropped_or_opened_loads_its_settings(app_page: AppPage, tmp_path: Path, *, dropped: bool) -> None:
    app_page.page.get_by_role("radio", name="3", exact=True).check()
    job_id = app_page.run(count="4", steps="20", seed="18446744073709551615", sampler="ddim", guidance_scale="2")
    png = app_page.get(f"/jobs/{job_id}/images/2.png")
    app_page.page.goto("about:blank")  # resets the form
    app_page.page.goto("/#gallery" if dropped else "/")
    if dropped:
        app_page.page.wait_for_selector(".jobs li")
        app_page.page.evaluate(DROP, [base64.b64encode(png).decode(), "three.png"])
    else:
        app_page.page.wait_for_selector("#generate")
        (tmp_path / "three.png").write_bytes(png)
        app_page.page.set_input_files('input[type="file"]', tmp_path / "three.png")
    expect(app_page.page.locator(".notice")).to_contain_text("index 2 of seed 18446744073709551615")
    again = app_page.run()
    assert app_page.get(f"/jobs/{again}/images/0.png") == png


def test_png_without_settings_shows_notice(app_page: AppPage, tmp_path: Path) -> None:
    job_id = app_page.run(count="4")
    (tmp_path / "sheet.png").write_bytes(app_page.get(f"/jobs/{job_id}/grid.png"))
    foreign = PngInfo()
    foreign.add_text("noisemill", "[1]")
    Image.new("L", (8, 8)).save(tmp_path / "foreign.png", pnginfo=foreign)
    for name in ("sheet.png", "foreign.png"):
        app_page.page.set_input_files('input[type="file"]', tmp_path / name)
        expect(app_page.page.locator(".notice")).to_contain_text(f"{name} contains no settings")
