"""Describes the requests and answers of the operator API: /openapi.json in full, and /docs as one plain page."""

from __future__ import annotations

import html
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic.json_schema import models_json_schema

from broker_mesos.core.api.catalog import USER_REQUESTS
from broker_mesos.core.model.part import Part
from broker_mesos.errors import BY_CODE

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "pre,code{font-family:ui-monospace,monospace;background:#8882;padding:.1rem .3rem}"
    "pre{padding:.8rem;overflow:auto}h2{margin:2rem 0 0;font-size:1.1rem}"
)
_CURL = """curl -s http://127.0.0.1:5050/api/v1 \\
  -H 'Content-Type: application/json' \\
  -d '{"type": "GET_JOBS", "limit": 5}'"""


def describe(app: FastAPI) -> None:
    """Add the requests and answers of ``POST /api/v1`` to /openapi.json, and the page /docs."""
    made = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(made())
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return page()


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    requests = list(USER_REQUESTS.values())
    kinds = [(request, "validation") for request in requests]
    kinds += [(request.ANSWER, "serialization") for request in requests]  # type: ignore[misc]
    _, definitions = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    for request in requests:
        body = schemas[request.__name__]
        body.setdefault("properties", {})["type"] = {"const": request.TYPE}
        body["required"] = ["type", *body.get("required", [])]
        body["x-answer"] = _reference(request.ANSWER)
    schemas["OperatorError"] = _object(
        error=_object(code={"enum": sorted(BY_CODE)}, message={"type": "string"}),
    )
    every = schema.setdefault("components", {}).setdefault("schemas", {})
    for name, definition in schemas.items():
        every.setdefault(name, definition)
    post = schema["paths"]["/api/v1"]["post"]
    post["requestBody"] = {"required": True, "content": _json({"oneOf": [_reference(each) for each in requests]})}
    answers = {request.ANSWER.__name__: request.ANSWER for request in requests}
    data = {"anyOf": [_reference(answers[name]) for name in sorted(answers)]}
    refused = {"description": "Refused or failed", "content": _json({"$ref": "#/components/schemas/OperatorError"})}
    post["responses"] = {
        "200": {
            "description": "`data` has the schema that the `x-answer` of the request's schema names",
            "content": _json(_object(type={"const": "ANSWER"}, data=data)),
        },
        **{str(status): refused for status in sorted({kind.http_status for kind in BY_CODE.values()})},
    }
    return schema


def _reference(kind: type[Part]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def page() -> str:
    """One page with all requests, which loads nothing from other servers."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>broker_mesos operator API</title>",
        f"<style>{_STYLE}</style><h1>broker_mesos operator API</h1>",
        "<p>Send every request with <code>POST /api/v1</code> as JSON. The answer is ",
        '<code>{"type": "ANSWER", "data": …}</code>, or <code>{"error": {"code": …, "message": …}}</code> with an ',
        "HTTP status that is not 200. The schemas of all requests and answers are in ",
        f'<a href="/openapi.json">/openapi.json</a>.</p><pre>{html.escape(_CURL)}</pre>',
    ]
    for name, request in USER_REQUESTS.items():
        fields = ", ".join(f"<code>{html.escape(field)}</code>" for field in request.model_fields) or "none"
        text = " ".join((request.__doc__ or "").split())
        parts.append(
            f'<h2 id="{name}">{name}</h2><p>{html.escape(text)}</p>'
            f"<p>Fields: {fields}. Answer: <code>{request.ANSWER.__name__}</code>.</p>"
        )
    return "\n".join(parts)
