"""Whatever is killed while the demo's traffic runs, the ledger balances to the unit and no span is lost."""

from __future__ import annotations

import pytest

from samples.hello_tenant.demo import LOSSES
from samples.hello_tenant.steps import Cast, Scene
from tests.support.plays import Act, Ending, Play, perform, steady
from tests.support.whole_stack import EDGE_DURABLE, RELAY_PUBLISHED, WholeStack

LOAD = steady(0.25)


def killing(stack: WholeStack, service: str) -> Act:
    def kill(_scene: Scene, _cast: Cast) -> None:
        stack.kill(service)

    return kill


@pytest.fixture(autouse=True)
def _start_from_a_whole_stack(stack: WholeStack) -> None:
    stack.wait_until_ready()


def assert_nothing_is_lost_or_doubled(ending: Ending) -> None:
    assert ending.counted["failed"] == 0, ending.counted["failures"]
    assert {name: ending.sent[name] for name in LOSSES} == dict.fromkeys(LOSSES, 0)
    assert len(ending.ledger.rows) == 9
    assert [str(difference) for difference in ending.ledger.differences] == []
    assert ending.ledger.balances


def test_a_killed_metering_loses_and_doubles_nothing(stack: WholeStack) -> None:
    kill = killing(stack, "metering")
    ending = perform(stack, LOAD, Play(during={0.2: kill, 0.6: kill}, after_close=kill))
    assert_nothing_is_lost_or_doubled(ending)


def test_a_metering_killed_between_kafkas_word_and_its_own_counts_what_is_sent_again_once(stack: WholeStack) -> None:
    def crash(_scene: Scene, _cast: Cast) -> None:
        stack.arm(EDGE_DURABLE)
        stack.wait_for(lambda: stack.has_crashed(EDGE_DURABLE), "metering to take usage")

    ending = perform(stack, LOAD, Play(during={0.2: crash, 0.6: crash}))
    assert_nothing_is_lost_or_doubled(ending)


def test_a_killed_invoicing_loses_and_doubles_nothing(stack: WholeStack) -> None:
    kill = killing(stack, "invoicing")
    ending = perform(stack, LOAD, Play(during={0.4: kill}, after_close=kill))
    assert_nothing_is_lost_or_doubled(ending)


def test_a_relay_killed_between_publishing_and_marking_loses_and_doubles_nothing(stack: WholeStack) -> None:
    def crashed() -> bool:
        return stack.has_crashed(RELAY_PUBLISHED)

    def crash_identity(scene: Scene, _cast: Cast) -> None:
        stack.arm(RELAY_PUBLISHED)
        scene.maestro.create_tenant("newcomer", "starter")
        stack.wait_for(crashed, "the relay of identity to publish the new tenant")

    def arm(_scene: Scene, _cast: Cast) -> None:
        stack.arm(RELAY_PUBLISHED)

    def crash_invoicing_and_who_comes_next(scene: Scene, cast: Cast) -> None:
        stack.wait_for(crashed, "the relay of invoicing to publish the close requests")
        stack.arm(RELAY_PUBLISHED)
        stack.wait_for(lambda: crashed() or all_signed(scene, cast), "another relay to publish")
        stack.disarm(RELAY_PUBLISHED)

    play = Play(during={0.3: crash_identity}, before_close=arm, after_close=crash_invoicing_and_who_comes_next)
    assert_nothing_is_lost_or_doubled(perform(stack, LOAD, play))


def all_signed(scene: Scene, cast: Cast) -> bool:
    return all(scene.maestro.signed_invoice(tenant, scene.period) for tenant in cast.tenants)
