"""Pictures of the page after a finished job, and of a model: python tests/browser/screenshots.py URL OUTDIR"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import chromium
from playwright.sync_api import Browser, Page, sync_playwright

MODEL = "mnist"  # or else the first that is served
SEED = "7"
PATIENCE_MS = 10 * 60_000
SHOTS: dict[str, dict[str, Any]] = {
    "page.png": {"color_scheme": "light", "viewport": {"width": 1200, "height": 800}},
    "page-dark.png": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 800}},
    "page-phone.png": {
        "color_scheme": "light",
        "viewport": {"width": 375, "height": 812},
        "device_scale_factor": 2,
    },
}


def finish_a_job(browser: Browser, url: str) -> str:
    """Generates 16 images on the page; the address that shows them again."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("#fields:enabled")
    if MODEL in page.locator("#model option").all_text_contents():
        page.select_option("#model", MODEL)
    page.fill("#count", "16")
    page.fill("#seed", SEED)
    page.click("#generate")
    wait_until_shown(page)
    return page.url


def wait_until_shown(page: Page) -> None:
    page.wait_for_selector("#job[data-status=finished]", timeout=PATIENCE_MS)
    page.wait_for_selector("#scrubber:visible")
    page.wait_for_load_state("networkidle")


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        address = finish_a_job(browser, url)
        for name, options in SHOTS.items():
            page = browser.new_context(**options).new_page()
            page.goto(address)
            wait_until_shown(page)
            page.screenshot(path=folder / name)
        page = browser.new_page(viewport={"width": 1200, "height": 1100})
        page.goto(f"{url}/#model={MODEL}")
        page.wait_for_selector("#about:visible")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=folder / "model.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
