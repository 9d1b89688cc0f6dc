"""All that Maestro promises now, in one value: topics, events, HTTP routes, and the golden examples by their digests.

Only what a change could break is kept: no titles, descriptions or examples of schemas, and of problem documents the
status alone (a program that meets a new `error` goes by the status).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from deploy.contracts.documents import ROOT
from deploy.contracts.event_schemas import event_schemas
from deploy.contracts.http_apis import http_apis
from libs.schemas.topics import registry

Json = dict[str, Any]

EXAMPLES: Final = Path("proto/examples")
RECORDS: Final = Path("proto/records")  # of topics whose form is their own: bytes in hexadecimal
_WORDS: Final = frozenset(
    {"title", "description", "summary", "examples", "default", "tags", "operationId", "headers"}
    | {"$comment", "$id", "$schema", "info", "x-generated"}
)
_NAMES: Final = frozenset({"properties", "schemas", "$defs"})  # whose keys are names, not keywords
_FIRST_PROBLEM: Final = "400"


def promises() -> Json:
    """Return what the code of this checkout promises."""
    return {
        "topics": {name: spec.model_dump(mode="json") for name, spec in registry().items()},
        "events": {name: without_words(schema) for name, schema in event_schemas().items()},
        "http": {name: _routes(document) for name, document in http_apis().items()},
        "examples": examples(),
    }


def examples(root: Path = ROOT) -> dict[str, str]:
    """Return the SHA-256 of every golden example and record, by its path."""
    files = sorted([*(root / EXAMPLES).rglob("*.json"), *(root / RECORDS).rglob("*.hex")])
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_words(node: Any, *, are_names: bool = False) -> Any:  # noqa: ANN401 - any JSON
    """Return `node` without what is there for people."""
    if isinstance(node, list):
        return [without_words(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {name: value for name, value in node.items() if are_names or name not in _WORDS}
    return {name: without_words(value, are_names=name in _NAMES and not are_names) for name, value in kept.items()}


def _routes(document: Json) -> Json:
    kept: Json = without_words({"paths": document["paths"], "components": document["components"]})
    for operation in (one for path in kept["paths"].values() for one in path.values()):
        responses = operation["responses"]
        operation["responses"] = {
            status: answer if status < _FIRST_PROBLEM else {} for status, answer in responses.items()
        }
    return kept
