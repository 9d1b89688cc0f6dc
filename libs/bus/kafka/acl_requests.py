"""ACLs on the wire. aiokafka knows the structs; its requests take one ACL at a time, these take all.

Source: Kafka protocol guide (DescribeAcls, CreateAcls and DeleteAcls, version 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request

from libs.bus.acls import Acl, Operation, Pattern, Permission, Resource

PRINCIPAL: Final = "User:"


class AllAclsRequest(Request[DescribeAclsRequest_v1]):
    """Asks for every ACL."""

    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        """Return the wire struct."""
        return request_struct_class(Resource.ANY, None, Pattern.ANY, None, None, Operation.ANY, Permission.ANY)


class AddAclsRequest(Request[CreateAclsRequest_v1]):
    """Makes ACLs; one that is there already stays."""

    API_KEY = 30

    def __init__(self, acls: Sequence[Acl]) -> None:
        """Take them."""
        self._acls = acls

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        """Return the wire struct."""
        return request_struct_class([_on_the_wire(acl) for acl in self._acls])


class RemoveAclsRequest(Request[DeleteAclsRequest_v1]):
    """Removes ACLs, each named in full."""

    API_KEY = 31

    def __init__(self, acls: Sequence[Acl]) -> None:
        """Take them."""
        self._acls = acls

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        """Return the wire struct."""
        return request_struct_class([_on_the_wire(acl) for acl in self._acls])


def _on_the_wire(acl: Acl) -> tuple[object, ...]:
    return (
        *(acl.resource, acl.name, acl.pattern, PRINCIPAL + acl.user),
        *(acl.host, acl.operation, acl.permission),
    )


def acls_in(answer: dict[str, Any]) -> Iterator[Acl]:
    """Yield the ACLs of an answer to `AllAclsRequest`. Principals that are no users do not occur."""
    for resource in answer["resources"]:
        for acl in resource["acls"]:
            yield Acl(
                acl["principal"].removeprefix(PRINCIPAL),
                Operation(acl["operation"]),
                Resource(resource["resource_type"]),
                resource["resource_name"],
                Pattern(resource["resource_pattern_type"]),
                Permission(acl["permission_type"]),
                acl["host"],
            )
