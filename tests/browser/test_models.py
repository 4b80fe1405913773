"""What a model is, in its own pictures."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.desk import Desk
from tests.service import Service

FIGURES_SHOWN = """() => [...document.querySelectorAll(".model img")].every((image) => {
  image.loading = "eager";
  return image.complete && image.naturalWidth > 0;
})"""


def test_every_model_has_a_page(desk: Desk, service: Service) -> None:
    cards = service.http.get("/models").json()["models"]
    desk.page.get_by_role("link", name="Models", exact=True).click()
    expect(desk.page.locator(".models li h2")).to_have_text([card["name"] for card in cards])
    for card in cards:
        desk.page.goto("/#models")
        desk.page.locator(f'.models a[href="#model={card["name"]}"]').click()
        model = desk.page.locator(".model")
        expect(model.get_by_role("heading", name=card["name"], level=1)).to_be_visible()
        expect(model).to_contain_text(f"{card['image_size']} × {card['image_size']} pixels, grey")
        expect(model).to_contain_text(f"{card['data']['images']:,} images of {card['data']['source']}")
        for words in ("What the noise schedule is", "What x̂₀ is", "How good it is"):
            expect(model.get_by_role("heading", name=words)).to_be_visible()
        accuracy = card["metrics"]["conditional"]["accuracy"]
        expect(model.locator(".metrics")).to_contain_text(f"{100 * accuracy:.1f} %")
        expect(model.locator("img")).to_have_count(len(card["figures"]))  # each of them, the samples too
        desk.page.wait_for_function(FIGURES_SHOWN)


def test_its_page_leads_to_making_pictures_with_it(desk: Desk) -> None:
    desk.page.goto("/#model=mnist")
    desk.page.get_by_role("link", name="Make pictures with it").click()
    expect(desk.page.locator("#model")).to_have_value("mnist")
    expect(desk.page.get_by_role("img", name="Samples of mnist")).to_be_visible()


def test_a_model_that_is_not_there_is_named_as_such(desk: Desk) -> None:
    desk.page.goto("/#model=none")
    expect(desk.page.locator(".empty")).to_contain_text("No model of the name none is served")
