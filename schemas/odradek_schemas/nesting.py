"""Bounds on nesting, so that no bytes can exhaust the stack of whoever reads them.

Avro readers recurse with the data, and the one in C does so without a check: 60 kB of failures that cause
each other end the process. So records are read by a schema that is not recursive: a type that contains
itself is replaced by `MAX_NESTED_FAILURES` copies within each other, the innermost without itself.
"""

from __future__ import annotations

from typing import Any

MAX_NESTED_FAILURES = 50
"""A failure has at most so many causes below it."""
MAX_JSON_DEPTH = 100
"""Lists and objects in a JSON record lie at most so deep within each other."""


def without_recursion(schema: Any) -> Any:
    """`schema` (plain JSON, nested types defined where first used) with its recursive records unrolled."""
    if isinstance(schema, list):
        return [without_recursion(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if schema["type"] != "record":
        return {key: without_recursion(value) for key, value in schema.items()}
    fields = [{**field, "type": without_recursion(field["type"])} for field in schema["fields"]]
    record = {**schema, "fields": fields}
    return _unrolled(record) if _mentions(fields, _name_of(record)) else record


def _name_of(record: dict[str, Any]) -> str:
    return f"{record['namespace']}.{record['name']}"


def _mentions(schema: Any, name: str) -> bool:
    """Whether `name` is used in `schema`, in the place of a type."""
    if isinstance(schema, list):
        return any(_mentions(s, name) for s in schema)
    if isinstance(schema, dict):
        return any(_mentions(schema[key], name) for key in ("type", "items", "values", "fields") if key in schema)
    return bool(schema == name)


def _unrolled(record: dict[str, Any]) -> dict[str, Any]:
    name = _name_of(record)
    inner: Any = None
    for level in range(MAX_NESTED_FAILURES, 0, -1):
        fields = _replace(_by_name(record["fields"]), name, inner)
        inner = {**record, "name": f"{record['name']}{level}", "fields": fields}
    return {**record, "fields": _replace(record["fields"], name, inner)}


def _by_name(schema: Any) -> Any:
    """The same, with the names of nested records in the place of their definitions."""
    if isinstance(schema, list):
        return [_by_name(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "record":
        return _name_of(schema)
    return {key: _by_name(schema[key]) if key in ("type", "items", "values") else schema[key] for key in schema}


def _replace(schema: Any, name: str, inner: Any) -> Any:
    """The same, with `inner` for `name`; None: unions lose that branch."""
    if isinstance(schema, list):
        return [_replace(s, name, inner) for s in schema if inner is not None or s != name]
    if isinstance(schema, dict):
        keys = ("type", "items", "values", "fields")
        return {key: _replace(schema[key], name, inner) if key in keys else schema[key] for key in schema}
    return inner if schema == name else schema


def is_deeper_than(value: Any, depth: int) -> bool:
    """Whether lists and dicts in `value` lie more than `depth` deep within each other. Does not recurse."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(depth):
        children = (item.values() if isinstance(item, dict) else item for item in level)
        level = [child for items in children for child in items if isinstance(child, (dict, list))]
    return bool(level)
