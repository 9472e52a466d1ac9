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


OF_EVERY_PAGE = (403, 405, 408, 413, 500)
"""Statuses that the checks of every request may answer with, before any other code reads it."""
OF_THE_API = (400, 401, *sorted({kind.http_status for kind in BY_CODE.values()}))
"""Statuses of errors of the API; 401 only if it needs tokens."""


def describe(app: FastAPI, *, tokens: bool = False) -> None:
    """Add the requests and answers of ``POST /api/v1`` to /openapi.json, and the page /docs. ``tokens``: the API needs
    them."""
    made = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(made(), tokens)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return page()


def _complete(schema: dict[str, Any], tokens: bool) -> dict[str, Any]:
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
    post["responses"] = {
        "200": {
            "description": "`data` has the schema that the `x-answer` of the request's schema names",
            "content": _json(_object(type={"const": "ANSWER"}, data=data)),
        },
    }
    for path, operations in schema["paths"].items():
        for name, operation in operations.items():
            _describe_errors(operation, path, name, tokens)
    # Those of FastAPI, for the status 422: the API answers 400 and an OperatorError.
    every.pop("HTTPValidationError", None)
    every.pop("ValidationError", None)
    if tokens:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return schema


def _describe_errors(operation: dict[str, Any], path: str, method: str, tokens: bool) -> None:
    """Describe the errors of one operation, and that it needs a token."""
    statuses = {*OF_EVERY_PAGE, *((503,) if path == "/readyz" else ())}
    if path.startswith("/api/"):
        statuses |= {status for status in OF_THE_API if tokens or status != 401}
        if method == "post":
            statuses.add(415)
        if tokens:
            operation["security"] = [{"token": []}]
    responses = operation["responses"]
    responses.pop("422", None)
    refused = {"description": "Refused or failed", "content": _json({"$ref": "#/components/schemas/OperatorError"})}
    responses.update({str(status): refused for status in sorted(statuses)})


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
