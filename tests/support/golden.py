"""The golden examples in proto/examples: one CloudEvent a file, as a record would bring it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from libs.bus.records import Record

FOLDER: Final = Path(__file__).resolve().parents[2] / "proto" / "examples"
FILES: Final = sorted(FOLDER.glob("*/*.json"))
ATTRIBUTES: Final = ("specversion", "id", "source", "type", "subject", "time")

Json = dict[str, Any]


def name_of(path: Path) -> str:
    """Return how a test calls the example."""
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> Json:
    """Return the event in the structured mode."""
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def record_of(event: Json, topic: str, **data: object) -> Record:
    """Return the event as a record of `topic`, in the binary mode; `data` is added to what it says."""
    headers = tuple((f"ce_{name}", event[name].encode()) for name in ATTRIBUTES)
    value = json.dumps(event["data"] | data).encode()
    return Record(topic, 0, 0, event["subject"].encode(), value, (*headers, ("content-type", b"application/json")), 0)
