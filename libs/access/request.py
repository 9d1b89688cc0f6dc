"""The principal of an HTTP request, as a FastAPI dependency: `caller: Annotated[Principal, Depends(principal_of)]`."""

from __future__ import annotations

from starlette.requests import Request

from libs.access.directory import Directory
from libs.access.principal import Principal
from libs.runtime.clock import Clock


async def principal_of(request: Request) -> Principal:
    """Return who sent `request`; raise Unauthenticated or Unavailable.

    Reads `app.state.directory` and `app.state.clock`, which the service's wiring puts there. Asynchronous so that
    FastAPI calls it on the event loop, where the directory lives, and not on a thread.
    """
    directory: Directory = request.app.state.directory
    clock: Clock = request.app.state.clock
    return directory.authenticate(request.headers.get("authorization"), clock.now())
