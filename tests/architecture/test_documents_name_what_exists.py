"""Whatever a document names in code style must be there: paths, make targets, commands, settings, topics."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from libs.schemas.events import MODEL_OF_TYPE
from libs.schemas.topics import registry
from tests.architecture.tree import ROOT, name_of

DOCUMENTS = sorted(
    path
    for path in [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "services").glob("*/README.md"),
        *(ROOT / "libs").rglob("README.md"),
        *(ROOT / "samples").rglob("README.md"),
    ]
    if path.is_file()
)
EVERY_DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
IN_CODE = re.compile(r"`([^`\n]+)`|^(?:    |\$ )(\S.*)$", re.MULTILINE)
TOPS = "services|libs|proto|deploy|docs|tests|samples|helm"


def spans(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    fenced = "\n".join(re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return [first or second for first, second in IN_CODE.findall(text)] + fenced.splitlines()


@cache
def source() -> str:
    files = [path for top in ("libs", "services", "deploy", "samples") for path in (ROOT / top).rglob("*.py")]
    files += (ROOT / "deploy" / "otel").glob("*.yaml")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@EVERY_DOCUMENT
def test_paths_exist(document: Path) -> None:
    named = {path for span in spans(document) for path in re.findall(rf"(?<![\w./<-])((?:{TOPS})/[\w./-]*\w)", span)}
    assert not {path for path in named if not (ROOT / path).exists()}


PATH_OF_A_DOCUMENT = re.compile(r"(?<![\w./<{-])docs/(?:[\w.-]+/)*[\w-]+\.(?:md|json|ya?ml)\b")
ABOUT_WHAT_IS_NOT = {"docs/api/gone.openapi.json"}  # a file that a test writes elsewhere, to see it removed
CODE = [path for top in ("libs", "services", "deploy", "samples", "tests") for path in (ROOT / top).rglob("*.py")]


def absent_documents(text: str) -> set[str]:
    """Return the files below docs/ that `text` names and that are not there."""
    named = set(PATH_OF_A_DOCUMENT.findall(text)) - ABOUT_WHAT_IS_NOT
    return {path for path in named if not (ROOT / path).is_file()}


def test_documents_that_code_names_exist() -> None:
    others = [path for path in CODE if path != Path(__file__)]  # this one names what is not there, to be noticed
    assert len(others) > 100
    absent = {name_of(path): absent_documents(path.read_text(encoding="utf-8")) for path in others}
    assert {name: paths for name, paths in absent.items() if paths} == {}


def test_a_document_that_code_names_and_that_is_not_there_would_be_noticed() -> None:
    text = "see docs/decisions/0004-money.md, docs/decisions/0000-nothing.md. A link: https://example.test/docs/a.md"
    assert absent_documents(text) == {"docs/decisions/0000-nothing.md"}


@EVERY_DOCUMENT
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert not {target for target in targets if not (document.parent / target).exists()}


@EVERY_DOCUMENT
def test_make_targets_exist(document: Path) -> None:
    named = {target for span in spans(document) for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", span)}
    assert named <= make_targets()


@EVERY_DOCUMENT
def test_settings_exist(document: Path) -> None:
    named = {name for span in spans(document) for name in re.findall(r"MAESTRO_[A-Z_]*[A-Z]", span)}
    fields = source()
    unknown = {
        name for name in named if name not in fields and f"{name.removeprefix('MAESTRO_').lower()}:" not in fields
    }
    assert not unknown


@EVERY_DOCUMENT
def test_topics_are_in_the_registry(document: Path) -> None:
    known = {name for spec in registry().values() for name in (spec.name, spec.dead_letter_topic)}
    looks_like_one = re.compile(r"^[a-z]+-(?:changes|shards|windows|requests|entries|decisions|events|audit|dlq)$")
    named = {span for span in spans(document) if looks_like_one.match(span)}
    assert named <= known


ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9_./{}<>-]*[A-Za-z0-9}>])")
PLACE = re.compile(r"<[^>]*>(?:/<[^>]*>)*|\{[^}]*\}|(?<=/invoices/)[0-9]{4}-[0-9]{2}")


@cache
def routes() -> frozenset[tuple[str, str]]:
    files = (ROOT / "docs" / "api").glob("*.openapi.json")
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return frozenset(
        (method.upper(), PLACE.sub("{}", path))
        for document in documents
        for path, operations in document["paths"].items()
        for method in operations
    )


def unknown_routes(text: str) -> set[tuple[str, str]]:
    """Return the routes that `text` names and that no service has."""
    return {(method, path) for method, path in ROUTE.findall(text) if (method, PLACE.sub("{}", path)) not in routes()}


@EVERY_DOCUMENT
def test_routes_exist(document: Path) -> None:
    assert unknown_routes("\n".join(spans(document))) == set()


@EVERY_DOCUMENT
def test_event_types_exist(document: Path) -> None:
    named = {name for span in spans(document) for name in re.findall(r"maestro(?:\.[a-z_]+){2}\.v[0-9]+", span)}
    assert named <= set(MODEL_OF_TYPE)


def test_a_route_that_no_service_has_would_be_noticed() -> None:
    assert unknown_routes("POST /v1/check, GET /v1/tenants/<id>, GET /v1/nothing") == {("GET", "/v1/nothing")}
