"""The HTTP calls of Maestro that the demo makes, as a customer's own program would make them."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from samples.hello_tenant.stack import Stack

T = TypeVar("T")

ATTEMPTS = 60  # at RETRY_EVERY_S half a minute: longer than a killed service takes to come back
RETRY_EVERY_S = 0.5
ASK_EVERY_S = 0.2
TIMEOUT_S = 30.0
PAGE = 100
REASON = "Hello-Tenant, the demo"  # an operator says why of every change
OTLP = "application/x-protobuf"
METRICS = ("gql_calls", "ingest_events", "storage_gb")
INVOICE_FILES = ("invoice.json", "invoice.csv", "manifest.json", "manifest.json.sigstore.json")


_NO_USAGE = {"metric": "gql_calls", "from": "2000-01-01T00:00:00Z", "to": "2000-01-02T00:00:00Z"}


class Refused(Exception):
    """Maestro refused a call of the demo; the text holds its problem document."""


class NotInTime(Exception):
    """Something that was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with its own API key."""

    tenant_id: str
    name: str
    plan_id: str
    key: str = field(repr=False)


class Maestro:
    """One client for all services. Every POST carries an Idempotency-Key, so every call can be made again."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._usage_url = f"{stack.metering}/v1/usage"
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create_tenant(self, name: str, plan_id: str) -> Tenant:
        """Register a tenant; return it with its key, which is shown only now."""
        made = self._post(f"{self._stack.identity}/v1/tenants", {"name": name, "plan_id": plan_id})
        return Tenant(made["tenant"]["tenant_id"], name, plan_id, made["key"]["secret"])

    def create_gateway_key(self, name: str, tenants: list[Tenant]) -> str:
        """Return a key that may report usage and check quotas for exactly these tenants."""
        act_for = [tenant.tenant_id for tenant in tenants]
        made = self._post(f"{self._stack.identity}/v1/keys", {"kind": "edge", "name": name, "act_for": act_for})
        return str(made["key"]["secret"])

    def request_close(self, period: str, tenants: list[Tenant], traceparent: str) -> None:
        """Ask for the invoices of `period` ("2026-11"), which is not over, for these tenants only."""
        self._post(
            f"{self._stack.invoicing}/v1/invoices/{period}/close",
            {"tenants": [tenant.tenant_id for tenant in tenants], "early": True},
            {"traceparent": traceparent},
        )

    def signed_invoice(self, tenant: Tenant, period: str) -> dict[str, Any] | None:
        """Return the tenant's invoice of `period` once it is signed, None before."""
        invoices = self._items(f"{self._stack.invoicing}/v1/invoices", tenant, period=period)
        return next((invoice for invoice in invoices if invoice["signed_at"] is not None), None)

    def download(self, tenant: Tenant, invoice_id: str, folder: Path) -> None:
        """Write the four files of an invoice into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in INVOICE_FILES:
            url = f"{self._stack.invoicing}/v1/invoices/{invoice_id}/files/{name}"
            (folder / name).write_bytes(self._send("GET", url, tenant.key).content)

    def is_known(self, tenant: Tenant, gateway_key: str) -> bool | None:
        """Whether metering and quota know the tenant, its plan and the gateway's key; None while they do not."""
        check = {"limit": "qps", "tenant": tenant.tenant_id}
        asked = self._try("POST", f"{self._stack.quota}/v1/check", gateway_key, json=check)
        own = self._try("GET", self._usage_url, tenant.key, params=_NO_USAGE)
        empty = self._try("POST", f"{self._stack.metering}/v1/traces", gateway_key, headers={"content-type": OTLP})
        if asked is None or own is None or empty is None:
            return None
        return True if asked.json()["plan"]["id"] == tenant.plan_id else None

    def usage(self, tenant: Tenant, starts_at: datetime, ends_at: datetime) -> dict[str, int]:
        """Return what metering counted in [starts_at, ends_at), per metric in base units: "1", or "By.us"."""
        sums = {}
        for metric in METRICS:
            asked = {"metric": metric, "from": starts_at.isoformat(), "to": ends_at.isoformat(), "window": "day"}
            sums[metric] = sum(int(day["value"]) for day in self._items(self._usage_url, tenant, **asked))
        return sums

    def _items(self, url: str, tenant: Tenant, **query: str) -> list[dict[str, Any]]:
        """Return all items of a list, page by page."""
        items: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {**query, "limit": PAGE}
        while True:  # ends: every list has a last page
            page = self._send("GET", url, tenant.key, params=parameters).json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            parameters["cursor"] = page["next_cursor"]

    def _post(self, url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        own = {"idempotency-key": str(uuid.uuid4()), "maestro-reason": REASON, **(headers or {})}
        answer: dict[str, Any] = self._send("POST", url, self._stack.operator_key, json=body, headers=own).json()
        return answer

    def _try(self, method: str, url: str, key: str, **request: Any) -> httpx.Response | None:  # noqa: ANN401
        """Make a call once; return a good answer, None for any other."""
        headers = {**request.pop("headers", {}), "authorization": f"Bearer {key}"}
        try:
            response = self._http.request(method, url, headers=headers, **request)
        except httpx.TransportError:
            return None
        return response if response.is_success else None

    def _send(self, method: str, url: str, key: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Make a call; make it again while the service is away. Raises Refused."""
        headers = {**request.pop("headers", {}), "authorization": f"Bearer {key}"}
        last = ""
        for _ in range(ATTEMPTS):
            try:
                response = self._http.request(method, url, headers=headers, **request)
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if response.is_success:
                    return response
                if not response.is_server_error:
                    raise Refused(f"{method} {url}: {response.status_code} {response.text}")
                last = f"{response.status_code} {response.text}"
            time.sleep(RETRY_EVERY_S)
        raise Refused(f"{method} {url}: {last}, {ATTEMPTS} times")


def new_traceparent() -> str:
    """Return the traceparent of a new, sampled trace (W3C Trace Context)."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def until(what: str, ask: Callable[[], T | None], within_s: float) -> T:
    """Ask until there is an answer; return it. Raises NotInTime."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(ASK_EVERY_S)
    raise NotInTime(f"{what} did not come within {within_s:.0f} s")
