"""What a table in memory meets that is of a type not listed for its topic: said once, counted each time.

A table keeps what it is told by the types that it knows. One that is not listed in proto/topics may have changed what
the table says of its key, and nobody who reads the table would notice: so it is told here.
"""

from __future__ import annotations

import logging
from typing import Final

from libs.bus import metrics
from libs.bus.envelope import TYPE
from libs.bus.records import Record
from libs.runtime.printable import printable
from libs.schemas.topics import registry

_MOST_SAID: Final = 100  # types; a topic gets a new one once a year, and a writer gone astray is not to fill the log
_MAX_TYPE_CHARS: Final = 200

_log = logging.getLogger(__name__)


class UnknownTypes:
    """The types of one topic's records that are not listed for it in proto/topics."""

    def __init__(self, topic: str) -> None:
        """Know the types that the registry lists; of a topic outside it none is unknown."""
        spec = registry().get(topic)
        self._listed = None if spec is None else frozenset(one.encode() for one in spec.types)
        self._said: set[bytes] = set()
        metrics.TABLE_UNKNOWN.add(0, {"topic": topic})  # so that the first of them is an increase

    def meet(self, record: Record) -> None:
        """Count `record` if its type is not listed, and log that type if it is the first of it."""
        named = record.header(TYPE)
        if self._listed is None or named is None or named in self._listed:
            return
        metrics.TABLE_UNKNOWN.add(1, {"topic": record.topic})
        if named in self._said or len(self._said) >= _MOST_SAID:
            return
        self._said.add(named)
        shown = printable(named.decode("utf-8", "replace")[:_MAX_TYPE_CHARS])
        _log.error("%s at %d is of type %s, which proto/topics does not list", record.source, record.offset, shown)
