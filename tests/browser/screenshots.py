"""Takes the screenshots and the animation of docs/pictures: python tests/browser/screenshots.py URL OUTDIR"""

from __future__ import annotations

import io
import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import chromium
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

MODEL = "mnist"
SEED = 7
COMPARED = ({"steps": 5}, {"steps": 10}, {"steps": 50})
TIMEOUT_MS = 10 * 60_000
WIDE = {"viewport": {"width": 1200, "height": 800}}
TALL = {"viewport": {"width": 1200, "height": 1100}}
PHONE = {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2}
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}

# File name: address, selector to wait for, options of the browser context.
SHOTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "page.png": ("/#job={job}", ".job .scrubber", WIDE | LIGHT),
    "page-dark.png": ("/#job={job}", ".job .scrubber", WIDE | DARK),
    "page-phone.png": ("/#job={job}", ".job .scrubber", PHONE | LIGHT),
    "jobs.png": ("/#job={job}&job={other}", ".job .scrubber", WIDE | LIGHT),
    "picture.png": ("/#job={job}&picture={job}/4", ".frame-strip button", WIDE | LIGHT),
    "compare.png": ("/#compare={compared}", ".comparison .scrubber", WIDE | LIGHT),
    "gallery.png": ("/#gallery", ".jobs img", WIDE | LIGHT),
    "model.png": (f"/#model={MODEL}", ".model img", TALL | LIGHT),
}

GIF = "run.gif"
GIF_GRAYS, GIF_COLORS = 32, 24  # palette entries for the images and for the rest of the page
GIF_FRAME_MS, GIF_LAST_FRAME_MS = 140, 2500


def generate(url: str, **body: Any) -> str:
    """Runs a job and returns its id."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/generate", json.dumps({"model": MODEL, **body}).encode(), headers)
    job = json.load(urllib.request.urlopen(request))
    while job["status"] != "finished":
        time.sleep(0.2)
        job = json.load(urllib.request.urlopen(url + job["urls"]["job"]))
    return str(job["id"])


def open_page(browser: Browser, address: str, ready: str, options: dict[str, Any]) -> Page:
    """The page after everything on it is loaded."""
    page = browser.new_context(**options).new_page()
    page.goto(address)
    page.wait_for_selector(ready, timeout=TIMEOUT_MS)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    if options.get("device_scale_factor") == 2:
        page.evaluate("document.querySelector('#results').scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(300)
    return page


def animation(page: Page) -> bytes:
    """GIF of the job's panel at every frame of its timeline."""
    job, scrubber = page.locator(".job"), page.locator(".scrubber")
    box = job.bounding_box()
    assert box is not None
    clip = {"x": box["x"] - 16, "y": box["y"] - 8, "width": box["width"] + 32, "height": box["height"] + 24}
    frames = []
    for index in range(int(scrubber.get_attribute("max") or 0) + 1):
        scrubber.fill(str(index))
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(200)
        frames.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    palette = _palette(frames[-1])
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [GIF_FRAME_MS] * (len(frames) - 1) + [GIF_LAST_FRAME_MS]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def _palette(frame: Image.Image) -> Image.Image:
    """Grays and the page's most frequent colors; an adaptive palette would contain grays only."""
    grays = [(level, level, level) for level in (round(255 * k / (GIF_GRAYS - 1)) for k in range(GIF_GRAYS))]
    counted = sorted(frame.getcolors(frame.width * frame.height) or [], reverse=True)
    colored = [color for _, color in counted if max(color) - min(color) > 1]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for color in (grays + colored[:GIF_COLORS]) for channel in color])
    return palette


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    compared = [generate(url, count=4, seed=SEED, label="cycle", **setting) for setting in COMPARED]
    other = generate(url, model="fashion-mnist", count=16, seed=SEED, label="cycle")
    job = generate(url, count=16, seed=SEED, label="cycle", frames=30)
    ids = {"job": job, "other": other, "compared": ",".join(compared)}
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for name, (address, ready, options) in SHOTS.items():
            page = open_page(browser, url + address.format(**ids), ready, options)
            page.screenshot(path=folder / name)
            if name == "page.png":
                (folder / GIF).write_bytes(animation(page))
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
