from __future__ import annotations

import gzip
from contextlib import ExitStack
from random import Random

import pytest

from services.metering.errors import IntakeFull
from services.metering.handlers.edge import Gate

MIB = 1024 * 1024


def test_one_sender_holds_a_quarter_of_the_places_and_others_find_one() -> None:
    gate = Gate(max_requests=8)
    with gate.enter("a"), gate.enter("a"):
        with pytest.raises(IntakeFull, match="of the sender"), gate.enter("a"):
            pass
        with gate.enter("b"):
            pass
    with gate.enter("a"), gate.enter("a"):
        pass


def test_a_request_that_sent_one_byte_holds_one_byte() -> None:
    gate = Gate(max_bytes=100)
    with ExitStack() as held:
        slow = [held.enter_context(gate.enter("a")) for _ in range(8)]
        for load in slow:
            load.grow(1)
        held.enter_context(gate.enter("b")).grow(92)


def test_one_senders_requests_hold_half_of_the_room_together() -> None:
    gate = Gate(max_bytes=100)
    with gate.enter("a") as one, gate.enter("a") as two, gate.enter("b") as other:
        one.grow(30)
        with pytest.raises(IntakeFull, match="of the sender"):
            two.grow(21)
        other.grow(50)
        with pytest.raises(IntakeFull, match="100 bytes"):
            other.grow(21)


def test_a_lone_request_finds_room_whatever_its_size() -> None:
    gate = Gate(max_bytes=100)
    with gate.enter("a") as lone:
        lone.grow(60)
        lone.grow(60)
    with gate.enter("b") as other, gate.enter("b") as another:
        other.grow(25)
        another.grow(25)


def test_taking_an_encoding_off_stops_where_the_gate_is_full() -> None:
    gate = Gate(max_bytes=4 * MIB)
    packed = gzip.compress(Random(1).randbytes(MIB) * 6)  # noqa: S311 - content that hardly shrinks
    with gate.enter("a") as other, gate.enter("b") as load:
        other.grow(MIB)
        load.grow(MIB)
        with pytest.raises(IntakeFull):
            load.inflated(packed, "gzip")
        assert load.size_bytes == 3 * MIB


def test_a_lone_body_is_inflated_whatever_it_makes() -> None:
    gate = Gate(max_bytes=MIB)
    with gate.enter("a") as load:
        assert load.inflated(gzip.compress(b"a" * MIB), "gzip") == b"a" * MIB
