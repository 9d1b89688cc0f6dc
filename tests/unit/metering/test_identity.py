from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metering.domain.events import Kind
from services.metering.domain.identity import (
    SHARDS,
    Fingerprints,
    first_shard_of,
    partition_of,
    shard_of,
)
from tests.support.metering import ALICE, BOB, NOON_US, SECRET, fingerprints


def test_the_key_is_the_same_in_every_process_of_an_installation() -> None:
    assert Fingerprints(SECRET).key(ALICE, "s", "1") == Fingerprints(SECRET).key(ALICE, "s", "1")


def test_the_key_cannot_be_computed_without_the_installations_secret() -> None:
    assert Fingerprints(SECRET).key(ALICE, "s", "1") != Fingerprints(bytes(32)).key(ALICE, "s", "1")


def test_one_tenant_cannot_claim_anothers_event() -> None:
    assert fingerprints().key(ALICE, "s", "1") != fingerprints().key(BOB, "s", "1")


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
def test_source_and_id_never_run_into_each_other(source: str, event_id: str, source2: str, event_id2: str) -> None:
    same = fingerprints().key(ALICE, source, event_id) == fingerprints().key(ALICE, source2, event_id2)
    assert same == ((source, event_id) == (source2, event_id2))


def test_a_body_is_the_same_in_whatever_order_its_fields_stand() -> None:
    one = fingerprints().body("t", Kind.CLOUDEVENT, NOON_US, {"a": 1, "b": 2})
    other = fingerprints().body("t", Kind.CLOUDEVENT, NOON_US, {"b": 2, "a": 1})
    assert one == other


@pytest.mark.parametrize(
    ("event_type", "kind", "time_us", "value"),
    [
        ("other", Kind.CLOUDEVENT, NOON_US, 1),
        ("t", Kind.SPAN_SERVER, NOON_US, 1),
        ("t", Kind.CLOUDEVENT, NOON_US + 1, 1),
        ("t", Kind.CLOUDEVENT, None, 1),
        ("t", Kind.CLOUDEVENT, NOON_US, 2),
        ("t", Kind.CLOUDEVENT, NOON_US, "1"),
    ],
)
def test_another_type_time_or_value_is_another_body(
    event_type: str, kind: Kind, time_us: int | None, value: int | str
) -> None:
    first = fingerprints().body("t", Kind.CLOUDEVENT, NOON_US, {"a": 1})
    assert fingerprints().body(event_type, kind, time_us, {"a": value}) != first


def test_a_body_digest_fits_a_signed_64_bit_column() -> None:
    digests = [fingerprints().body("t", Kind.CLOUDEVENT, number, {}) for number in range(200)]
    assert min(digests) < 0 < max(digests)
    assert all(-(2**63) <= digest < 2**63 for digest in digests)


@given(st.binary(min_size=16, max_size=16), st.integers(1, SHARDS))
def test_every_key_has_one_shard_and_every_shard_one_partition(key: bytes, partitions: int) -> None:
    partition = partition_of(shard_of(key), partitions)
    assert 0 <= partition < partitions
    assert first_shard_of(partition, partitions) <= shard_of(key)


@given(st.integers(1, SHARDS), st.data())
def test_the_first_shard_of_a_partition_lies_in_it_and_the_one_before_does_not(
    partitions: int, data: st.DataObject
) -> None:
    partition = data.draw(st.integers(0, partitions - 1))
    first = first_shard_of(partition, partitions)
    assert partition_of(first, partitions) == partition
    assert partition == 0 or partition_of(first - 1, partitions) == partition - 1


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Fingerprints(b"short")
