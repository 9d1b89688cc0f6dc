"""What a process shows on /metrics, read as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from libs.runtime import metrics


def exposed(name: str, **labels: str) -> list[float]:
    """The values of the samples called `name` that have these labels, as this process shows them now."""
    return values_in(metrics.exposition().decode(), name, **labels)


def values_in(text: str, name: str, **labels: str) -> list[float]:
    """The values of the samples called `name` that have these labels, in an exposition."""
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def names_in(text: str) -> set[str]:
    """The names of all samples in an exposition."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
