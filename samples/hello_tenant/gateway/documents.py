"""What the application is for: documents, read and kept through GraphQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLID,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
    execute_sync,
    get_operation_ast,
    parse,
    validate,
)

MAX_QUERY_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class Operation:
    """A GraphQL document that is known to be valid, with the one operation to run and its type."""

    document: DocumentNode
    name: str | None
    type: str


def read_operation(query: str, name: str | None) -> Operation:
    """Return the operation called `name` (the only one, if None) in `query`; raise GraphQLError where there is none."""
    if len(query) > MAX_QUERY_CHARS:
        raise GraphQLError(f"a query has at most {MAX_QUERY_CHARS} characters")
    document = parse(query)
    errors = validate(SCHEMA, document)
    if errors:
        raise errors[0]
    operation = get_operation_ast(document, name)
    if operation is None:
        raise GraphQLError("name one of the operations in `operationName`")
    return Operation(document, name, operation.operation.value)


def run(operation: Operation, variables: dict[str, Any] | None) -> ExecutionResult:
    """Execute the operation."""
    return execute_sync(SCHEMA, operation.document, variable_values=variables, operation_name=operation.name)


def _document(_root: object, _about: GraphQLResolveInfo[Any], id: str) -> dict[str, str]:  # noqa: A002 - GraphQL's own name
    return {"id": id, "title": f"Document {id}"}


_DOCUMENT = GraphQLObjectType(
    "Document", {"id": GraphQLField(GraphQLNonNull(GraphQLID)), "title": GraphQLField(GraphQLNonNull(GraphQLString))}
)
_BY_ID = {"id": GraphQLArgument(GraphQLNonNull(GraphQLID))}
SCHEMA = GraphQLSchema(
    query=GraphQLObjectType("Query", {"document": GraphQLField(_DOCUMENT, args=_BY_ID, resolve=_document)}),
    mutation=GraphQLObjectType("Mutation", {"keep": GraphQLField(_DOCUMENT, args=_BY_ID, resolve=_document)}),
)
