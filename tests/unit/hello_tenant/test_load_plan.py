from __future__ import annotations

import random
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from samples.hello_tenant.load.plan import Plan, TenantLoad
from samples.hello_tenant.load.storage import Sample, samples_of, units_of


def test_a_plan_comes_back_as_it_was_written_and_is_its_owners_alone(tmp_path: Path) -> None:
    plan = Plan("http://127.0.0.1:1", "seed", 17, (TenantLoad("tnt_a", "Acme", "mst_test_key", calls=3, calls_s=1.5),))
    path = tmp_path / "plan.json"
    plan.write(path)
    assert Plan.read(path) == plan
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_sample_holds_until_the_next_one_and_the_last_brings_nothing() -> None:
    samples = [Sample("documents", 10, 7), Sample("documents", 13, 5), Sample("documents", 20, 0)]
    assert units_of(samples) == [7 * 3, 5 * 7, 0]


@given(st.integers(), st.integers(1, 10**12))
def test_samples_end_with_nothing_stored_at_distinct_times_inside_the_bounds(seed: int, around_bytes: int) -> None:
    samples = samples_of("documents", around_bytes, 1_000, 2_000, random.Random(seed))  # noqa: S311 - no secret
    times = [sample.at_us for sample in samples]
    assert times == sorted(set(times))
    assert times[0] >= 1_000
    assert times[-1] < 2_000
    assert samples[-1].stored_bytes == 0


def test_the_time_of_a_sample_keeps_its_microseconds() -> None:
    assert Sample("documents", 1_764_000_000_000_007, 1).time == "2025-11-24T16:00:00.000007Z"
