"""The shape that keeps this code readable: bounds on files, and no names that say nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, modules, name_of, parsed

MAX_LINES = 450
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc", "base", "core", "manager", "data", "info"}
ROOMS = {
    "__init__.py",
    "__main__.py",
    "app.py",
    "settings.py",
    "api.py",
    "rpc.py",
    "consumer.py",
    "stream.py",
    "handlers.py",
    "domain.py",
    "store.py",
    "errors.py",
    "metrics.py",
    "cli.py",
    "README.md",
}
FOLDERS = {"migrations", "api", "rpc", "consumer", "handlers", "domain", "store", "cli", "__pycache__"}
EVERY_MODULE = pytest.mark.parametrize("path", modules(), ids=name_of)
SERVICES = sorted(path.parent for path in (ROOT / "services").glob("*/__main__.py"))


@EVERY_MODULE
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@EVERY_MODULE
def test_a_module_is_named_after_what_it_holds(path: Path) -> None:
    assert path.stem not in SAYS_NOTHING


@EVERY_MODULE
def test_classes_and_functions_are_named_after_what_they_are(path: Path) -> None:
    named = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    words = {node.name.lower().strip("_") for node in ast.walk(parsed(path)) if isinstance(node, named)}
    assert not words & SAYS_NOTHING


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_service_has_the_rooms_that_every_service_has(service: Path) -> None:
    files = {path.name for path in service.iterdir() if path.is_file() and path.suffix in {".py", ".md"}}
    folders = {path.name for path in service.iterdir() if path.is_dir()}
    assert files <= ROOMS
    assert folders <= FOLDERS
    assert {"README.md", "__init__.py", "__main__.py", "app.py", "settings.py"} <= files


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_services_readme_opens_with_what_it_owns_and_does_not_own(service: Path) -> None:
    opening = (service / "README.md").read_text(encoding="utf-8")[:2000].lower()
    assert "owns" in opening
    assert "does not own" in opening
