from __future__ import annotations

import io

from rich.console import Console

from deploy.local.observed import Observed, read
from deploy.local.screens import show_observed

NOW_S = 1_000_000.0
TEXT = """
# TYPE maestro_bus_sampled_timestamp_seconds gauge
maestro_bus_sampled_timestamp_seconds 999999.0
# TYPE maestro_bus_consumer_lag gauge
maestro_bus_consumer_lag{consumer="quota.gauges",topic="usage-windows",partition="0"} 3
maestro_bus_consumer_lag{consumer="quota.gauges",topic="usage-windows",partition="1"} 4
# TYPE maestro_bus_consumer_lag_age_seconds gauge
maestro_bus_consumer_lag_age_seconds{consumer="quota.gauges",topic="usage-windows"} 2.5
maestro_bus_consumer_lag_age_seconds{consumer="quota.tenants",topic="tenant-changes"} 0
# TYPE maestro_bus_consumer_watermark_timestamp_seconds gauge
maestro_bus_consumer_watermark_timestamp_seconds{consumer="quota.gauges",topic="usage-windows"} 999990
maestro_bus_consumer_watermark_timestamp_seconds{consumer="quota.tenants",topic="tenant-changes"} 999999
# TYPE maestro_bus_outbox_rows gauge
maestro_bus_outbox_rows 6
# TYPE maestro_bus_outbox_age_seconds gauge
maestro_bus_outbox_age_seconds 61
# TYPE maestro_bus_dead_letters_waiting gauge
maestro_bus_dead_letters_waiting{consumer="quota.gauges",topic="usage-windows"} 2
# TYPE maestro_http_denied_total counter
maestro_http_denied_total{code="unauthenticated",status="401"} 5
maestro_http_denied_total{code="quota_exceeded",status="429",limit="qps"} 7
maestro_http_denied_total{code="quota_exceeded",status="429",limit="events"} 1
"""


def shown(*services: Observed) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    show_observed(console, services)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_lags_add_up_and_the_oldest_record_and_watermark_count() -> None:
    assert read("quota", TEXT, NOW_S) == Observed(
        "quota",
        lag=7,
        lag_age_s=2.5,
        watermark_age_s=10.0,
        outbox_rows=6,
        outbox_age_s=61.0,
        dead_letters=2,
        denied={"unauthenticated": 5, "quota_exceeded": 8},
    )


def test_a_service_that_samples_no_more_says_why() -> None:
    assert read("quota", TEXT, NOW_S + 60).problem == "its database or the broker does not answer it"


def test_a_topic_whose_key_may_not_be_used_is_named() -> None:
    waiting = """
# TYPE maestro_metering_router_key_unusable gauge
maestro_metering_router_key_unusable{topic="usage-events"} 1
maestro_metering_router_key_unusable{topic="otlp_spans"} 0
"""
    found = read("metering", TEXT + waiting, NOW_S)

    assert found.problem == "the key of usage-events may not be used: what lies there waits"
    assert found.lag == 7
    assert shown(found)[1].endswith(found.problem)


def test_a_router_that_stands_still_is_named() -> None:
    still = TEXT + 'maestro_metering_router_stopped{topic="otlp_spans"} 1.0\n'
    going = TEXT + 'maestro_metering_router_stopped{topic="otlp_spans"} 0.0\n'
    assert read("metering", still, NOW_S).problem == "the router of otlp_spans stands still: its log says why"
    assert read("metering", going, NOW_S).problem == ""


def test_what_a_service_does_not_tell_is_not_known() -> None:
    found = read("quota", "", NOW_S)

    assert (found.lag, found.watermark_age_s, found.dead_letters, found.denied) == (None, None, None, {})


def test_the_screen_shows_all_of_a_service_in_one_line() -> None:
    _, line = shown(read("quota", TEXT, NOW_S))

    assert line.split() == [
        *("quota", "7", "2s", "10s", "6", "1m", "1s", "2"),
        *("8", "quota_exceeded,", "5", "unauthenticated"),
    ]


def test_the_screen_says_of_whom_nothing_is_known() -> None:
    _, line = shown(Observed("quota", problem="does not answer: [Errno 111] refused"))

    assert line.split()[1:7] == ["?"] * 6
    assert line.endswith("does not answer: [Errno 111] refused")
