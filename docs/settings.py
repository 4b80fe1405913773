"""Writes the tables of docs/settings.md from the settings classes: python -m docs.settings"""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from app.settings import AppSettings
from worker.settings import WorkerSettings

PAGE = Path(__file__).parent / "settings.md"
SECTIONS: dict[str, type[BaseSettings]] = {"app": AppSettings, "worker": WorkerSettings}


def table(settings: type[BaseSettings]) -> str:
    """A Markdown table of variables, defaults and descriptions."""
    lines = ["| variable | default | description |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, PydanticUndefined) else f"`{default}`"
        lines.append(f"| `NOISEMILL_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines)


def render(page: str) -> str:
    """The page with its tables replaced by the current ones."""
    for name, settings in SECTIONS.items():
        before, opening, rest = page.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->\n")
        page = f"{before}{opening}\n{table(settings)}\n\n{closing}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
