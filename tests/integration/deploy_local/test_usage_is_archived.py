"""A stack as `maestro up` starts it archives usage, for its user alone, and the command builds totals from it again."""

from __future__ import annotations

import json
import secrets
import stat
import subprocess
import sys
from typing import Any

import httpx
import pytest

from deploy.local.places import CHECKOUT
from tests.support.whole_stack import WholeStack

pytestmark = pytest.mark.timeout(600)


def recompute(stack: WholeStack, tenant: str) -> tuple[int, dict[str, Any]]:
    """Run `maestro usage recompute`: its exit status, and what it found."""
    command = [sys.executable, "-m", "deploy.local", "usage", "recompute", "--tenant", tenant, "--json"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=stack.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in {0, 2}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def new_tenant(stack: WholeStack) -> tuple[str, str]:
    """Register a tenant; its id and its key."""
    answer = httpx.post(
        f"{stack.addresses.identity}/v1/tenants",
        json={"name": "archived"},
        headers={
            "authorization": f"Bearer {stack.addresses.operator_key}",
            "idempotency-key": secrets.token_hex(8),
            "maestro-reason": "a test",
        },
        trust_env=False,
    )
    made = answer.raise_for_status().json()
    return made["tenant"]["tenant_id"], made["key"]["secret"]


def test_usage_is_archived_by_default_and_the_command_builds_its_total_again(stack: WholeStack) -> None:
    tenant, key = new_tenant(stack)
    event = {"specversion": "1.0", "id": "1", "source": "test", "type": "ingest", "data": {"maestro.ingest.events": 7}}

    def is_taken() -> bool:
        answer = httpx.post(
            f"{stack.addresses.metering}/api/v1/events",
            json=event,
            headers={"authorization": f"Bearer {key}", "content-type": "application/cloudevents+json"},
            trust_env=False,
        )
        return answer.status_code == 204

    stack.wait_for(is_taken, "metering to know the tenant")
    stack.wait_for(lambda: recompute(stack, tenant)[1]["agrees"] is True, "the event to be archived")
    code, found = recompute(stack, tenant)

    assert (code, found["totals"]) == (0, {"ingest_events": {"archive": "7", "live": "7"}})
    archive = stack.places.home / "archive"
    assert list((archive / "usage").glob("day=*/tenant_hash=*/*.parquet"))
    assert {(one.is_dir(), stat.S_IMODE(one.stat().st_mode)) for one in archive.rglob("*")} == {
        (True, 0o700),
        (False, 0o600),
    }
