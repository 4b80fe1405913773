"""Page object: what a user does on the page and reads from it."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from PIL import Image
from playwright.sync_api import Locator, Page, expect

MODEL = "digits"
SIZE = 8  # width and height of its images
TIMEOUT_MS = 600_000  # a network may have to be compiled first, on a machine that others use too

# The RGBA pixels of each of the grid's first `count` images, as base64.
READ_GRID = """(canvas, count) => {
  const [columns, side, gap] = ["columns", "side", "gap"].map((name) => Number(canvas.dataset[name]));
  const context = canvas.getContext("2d");
  return Array.from({ length: count }, (_, k) => {
    const [left, top] = [k % columns, Math.floor(k / columns)].map((index) => index * (side + gap));
    const { data } = context.getImageData(left, top, side, side);
    return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
  });
}"""
READ_CANVAS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
}"""


@dataclass(frozen=True)
class AppPage:
    page: Page

    def open(self, address: str = "/") -> None:
        self.page.goto(address)
        self.page.wait_for_selector("#generate")
        if "#" not in address:
            self.page.select_option("#model", MODEL)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            if name == "sampler":
                self.page.select_option("#sampler", value)
            else:
                self.page.fill(f"#{name}", value)

    def submit(self, **fields: str) -> str:
        """Fills in and submits the form; returns the job's id once its panel is visible."""
        self.fill(**fields)
        before = self.visible_jobs()
        self.page.click("#generate")
        self.page.wait_for_function(
            "(before) => { const job = document.querySelector('article.job[data-status]');"
            " return job && !before.includes(job.dataset.job); }",
            arg=before,
        )
        job_id = self.visible_jobs()[0]
        assert f"job={job_id}" in self.page.url
        return job_id

    def run(self, **fields: str) -> str:
        """Submits the form and waits until the job's results are visible; returns its id."""
        job_id = self.submit(**fields)
        self.wait_for_results(job_id)
        return job_id

    def visible_jobs(self) -> list[str]:
        """Ids of the visible jobs, in order."""
        ids: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('article.job')].map((job) => job.dataset.job)"
        )
        return ids

    def panel(self, job_id: str) -> Locator:
        return self.page.locator(f'article.job[data-job="{job_id}"]')

    def wait_for_status(self, job_id: str, status: str = "finished") -> None:
        expect(self.panel(job_id)).to_have_attribute("data-status", status, timeout=TIMEOUT_MS)

    def job_view(self, job_id: str) -> dict[str, Any]:
        response = self.page.request.get(f"/jobs/{job_id}")
        assert response.ok
        view: dict[str, Any] = response.json()
        return view

    def get(self, url: str) -> bytes:
        return self.page.request.get(urljoin(self.page.url, url)).body()

    def grid_pixels(self, job_id: str, count: int) -> list[bytes]:
        """RGBA of each image in the grid, enlarged as shown."""
        images = self.panel(job_id).locator(".image-grid canvas").evaluate(READ_GRID, count)
        return [base64.b64decode(image) for image in images]

    def image_side(self, job_id: str) -> int:
        """Width of each image in the grid, in device pixels."""
        return int(self.panel(job_id).locator(".image-grid canvas").get_attribute("data-side") or 0)

    def results(self, job_id: str) -> list[Image.Image]:
        """The images in grid.png."""
        grid = Image.open(io.BytesIO(self.get(f"/jobs/{job_id}/grid.png"))).convert("RGBA")
        count = self.job_view(job_id)["request"]["count"]
        columns = (grid.width + 1) // (SIZE + 1)
        corners = [(k % columns * (SIZE + 1), k // columns * (SIZE + 1)) for k in range(count)]
        return [grid.crop((x, y, x + SIZE, y + SIZE)) for x, y in corners]

    def wait_for_results(self, job_id: str) -> None:
        """Until the job has finished and the grid shows its results, each pixel as a square."""
        self.wait_for_status(job_id)
        results = self.results(job_id)

        def is_shown() -> bool:
            side = self.image_side(job_id)  # changes while the page computes its layout
            return self.grid_pixels(job_id, len(results)) == [enlarged(image, side) for image in results]

        wait_until(self.page, is_shown)

    def frame_count(self, job_id: str) -> int:
        """Number of frames on the timeline."""
        scrubber = self.panel(job_id).locator(".scrubber")
        return int(scrubber.get_attribute("max") or 0) + 1 if scrubber.count() else 0

    def wait_for_frames(self, job_id: str, count: int) -> None:
        wait_until(self.page, lambda: self.frame_count(job_id) >= count)

    def caption(self, job_id: str) -> str:
        return self.panel(job_id).locator("[data-caption]").inner_text()

    def choose_axis(self, name: str) -> None:
        """Chooses the setting that a comparison varies."""
        self.page.check(f'.axes input[value="{name}"]')


def enlarged(image: Image.Image, side: int) -> bytes:
    return image.convert("RGBA").resize((side, side), Image.Resampling.NEAREST).tobytes()


def canvas_pixels(canvas: Locator) -> bytes:
    return base64.b64decode(canvas.evaluate(READ_CANVAS))


def wait_until(page: Page, condition: Callable[[], bool], seconds: float = TIMEOUT_MS / 1000) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"condition not met within {seconds} s"
        page.wait_for_timeout(30)
