"""`maestro invoicing`: what is typed, what is shown, what is refused; the server is a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.invoicing.cli import Failed, get_files, list_invoices, main

Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer) -> httpx.Client:
    return httpx.Client(base_url="http://invoicing", transport=httpx.MockTransport(answer))


def invoice(number: int, *names: str, status: str = "signed") -> dict[str, Any]:
    return {
        "invoice_id": f"id-{number}",
        "number": f"MST-{number:06d}",
        "tenant_id": "tnt_a",
        "period": "2026-10",
        "status": status,
        "totals": {"total": "2.50", "currency": "USD"},
        "files": [{"name": name, "sha256": "0" * 64} for name in names],
    }


def pages(request: httpx.Request) -> httpx.Response:
    cursor = request.url.params.get("cursor")
    page = (
        {"items": [invoice(1)], "next_cursor": "two"}
        if cursor is None
        else {"items": [invoice(2)], "next_cursor": None}
    )
    return httpx.Response(200, json=page)


def folder_of(*names: str, status: str = "signed") -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        if "/files/" in request.url.path:
            return httpx.Response(200, content=request.url.path.rpartition("/")[2].encode())
        return httpx.Response(200, json=invoice(1, *names, status=status))

    return answer


def refused(_request: httpx.Request) -> httpx.Response:
    problem = {"title": "There is no such thing here", "detail": "there is no such invoice, or it is not yours"}
    return httpx.Response(404, json=problem, headers={"content-type": "application/problem+json"})


def test_a_list_goes_on_to_the_last_page(capsys: pytest.CaptureFixture[str]) -> None:
    list_invoices(client_of(pages), None, None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["number", "MST-000001", "MST-000002"]


def test_every_file_is_written_as_it_came(tmp_path: Path) -> None:
    get_files(client_of(folder_of("invoice.json", "manifest.json")), "id-1", tmp_path / "mine")
    written = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    assert written == {"invoice.json": b"invoice.json", "manifest.json": b"manifest.json"}


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", ".hidden", "a/b", "", "UPPER"])
def test_a_server_cannot_name_a_file_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failed, match="no plain name"):
        get_files(client_of(folder_of(name)), "id-1", tmp_path)


def test_files_that_are_not_signed_yet_are_taken_and_said_to_be_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get_files(client_of(folder_of("manifest.json", status="issued")), "id-1", tmp_path)
    assert "not signed yet" in capsys.readouterr().err


def test_a_refusal_is_told_in_the_services_own_words() -> None:
    with pytest.raises(Failed, match="404 There is no such thing here: there is no such invoice"):
        get_files(client_of(refused), "id-9", None)


def test_a_missing_key_file_is_named_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--key-file", str(tmp_path / "none.key"), "list"]) == 1
    assert "none.key" in capsys.readouterr().err


def test_a_service_that_does_not_answer_is_an_answer_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_file = tmp_path / "operator.key"
    key_file.write_text("mst_local_x\n")
    assert main(["--url", "http://127.0.0.1:9", "--key-file", str(key_file), "list"]) == 1
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err
