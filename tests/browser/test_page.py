"""The page, in a real browser, on the real service."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import pytest
from PIL import Image
from playwright.sync_api import Browser, Download, Page, expect, sync_playwright

from tests.browser import chromium

pytestmark = pytest.mark.skipif(not chromium.EXECUTABLE.exists(), reason=f"needs {chromium.EXECUTABLE}")

MODEL = "digits"
PATIENCE_MS = 180_000  # the first job waits for the network to be compiled
LARGEST_SEED = "18446744073709551615"

# The RGBA pixels of every image in the grid that is there and decoded, by position.
READ_PIXELS = """() => Object.fromEntries([...document.querySelectorAll("#grid img")]
  .filter((image) => image.complete && image.naturalWidth > 0)
  .map((image) => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return [image.dataset.position, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
  }))"""

IMAGES_SHOWN = """({ count, final }) => {
  const images = [...document.querySelectorAll("#grid img")];
  const shown = ({ complete, src }) => complete && src.startsWith("data:") !== final;
  return images.length === count && images.every(shown);
}"""

FIGURES_SHOWN = """() => [...document.querySelectorAll("#figures img")].every((image) => {
  image.loading = "eager";
  return image.complete && image.naturalWidth > 0;
})"""

REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.effectiveDirective} ${event.blockedURI}`))"""


class Service(Protocol):
    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console has to complain of. A test that expects something takes it out."""
    return []


@pytest.fixture
def page(browser: Browser, service: Service, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(base_url=service.url, viewport={"width": 1200, "height": 800})
    context.add_init_script(REPORT_VIOLATIONS)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/")
    page.select_option("#model", MODEL)
    yield page
    context.close()
    assert complaints == []


def generate(page: Page, **fields: str) -> str:
    """Fills in and submits the form; the job's id, once its view has come."""
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.click("#generate")
    page.wait_for_selector("#job[data-status]")
    job_id = page.get_attribute("#job", "data-job")
    assert job_id is not None
    assert page.url.endswith(f"#job={job_id}")
    return job_id


def wait_for_status(page: Page, status: str) -> None:
    expect(page.locator("#job")).to_have_attribute("data-status", status, timeout=PATIENCE_MS)


def wait_for_images(page: Page, count: int, *, final: bool = True) -> None:
    """Until that many are decoded: the results, or a frame's."""
    page.wait_for_function(IMAGES_SHOWN, arg={"count": count, "final": final})


def view(page: Page, job_id: str) -> dict[str, Any]:
    answer = page.request.get(f"/jobs/{job_id}")
    assert answer.ok
    shown: dict[str, Any] = answer.json()
    return shown


def pixels_of(page: Page, url: str) -> list[int]:
    """A PNG of the service as RGBA, the way a canvas reads it."""
    png = page.request.get(urljoin(page.url, url)).body()
    return list(Image.open(io.BytesIO(png)).convert("RGBA").tobytes())


def step_shown(page: Page) -> int:
    """Of the caption `step 650 of 1000 · t = 349`; 0 before the first frame."""
    words = page.inner_text("#step").split()
    return int(words[1]) if words else 0


def wait_for_step(page: Page, beyond: int) -> int:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while (step := step_shown(page)) <= beyond:
        assert time.monotonic() < deadline, f"no step after {beyond}"
        page.wait_for_timeout(20)
    return step


def saved(download: Download, folder: Path) -> Path:
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


def test_the_grid_emerges_and_ends_in_the_final_images(page: Page) -> None:
    job_id = generate(page, count="16", steps="1000")
    seen = set()
    while page.get_attribute("#job", "data-status") in ("queued", "running"):
        seen.add(repr(page.evaluate(READ_PIXELS)))
        page.wait_for_timeout(30)
    wait_for_status(page, "finished")
    wait_for_images(page, 16)

    assert len(seen - {"{}"}) >= 5
    urls = view(page, job_id)["urls"]["images"]
    assert page.evaluate(READ_PIXELS) == {str(k): pixels_of(page, url) for k, url in enumerate(urls)}


def test_the_scrubber_goes_back_through_the_frames(page: Page) -> None:
    generate(page, count="4", steps="100")
    wait_for_status(page, "finished")
    wait_for_images(page, 4)
    expect(page.locator("#step")).to_contain_text("step 100 of 100")
    final = page.evaluate(READ_PIXELS)

    page.focus("#scrubber")
    page.keyboard.press("Home")
    assert 0 < step_shown(page) < 100
    wait_for_images(page, 4, final=False)
    assert page.evaluate(READ_PIXELS) != final
    page.keyboard.press("End")
    wait_for_images(page, 4)
    assert page.evaluate(READ_PIXELS) == final


def test_results_can_be_downloaded(page: Page, tmp_path: Path) -> None:
    generate(page, count="4")
    wait_for_status(page, "finished")

    with page.expect_download() as gif:
        page.click("#download-gif")
    with Image.open(saved(gif.value, tmp_path)) as image:
        assert image.format == "GIF"
        assert image.n_frames >= 16  # of 20: Pillow merges frames that are alike

    with page.expect_download() as png:
        page.click("#download-png")
    with Image.open(saved(png.value, tmp_path)) as image:
        assert image.format == "PNG"
        assert image.size == (2 * 8 + 1, 2 * 8 + 1)

    with page.expect_download() as archive:
        page.click("#download-zip")
    assert saved(archive.value, tmp_path).read_bytes().startswith(b"PK")


def test_a_reload_shows_the_same_job_and_goes_on(page: Page) -> None:
    job_id = generate(page, count="32")
    step = wait_for_step(page, 0)
    page.reload()
    page.wait_for_selector("#job[data-status]")
    assert page.get_attribute("#job", "data-job") == job_id
    assert view(page, job_id)["status"] == "running"
    wait_for_step(page, step)
    wait_for_status(page, "finished")
    wait_for_images(page, 32)
    last = page.get_attribute("#scrubber", "max")
    assert last is not None
    assert int(last) + 1 >= 20, "the frames from before the reload came again"


def test_a_shared_link_shows_a_job_that_has_ended(page: Page, browser: Browser, service: Service) -> None:
    generate(page, count="1", steps="25", seed="7")
    wait_for_status(page, "finished")
    other = browser.new_context().new_page()
    other.goto(page.url)
    wait_for_status(other, "finished")
    wait_for_images(other, 1)
    expect(other.locator("#step")).to_contain_text("step 25 of 25")
    expect(other.locator("#steps")).to_have_value("25")
    assert other.evaluate(READ_PIXELS) == page.evaluate(READ_PIXELS)
    other.context.close()


def test_cancel_ends_the_job(page: Page) -> None:
    job_id = generate(page, count="32")
    wait_for_status(page, "running")
    page.click("#cancel")
    wait_for_status(page, "canceled")
    expect(page.locator("#status")).to_have_text("Canceled")
    expect(page.locator("#cancel")).to_be_hidden()
    assert view(page, job_id)["status"] == "canceled"


def test_a_refusal_is_shown_in_the_words_of_the_service(page: Page, complaints: list[str]) -> None:
    page.fill("#steps", "100000")
    with page.expect_response("**/generate") as response:
        page.click("#generate")
    problem = response.value.json()
    assert response.value.status == 422
    expect(page.locator("#error")).to_contain_text(problem["title"])
    expect(page.locator("#error")).to_contain_text(problem["detail"])
    expect(page.locator("#steps")).to_have_attribute("aria-invalid", "true")
    assert "#job" not in page.url

    assert len(complaints) == 1
    assert "422" in complaints.pop()  # Chromium reports every refused request


def test_the_largest_seed_keeps_all_its_digits(page: Page) -> None:
    job_id = generate(page, count="1", steps="20", seed=LARGEST_SEED)
    expect(page.locator("#facts")).to_contain_text(LARGEST_SEED)
    assert view(page, job_id)["request"]["seed"] == int(LARGEST_SEED)


def test_the_form_asks_for_what_was_chosen(page: Page) -> None:
    page.select_option("#label", label="7")
    page.click("#dice")
    drawn = page.input_value("#seed")
    job_id = generate(page, count="2", steps="20", guidance="1.5")
    request = view(page, job_id)["request"]
    assert request["labels"] == [7, 7]
    assert request["seed"] == int(drawn) < 2**53
    assert (request["count"], request["steps"], request["guidance_scale"]) == (2, 20, 1.5)


def test_a_job_that_is_not_there_is_named_as_such(page: Page, complaints: list[str]) -> None:
    page.goto("/#job=none")
    problem = page.request.get("/jobs/none").json()
    expect(page.locator("#status")).to_have_text(problem["title"])
    expect(page.locator("#eta")).to_have_text(problem["detail"])
    assert len(complaints) == 1
    assert "404" in complaints.pop()


def test_the_page_may_load_nothing_but_its_own(page: Page) -> None:
    policy = page.request.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("width", [375, 768, 1200])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    generate(page, count="16", steps="20", seed=LARGEST_SEED)
    wait_for_status(page, "finished")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_model_is_shown_with_its_figures(page: Page) -> None:
    page.get_by_role("link", name="About this model").click()
    about = page.locator("#about")
    expect(about.get_by_role("heading", name=MODEL)).to_be_visible()
    expect(about).to_contain_text("8 × 8 pixels, grey")
    expect(about.locator("figure")).not_to_have_count(0)
    page.wait_for_function(FIGURES_SHOWN)
    page.goto("/#model=mnist")
    page.reload()
    expect(about.get_by_role("heading", name="mnist")).to_be_visible()
    expect(page.locator("#model")).to_have_value("mnist")
    expect(page.locator("#intro")).to_be_hidden()
