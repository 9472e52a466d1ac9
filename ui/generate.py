"""Writes the types of the operator API for the dashboard, ``src/api.ts``, from what /openapi.json says:
``python ui/generate.py``. ``tests/web/test_ui.py`` fails when the file is not what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from broker_mesos.core.api.catalog import USER_REQUESTS
from broker_mesos.web.app import build_app

TARGET = Path(__file__).parent / "src" / "api.ts"
_HEAD = "// Generated from /openapi.json by ui/generate.py: do not edit.\n"


def generated() -> str:
    """The content of ``src/api.ts``."""
    schemas: dict[str, Any] = build_app(_Nobody()).openapi()["components"]["schemas"]
    sent = _reachable(schemas, {request.__name__ for request in USER_REQUESTS.values()})
    parts = [_HEAD]
    for name, schema in sorted(schemas.items()):
        parts.append(_declaration(_name(name), schema, name in sent))
    rows = [
        f"  {kind}: {{ fields: {_name(request.__name__)}; answer: {_name(request.ANSWER.__name__)} }};"
        for kind, request in sorted(USER_REQUESTS.items())
    ]
    parts.append("/** Every request that users may send, with its answer. */\nexport interface Requests {")
    parts.append("\n".join(rows) + "\n}\n")
    return "\n".join(parts)


class _Nobody:
    """An operator API that is described and never asked."""

    async def handle(self, request: object, timeout: float = 0) -> Any:
        raise NotImplementedError


def _name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _reachable(schemas: dict[str, Any], names: set[str]) -> set[str]:
    """The schemas that the named ones contain, and these."""
    found: set[str] = set()
    while names:
        found |= names
        text = " ".join(json.dumps(schemas.get(name, {}).get("properties", {})) for name in names)
        names = set(re.findall(r'"#/components/schemas/([^"]+)"', text)) - found
    return found


def _declaration(name: str, schema: dict[str, Any], sent: bool) -> str:
    if schema.get("type") == "object" and "properties" in schema:
        required = set(schema.get("required", ()))
        lines = [f"export interface {name} {{"]
        for field, kind in schema["properties"].items():
            # Answers have every field; of what is sent, those with a default may be left out.
            optional = "?" if sent and field not in required else ""
            lines.append(f"  {_key(field)}{optional}: {_type(kind)};")
        return "\n".join([*lines, "}", ""])
    return f"export type {name} = {_type(schema)};\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)


def _type(schema: Any) -> str:
    if not isinstance(schema, dict) or not schema:
        return "unknown"
    if "$ref" in schema:
        return _name(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_type(each) for each in schema[several]))
    match schema.get("type"):
        case "string":
            return "string"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "boolean"
        case "null":
            return "null"
        case "array":
            if "prefixItems" in schema:
                return "[" + ", ".join(_type(each) for each in schema["prefixItems"]) + "]"
            item = _type(schema.get("items", {}))
            return f"({item})[]" if "|" in item else f"{item}[]"
        case "object":
            if "properties" in schema:
                inner = [f"{_key(field)}?: {_type(kind)}" for field, kind in schema["properties"].items()]
                return "{ " + "; ".join(inner) + " }"
            return f"Record<string, {_type(schema.get('additionalProperties', {}))}>"
    return "unknown"


if __name__ == "__main__":
    TARGET.write_text(generated(), encoding="utf-8")
