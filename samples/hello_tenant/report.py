"""What the demo shows: the refusal as it came over HTTP, the ledger, and the last lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from rich.console import Group
from rich.json import JSON
from rich.text import Text

from libs.runtime.printable import printable
from samples.hello_tenant.ledger import Ledger, Row
from samples.hello_tenant.proof import Hold
from samples.hello_tenant.screen import Screen
from samples.hello_tenant.stack import Stack

SHOWN_HEADERS: Final = ("content-type", "retry-after", "ratelimit", "ratelimit-policy")
LEVEL: Final = "storage_gb"
SERVED: Final = (HTTPStatus.OK, HTTPStatus.ACCEPTED)


def show_refusals(hold: Hold, screen: Screen, refusals: Sequence[Mapping[str, Any]]) -> None:
    """Show the answers of the tenant that was over its quota, and that it was served again when it came back."""
    screen.headline("4. One tenant is driven over its quota")
    hold(bool(refusals), "a tenant over its quota was refused")
    for refusal in refusals:
        headers, body = refusal["headers"], refusal["body"]
        lines = [printable(f"{name}: {headers.get(name, '(absent)')}") for name in SHOWN_HEADERS]
        screen.panel(
            f"HTTP {refusal['status']}, over {refusal['limit']}",
            Group(Text("\n".join(lines)), Text(), JSON(json.dumps(body), ensure_ascii=True)),
        )
        hold(_is_complete(refusal), "a problem document with error, retryAfter, and the HTTP fields to go by")
        hold(
            refusal["status_after"] in SERVED,
            f"told to come back after {body['retryAfter']} s, came back after {refusal['waited_s']:.2f} s:"
            f" {refusal['status_after']}",
        )
    if not any(refusal["limit"] == "qps" for refusal in refusals):
        screen.line("this machine, as busy as it is, did not carry more calls a second than the limit allows")


def _is_complete(refusal: Mapping[str, Any]) -> bool:
    headers, body = refusal["headers"], refusal["body"]
    return (
        refusal["status"] == HTTPStatus.TOO_MANY_REQUESTS
        and all(name in headers for name in SHOWN_HEADERS)
        and headers["content-type"].startswith("application/problem+json")
        and body["error"] == "quota_exceeded"
        and body["status"] == HTTPStatus.TOO_MANY_REQUESTS
        and body["retryAfter"] > 0
    )


def show_ledger(screen: Screen, ledger: Ledger, names: Mapping[str, str]) -> None:
    """Print one row per tenant and metric, tenants in the order of `names`: first what is counted, then the level."""
    order = {tenant: place for place, tenant in enumerate(names)}
    wrong = {(difference.tenant, difference.metric) for difference in ledger.differences}
    shown = [
        (row, names.get(row.tenant, row.tenant), "no" if (row.tenant, row.metric) in wrong else "yes")
        for row in sorted(ledger.rows, key=lambda row: order.get(row.tenant, len(order)))
    ]
    screen.table(
        "counted by the unit",
        ("tenant", "metric", ">offered", ">admitted", ">denied", ">metered", ">invoiced", "balances"),
        [
            (name, row.metric, *(f"{number:,}" for number in _numbers(row)), balances)
            for row, name, balances in shown
            if row.metric != LEVEL
        ],
    )
    _show_level(screen, [one for one in shown if one[0].metric == LEVEL])


def _show_level(screen: Screen, shown: Sequence[tuple[Row, str, str]]) -> None:
    """Print what was stored; reporting it can be put off, but not denied."""
    screen.table(
        f"{LEVEL} in byte-microseconds (a gigabyte-hour has 3.6e18); offered is the load client's own integral",
        ("tenant", ">offered = admitted", ">metered", ">invoiced", "balances"),
        [(name, row.admitted, row.metered, row.invoiced, balances) for row, name, balances in shown],
    )


def _numbers(row: Row) -> tuple[int, ...]:
    return row.offered, row.admitted, row.denied, row.metered, row.invoiced


def commands_to_try(stack: Stack, folder: Path, tenant_id: str) -> tuple[str, ...]:
    """Return three commands that work now, as they are typed in the checkout."""
    key = folder / "keys" / f"{tenant_id}.key"
    return (
        f".venv/bin/maestro verify {folder / 'invoices' / tenant_id} --key {stack.trusted_key}",
        f'curl -s -H "Authorization: Bearer $(cat {key})" {stack.invoicing}/v1/invoices',
        ".venv/bin/maestro status",
    )


def say_goodbye(screen: Screen, stack: Stack, folder: Path, commands: Sequence[str]) -> None:
    """Print the last lines: URLs, where the files lie, commands to try next."""
    screen.headline("The stack stays up (make down ends it); the demo gateway has ended. Where everything is:")
    services = ("identity", "metering", "quota", "invoicing", "evidence")
    for name in services:
        screen.line(f"{name:10} {getattr(stack, name)}   (API: {getattr(stack, name)}/openapi.json)")
    screen.line(f"invoices   {folder / 'invoices'}")
    screen.line(f"keys, logs {folder}")
    screen.headline("Try next:")
    for command in commands:
        screen.line(command)


def show_verdict(screen: Screen, broken: Sequence[str]) -> None:
    """Say whether everything held, and what did not."""
    screen.console.print()
    screen.check(not broken, "everything held" if not broken else f"{len(broken)} did not hold")
    for text in broken:
        screen.line(text, style="red")
