"""The OpenAPI 3.1 document of every service, as its application says it. Making an application opens nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_type_hints

from fastapi import FastAPI

from deploy.contracts.event_schemas import GENERATED
from deploy.local.services import SERVICES

Json = dict[str, Any]


def application(service: str) -> FastAPI:
    """Return the application of `service` with the settings that it has when nothing is told to it."""
    create = import_module(f"services.{service}.app").create
    settings = get_type_hints(create)["settings"]
    app: FastAPI = create(settings())
    return app


def http_apis() -> dict[str, Json]:
    """Return the document of every service that `maestro up` starts."""
    return {one.name: {**_document(one.name), "x-generated": GENERATED} for one in SERVICES}


def _document(service: str) -> Json:
    return application(service).openapi()
