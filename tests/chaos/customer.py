"""Maestro as a customer and an operator see it: the HTTP calls around the load, repeated until they are answered."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import httpx

from libs.signing.folder import verify_folder
from libs.signing.keys import PublicKey
from samples.hello_tenant.stack import Stack
from tests.chaos.sender import CALLS, EVENTS, Entry
from tests.chaos.ways import Account

T = TypeVar("T")

WITHIN_S: Final = 90.0  # parts come back within seconds; minutes mean that they will not
ASK_EVERY_S: Final = 0.1
METRICS: Final = (EVENTS, CALLS)
A_WEEK: Final = timedelta(days=7)  # either way: more than clocks step, less than a page of days


class NotInTime(Exception):
    """Something did not come, so something was lost."""


class Customer:
    """One client for all services."""

    def __init__(self, stack: Stack, period: str, within_s: float = WITHIN_S) -> None:
        """Talk to `stack`; invoices are those of `period`, "2026-11". What takes longer than `within_s` is lost."""
        self._stack = stack
        self._within_s = within_s
        self._period = period
        self._http = httpx.Client(timeout=15.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def new_account(self, name: str) -> Account:
        """Register a tenant and wait until metering knows its key."""
        account = self.register(name)
        self.counted(account)
        return account

    def register(self, name: str) -> Account:
        """Register a tenant."""
        made = self._ask("POST", f"{self._stack.identity}/v1/tenants", self._stack.operator_key, json={"name": name})
        return Account(made["tenant"]["tenant_id"], made["key"]["secret"])

    def edge_key(self, tenants: list[str]) -> str:
        """Make a key that may name these tenants, and return its public id."""
        asked = {"kind": "edge", "name": "chaos", "act_for": tenants, "scopes": ["usage:write"]}
        return str(
            self._ask("POST", f"{self._stack.identity}/v1/keys", self._stack.operator_key, json=asked)["key"]["key_id"]
        )

    def counted(self, account: Account) -> Counter[Entry]:
        """Return what metering has counted for the tenant, by metric."""
        found: Counter[Entry] = Counter()
        now = datetime.now(UTC)
        span = {"from": (now - A_WEEK).isoformat(), "to": (now + A_WEEK).isoformat(), "window": "day"}
        for metric in METRICS:
            query = {**span, "metric": metric}
            answer = self._ask("GET", f"{self._stack.metering}/v1/usage", account.key, params=query)
            found[account.tenant_id, metric] = sum(int(one["value"]) for one in answer["items"])
        return found

    def ask_invoices(self, accounts: list[Account]) -> None:
        """Ask for the close of the period for these tenants, before its end."""
        body = {"tenants": [one.tenant_id for one in accounts], "early": True}
        url = f"{self._stack.invoicing}/v1/invoices/{self._period}/close"
        self._ask("POST", url, self._stack.operator_key, json=body)

    def invoiced(self, account: Account) -> Counter[Entry]:
        """Wait until the tenant's invoice is signed, verify it, and return what its lines bill. Raises NotInTime."""
        _, files = self.taken_home(account)
        billed: Counter[Entry] = Counter()
        for line in json.loads(files["invoice.json"])["lines"]:
            billed[account.tenant_id, line["metric"]] += int(line["base_quantity"])
        return billed

    def taken_home(self, account: Account) -> tuple[str, dict[str, bytes]]:
        """Wait until the invoice is signed and verify it; return its number and its files by name. Raises NotInTime."""
        found = self.until(f"the signed invoice of {account.tenant_id}", lambda: self._signed(account))
        files = {file["name"]: self._content(file["name"], found["invoice_id"], account) for file in found["files"]}
        self._verify(files, found["number"])
        return found["number"], files

    def numbers(self) -> Counter[str]:
        """Return how many invoices have each number, over all tenants that the stack ever had."""
        found: Counter[str] = Counter()
        query: dict[str, Any] = {"limit": 100}
        url = f"{self._stack.invoicing}/v1/invoices"
        while True:
            page = self._ask("GET", url, self._stack.operator_key, params=query)
            found.update(one["number"] for one in page["items"])
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    def _content(self, name: str, invoice_id: str, account: Account) -> bytes:
        url = f"{self._stack.invoicing}/v1/invoices/{invoice_id}/files/{name}"
        return self._answer("GET", url, account.key).content

    def _verify(self, files: dict[str, bytes], number: str) -> None:
        """Check what came as `maestro verify` does, with the key that the stack's owner gave out."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            report = verify_folder(Path(folder), [PublicKey.load(self._stack.trusted_key)])
        assert report.is_verified, f"{number} cannot be verified: {report.findings}"
        assert report.manifest is not None
        assert report.manifest.subject.number == number, f"{number} is signed as {report.manifest.subject.number}"

    def _signed(self, account: Account) -> dict[str, Any] | None:
        query = {"period": self._period, "limit": 10}
        invoices = self._ask("GET", f"{self._stack.invoicing}/v1/invoices", account.key, params=query)["items"]
        assert len(invoices) <= 1, f"{account.tenant_id} has {len(invoices)} invoices of one period"
        return next((one for one in invoices if one["signed_at"] is not None), None)

    def _ask(self, method: str, url: str, key: str, **request: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(method, url, key, **request).json()
        return found

    def _answer(self, method: str, url: str, key: str, **request: Any) -> httpx.Response:
        """Make a call, and again while the service is away or does not know the key yet. Raises NotInTime."""
        headers = {"authorization": f"Bearer {key}", "maestro-reason": "a test of exactness"}
        if method == "POST":
            headers["idempotency-key"] = str(uuid.uuid4())
        last = ""

        def answered() -> httpx.Response | None:
            nonlocal last
            try:
                answer = self._http.request(method, url, headers=headers, **request)
            except httpx.TransportError as error:
                last = repr(error)
                return None
            last = f"{answer.status_code} {answer.text[:300]}"
            return answer if answer.is_success else None

        return self.until(f"{method} {url}", answered, lambda: last)

    def until(self, what: str, ask: Callable[[], T | None], seen: Callable[[], object] = lambda: "") -> T:
        """Ask until there is an answer; return it. Raises NotInTime."""
        deadline = time.monotonic() + self._within_s
        while (answer := ask()) is None:
            if time.monotonic() > deadline:
                raise NotInTime(f"{what} did not come within {self._within_s:g} s {seen()}")
            time.sleep(ASK_EVERY_S)
        return answer
