"""agnhost crd-conversion-webhook: converts objects of stable.example.com between v1 and v2.

v1 has ``hostPort``, v2 has ``host`` and ``port``. YAML is not modelled.
Source: kubernetes test/images/agnhost/crd-conversion-webhook.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from podwire.api.view import JSON
from podwire.client import http1
from podwire.client.http1 import Request, Response
from podwire.kubelet.programs.agnhost_servers import klog
from podwire.kubelet.programs.agnhost_webhook import serve_reviews
from podwire.kubelet.shell.command import Command

_V1, _V2 = "stable.example.com/v1", "stable.example.com/v2"
_VERSIONS = ("apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1")


class _Failure(Exception):  # noqa: N818  it is an answer
    """An object cannot be converted; the message says why."""


async def crd_conversion_webhook(command: Command, args: list[str]) -> int:
    """``crd-conversion-webhook --tls-cert-file F --tls-private-key-file F [--port 443]``."""

    async def answer(request: Request) -> Response:
        if request.path == "/readyz":
            return http1.text("ok")
        if request.path != "/crdconvert":
            return http1.text("404 page not found\n", 404)
        return _reviewed(command, request)

    return await serve_reviews(command, args, answer)


def _reviewed(command: Command, request: Request) -> Response:
    kind = request.header("content-type")
    if kind != "application/json":
        return _no(command, f"invalid Content-Type header `{kind}`")
    try:
        review = msgspec.json.decode(request.body, type=dict[str, Any])
        asked = msgspec.convert(review.get("request"), dict[str, Any])
        objects = msgspec.convert(asked.get("objects") or [], list[dict[str, Any]])
    except (ValueError, RecursionError) as error:
        text = request.body.decode(errors="replace")
        return _no(command, f"failed to deserialize body ({text}) with error {error}")
    version = review.get("apiVersion")
    if version not in _VERSIONS or review.get("kind") != "ConversionReview":
        return _no(command, f"Unsupported group version kind: {version}, Kind={review.get('kind')}")
    response: JSON = {"uid": asked.get("uid", ""), "convertedObjects": None}
    desired = str(asked.get("desiredAPIVersion", ""))
    try:
        made = [{**_converted(obj, desired), "apiVersion": desired} for obj in objects]
        response["convertedObjects"] = made or None
        response["result"] = {"metadata": {}, "status": "Success"}
    except _Failure as failure:
        klog(command, str(failure), "E")
        response["result"] = {"metadata": {}, "status": "Failure", "message": str(failure)}
    empty = {"uid": "", "desiredAPIVersion": "", "objects": None}
    body = {**review, "request": empty, "response": response}
    return http1.text(msgspec.json.encode(body).decode(), kind="application/json")


def _no(command: Command, why: str) -> Response:
    klog(command, why, "E")
    return http1.text(f"{why}\n", 400)


def _converted(obj: JSON, desired: str) -> JSON:
    """An object in another version. Raises _Failure; ConnectionError where Go panics."""
    version = obj.get("apiVersion")
    if version == desired:
        why = f"conversion from a version to itself should not call the webhook: {desired}"
        raise _Failure(why)
    if version not in (_V1, _V2):
        raise _Failure(f"unexpected conversion version {json.dumps(version or '')}")
    if desired not in (_V1, _V2):
        raise _Failure(f"unexpected conversion version {json.dumps(desired)}")
    made = dict(obj)
    if version == _V1:
        if "hostPort" in made:
            value = made.pop("hostPort")
            if not isinstance(value, str):
                raise ConnectionError("interface conversion: interface {} is not string")
            parts = value.split(":")
            if len(parts) != 2:
                raise _Failure(f"invalid hostPort value `{value}`")
            made["host"], made["port"] = parts
    elif "host" in made or "port" in made:
        made["hostPort"] = f"{made.pop('host', '')}:{made.pop('port', '')}"
    return made
