"""What every test may ask for, and how many examples a property is tried with."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

pytest_plugins = [
    "tests.support.real_parts",
    "tests.support.side_by_side",
    "tests.support.stack",
    "tests.support.watched",
    "tests.support.whole_stack",
]

# No deadline: on a shared machine a slow example says nothing. A failing example prints how to repeat it.
settings.register_profile("local", max_examples=25, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_finish() -> None:
    """Have garbage collection pass over what collecting made: it stays to the end, and each look at it costs time."""
    gc.freeze()
