"""Which topics a service needs."""

from __future__ import annotations

from collections.abc import Iterable

from libs.schemas.topics import TopicSpec, registry


def topics_of(service: str) -> list[TopicSpec]:
    """Return every topic that `service` owns or consumes."""
    return [spec for spec in registry().values() if service in {spec.owner, *spec.consumers}]


def needed_by(service: str) -> frozenset[str]:
    """Return the names of the topics that must exist before `service` starts, dead letter topics it writes included."""
    return frozenset(
        name
        for spec in topics_of(service)
        for name in (spec.name, *([spec.dead_letter_topic] if spec.dead_letter and service in spec.consumers else []))
    )


def missing_topics(names: Iterable[str]) -> str:
    """Return what is said where topics do not exist: which verbs make them."""
    return f"there is no topic {', '.join(names)}: `maestro up` and `maestro bus provision` make what is missing"
