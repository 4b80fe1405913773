"""Pictures of the page, and an animation of a run on it: python tests/browser/screenshots.py URL OUTDIR"""

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
PATIENCE_MS = 10 * 60_000
WIDE = {"viewport": {"width": 1200, "height": 800}}
TALL = {"viewport": {"width": 1200, "height": 1100}}
PHONE = {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2}
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}

# Address, what must be there, and how it is looked at.
SHOTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "page.png": ("/#job={job}", ".job .scrubber", WIDE | LIGHT),
    "page-dark.png": ("/#job={job}", ".job .scrubber", WIDE | DARK),
    "page-phone.png": ("/#job={job}", ".job .scrubber", PHONE | LIGHT),
    "jobs.png": ("/#job={job}&job={other}", ".job .scrubber", WIDE | LIGHT),
    "picture.png": ("/#job={job}&picture={job}/4", ".strip button", WIDE | LIGHT),
    "compare.png": ("/#compare={compared}", ".compare .scrubber", WIDE | LIGHT),
    "gallery.png": ("/#gallery", ".jobs img", WIDE | LIGHT),
    "model.png": (f"/#model={MODEL}", ".model img", TALL | LIGHT),
}

GIF = "run.gif"
GIF_GREYS, GIF_COLOURS = 32, 24  # of the images, and of the page around them
GIF_FRAME_MS, GIF_LAST_FRAME_MS = 140, 2500


def generate(url: str, **body: Any) -> str:
    """A finished job's id."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/generate", json.dumps({"model": MODEL, **body}).encode(), headers)
    job = json.load(urllib.request.urlopen(request))
    while job["status"] != "finished":
        time.sleep(0.2)
        job = json.load(urllib.request.urlopen(url + job["urls"]["job"]))
    return str(job["id"])


def shoot(browser: Browser, address: str, ready: str, options: dict[str, Any]) -> Page:
    """The page as it looks when everything on it has come."""
    page = browser.new_context(**options).new_page()
    page.goto(address)
    page.wait_for_selector(ready, timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    if options.get("device_scale_factor") == 2:
        page.evaluate("document.querySelector('#stage').scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(300)
    return page


def animation(page: Page) -> bytes:
    """Every stop of the timeline, as the page shows it."""
    job, scrubber = page.locator(".job"), page.locator(".scrubber")
    box = job.bounding_box()
    assert box is not None
    clip = {"x": box["x"] - 16, "y": box["y"] - 8, "width": box["width"] + 32, "height": box["height"] + 24}
    frames = []
    for stop in range(int(scrubber.get_attribute("max") or 0) + 1):
        scrubber.fill(str(stop))
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
    """Greys, and the page's own colours: a palette drawn from the whole would be greys alone."""
    greys = [(level, level, level) for level in (round(255 * k / (GIF_GREYS - 1)) for k in range(GIF_GREYS))]
    counted = sorted(frame.getcolors(frame.width * frame.height) or [], reverse=True)
    coloured = [colour for _, colour in counted if max(colour) - min(colour) > 1]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in (greys + coloured[:GIF_COLOURS]) for channel in colour])
    return palette


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    compared = [generate(url, count=4, seed=SEED, label="cycle", **differs) for differs in COMPARED]
    other = generate(url, model="fashion-mnist", count=16, seed=SEED, label="cycle")
    job = generate(url, count=16, seed=SEED, label="cycle", frames=30)
    ids = {"job": job, "other": other, "compared": ",".join(compared)}
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        for name, (address, ready, options) in SHOTS.items():
            page = shoot(browser, url + address.format(**ids), ready, options)
            page.screenshot(path=folder / name)
            if name == "page.png":
                (folder / GIF).write_bytes(animation(page))
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
