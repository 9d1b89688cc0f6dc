"""What identity takes from outside besides requests: the operator's digest file, and the plans that quota publishes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from libs.bus.envelope import event_message
from libs.bus.records import Record
from libs.runtime.errors import Broken
from libs.schemas.events import EventModel, Limits, PlanAssignment, PlanChanged, PriceMap, TenantPlanChanged
from services.identity.consumer import PLANS_TOPIC, learn_plan
from services.identity.domain import KnownPlans, OperatorKey
from services.identity.errors import PlansNotHeard
from services.identity.settings import IdentitySettings, operator_key_of
from tests.support.access import NOW, api_key, tenant_id

KEY = api_key(1)
PLAN = PlanChanged(
    plan_id="pro",
    version=1,
    name="Pro",
    limits=Limits(qps=50, events_s=1000, storage_gb=200),
    price_map=PriceMap.model_validate({"gql_per_million": "2", "ingest_per_k": "0.1"}),
    effective_at=NOW,
)
ASSIGNED = TenantPlanChanged(
    tenant_id=tenant_id(1),
    assignments=(PlanAssignment(plan_id="pro", version=1, effective_at=NOW),),
    changed_at=NOW,
)


def settings_with(path: Path | None) -> IdentitySettings:
    return IdentitySettings(operator_digest_file=path)


def test_the_operators_key_is_read_as_set_up_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "operator.json"
    path.write_text(json.dumps({"key_id": KEY.key_id, "digest": KEY.digest.hex()}))

    assert operator_key_of(settings_with(path)) == OperatorKey(KEY.key_id, KEY.digest.hex())


def test_without_a_file_there_is_no_operators_key() -> None:
    assert operator_key_of(settings_with(None)) is None


@pytest.mark.parametrize("text", ["", "{}", KEY.text, json.dumps({"key_id": KEY.key_id, "digest": KEY.text})])
def test_a_wrong_file_stops_the_start_and_does_not_put_its_content_in_a_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "operator.json"
    path.write_text(text)

    with pytest.raises(Broken, match=r"operator\.json.*maestro up") as caught:
        operator_key_of(settings_with(path))

    assert KEY.text not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def record(event: EventModel, value: bytes | None = None) -> Record:
    message = event_message(PLANS_TOPIC, event, key="plan/pro/1", event_id=uuid.uuid4(), at=NOW)
    return Record(PLANS_TOPIC, 0, 0, message.key, value or message.value, message.headers, 0)


def test_a_published_plan_is_known() -> None:
    plans = KnownPlans()

    learn_plan(plans, record(PLAN))
    learn_plan(plans, record(PLAN))

    plans.require("pro")


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(record(ASSIGNED), id="who is on which plan"),
        pytest.param(record(PLAN, b"{}"), id="what is no plan"),
        pytest.param(Record(PLANS_TOPIC, 0, 0, b"plan/pro/1", b"x", (), 0), id="what is no event"),
        pytest.param(Record(PLANS_TOPIC, 0, 0, b"plan/pro/1", None, (), 0), id="a tombstone"),
    ],
)
def test_nothing_else_makes_a_plan_known(heard: Record) -> None:
    plans = KnownPlans()

    learn_plan(plans, heard)

    with pytest.raises(PlansNotHeard):
        plans.require("pro")
