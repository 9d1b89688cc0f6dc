"""What an operator does by a command to a running stack is in the record that evidence shows, under a pseudonym."""

from __future__ import annotations

import getpass
import re
import subprocess
import sys
from typing import Any

import httpx
import pytest

from deploy.local.operating import settings_of
from deploy.local.places import CHECKOUT
from libs.bus.acls import Acl, Operation, Resource
from libs.bus.kafka import KafkaAccess
from libs.bus.kafka.administration import administration
from libs.store.pool import open_pool, transaction
from libs.store.roles import Role
from tests.support.stack import in_own_loop
from tests.support.whole_stack import WholeStack

pytestmark = pytest.mark.timeout(600)
LETTER = """
INSERT INTO dead_letter (consumer, topic, topic_id, partition, record_offset, reason, cause, digest, size_bytes,
  by_reference, appended_at)
VALUES ('metering.nobody', 'close-requests', gen_random_uuid(), 0, 0, 'rejected', 'a test', 'none', 1, false, now())
RETURNING id
"""
TOO_MUCH = Acl("quota", Operation.WRITE, Resource.TOPIC, "invoices")


def run(stack: WholeStack, *arguments: str) -> tuple[str, str]:
    """Run `maestro`, and return the request id and the actor that it says it acts under."""
    command = [sys.executable, "-m", "deploy.local", *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=stack.environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = re.search(r"request ([0-9a-f]{32}) by (os_[a-z2-7]{24})", done.stderr)
    assert said is not None, done.stderr
    return said[1], said[2]


def entries(stack: WholeStack, act: tuple[str, str]) -> list[dict[str, Any]]:
    """What evidence shows of a request, oldest first."""
    answer = httpx.get(
        f"{stack.addresses.evidence}/v1/audit?actor={act[1]}&limit=500",
        headers={"authorization": f"Bearer {stack.addresses.operator_key}"},
        trust_env=False,
    )
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return [one for one in reversed(items) if one["request_id"] == act[0]]


def are_shown(stack: WholeStack, act: tuple[str, str], *wanted: tuple[str, str, str, str | None]) -> None:
    """Wait until evidence shows exactly these (service, action, subject, reason) of the request."""

    def shown() -> list[tuple[str, ...]]:
        return [(one["service"], one["action"], one["subject"], one["reason"]) for one in entries(stack, act)]

    stack.wait_for(lambda: len(shown()) >= len(wanted), f"evidence shows {wanted}")
    assert shown() == list(wanted)
    assert getpass.getuser() not in {one["actor"] for one in entries(stack, act)}


@pytest.mark.parametrize(("service", "topic"), [("metering", "close-requests"), ("evidence", "invoices")])
def test_an_offset_that_was_reset(service: str, topic: str, stack: WholeStack) -> None:
    where = ("--service", service, "--consumer", f"{service}.nobody", "--topic", topic, "--partition", "0")

    act = run(stack, "bus", "reset-offset", *where, "--to", "earliest", "--reason", "ticket 7")

    are_shown(stack, act, (service, "consumer_offset.reset", f"consumer/{service}.nobody", "ticket 7"))


def test_a_dead_letter_that_was_dropped(stack: WholeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_STATE_DIR", stack.environ["MAESTRO_STATE_DIR"])
    number = in_own_loop(_letter())

    act = run(stack, "dlq", "drop", f"metering/{number}", "--reason", "a test of the sender's")

    are_shown(stack, act, ("metering", "dead_letter.dropped", f"dead_letter/{number}", "a test of the sender's"))


async def _letter() -> int:
    """Note a letter as a consumer does; its record is not needed for a drop."""
    async with (
        await open_pool(settings_of("metering"), Role.WORKER, name="test", max_size=1) as pool,
        transaction(pool) as tx,
    ):
        return int(await tx.fetchval(LETTER))


def test_a_login_at_the_broker_that_was_made_and_removed(stack: WholeStack) -> None:
    made = run(stack, "bus", "add-user", "collector.recorded", "--reason", "contract 8")
    removed = run(stack, "bus", "remove-user", "collector.recorded", "--reason", "contract 8 is over")

    login = "login/collector.recorded"
    are_shown(
        stack,
        made,
        ("identity", "broker_login.add_begun", login, "contract 8"),
        ("identity", "broker_login.added", login, "contract 8"),
    )
    are_shown(
        stack,
        removed,
        ("identity", "broker_login.remove_begun", login, "contract 8 is over"),
        ("identity", "broker_login.removed", login, "contract 8 is over"),
    )


def test_rights_at_the_broker_that_were_put_right(stack: WholeStack) -> None:
    in_own_loop(_widen(stack.kafka))

    act = run(stack, "bus", "provision", "--reason", "found by an audit")

    about = ("broker/topics", "found by an audit")
    are_shown(stack, act, ("identity", "broker.provision_begun", *about), ("identity", "broker.provisioned", *about))
    assert entries(stack, act)[0]["details"]["acls_removed"] == "quota: allows write on topic invoices"


async def _widen(kafka: KafkaAccess) -> None:
    async with administration(kafka) as broker:
        await broker.change_acls(add=[TOO_MUCH])


@pytest.mark.parametrize("verb", ["provision", "add-user", "remove-user"])
def test_who_does_not_say_why_changes_nothing_at_the_broker(verb: str, stack: WholeStack) -> None:
    in_own_loop(_widen(stack.kafka))  # so that there is something to put right
    user = [] if verb == "provision" else ["collector.silent"]
    command = [sys.executable, "-m", "deploy.local", "bus", verb, *user]

    done = subprocess.run(
        command, cwd=CHECKOUT, env=stack.environ, capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, "say why by --reason" in done.stderr) == (1, True)
    assert run(stack, "bus", "provision", "--reason", "the end of a test")
