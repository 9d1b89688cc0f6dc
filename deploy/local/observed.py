"""How every service fares, by what it shows on `/metrics`: what `maestro status` adds to the list of parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from deploy.local.http_probe import OK, get
from deploy.local.status import PartStatus

ANSWER_WITHIN_S = 3.0  # for all services together: whoever does not answer by then is shown as not answering
STALE_S = 30.0  # a service samples every five seconds

Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True, slots=True)
class Observed:
    """One service. What it does not know, or does not tell, is None; `problem` says why in words.

    `lag` counts records that its consumers have not handled, the oldest of which is `lag_age_s` old; `watermark_age_s`
    is how old what it knows is; `denied` counts requests refused since the process started, by code.
    """

    service: str
    problem: str = ""
    lag: int | None = None
    lag_age_s: float | None = None
    watermark_age_s: float | None = None
    outbox_rows: int | None = None
    outbox_age_s: float | None = None
    dead_letters: int | None = None
    denied: dict[str, int] | None = None


def observe(parts: Sequence[PartStatus]) -> list[Observed]:
    """Ask all services at once; one that is down delays none of the others."""
    return asyncio.run(_observe([part for part in parts if part.address.startswith("http://")]))


async def _observe(services: Sequence[PartStatus]) -> list[Observed]:
    return list(await asyncio.gather(*(_ask(part.name, part.address) for part in services)))


async def _ask(service: str, address: str) -> Observed:
    where = urlsplit(address)
    try:
        status, body = await asyncio.wait_for(get(str(where.hostname), where.port or 80, "/metrics"), ANSWER_WITHIN_S)
    except (OSError, ValueError) as problem:  # TimeoutError is an OSError
        return Observed(service, problem=f"does not answer: {str(problem) or type(problem).__name__}")
    if status != OK:
        return Observed(service, problem=f"answers {status} on /metrics")
    return read(service, body.decode("utf-8", "replace"), time.time())


def read(service: str, text: str, now_s: float) -> Observed:
    """Return what the exposition `text` says of the service, at `now_s` seconds since 1970."""
    found = _samples(text)
    sampled_at_s = _greatest(found, "maestro_bus_sampled_timestamp_seconds")
    is_blind = sampled_at_s is None or now_s - sampled_at_s > STALE_S
    lags = [value for _, value in found.get("maestro_bus_consumer_lag", ())]
    marks = [value for _, value in found.get("maestro_bus_consumer_watermark_timestamp_seconds", ())]
    letters = [value for _, value in found.get("maestro_bus_dead_letters_waiting", ())]
    rows = _greatest(found, "maestro_bus_outbox_rows")
    problem = _standing(found) or _unusable_keys(found)
    return Observed(
        service,
        problem="its database or the broker does not answer it" if is_blind else problem,
        lag=int(sum(lags)) if lags else None,
        lag_age_s=_greatest(found, "maestro_bus_consumer_lag_age_seconds"),
        watermark_age_s=max(0.0, now_s - min(marks)) if marks else None,
        outbox_rows=None if rows is None else int(rows),
        outbox_age_s=_greatest(found, "maestro_bus_outbox_age_seconds"),
        dead_letters=int(sum(letters)) if letters else None,
        denied=_denied(found),
    )


def _samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _greatest(found: Samples, name: str) -> float | None:
    return max((value for _, value in found.get(name, ())), default=None)


def _standing(found: Samples) -> str:
    """Return in words what of the service stands still until somebody acts, the routers before the archiver."""
    still = [labels.get("topic", "") for labels, value in found.get("maestro_metering_router_stopped", ()) if value]
    if still:
        return f"the router of {', '.join(still)} stands still: its log says why"
    is_archiver = _greatest(found, "maestro_metering_archive_stands")
    return "the archiver stands still: its log says why" if is_archiver else ""


def _unusable_keys(found: Samples) -> str:
    """Return in words which topics wait because the key that they are bound to may not be used."""
    shown = found.get("maestro_metering_router_key_unusable", ())
    topics = sorted(labels.get("topic", "") for labels, value in shown if value)
    return f"the key of {' and '.join(topics)} may not be used: what lies there waits" if topics else ""


def _denied(found: Samples) -> dict[str, int]:
    counts: dict[str, int] = {}
    for labels, value in found.get("maestro_http_denied_total", ()):
        code = labels.get("code", "")
        counts[code] = counts.get(code, 0) + int(value)
    return counts
