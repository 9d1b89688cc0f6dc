"""Every route that changes something takes down who asked and why; the exceptions change nothing of a person's will."""

from __future__ import annotations

from importlib import import_module

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from libs.access.request import act_of
from tests.architecture.test_shape import SERVICES

READS_ONLY = {
    ("POST", "/v1/check"),  # spends of a limit: counted, not changed
    ("POST", "/v1/verify"),  # judges a signature
    ("POST", "/api/v1/events"),  # usage: its own record, with its sender
    ("POST", "/v1/traces"),
}


def routers_of(service: str) -> tuple[APIRouter, ...]:
    """Return the router of its api, or those of the modules of an api that is a folder."""
    api = import_module(f"services.{service}.api")
    return getattr(api, "ROUTERS", None) or (api.router,)


ROUTES = [
    pytest.param(method, route, id=f"{service.name} {method} {route.path}")
    for service in SERVICES
    for router in routers_of(service.name)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
    if method not in {"GET", "HEAD"}
]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_route_that_changes_something_knows_who_and_why(method: str, route: APIRoute) -> None:
    asked = {dependency.call for dependency in route.dependant.dependencies}
    assert (act_of in asked) != ((method, route.path) in READS_ONLY)
