"""What a person sees of a running stack by `maestro status` and `maestro dlq`, also while a part of it is down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.places import CHECKOUT
from deploy.local.services import SERVICES
from tests.support.whole_stack import WholeStack

pytestmark = pytest.mark.timeout(600)
NAMES = [service.name for service in SERVICES]


def maestro(stack: WholeStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.local", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, env=stack.environ, capture_output=True, text=True, timeout=60, check=False
    )


def services(stack: WholeStack) -> dict[str, dict[str, Any]]:
    """What `maestro status --json` says of each service."""
    return {one["service"]: one for one in json.loads(maestro(stack, "status", "--json").stdout)["services"]}


def is_known(one: dict[str, Any]) -> bool:
    """Whether the service has sampled; identity has no consumer whose watermark it could tell."""
    return not one["problem"] and (one["service"] == "identity" or one["watermark_age_s"] is not None)


@pytest.fixture
def frozen(stack: WholeStack) -> Iterator[str]:
    """A service that takes connections and answers nothing."""
    stack.wait_until_ready()
    process = stack.part("quota").process
    assert process is not None
    process.send(signal.SIGSTOP)
    yield "quota"
    process.send(signal.SIGCONT)
    stack.wait_until_ready()


def test_status_shows_what_every_service_knows_of_itself(stack: WholeStack) -> None:
    stack.wait_for(lambda: all(map(is_known, services(stack).values())), "every service has sampled its consumers")

    found = services(stack)
    screen = maestro(stack, "status")

    assert list(found) == NAMES
    assert all(found[name]["outbox_rows"] is not None for name in NAMES)
    assert all(found[name]["watermark_age_s"] < 60 for name in ("metering", "quota", "invoicing", "evidence"))
    assert screen.returncode == 0
    assert "dead letters" in screen.stdout
    assert len([line for line in screen.stdout.splitlines() if line.split()[:1] == ["metering"]]) == 2


def test_status_says_which_service_does_not_answer_and_shows_the_others(stack: WholeStack, frozen: str) -> None:
    found = services(stack)

    assert found[frozen]["problem"].startswith("does not answer")
    assert [found[name]["problem"] for name in NAMES if name != frozen] == [""] * (len(NAMES) - 1)


def test_dead_letters_are_listed_with_the_access_of_the_operator(stack: WholeStack) -> None:
    listed = maestro(stack, "dlq", "list", "--state", "all", "--json")

    assert (listed.returncode, listed.stderr) == (0, "")
    assert isinstance(json.loads(listed.stdout), list)
