"""Two seeds of `make chaos` on the stack that all tests share; they follow from the commit: each tries two others."""

from __future__ import annotations

import subprocess
from random import Random

import pytest

from tests.chaos.faults import BRIEF, WITHOUT_ROUTER
from tests.chaos.hand import Hand
from tests.chaos.run import ROOT, line_of
from tests.chaos.trial import plan_of, run_seed
from tests.support.whole_stack import WholeStack


def seeds_of_this_commit() -> list[int]:
    """Return two seeds; outside a repository the first two."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    first = int(asked.stdout[:8], 16) % 1_000_000 if asked.returncode == 0 else 1
    return [first, first + 1]


@pytest.mark.parametrize("seed", seeds_of_this_commit())
def test_nothing_is_lost_and_nothing_doubled_whatever_breaks(
    seed: int, stack: WholeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_seed(Hand(stack, Random(seed)), plan_of(seed, BRIEF, WITHOUT_ROUTER))

    with capsys.disabled():
        print(f"\n{line_of(result)}")
    assert result.is_exact, line_of(result)
