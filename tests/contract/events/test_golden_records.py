"""A record of usage-shards says by position what each value is: its bytes are held to those of every version."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.contracts.baseline import read_baseline
from deploy.contracts.promises import RECORDS
from services.metering.domain.events import Kind, UsageEvent
from services.metering.domain.records import VERSION, decode, encode

FOLDER = Path(__file__).resolve().parents[3] / RECORDS / "usage-shards"
WRITTEN = FOLDER / f"v{VERSION[0]}.hex"
# No two values of an event are the same: one in another's place is seen.
EVENTS = [
    UsageEvent(
        key=bytes(range(16)),
        digest=0x0123_4567_89AB_CDEF,
        tenant_id="tnt_aaaaaaaaaaaaaaaaaaaa",
        source="https://shop.example/orders",
        id="order-1",
        type="com.example.order.placed.v1",
        kind=Kind.CLOUDEVENT,
        time_us=1_793_620_800_000_001,
        time_stamped=True,
        attributes={"maestro.gql.calls": 3, "note": "caf\u00e9", "paid": True, "coupon": None, "credit": -(2**63)},
    ),
    UsageEvent(
        key=bytes(range(255, 239, -1)),
        digest=2**64 - 1,
        tenant_id="tnt_bbbbbbbbbbbbbbbbbbbb",
        source="otlp",
        id="4bf92f3577b34da6a3ce929d0e0e4736/00f067aa0ba902b7",
        type="GET /orders",
        kind=Kind.SPAN_UNSPECIFIED,
        time_us=1_793_620_800_900_000,
        time_stamped=False,
        attributes={},
    ),
]


def read(path: Path) -> bytes:
    return bytes.fromhex(path.read_text(encoding="ascii"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.hex")), ids=lambda path: path.stem)
def test_todays_code_reads_the_records_of_every_version(path: Path) -> None:
    assert decode(read(path)) == EVENTS


def test_todays_code_writes_the_very_bytes_of_its_version() -> None:
    assert encode(EVENTS, 1) == [(0, read(WRITTEN))]


def test_every_version_that_was_released_has_its_record_here() -> None:
    released = {Path(name).name for name in read_baseline()["examples"] if name.startswith(f"{RECORDS}/usage-shards/")}
    assert {f"v{number}.hex" for number in range(1, VERSION[0] + 1)} == released
