"""Where one JSON Schema takes less than another: the question behind "is this change breaking?".

`narrowed(accepting, given)` names the places at which a value that `given` allows may be refused by `accepting`. It
errs on the side of naming one: keywords that it cannot compare must be equal. Source: JSON Schema 2020-12, the part of
it that pydantic writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

_ANY_TYPE: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_NUMBER: Final = frozenset({"integer", "number"})
_STRING: Final = frozenset({"string"})
_ARRAY: Final = frozenset({"array"})
_OBJECT: Final = frozenset({"object"})
# Keywords, and the types that they say something about.
_LOWER: Final = {"minimum": _NUMBER, "exclusiveMinimum": _NUMBER, "minLength": _STRING, "minItems": _ARRAY}
_UPPER: Final = {"maximum": _NUMBER, "exclusiveMaximum": _NUMBER, "maxLength": _STRING, "maxItems": _ARRAY}
_SAME: Final = {"pattern": _STRING, "format": _STRING, "contentMediaType": _STRING, "propertyNames": _OBJECT}
_SAME_TOO: Final = {"multipleOf": _NUMBER, "uniqueItems": _ARRAY, "minProperties": _OBJECT, "maxProperties": _OBJECT}
_DEEPEST: Final = 40  # no shape of ours refers to itself; a mistake ends here and not in a full stack


@dataclass(frozen=True, slots=True)
class Shape:
    """A schema, and the document that its references point into."""

    schema: Json
    document: Json

    def child(self, schema: Json) -> Shape:
        """Return a part of this schema."""
        return Shape(schema, self.document)

    def flat(self) -> Json:
        """Return the schema with its reference followed and its `allOf` joined."""
        schema: Json = dict(self.schema)
        if "$ref" in schema:
            node: Any = self.document
            for part in schema.pop("$ref").removeprefix("#/").split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
            schema = {**node, **schema}
            return self.child(schema).flat()
        for one in schema.pop("allOf", []):
            schema = _joined(schema, self.child(one).flat())
        return schema

    def branches(self) -> list[Shape]:
        """Return the alternatives of the schema; itself where it has none."""
        flat = self.flat()
        alternatives = flat.get("anyOf") or flat.get("oneOf")
        if alternatives is None and isinstance(flat.get("type"), list):
            alternatives = [flat | {"type": one} for one in flat["type"]]
        return [self.child(flat)] if alternatives is None else [self.child(one) for one in alternatives]


def narrowed(accepting: Shape, given: Shape, at: str = "") -> list[str]:
    """Return the places, with what is wrong there, at which `accepting` may refuse what `given` allows."""
    if at.count(".") > _DEEPEST:
        raise RecursionError(f"the schema refers to itself: {at}")
    ways, values = accepting.branches(), given.branches()
    if len(ways) == len(values) == 1:
        return list(_narrowed(ways[0], values[0], at))
    return [fault for value in values for fault in _fewest_faults(ways, value, at)]


def lost(old: Shape, new: Shape, at: str = "") -> list[str]:
    """Return the fields of `old` that `new` does not know any more."""
    faults: list[str] = []
    for before in old.branches():
        matching = [list(_lost(before, now, at)) for now in new.branches() if _meet(before, now)]
        if matching:
            fewest: list[str] = min(matching, key=len)
            faults += fewest
    return faults


def _lost(before: Shape, now: Shape, at: str) -> Iterator[str]:
    a, b = before.flat(), now.flat()
    known = b.get("properties", {})
    for name, schema in a.get("properties", {}).items():
        if name in known:
            yield from lost(before.child(schema), now.child(known[name]), f"{at}.{name}")
        else:
            yield f"{at}.{name}: the field was removed"
    for keyword in ("items", "additionalProperties"):
        if isinstance(a.get(keyword), dict) and isinstance(b.get(keyword), dict):
            yield from lost(before.child(a[keyword]), now.child(b[keyword]), f"{at}.*")


def _meet(one: Shape, other: Shape) -> bool:
    """Whether a value of one can be a value of the other, by its type."""
    return bool(_types(one.flat()) & _types(other.flat()))


def _fewest_faults(ways: list[Shape], value: Shape, at: str) -> list[str]:
    return min((list(_narrowed(way, value, at)) for way in ways), key=len)


def _narrowed(accepting: Shape, given: Shape, at: str) -> Iterator[str]:
    a, g = accepting.flat(), given.flat()
    if missing := _types(g) - _types(a):
        yield f"{at}: {' and '.join(sorted(missing))} is no longer taken"
        return
    yield from _narrowed_values(a, g, at)
    yield from _narrowed_bounds(a, g, at)
    yield from _narrowed_fields(accepting.child(a), given.child(g), at)
    if isinstance(a.get("items"), dict):
        yield from narrowed(accepting.child(a["items"]), given.child(g.get("items", {})), f"{at}.*")


def _narrowed_values(a: Json, g: Json, at: str) -> Iterator[str]:
    taken, said = _values(a), _values(g)
    if taken is None:
        return
    if said is None:
        yield f"{at}: only {', '.join(map(repr, taken))} is taken"
    elif gone := [one for one in said if one not in taken]:
        yield f"{at}: {', '.join(map(repr, gone))} is no longer taken"


def _narrowed_bounds(a: Json, g: Json, at: str) -> Iterator[str]:
    types = _types(g)
    if _values(g) is not None:
        return  # the values themselves were compared
    for keyword in _said(_LOWER, a, types):
        if g.get(keyword, float("-inf")) < a[keyword]:
            yield f"{at}: {keyword} was raised to {a[keyword]}"
    for keyword in _said(_UPPER, a, types):
        if g.get(keyword, float("inf")) > a[keyword]:
            yield f"{at}: {keyword} was lowered to {a[keyword]}"
    for keyword in _said(_SAME | _SAME_TOO, a, types):
        if g.get(keyword) != a[keyword]:
            yield f"{at}: {keyword} is now {a[keyword]!r}"


def _said(keywords: Mapping[str, frozenset[str]], schema: Json, types: frozenset[str]) -> list[str]:
    """Return which of `keywords` the schema says and some of `types` heed."""
    return [name for name, of_types in keywords.items() if name in schema and types & of_types]


def _narrowed_fields(accepting: Shape, given: Shape, at: str) -> Iterator[str]:
    a, g = accepting.schema, given.schema
    known, said = a.get("properties", {}), g.get("properties", {})
    for name in a.get("required", []):
        if name not in g.get("required", []):
            yield f"{at}.{name}: the field must be there, and may be absent"
    for name in known.keys() & said.keys():
        yield from narrowed(accepting.child(known[name]), given.child(said[name]), f"{at}.{name}")
    others = a.get("additionalProperties", True)
    for name in said.keys() - known.keys() if others is False else ():
        yield f"{at}.{name}: the field is no longer taken"
    if others is False and g.get("additionalProperties", True) is not False:
        yield f"{at}: unknown fields are no longer taken"
    if isinstance(others, dict):
        values = g.get("additionalProperties", {})
        yield from narrowed(accepting.child(others), given.child(values if isinstance(values, dict) else {}), f"{at}.*")


def _types(schema: Json) -> frozenset[str]:
    named = schema.get("type")
    if named is None:
        values = _values(schema)
        return _ANY_TYPE if values is None else frozenset(map(_type_of, values))
    types = frozenset([named] if isinstance(named, str) else named)
    return types | {"integer"} if "number" in types else types


def _type_of(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _values(schema: Json) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _joined(one: Json, other: Json) -> Json:
    joined = {**one, **other}
    if "properties" in one and "properties" in other:
        joined["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        joined["required"] = [*one["required"], *other["required"]]
    return joined
