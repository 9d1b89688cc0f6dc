"""Asking metering and invoicing over HTTP, as the holder of an API key."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from libs.runtime.errors import Rejected, Unavailable

METERING_URL: Final = "http://127.0.0.1:7102"  # where the embedded stack serves them, unless the ports were taken
INVOICING_URL: Final = "http://127.0.0.1:7104"
KEY_FILE: Final = Path(__file__).resolve().parents[3] / ".maestro" / "secrets" / "operator.key"
TIMEOUT_S: Final = 30.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Apis:
    """A connection that carries the key, and where the services are."""

    client: httpx.Client
    metering: str
    invoicing: str

    def get(self, url: str, **query: object) -> Json:
        """Return the JSON that is answered; raise Rejected with the answer's own words, or Unavailable."""
        asked = {name.rstrip("_"): str(value) for name, value in query.items() if value is not None}
        try:
            answer = self.client.get(url, params=asked)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(f"{url} does not answer ({error}); see `maestro status`, or name the address") from error
        if not answer.is_success:
            raise Rejected(f"{answer.status_code} {_words_of(answer)}")
        found: Json = answer.json()
        return found


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add where the services are, and as whom they are asked."""
    verb.add_argument("--url", default=METERING_URL, help="where metering is served (default: %(default)s)")
    verb.add_argument(
        "--key-file", type=Path, default=KEY_FILE, help="holds the API key (default: the stack's operator's)"
    )
    verb.add_argument("--json", action="store_true", dest="as_json", help="print JSON for scripts")


@contextmanager
def opened(chosen: argparse.Namespace) -> Iterator[Apis]:
    """Hold a connection while the block runs; raise Rejected where there is no key."""
    try:
        key = chosen.key_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{chosen.key_file} holds no key: {error}; name another with --key-file") from error
    with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, trust_env=False) as client:
        yield Apis(client, chosen.url, getattr(chosen, "invoicing_url", INVOICING_URL))


def _words_of(answer: httpx.Response) -> str:
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return f"{answer.reason_phrase}: {answer.text[:200]}"
    said = answer.json()
    return f"{said['title']}: {said['detail']}"
