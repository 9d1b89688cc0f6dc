"""Maestro's Python SDK: ask a tenant's quota before serving it, and report what it used so that nothing gets lost.

client = QuotaClient("https://quota.example", edge_key)          # POST /v1/check
app = QuotaMiddleware(app, client)                               # any ASGI application
emitter = UsageEmitter("https://metering.example", edge_key, source="my-gateway")
"""

from maestro_sdk.answers import Admitted, Refused
from maestro_sdk.client import QuotaClient
from maestro_sdk.emitter import EmitterPolicy, UsageCounts, UsageEmitter
from maestro_sdk.errors import CallerRejected, EmitterClosed, EmitterFull, MaestroSdkError, QuotaUnavailable
from maestro_sdk.events import LostEvent, UsageEvent
from maestro_sdk.middleware import QuotaMiddleware

__all__ = [
    "Admitted",
    "CallerRejected",
    "EmitterClosed",
    "EmitterFull",
    "EmitterPolicy",
    "LostEvent",
    "MaestroSdkError",
    "QuotaClient",
    "QuotaMiddleware",
    "QuotaUnavailable",
    "Refused",
    "UsageCounts",
    "UsageEmitter",
    "UsageEvent",
]
