from __future__ import annotations

from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bus.backoff import Backoff
from libs.bus.envelope import Received
from libs.bus.kafka.metadata import MetadataResponse_v12, TopicsRequest
from libs.bus.records import Record, TopicPartition
from libs.bus.routes import Routes
from libs.bus.subscription import Subscription, offset_lost
from libs.bus.topics import topics_of
from libs.runtime.errors import Broken
from libs.schemas.events import TenantChanged
from libs.store.pool import Tx


async def take(tx: Tx, received: Received[TenantChanged]) -> None:
    del tx, received


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_waits_double_up_to_a_bound_and_are_never_nothing(seed: int, tries: int) -> None:
    backoff = Backoff(Random(seed), first_s=0.1, longest_s=2.0)  # noqa: S311 - jitter

    waits = [backoff.next_s() for _ in range(tries)]

    assert all(min(0.1 * 2**n, 2.0) / 2 <= wait <= min(0.1 * 2**n, 2.0) for n, wait in enumerate(waits))


def test_after_success_the_waits_start_over() -> None:
    backoff = Backoff(Random(1), first_s=0.1, longest_s=60.0)  # noqa: S311 - jitter
    [backoff.next_s() for _ in range(6)]

    backoff.reset()

    assert backoff.next_s() <= 0.1


def test_two_handlers_of_one_type_are_a_mistake() -> None:
    routes = Routes()
    routes.on(TenantChanged, take)

    with pytest.raises(Broken, match="two handlers"):
        routes.on(TenantChanged, take)


def test_a_type_without_a_route_has_no_handler() -> None:
    assert Routes().find("maestro.tenant.changed.v1") is None


def test_the_error_that_stops_a_consumer_names_the_verb_that_lets_it_go_on() -> None:
    subscription = Subscription("quota", "windows", ("usage-windows",), "0")

    error = offset_lost(subscription, TopicPartition("usage-windows", 3), "why")

    assert (
        "`maestro bus reset-offset --service quota --consumer quota.windows --topic usage-windows "
        '--partition 3 --to earliest|latest|N --reason "..."`' in error.detail
    )


def test_a_group_is_named_after_its_consumer() -> None:
    assert Subscription("quota", "windows", ("usage-windows",), "0").group == "maestro.quota.windows"


def test_a_service_needs_what_it_owns_and_what_it_hears() -> None:
    assert {spec.name for spec in topics_of("evidence")} >= {"evidence-entries", "invoices", "tenant-changes"}


def test_a_record_finds_its_first_header_by_name() -> None:
    record = Record("t", 0, 0, None, None, (("a", b"1"), ("a", b"2")), 0)

    assert (record.header("a"), record.header("b")) == (b"1", None)


def test_a_metadata_request_is_what_the_protocol_guide_says() -> None:
    request = TopicsRequest(["ab"]).prepare({3: (0, 13)})

    # compact array of 1, zero id, compact string "ab", no tags; no auto-creation, no operations, no tags
    assert request.encode() == b"\x02" + bytes(16) + b"\x03ab\x00" + b"\x00\x00\x00"


def test_a_metadata_response_tells_a_topics_id() -> None:
    topic_id = UUID(int=0x1234)
    topic: tuple[object, ...] = (0, "ab", topic_id, False, [(0, 0, 1, 5, [1], [1], [], {})], -1, {})

    encoded = MetadataResponse_v12(0, [(1, "h", 9, None, {})], "c", 1, [topic], {}).encode()

    assert MetadataResponse_v12.decode(encoded).to_object()["topics"][0]["topic_id"] == topic_id
