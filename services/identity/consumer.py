"""What identity hears: the plans that quota publishes."""

from __future__ import annotations

import logging
from typing import Final

from libs.bus.envelope import decode, meta_of
from libs.bus.records import Record
from libs.schemas.cloudevents import BadEvent
from libs.schemas.events import PlanChanged
from services.identity.domain import KnownPlans

PLANS_TOPIC: Final = "plan-changes"

_log = logging.getLogger(__name__)


def learn_plan(plans: KnownPlans, record: Record) -> None:
    """Take a record of plan-changes: a plan's id is learnt, all else is passed over. One that is no event is logged."""
    if record.value is None:
        return
    try:
        meta = meta_of(record)
        if meta.type == PlanChanged.TYPE:
            plans.add(decode(record, PlanChanged, meta).data.plan_id)
    except BadEvent as error:
        _log.error("a record of %s is passed over: %s", record.source, error, extra={"offset": record.offset})
