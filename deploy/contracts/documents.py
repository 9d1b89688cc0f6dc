"""The generated files, by their place in the checkout. `make contracts` writes them, a test compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.contracts.asyncapi import asyncapi
from deploy.contracts.event_schemas import GENERATED, event_schemas
from deploy.contracts.http_apis import http_apis

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMAS: Final = Path("proto/schemas")
API: Final = Path("docs/api")
GENERATED_FILES: Final = ("proto/schemas/*.json", "docs/api/asyncapi.yaml", "docs/api/*.openapi.json")


def documents() -> dict[Path, str]:
    """Return the text of every generated file, by its path below the checkout."""
    schemas = {SCHEMAS / f"{name}.json": as_json(schema) for name, schema in event_schemas().items()}
    apis = {API / f"{name}.openapi.json": as_json(document) for name, document in http_apis().items()}
    return schemas | apis | {API / "asyncapi.yaml": f"# {GENERATED}\n{_as_yaml(asyncapi())}"}


def write(root: Path = ROOT) -> list[Path]:
    """Write what differs, remove what is no longer generated, and return the paths of both."""
    wanted, present = documents(), generated_in(root)
    changed = [path for path, text in wanted.items() if present.get(path) != text]
    gone = sorted(present.keys() - wanted.keys())
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path], encoding="utf-8")
    for path in gone:
        (root / path).unlink()
    return [*changed, *gone]


def generated_in(root: Path = ROOT) -> dict[Path, str]:
    """Return the generated files that lie below `root`."""
    found = (path for pattern in GENERATED_FILES for path in root.glob(pattern))
    return {path.relative_to(root): path.read_text(encoding="utf-8") for path in found}


def as_json(document: dict[str, Any]) -> str:
    """Return the one text form of a document."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class _Plain(yaml.SafeDumper):
    """Writes a value again where it stands twice: anchors are for machines."""

    def ignore_aliases(self, data: object) -> bool:
        """Say that nothing is an alias."""
        del data
        return True


def _as_yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return text
