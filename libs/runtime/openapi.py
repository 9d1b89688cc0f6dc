"""What an OpenAPI 3.1 document says of every route of ours: its refusals by status and code, and the request id.

FastAPI knows the shapes that routes declare. It does not know which problem documents they answer, and it documents a
422 of its own that we never send and not the 400 that we do. A route names its errors (`responses=refusals(NotFound)`);
`completed` makes responses of them, and adds what holds everywhere:

- 400 `malformed`, where a parameter or a body can have another shape than asked for,
- what the route's security scheme may answer (`with_refusals`), and 500 for what nobody foresaw behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from libs.runtime import problem
from libs.runtime.errors import Broken, MaestroError, Rejected

Json = dict[str, Any]
Codes = dict[str, set[str]]  # by status

CODES: Final = "x-codes"  # in a response before `completed`: the stable codes that come with its status
REFUSALS: Final = "x-refusals"  # in a security scheme before `completed`: what every route behind it may answer
READ_BY_ROUTE: Final = "x-read-by-route"  # in a request body before `completed`: no shape of it is checked by FastAPI
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
_FREE_TEXT: Final = frozenset({"type", "title", "description", "default", "examples", "contentMediaType"})
_HEADERS: Final[Mapping[str, Json]] = {
    "401": {"WWW-Authenticate": {"description": "RFC 9110, section 11.6.1", "schema": {"type": "string"}}},
    "429": {"Retry-After": {"description": "whole seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
    "503": {"Retry-After": {"description": "whole seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
}


class Malformed(Rejected):
    """The request does not have the shape that its schema asks for."""

    code = "malformed"
    status = 400
    title = "The request is not well formed"


def refusals(*errors: type[MaestroError]) -> dict[int | str, Json]:
    """Return the `responses=` of a route that may raise these; `completed` turns them into problem documents."""
    return {status: {CODES: sorted(codes)} for status, codes in _by_status(errors).items()}


def with_refusals(*errors: type[MaestroError]) -> Json:
    """Return the members that a security scheme's model needs for its routes to document these."""
    return {REFUSALS: {str(status): sorted(codes) for status, codes in _by_status(errors).items()}}


def raw_body(content: Json, description: str) -> Json:
    """Return the `openapi_extra=` of a route that reads its body itself, by media type."""
    return {"requestBody": {"required": True, "description": description, "content": content, READ_BY_ROUTE: True}}


def completed(document: Json) -> Json:
    """Return FastAPI's `document` with all that routes of ours answer, and nothing that they do not."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = problem.SCHEMA
    components["schemas"] = dict(sorted(schemas.items()))
    components["headers"] = {"RequestId": _REQUEST_ID}
    of_scheme = {name: scheme.pop(REFUSALS, {}) for name, scheme in components.get("securitySchemes", {}).items()}
    for operation in operations(document):
        _complete(operation, of_scheme)
    return document


def operations(document: Json) -> Iterator[Json]:
    """Yield every operation of the document."""
    for path in document["paths"].values():
        yield from (operation for method, operation in path.items() if method in _METHODS)


def _complete(operation: Json, of_scheme: Mapping[str, Mapping[str, list[str]]]) -> None:
    responses: Json = operation["responses"]
    if CODES not in responses.get("422", {}):
        responses.pop("422", None)  # FastAPI's own, which we never send
    codes = _declared(responses)
    if _has_a_shape(operation):
        codes["400"].add(Malformed.code)
    for requirement in operation.get("security", []):
        for name in requirement:
            for status, of_status in of_scheme[name].items():
                codes[status].update(of_status)
            codes[str(Broken.status)].add(Broken.code)
    responses.update({status: _problem_response(status, sorted(found)) for status, found in codes.items()})
    for response in responses.values():
        response.setdefault("headers", {})["X-Request-Id"] = {"$ref": "#/components/headers/RequestId"}
    operation["responses"] = dict(sorted(responses.items()))
    operation.get("requestBody", {}).pop(READ_BY_ROUTE, None)


def _declared(responses: Json) -> defaultdict[str, set[str]]:
    return defaultdict(set, {status: set(one[CODES]) for status, one in responses.items() if CODES in one})


def _has_a_shape(operation: Json) -> bool:
    """Whether FastAPI checks anything of a request: text that may be anything cannot be malformed."""
    body = operation.get("requestBody", {READ_BY_ROUTE: True})
    schemas = [parameter["schema"] for parameter in operation.get("parameters", [])]
    return READ_BY_ROUTE not in body or not all(map(_is_free_text, schemas))


def _is_free_text(schema: Json) -> bool:
    branches = schema.get("anyOf", [schema])
    return all(branch.get("type") in {"string", "null"} and branch.keys() <= _FREE_TEXT for branch in branches)


def _problem_response(status: str, codes: list[str]) -> Json:
    exact = {"properties": {"status": {"const": int(status)}, "error": {"enum": codes}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"type": "object", **exact}]}
    response: Json = {
        "description": f"{HTTPStatus(int(status)).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {problem.MEDIA_TYPE: {"schema": schema}},
    }
    headers = _HEADERS.get(status)
    return response | ({"headers": dict(headers)} if headers else {})


def _by_status(errors: tuple[type[MaestroError], ...]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for error in errors:
        found[error.status].add(error.code)
    return found


_REQUEST_ID: Final[Json] = {
    "description": "the X-Request-Id of the request, or one made for it; our logs have it",
    "required": True,
    "schema": {"type": "string"},
}
