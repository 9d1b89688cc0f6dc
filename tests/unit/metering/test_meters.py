from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from services.metering.domain.events import Kind, UsageEvent
from services.metering.domain.meters import Counted, Failed, Outcome, Sampled, meters_of
from services.metering.errors import BadMeter
from tests.support.metering import default_meters, usage


def outcomes(event: UsageEvent) -> Sequence[Outcome]:
    return default_meters().outcomes(event)


def graphql(kind: Kind = Kind.SPAN_SERVER) -> UsageEvent:
    event = usage(kind=kind)
    event.attributes["graphql.operation.type"] = "query"
    return event


def test_a_server_span_of_a_graphql_operation_is_one_call() -> None:
    assert outcomes(graphql()) == [Counted("gql_calls", 1)]


@pytest.mark.parametrize("kind", [Kind.CLOUDEVENT, Kind.SPAN_CLIENT, Kind.SPAN_INTERNAL, Kind.SPAN_UNSPECIFIED])
def test_nothing_but_a_server_span_is_a_call(kind: Kind) -> None:
    assert outcomes(graphql(kind)) == []


@pytest.mark.parametrize("kind", [Kind.CLOUDEVENT, Kind.SPAN_SERVER, Kind.SPAN_INTERNAL])
def test_ingested_events_sum_from_spans_and_events_alike(kind: Kind) -> None:
    assert outcomes(usage(kind=kind, ingest_events=7)) == [Counted("ingest_events", 7)]


@pytest.mark.parametrize(
    ("written", "amount"),
    [("9007199254740993", 2**53 + 1), ("0.1", Decimal("0.1")), ("1e-12", Decimal("1e-12")), (0, 0), ("5.00", 5)],
)
def test_amounts_are_exact(written: str | int, amount: int | Decimal) -> None:
    assert outcomes(usage(ingest_events=written)) == [Counted("ingest_events", amount)]


@pytest.mark.parametrize("written", ["NaN", "inf", "-Infinity", "1e999", "", "five", "1_000", "0x10"])
def test_what_is_no_exact_number_fails_its_meter(written: str) -> None:
    [outcome] = outcomes(usage(ingest_events=written))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "bad_number"


@pytest.mark.parametrize("written", [-1, "-0.5", 10**18, "1e-13", "0.0000000000001"])
def test_an_amount_out_of_its_bounds_fails_its_meter(written: str | int) -> None:
    [outcome] = outcomes(usage(ingest_events=written))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "bad_amount"


def test_the_largest_and_the_smallest_amount_are_taken() -> None:
    assert outcomes(usage(ingest_events=10**18 - 1)) == [Counted("ingest_events", 10**18 - 1)]
    assert outcomes(usage(ingest_events="0.000000000001")) == [Counted("ingest_events", Decimal("1e-12"))]


def test_a_level_belongs_to_its_resource() -> None:
    assert outcomes(usage(storage_bytes=10, storage_resource="disk")) == [Sampled("storage_gb", "disk", 10)]


def test_a_level_without_resource_belongs_to_the_empty_one() -> None:
    assert outcomes(usage(storage_bytes=10)) == [Sampled("storage_gb", "", 10)]


@pytest.mark.parametrize("written", ["0.5", -1, "1e18"])
def test_a_level_is_a_whole_number_within_bounds(written: str | int) -> None:
    [outcome] = outcomes(usage(storage_bytes=written))
    assert isinstance(outcome, Failed)


def test_a_resource_that_cannot_be_stored_fails_its_meter() -> None:
    [outcome] = outcomes(usage(storage_bytes=1, storage_resource="a\x00b"))
    assert isinstance(outcome, Failed)


def test_a_failing_meter_does_not_drop_the_event_for_the_others() -> None:
    event = usage(ingest_events="NaN", storage_bytes=3)
    first, second = outcomes(event)
    assert isinstance(first, Failed)
    assert second == Sampled("storage_gb", "", 3)


METER = """
kind: Meter
metadata: {{name: ingest_events}}
spec: {spec}
"""


@pytest.mark.parametrize(
    "spec",
    [
        "{aggregation: SUM}",
        "{aggregation: COUNT, amount: {attribute: a}}",
        "{aggregation: SUM, amount: {attribute: a}, resource: r}",
        "{aggregation: TIME_WEIGHTED, amount: {attribute: a}}",
        "{aggregation: MEDIAN, amount: {attribute: a}}",
        "{aggregation: COUNT, surprise: 1}",
    ],
)
def test_a_meter_that_does_not_hold_together_is_refused(spec: str) -> None:
    with pytest.raises(BadMeter):
        meters_of(METER.format(spec=spec))


def test_two_meters_of_one_name_are_refused() -> None:
    one = METER.format(spec="{aggregation: COUNT}")
    with pytest.raises(BadMeter, match="one name"):
        meters_of(one + "---" + one)


def test_an_empty_meter_file_is_refused() -> None:
    with pytest.raises(BadMeter, match="no meter"):
        meters_of("")


def test_a_meter_can_ask_for_types_and_values() -> None:
    spec = "{aggregation: COUNT, match: {types: [login], equal: {maestro.region: eu}}}"
    meters = meters_of(METER.format(spec=spec))
    assert meters.outcomes(usage(event_type="login", region="eu")) == [Counted("ingest_events", 1)]
    assert meters.outcomes(usage(event_type="login", region="us")) == []
    assert meters.outcomes(usage(event_type="logout", region="eu")) == []
