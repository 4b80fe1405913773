"""Law 1: arrows point down. Every import of every module is walked, also those inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("app", "bench", "jobs", "model", "serve", "worker")
FRONT_DOOR = "noisemill"


@dataclass(frozen=True)
class Rule:
    """What a room may import: nothing in `never`; and, where `only` says so, besides itself nothing but that."""

    never: frozenset[str]
    only: frozenset[str] | None = None

    def allows(self, name: str) -> bool:
        return name not in self.never and (self.only is None or name in self.only)


def never(*names: str) -> Rule:
    return Rule(frozenset(names) | {FRONT_DOOR})


RULES = {
    "app": never("bench", "worker", "model", "serve", "torch", "torchvision", "numpy", "safetensors"),
    "bench": never("app", "serve"),
    "jobs": Rule(frozenset(), only=sys.stdlib_module_names | {"jobs", "pydantic", "redis", "rq", "PIL"}),
    "model": never("app", "bench", "jobs", "worker", "serve", "redis", "rq", "fastapi", "starlette", "pydantic"),
    "serve": never("app", "bench", "jobs", "worker", "model", "torch", "fastapi", "rq"),
    "worker": never("app", "bench", "serve", "fastapi", "starlette"),
}


def imported(path: Path) -> Iterator[str]:
    """The top-level names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their room here"
            assert node.module is not None
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in ("import_module", "__import__"), f"{path}: an import that cannot be walked"


def forbidden(root: Path) -> list[str]:
    """Every arrow that points the wrong way."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for room, rule in RULES.items()
        for path in sorted((root / room).rglob("*.py"))
        for name in imported(path)
        if not rule.allows(name)
    ]


def test_arrows_point_down() -> None:
    assert forbidden(ROOT) == []


def test_every_room_is_walked() -> None:
    for room in ROOMS:
        assert {"__init__.py"} < {path.name for path in (ROOT / room).rglob("*.py")}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(RULES)


@pytest.mark.parametrize(
    ("room", "line", "culprit"),
    [
        ("app", "import torch", "torch"),
        ("app", "from model.networks.unet import UNet", "model"),
        ("app", "def f():\n    from worker import engine", "worker"),
        ("jobs", "import fastapi", "fastapi"),
        ("jobs", "import torch", "torch"),
        ("jobs", "from app import settings", "app"),
        ("model", "import redis.asyncio", "redis"),
        ("model", "from jobs.schema import JobSpec", "jobs"),
        ("worker", "if True:\n    import fastapi", "fastapi"),
        ("worker", "import app.errors as e", "app"),
        ("serve", "from worker.main import run", "worker"),
        ("serve", "import noisemill, json", "noisemill"),
    ],
)
def test_a_forbidden_arrow_is_seen(tmp_path: Path, room: str, line: str, culprit: str) -> None:
    for each in ROOMS:
        (tmp_path / each).mkdir()
    (tmp_path / room / "deep").mkdir()
    (tmp_path / room / "deep" / "module.py").write_text(f"import {room}\nimport json\n{line}\n")
    assert forbidden(tmp_path) == [f"{room}/deep/module.py imports {culprit}"]


BLOCKED = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is not installed here")
sys.meta_path.insert(0, Block())
import {module}
"""


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("app.main", {"torch", "torchvision", "numpy", "safetensors", "matplotlib", "worker", "model", "serve"}),
        ("jobs.records, jobs.resolve, jobs.store, jobs.events, jobs.models", {"torch", "numpy", "fastapi"}),
    ],
)
def test_a_room_lives_without_what_it_must_not_know(module: str, names: set[str]) -> None:
    """In a process of its own: what is imported indirectly counts too."""
    code = BLOCKED.format(names=names, module=module)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_a_blocked_module_would_be_missed() -> None:
    code = BLOCKED.format(names={"fastapi"}, module="app.main")
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=120)
    assert b"fastapi is not installed here" in outcome.stderr
