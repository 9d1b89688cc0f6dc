from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.bus.deadletters.letter import digest_of, letter_of, original_of, own_headers
from libs.bus.records import Headers, Record
from libs.bus.subscription import Poison
from libs.schemas import topics

CONTENT = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=20) | st.just("maestro_reason"), CONTENT), max_size=5).map(tuple)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def record(key: bytes | None = b"k", value: bytes | None = b"v", headers: Headers = ()) -> Record:
    return Record("usage-windows", 3, 17, key, value, headers, 1_000)


def as_read(poison: Poison) -> Record:
    """The letter as it comes back from the dead letter topic."""
    key, value, headers = letter_of(poison, "quota.gauges").message()
    return Record("usage-windows-dlq", 0, 5, key, value, headers, 1_000)


@given(CONTENT, CONTENT, HEADERS)
def test_the_record_comes_out_of_its_letter_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    whole = record(key, value, headers)

    assert original_of(as_read(Poison(whole, "bad", "why")), offset=17, partition=3) == whole


@given(CONTENT, CONTENT, HEADERS, CONTENT)
def test_the_digest_tells_records_apart(
    key: bytes | None, value: bytes | None, headers: Headers, other: bytes | None
) -> None:
    same = digest_of(record(key, value, headers)) == digest_of(record(key, other, headers))

    assert same == (value == other)


def test_a_letter_says_where_the_record_lay_what_failed_and_in_which_trace() -> None:
    traced = record(headers=(("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()),))

    told = own_headers(as_read(Poison(traced, "bad_event", "no \x00 type")))

    assert told == {
        "maestro_consumer": "quota.gauges",
        "maestro_topic": "usage-windows",
        "maestro_partition": "3",
        "maestro_offset": "17",
        "maestro_reason": "bad_event",
        "maestro_cause": "no \\0 type",
        "maestro_trace_id": TRACE,
        "maestro_digest": digest_of(traced),
        "maestro_size": str(2 + len("traceparent") + 55 + 8),
        "maestro_payload": "inline",
    }


def test_a_cause_that_is_no_text_can_still_be_stored() -> None:
    assert letter_of(Poison(record(), "bad", "\ud800"), "quota.gauges").cause == "?"


def test_a_record_larger_than_its_topic_allows_stays_where_it_lies() -> None:
    huge = record(value=bytes(topics.topic("usage-windows").max_record_bytes + 1))

    dead = as_read(Poison(huge, "bad", "why"))

    assert (dead.key, dead.value) == (None, None)
    assert (own_headers(dead) or {})["maestro_payload"] == "reference"
    assert (own_headers(dead) or {})["maestro_digest"] == digest_of(huge)


def test_what_others_put_on_a_dead_letter_topic_is_no_letter_of_ours() -> None:
    assert own_headers(record(headers=(("maestro_reason", b"mine"),))) is None
