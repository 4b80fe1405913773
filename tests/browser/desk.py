"""The page, as its tests use it."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from PIL import Image
from playwright.sync_api import Locator, Page, expect

MODEL = "digits"
SIZE = 8  # of its images
PATIENCE_MS = 180_000  # the first job waits for the network to be compiled

# Whether image k of a plate's canvas is there, and its pixels as base64 of RGBA, all of them.
READ_TILES = """(canvas, count) => {
  const [columns, side, gap] = ["columns", "side", "gap"].map((name) => Number(canvas.dataset[name]));
  const context = canvas.getContext("2d");
  return Array.from({ length: count }, (_, k) => {
    const [left, top] = [k % columns, Math.floor(k / columns)].map((at) => at * (side + gap));
    const { data } = context.getImageData(left, top, side, side);
    return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
  });
}"""
READ_CANVAS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
}"""


@dataclass(frozen=True)
class Desk:
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

    def generate(self, **fields: str) -> str:
        """Fills in and submits the form; the new job's id, once it is on show."""
        self.fill(**fields)
        before = self.shown()
        self.page.click("#generate")
        expect(self.page.locator("article.job[data-status]")).not_to_have_count(0)
        self.page.wait_for_function(
            "(before) => { const job = document.querySelector('article.job[data-status]');"
            " return job && !before.includes(job.dataset.job); }",
            arg=before,
        )
        job_id = self.shown()[0]
        assert f"job={job_id}" in self.page.url
        return job_id

    def shown(self) -> list[str]:
        """The ids of the jobs on show, in order."""
        ids: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('article.job')].map((job) => job.dataset.job)"
        )
        return ids

    def job(self, job_id: str) -> Locator:
        return self.page.locator(f'article.job[data-job="{job_id}"]')

    def wait_for(self, job_id: str, status: str = "finished") -> None:
        expect(self.job(job_id)).to_have_attribute("data-status", status, timeout=PATIENCE_MS)

    def make(self, **fields: str) -> str:
        """A finished job, its results on show."""
        job_id = self.generate(**fields)
        self.wait_for(job_id)
        self.wait_for_results(job_id)
        return job_id

    def view(self, job_id: str) -> dict[str, Any]:
        answer = self.page.request.get(f"/jobs/{job_id}")
        assert answer.ok
        shown: dict[str, Any] = answer.json()
        return shown

    def get(self, url: str) -> bytes:
        return self.page.request.get(urljoin(self.page.url, url)).body()

    def tiles(self, job_id: str, count: int) -> list[bytes]:
        """What the plate shows of each image: RGBA, enlarged as it is."""
        shown = self.job(job_id).locator(".plate canvas").evaluate(READ_TILES, count)
        return [base64.b64decode(tile) for tile in shown]

    def side(self, job_id: str) -> int:
        return int(self.job(job_id).locator(".plate canvas").get_attribute("data-side") or 0)

    def results(self, job_id: str) -> list[Image.Image]:
        """The images as they lie on grid.png."""
        sheet = Image.open(io.BytesIO(self.get(f"/jobs/{job_id}/grid.png"))).convert("RGBA")
        count = self.view(job_id)["request"]["count"]
        columns = (sheet.width + 1) // (SIZE + 1)
        corners = [(k % columns * (SIZE + 1), k // columns * (SIZE + 1)) for k in range(count)]
        return [sheet.crop((x, y, x + SIZE, y + SIZE)) for x, y in corners]

    def wait_for_results(self, job_id: str) -> None:
        """Until the plate shows them, each pixel a square."""
        results = self.results(job_id)

        def shown() -> bool:
            side = self.side(job_id)  # changes while the page finds its layout
            return self.tiles(job_id, len(results)) == [enlarged(image, side) for image in results]

        wait_until(self.page, shown)

    def frames(self, job_id: str) -> int:
        """How many stops the timeline has."""
        scrubber = self.job(job_id).locator(".scrubber")
        return int(scrubber.get_attribute("max") or 0) + 1 if scrubber.count() else 0

    def wait_for_frames(self, job_id: str, count: int) -> None:
        wait_until(self.page, lambda: self.frames(job_id) >= count)

    def caption(self, job_id: str) -> str:
        return self.job(job_id).locator("[data-caption]").inner_text()

    def axis(self, name: str) -> None:
        """Of a comparison: what differs."""
        self.page.check(f'.axes input[value="{name}"]')


def enlarged(image: Image.Image, side: int) -> bytes:
    return image.convert("RGBA").resize((side, side), Image.Resampling.NEAREST).tobytes()


def canvas_pixels(canvas: Locator) -> bytes:
    return base64.b64decode(canvas.evaluate(READ_CANVAS))


def wait_until(page: Page, condition: Any, seconds: float = PATIENCE_MS / 1000) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        page.wait_for_timeout(30)
