"""Which topics a service needs."""

from __future__ import annotations

from libs.schemas.topics import TopicSpec, registry


def topics_of(service: str) -> list[TopicSpec]:
    """Return every topic that `service` owns or consumes: what it makes sure of before it starts, in whatever order."""
    return [spec for spec in registry().values() if service in {spec.owner, *spec.consumers}]
