"""The OpenAPI document, from the table of operations and the types that check requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mcad_mobile import __version__
from mcad_mobile.serve.records import Problem

_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Operation:
    """A method and a path of the API: what it `takes` and `gives` as JSON. bytes: a photo."""

    method: str
    path: str
    summary: str
    gives: Any
    status: int = 200
    takes: Any = None


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12, as msgspec writes them."""
    kinds = [Problem]
    kinds += [kind for one in operations for kind in (one.takes, one.gives) if _is_json(kind)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = list(zip(kinds, schemas, strict=True))
    problem = {"application/json": {"schema": schemas[0]}}
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        told: dict[str, Any] = {
            "operationId": _name(one),
            "summary": one.summary,
            "responses": {
                str(one.status): {"description": "As asked.", "content": _content(one, by_kind)},
                "default": {"description": "What went wrong.", "content": problem},
            },
        }
        named = re.findall(r"\{(\w+)\}", one.path)
        if named:
            told["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in named
            ]
        if one.takes is bytes:
            told["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
        elif one.takes is not None:
            content = {"application/json": {"schema": _schema(one.takes, by_kind)}}
            told["requestBody"] = {"required": True, "content": content}
        paths.setdefault(one.path, {})[one.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mcad-mobile serve",
            "version": __version__,
            "description": "Bundles and indexes of this computer, on this computer.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _is_json(kind: Any) -> bool:
    return kind is not None and kind is not bytes


def _content(one: Operation, by_kind: list[tuple[Any, Any]]) -> dict[str, Any]:
    if one.gives is bytes:
        return {"image/jpeg": {}}
    return {"application/json": {"schema": _schema(one.gives, by_kind)}}


def _schema(kind: Any, by_kind: list[tuple[Any, Any]]) -> Any:
    return next(schema for known, schema in by_kind if known == kind)


def _name(one: Operation) -> str:
    """ "getIndexesPhotosView" of GET /api/indexes/{index}/photos/{photo}/view."""
    words = [part for part in one.path.split("/") if part and part != "api" and "{" not in part]
    return one.method.lower() + "".join(word.capitalize() for word in words)
