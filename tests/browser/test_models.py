"""The list of models and the page of each model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.app_page import AppPage
from tests.service import Service

FIGURES_LOADED = """() => [...document.querySelectorAll(".model img")].every((image) => {
  image.loading = "eager";
  return image.complete && image.naturalWidth > 0;
})"""


def test_every_model_has_a_page_with_card_metrics_and_figures(app_page: AppPage, service: Service) -> None:
    cards = service.http.get("/models").json()["models"]
    app_page.page.get_by_role("link", name="Models", exact=True).click()
    expect(app_page.page.locator(".models li h2")).to_have_text([card["name"] for card in cards])
    for card in cards:
        app_page.page.goto("/#models")
        app_page.page.locator(f'.models a[href="#model={card["name"]}"]').click()
        model = app_page.page.locator(".model")
        expect(model.get_by_role("heading", name=card["name"], level=1)).to_be_visible()
        expect(model).to_contain_text(f"{card['image_size']} × {card['image_size']} pixels, grayscale")
        expect(model).to_contain_text(f"{card['data']['images']:,} images of {card['data']['source']}")
        for title in ("Training", "Quality", "The noise schedule", "The estimate x̂₀", "Sampling"):
            expect(model.get_by_role("heading", name=title, exact=True)).to_be_visible()
        accuracy = card["metrics"]["conditional"]["accuracy"]
        expect(model.locator(".metrics")).to_contain_text(f"{100 * accuracy:.1f} %")
        expect(model.locator("img")).to_have_count(len(card["figures"]))
        app_page.page.wait_for_function(FIGURES_LOADED)


def test_model_page_links_to_form_with_model_chosen(app_page: AppPage) -> None:
    app_page.page.goto("/#model=mnist")
    app_page.page.get_by_role("link", name="Generate with this model").click()
    expect(app_page.page.locator("#model")).to_have_value("mnist")
    expect(app_page.page.get_by_role("img", name="Samples of mnist")).to_be_visible()


def test_unknown_model_shows_message(app_page: AppPage) -> None:
    app_page.page.goto("/#model=none")
    expect(app_page.page.locator(".empty")).to_contain_text("No model named none is served")


@pytest.mark.parametrize(
    ("recipe", "label"),
    [
        ({"min_snr_gamma": 5.0}, "Training loss (min-SNR weighted)"),
        ({"min_snr_gamma": None}, "Training loss (MSE)"),
        (None, "Training loss"),
    ],
)
def test_training_loss_label_names_the_weighting(app_page: AppPage, recipe: object, label: str) -> None:
    def with_recipe(route: Route) -> None:
        models = route.fetch().json()["models"]
        for card in models:
            card["training"] |= {"recipe": recipe, "loss": 0.125}
        route.fulfill(json={"models": models})

    app_page.page.route("**/models", with_recipe)
    app_page.page.goto("/#model=mnist")
    app_page.page.reload()
    facts = app_page.page.locator(".model section .facts div")
    expect(facts.locator("dt")).to_have_text(label)
    expect(facts.locator("dd")).to_have_text("0.125")
    expect(app_page.page.locator('.model img[src*="loss.png"]')).to_have_attribute(
        "alt", re.compile(re.escape(f"{label}: "))
    )
