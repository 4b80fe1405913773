"""Imports between packages point down: app -> jobs <- worker -> model. Imports inside functions count too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "bench", "jobs", "model", "noisemill", "serve", "worker")


@dataclass(frozen=True)
class Rule:
    """Imports a package may not use; with `only`, it may import nothing else besides itself."""

    never: frozenset[str]
    only: frozenset[str] | None = None

    def allows(self, name: str) -> bool:
        return name not in self.never and (self.only is None or name in self.only)


def never(*names: str) -> Rule:
    return Rule(frozenset(names))


RULES = {
    "app": never("bench", "model", "noisemill", "serve", "worker", "torch", "torchvision", "numpy", "safetensors"),
    "bench": never("app", "noisemill", "serve"),
    "jobs": Rule(frozenset(), only=sys.stdlib_module_names | {"jobs", "pydantic", "redis", "rq", "PIL"}),
    "model": never(
        *("app", "bench", "jobs", "noisemill", "serve", "worker"), *("redis", "rq", "fastapi", "starlette", "pydantic")
    ),
    "noisemill": never("bench", "redis", "rq"),
    "serve": never("app", "bench", "jobs", "model", "noisemill", "worker", "torch", "fastapi", "rq"),
    "worker": never("app", "bench", "noisemill", "serve", "fastapi", "starlette"),
}


def imported(path: Path) -> Iterator[str]:
    """The top-level names that a module imports, in any scope."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used"
            assert node.module is not None
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in ("import_module", "__import__"), f"{path}: a dynamic import cannot be checked"


def forbidden(root: Path) -> list[str]:
    """Every import that its package's rule forbids."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for package, rule in RULES.items()
        for path in sorted((root / package).rglob("*.py"))
        for name in imported(path)
        if not rule.allows(name)
    ]


def test_imports_point_down() -> None:
    assert forbidden(ROOT) == []


def test_every_package_has_a_rule() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages == set(PACKAGES) == set(RULES)


@pytest.mark.parametrize(
    ("package", "line", "name"),
    [
        ("app", "import torch", "torch"),
        ("app", "from model.networks.unet import UNet", "model"),
        ("app", "def f():\n    from worker import engine", "worker"),
        ("jobs", "import fastapi", "fastapi"),
        ("jobs", "import torch", "torch"),
        ("jobs", "from app import settings", "app"),
        ("model", "import redis.asyncio", "redis"),
        ("model", "from jobs.schema import JobSpec", "jobs"),
        ("noisemill", "def f():\n    from redis import Redis", "redis"),
        ("worker", "if True:\n    import fastapi", "fastapi"),
        ("worker", "import app.errors as e", "app"),
        ("serve", "from worker.main import run", "worker"),
        ("serve", "import noisemill, json", "noisemill"),
    ],
)
def test_forbidden_import_is_reported(tmp_path: Path, package: str, line: str, name: str) -> None:
    for each in PACKAGES:
        (tmp_path / each).mkdir()
    (tmp_path / package / "deep").mkdir()
    (tmp_path / package / "deep" / "module.py").write_text(f"import {package}\nimport json\n{line}\n")
    assert forbidden(tmp_path) == [f"{package}/deep/module.py imports {name}"]


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
        ("noisemill.cli", {"torch", "numpy", "fastapi", "redis", "app", "jobs", "model", "serve", "worker"}),
    ],
)
def test_package_imports_without_forbidden_modules(module: str, names: set[str]) -> None:
    """In a subprocess, so that indirect imports count too."""
    code = BLOCKED.format(names=names, module=module)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_blocked_module_raises_import_error() -> None:
    code = BLOCKED.format(names={"fastapi"}, module="app.main")
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=120)
    assert b"fastapi is not installed here" in outcome.stderr
