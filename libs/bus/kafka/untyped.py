"""aiokafka publishes no types: what comes from it is named so, and goes no further than this folder."""

from __future__ import annotations

from typing import Any, TypeAlias

FromAiokafka: TypeAlias = Any
