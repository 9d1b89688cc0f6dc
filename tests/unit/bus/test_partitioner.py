from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.bus.partitioner import partition_of


@pytest.mark.parametrize(
    ("key", "partition"),
    # From Kafka's own UtilsTest.testMurmur2: the hashes -973932308, -790332482, -985981536, -1486304829, -58897971,
    # 479470107, with the sign bit cleared, modulo 1000.
    [
        (b"21", 340),
        (b"foobar", 166),
        (b"a-little-bit-long-string", 112),
        (b"a-little-bit-longer-string", 819),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", 677),
        (b"abc", 107),
    ],
)
def test_keys_go_where_kafkas_own_clients_send_them(key: bytes, partition: int) -> None:
    assert partition_of(key, 1000) == partition


@given(st.binary(max_size=40), st.integers(1, 256))
def test_every_key_has_a_partition_that_exists(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_without_a_key_it_is_the_first() -> None:
    assert partition_of(None, 8) == 0
