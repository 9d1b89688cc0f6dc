"""JSON lines on standard error: time, level, logger, message, trace and span id, and what the call adds as `extra`."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import orjson

from libs.runtime.printable import printable_json
from libs.runtime.tracing import current_span_id, current_trace_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line; whatever a terminal would not just print (printable.py) is escaped."""

    def __init__(self, service: str) -> None:
        """Name the service that every line carries."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace_id = current_trace_id()
        if trace_id is not None:
            line |= {"trace_id": trace_id, "span_id": current_span_id()}
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return printable_json(_encoded(line))


def _encoded(line: dict[str, object]) -> str:
    try:
        return orjson.dumps(line, default=str).decode("utf-8")
    except TypeError:  # a lone surrogate, a number past 64 bits, a key that is no text: no reason to lose the line
        return json.dumps(line, default=str, skipkeys=True)


def start_logging(service: str, level: str) -> None:
    """Send all loggers of this process to standard error as JSON lines; call once, at the start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
