"""Every service is restarted under the demo's traffic: each drains within its grace, nothing is lost or doubled."""

from __future__ import annotations

import pytest

from deploy.local.services import SERVICES
from samples.hello_tenant.demo import LOSSES
from samples.hello_tenant.steps import Cast, Scene
from tests.support.plays import Act, Ending, Play, perform, steady
from tests.support.whole_stack import WholeStack

NAMES = tuple(service.name for service in SERVICES)


@pytest.fixture(scope="module")
def ends() -> dict[str, str]:
    """How each service's process ended, by service."""
    return {}


@pytest.fixture(scope="module")
def ending(stack: WholeStack, ends: dict[str, str]) -> Ending:
    """What came of traffic with a restart of every service in it, and of a close with another one."""
    stack.wait_until_ready()

    def roll(*names: str) -> Act:
        def act(_scene: Scene, _cast: Cast) -> None:
            ends.update(stack.restart(*names))

        return act

    return perform(stack, steady(0.25), Play(during={0.3: roll(*NAMES)}, after_close=roll("metering", "invoicing")))


def test_every_call_had_its_answer_and_no_span_was_dropped(ending: Ending) -> None:
    assert ending.counted["failed"] == 0, ending.counted["failures"]
    assert {name: ending.sent[name] for name in LOSSES} == dict.fromkeys(LOSSES, 0)


def test_the_ledger_balances_to_the_unit(ending: Ending) -> None:
    assert [str(difference) for difference in ending.ledger.differences] == []
    assert ending.ledger.balances


@pytest.mark.parametrize("service", NAMES)
def test_a_service_drains_within_its_grace(ending: Ending, ends: dict[str, str], service: str) -> None:
    assert ending.ledger.rows
    assert ends[service].startswith("ended in ")
