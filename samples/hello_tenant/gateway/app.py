"""The application, wired: telemetry, quota and usage emitter around the endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from maestro_sdk import MaestroSdkError, QuotaClient, QuotaMiddleware, UsageEmitter
from samples.hello_tenant.gateway.api import UNPROTECTED, on_sdk_error, router
from samples.hello_tenant.gateway.telemetry import Telemetry
from samples.hello_tenant.gateway.usage import SOURCE

SERVICE_NAME: Final = "hello-gateway"
QUOTA_WITHIN_S: Final = 2.0  # patient: the demo shares two cores with the whole stack, and its numbers must be exact


@dataclass(frozen=True, slots=True)
class Settings:
    """What the gateway is told on its command line. The key comes by file."""

    host: str
    port: int
    metering_url: str
    quota_url: str
    key_file: Path


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it starts sending when it is served."""
    key = settings.key_file.read_text(encoding="utf-8").strip()
    telemetry = Telemetry(SERVICE_NAME, f"{settings.metering_url}/v1/traces", key)
    quota = QuotaClient(settings.quota_url, key, timeout_s=QUOTA_WITHIN_S)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with quota, UsageEmitter(settings.metering_url, key, source=SOURCE) as emitter:
            app.state.emitter = emitter
            yield
        await asyncio.to_thread(telemetry.stop)

    app = FastAPI(title="Hello-Tenant gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.quota = quota
    app.state.telemetry = telemetry
    app.include_router(router)
    app.add_exception_handler(MaestroSdkError, on_sdk_error)
    app.add_middleware(QuotaMiddleware, client=quota, on_unavailable="deny", exempt=UNPROTECTED)
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=telemetry.provider,
        excluded_urls=",".join(UNPROTECTED),
        exclude_spans=["receive", "send"],  # three of every five spans, and they tell nothing here
    )
    return app
