"""What can go wrong, for whoever asks.

MaestroSdkError
├── QuotaUnavailable  no usable answer: nobody there, too slow, 5xx, or our own key refused
├── CallerRejected    the answer is about the caller: hand its status and document on
├── EmitterFull       the queue of usage is full; the event was not taken
└── EmitterClosed     the emitter was closed; the event was not taken
"""

from __future__ import annotations

from collections.abc import Mapping


class MaestroSdkError(Exception):
    """The family."""


class QuotaUnavailable(MaestroSdkError):
    """Whether the request may pass is not known; the text says why."""


class CallerRejected(MaestroSdkError):
    """The caller's key is not known (401), not served by this edge (403), or the request costs too much (422)."""

    def __init__(self, status: int, code: str, body: bytes, fields: Mapping[str, str]) -> None:
        """Take the answer: its status, the stable `error` code, the problem document and its HTTP fields."""
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.body = body
        self.fields = fields


class EmitterFull(MaestroSdkError):
    """The queue is at its bound: metering has been away for long, or more is emitted than can be sent."""


class EmitterClosed(MaestroSdkError):
    """The emitter takes no more."""
