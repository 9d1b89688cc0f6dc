"""Looking things up in the archive: the events behind a total in pages, and all that came under an id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from services.metering.domain.events import Attributes
from services.metering.domain.lists import Place
from services.metering.domain.replaying import HORIZON_US, MILLISECOND_US, Occurrence, Spot
from services.metering.errors import ArchiveDamaged
from services.metering.store.archive.reading import MINE, Reader

Amounts = dict[str, Decimal]
"""By metric what an event counted as, or the level that it said."""

_ATTRIBUTES: Final = msgspec.json.Decoder(Attributes)


class What(NamedTuple):
    """Events that the metric took when they came, and those with these keys."""

    metric: str
    keys: Collection[bytes]


class Candidate(NamedTuple):
    """An id that came at this place and was looked at by the meter; whether that is what stands is not decided yet."""

    key: bytes
    place: Place


class Body(NamedTuple):
    """What an occurrence said, and what the meters in force made of it when it was archived."""

    event_type: str
    attributes: Attributes
    amounts: Amounts


class Look(Reader):
    """A reader that is asked for little at a time; each answer is bounded by what it is asked for."""

    def candidates(
        self, files: Sequence[Path], within_us: tuple[int, int], what: What, after: Place, limit: int
    ) -> list[Candidate]:
        """Return the first `limit` places of [start, end) behind `after` at which something came that is wanted."""
        if not files:
            return []
        self._give("wanted", _KEY, [(key,) for key in what.keys])
        asked = self._asked(files, *within_us) | {
            "metric": what.metric,
            "limit": limit,
            "after_us": after.time_us,
            "after_source": after.source,
            "after_id": after.event_id,
        }
        rows = self._fetched(_CANDIDATES, asked)
        return [Candidate(key, Place(*place)) for key, *place in rows]

    def came(self, files: Sequence[Path], keys: Collection[bytes]) -> list[tuple[Occurrence, Body]]:
        """Return what decides about these keys, key by key.

        That is the first that came of each, and those that came when its id was forgotten: what came in between is a
        copy or a conflict whatever it says, and may be a million.
        """
        if not files or not keys:
            return []
        self._give("wanted", _KEY, [(key,) for key in keys])
        asked = {"files": [str(path) for path in files], "tenant": self._tenant_id}
        rows = self._fetched(_CAME, asked)
        return [
            (
                Occurrence(key, digest, time_us, appended_at_ms, Spot(*spot)),
                Body(event_type, _ATTRIBUTES.decode(attributes), dict(amounts)),
            )
            for key, digest, time_us, appended_at_ms, event_type, attributes, amounts, *spot in rows
        ]

    def _fetched(self, statement: str, asked: Mapping[str, object]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, asked).fetchall()
        except duckdb.Error as error:
            raise ArchiveDamaged(f"files of the archive cannot be read: {error}") from error


_KEY: Final = pa.schema([("key", pa.binary())])
_CANDIDATES: Final = f"""
{MINE}
SELECT DISTINCT key, time_us, source, event_id FROM mine
WHERE time_us >= $start AND time_us < $end AND (list_contains(map_keys(amounts), $metric)
    OR key IN (SELECT key FROM wanted))
  AND (time_us, source, event_id) > ($after_us, $after_source, $after_id)
ORDER BY time_us, source, event_id LIMIT $limit
"""  # noqa: S608 - put together from constants
# In the order of their commits, as domain/replaying.py says: by offset in one partition, else by append time first.
_CAME: Final = f"""
{MINE}, own AS (
  SELECT *, min(kafka_partition) OVER of_key = max(kafka_partition) OVER of_key
    AND min(topic_id) OVER of_key = max(topic_id) OVER of_key AS is_in_one
  FROM mine SEMI JOIN wanted USING (key) WINDOW of_key AS (PARTITION BY key)),
placed AS (
  SELECT *, row_number() OVER arrived AS place,
    first_value(greatest(time_us, appended_at_ms * {MILLISECOND_US})) OVER arrived AS kept_from_us
  FROM own WINDOW arrived AS (
    PARTITION BY key
    ORDER BY CASE WHEN is_in_one THEN 0 ELSE appended_at_ms END, topic_id, kafka_partition, kafka_offset, kafka_index))
SELECT key, digest, time_us, appended_at_ms, event_type, attributes, amounts, topic_id, kafka_partition, kafka_offset,
  kafka_index
FROM placed WHERE place = 1 OR appended_at_ms * {MILLISECOND_US} > kept_from_us + {HORIZON_US} ORDER BY key
"""  # noqa: S608 - put together from constants
