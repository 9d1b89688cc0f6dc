"""The endpoints. Who calls, the quota middleware has found out before any of them runs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from graphql import GraphQLError
from opentelemetry import trace
from pydantic import AwareDatetime, BaseModel, Field

from maestro_sdk import CallerRejected, QuotaClient, Refused, UsageEmitter
from samples.hello_tenant.gateway import documents
from samples.hello_tenant.gateway.telemetry import Telemetry
from samples.hello_tenant.gateway.usage import report_ingested, report_stored

UNPROTECTED: Final = ("/healthz", "/-/flush")
MAX_EVENTS: Final = 10_000
FLUSH_WITHIN_S: Final = 120  # as long as spans are tried for

router = APIRouter()


class GraphQLBody(BaseModel):
    """A GraphQL request over HTTP."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = Field(None, alias="operationName")


class IngestBody(BaseModel):
    """A batch of events. Its id makes sending it twice harmless."""

    batch_id: str = Field(min_length=1, max_length=200)
    events: list[dict[str, Any]] = Field(min_length=1, max_length=MAX_EVENTS)


class StorageBody(BaseModel):
    """How many bytes a resource holds from `time` on."""

    bytes: int = Field(ge=0)
    time: AwareDatetime


async def tenant_of(request: Request) -> str:
    """Return the caller's tenant, as the quota middleware found it."""
    tenant: str = request.state.maestro_tenant
    return tenant


async def emitter_of(request: Request) -> UsageEmitter:
    """Return the usage emitter."""
    emitter: UsageEmitter = request.app.state.emitter
    return emitter


TenantId = Annotated[str, Depends(tenant_of)]
Emitter = Annotated[UsageEmitter, Depends(emitter_of)]


@router.post("/graphql")
async def graphql(body: GraphQLBody, request: Request) -> Response:
    """Execute one operation: one `gql_calls`.

    The server's span becomes usage by its attribute `graphql.operation.type`. It is set once the answer stands, so a
    call that failed here counts nothing and may be made again.
    """
    served = trace.get_current_span()
    try:
        operation = documents.read_operation(body.query, body.operation_name)
    except GraphQLError as error:
        return JSONResponse({"errors": [error.formatted]}, status_code=400)
    tracer = request.app.state.telemetry.provider.get_tracer(__name__)
    # The inner span has the attribute too, as the semantic conventions ask. It is not a SERVER span and counts nothing.
    with tracer.start_as_current_span("graphql.execute", attributes={"graphql.operation.type": operation.type}):
        answer = JSONResponse(documents.run(operation, body.variables).formatted)
    served.set_attribute("graphql.operation.type", operation.type)
    return answer


@router.post("/ingest", status_code=202)
async def ingest(body: IngestBody, tenant: TenantId, emitter: Emitter, request: Request) -> Response:
    """Take a batch of events, if the tenant's limit of events a second allows: that many `ingest_events`."""
    quota: QuotaClient = request.app.state.quota
    count = len(body.events)
    answer = await quota.check("events_s", cost=count, tenant=tenant)
    if isinstance(answer, Refused):
        return Response(answer.body, status_code=429, headers=dict(answer.fields))
    report_ingested(emitter, tenant, body.batch_id, count)
    return JSONResponse({"taken": count}, status_code=202)


@router.put("/storage/{resource}", status_code=202)
async def store(
    resource: Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,63}$")],
    body: StorageBody,
    tenant: TenantId,
    emitter: Emitter,
) -> dict[str, datetime]:
    """Note how much a resource holds; metering integrates it to `storage_gb`."""
    report_stored(emitter, tenant, resource, body.bytes, body.time)
    return {"noted": body.time}


@router.post("/-/flush")
async def flush(request: Request, emitter: Emitter) -> dict[str, int]:
    """Send on all usage that is held here; answer with what became of all usage so far."""
    telemetry: Telemetry = request.app.state.telemetry
    spans = await asyncio.to_thread(telemetry.flush)
    await emitter.flush(FLUSH_WITHIN_S)
    counts = {f"spans_{name}": count for name, count in asdict(spans).items()}
    return counts | {f"events_{name}": count for name, count in asdict(emitter.counts).items()}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the gateway serves."""
    return {"status": "alive"}


async def on_sdk_error(_request: Request, error: Exception) -> Response:
    """Answer what the SDK could not do: what it says of the caller as it came, anything else as "try again"."""
    if isinstance(error, CallerRejected):
        return Response(error.body, status_code=error.status, headers=dict(error.fields))
    return JSONResponse({"error": "unavailable", "detail": str(error)}, status_code=503, headers={"retry-after": "1"})
