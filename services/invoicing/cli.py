"""`maestro invoicing list|get`: see invoices, and take the files of one home for `maestro verify`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from libs.runtime.printable import printable

DEFAULT_URL: Final = "http://127.0.0.1:7104"  # where the embedded stack serves invoicing unless the port was taken
DEFAULT_KEY_FILE: Final = Path(__file__).resolve().parents[2] / ".maestro" / "secrets" / "operator.key"
TIMEOUT_S: Final = 30.0
MAX_PAGES: Final = 1_000  # of 50: a list that is longer is read by program, not by eye
_PLAIN_NAME: Final = re.compile(r"[a-z][a-z0-9.]{0,63}")  # a server cannot make us write outside of the folder

Json = dict[str, Any]


class Failed(Exception):
    """What ends the command; the text is for the person who typed it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 where it succeeded, 1 where it did not, with the reason on standard error."""
    chosen = _parser().parse_args(arguments)
    try:
        with _client(chosen.url, chosen.key_file) as client:
            if chosen.verb == "list":
                return list_invoices(client, chosen.tenant, chosen.period)
            return get_files(client, chosen.invoice_id, chosen.to)
    except httpx.TransportError as error:
        why = f"{chosen.url} does not answer ({error}); see `maestro status`, or name the address with --url"
    except (Failed, OSError, httpx.InvalidURL) as error:
        why = str(error)
    print(f"maestro invoicing: {printable(why)}", file=sys.stderr)
    return 1


def list_invoices(client: httpx.Client, tenant: str | None, period: str | None) -> int:
    """Print one line an invoice, newest first."""
    print(f"{'number':14}{'tenant':28}{'period':10}{'status':9}{'total':>16}  invoice id")
    for one in _invoices(client, {"tenant": tenant, "period": period}):
        total = f"{one['totals']['total']} {one['totals']['currency']}"
        row = f"{one['number']:14}{one['tenant_id']:28}{one['period']:10}{one['status']:9}{total:>16}"
        print(printable(f"{row}  {one['invoice_id']}"))
    return 0


def get_files(client: httpx.Client, invoice_id: str, to: Path | None) -> int:
    """Write all files of the invoice into a folder (by default named by its number), exactly as they are kept."""
    invoice = _json(client.get(f"/v1/invoices/{invoice_id}"))
    folder = to or Path(invoice["number"])
    folder.mkdir(parents=True, exist_ok=True)
    for file in invoice["files"]:
        if _PLAIN_NAME.fullmatch(file["name"]) is None:
            raise Failed(f"the server names a file {file['name']!r}, which is no plain name")
        answer = client.get(f"/v1/invoices/{invoice_id}/files/{file['name']}")
        _refused(answer)
        (folder / file["name"]).write_bytes(answer.content)
        print(printable(f"{file['sha256']}  {folder / file['name']}"))
    if invoice["status"] != "signed":
        print("the manifest is not signed yet: get the files again in a moment", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maestro invoicing", description="See invoices and take their files home.")
    parser.add_argument("--url", default=DEFAULT_URL, help="where invoicing is served (default: %(default)s)")
    parser.add_argument(
        "--key-file", type=Path, default=DEFAULT_KEY_FILE, help="holds the API key (default: the operator's)"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="list invoices, newest first")
    listing.add_argument("--tenant", help="only this tenant's")
    listing.add_argument("--period", help="only this month's, such as 2026-11")
    getting = verbs.add_parser("get", help="write the files of one invoice into a folder")
    getting.add_argument("invoice_id")
    getting.add_argument("--to", type=Path, metavar="FOLDER", help="default: the invoice's number")
    return parser


def _client(url: str, key_file: Path) -> httpx.Client:
    key = key_file.read_text(encoding="ascii").strip()
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=TIMEOUT_S)


def _invoices(client: httpx.Client, asked: dict[str, str | None]) -> Iterator[Json]:
    parameters = {name: value for name, value in asked.items() if value is not None}
    for _ in range(MAX_PAGES):
        page = _json(client.get("/v1/invoices", params=parameters))
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        parameters["cursor"] = page["next_cursor"]
    raise Failed("there are more invoices than can be listed here; name a tenant or a period")


def _json(answer: httpx.Response) -> Json:
    _refused(answer)
    document: Json = answer.json()
    return document


def _refused(answer: httpx.Response) -> None:
    """Raise Failed with the problem document's own words."""
    if answer.is_success:
        return
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    said = answer.json() if is_problem else {"title": answer.reason_phrase, "detail": answer.text[:200]}
    raise Failed(f"{answer.status_code} {said['title']}: {said['detail']}")


if __name__ == "__main__":
    sys.exit(main())
