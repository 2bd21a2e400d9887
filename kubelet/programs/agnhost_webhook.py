"""agnhost webhook: answers AdmissionReviews, as Kubernetes' own end-to-end tests want them.

Source: kubernetes test/images/agnhost/webhook. The files of --tls-cert-file and
--tls-private-key-file must be there; what they say does not matter to the model's TLS.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from podwire.api.view import JSON
from podwire.client import http1
from podwire.client.http1 import Handler, Request, Response
from podwire.kubelet.programs.agnhost_servers import klog
from podwire.kubelet.programs.go import flags
from podwire.kubelet.programs.serving import TERMINATED, Server, in_use
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.sleep import FOREVER_S

FATAL = 255
DELAY_S = 5.0
_VERSIONS = ("admission.k8s.io/v1", "admission.k8s.io/v1beta1")
_LABEL, _DISALLOW, _KEEP = "webhook-e2e-test", "webhook-disallow", "webhook-nondeletable"
_INIT, _SIDECAR = "webhook-added-init-container", "webhook-added-sidecar"
_CRDS = "customresourcedefinitions"

Judge = Callable[["_Asked"], Awaitable[JSON]]


class _Asked:
    """One request for a judgement."""

    def __init__(self, command: Command, request: JSON, sidecar: str) -> None:
        self.command = command
        self.request = request
        self.sidecar = sidecar
        self.operation: str = request.get("operation", "")

    @property
    def obj(self) -> JSON:
        """What it is about: the object, of a deletion the one that is there."""
        name = "oldObject" if self.operation == "DELETE" else "object"
        found: JSON = self.request.get(name) or {}
        return found

    @property
    def labels(self) -> JSON:
        """Its labels."""
        found: JSON = (self.obj.get("metadata") or {}).get("labels") or {}
        return found

    @property
    def data(self) -> JSON:
        """Its data."""
        found: JSON = self.obj.get("data") or {}
        return found

    def containers(self, group: str) -> list[str]:
        """The names of a pod's containers."""
        found = (self.obj.get("spec") or {}).get(group) or ()
        return [container.get("name", "") for container in found]

    def about(self, resource: str, group: str = "", version: str = "v1") -> bool:
        """Whether it is about that resource."""
        wanted = {"group": group, "version": version, "resource": resource}
        return bool(self.request.get("resource") == wanted)


def _no(message: str) -> JSON:
    return {"allowed": False, "status": {"metadata": {}, "message": message}}


def _unless(refused: bool, reason: str) -> JSON:
    """A refusal that has no message but a reason."""
    if refused:
        return {"allowed": False, "status": {"metadata": {}, "reason": reason}}
    return {"allowed": True}


def _patched(*operations: JSON) -> JSON:
    if not operations:
        return {"allowed": True}
    patch = base64.b64encode(msgspec.json.encode(operations)).decode()
    return {"allowed": True, "patch": patch, "patchType": "JSONPatch"}


def _add(path: str, value: Any) -> JSON:
    return {"op": "add", "path": path, "value": value}


async def _allow_late(asked: _Asked) -> JSON:
    await asked.command.env.clock.sleep(DELAY_S)
    status = {"metadata": {}, "message": "this webhook allows all requests"}
    return {"allowed": True, "status": status}


async def _deny(_: _Asked) -> JSON:
    return _no("this webhook denies all requests")


async def _label(asked: _Asked) -> JSON:
    if not asked.labels:
        return _patched(_add("/metadata/labels", {"added-label": "yes"}))
    found = asked.labels.get("added-label")
    if found == "yes":
        return _patched()
    operation = "add" if found is None else "replace"
    return _patched({"op": operation, "path": "/metadata/labels/added-label", "value": "yes"})


async def _pods(asked: _Asked) -> JSON:
    if not asked.about("pods"):
        return _no("expect resource to be { v1 pods}")
    wrong: list[str] = []
    if asked.labels.get(_LABEL) == _DISALLOW:
        wrong.append("the pod contains unwanted label;")
    if asked.labels.get(_LABEL) == "wait-forever":
        await asked.command.env.clock.sleep(FOREVER_S)
    unwanted = [name for name in asked.containers("containers") if _DISALLOW in name]
    wrong += ["the pod contains unwanted container name;"] * len(unwanted)
    return _no(" ".join(wrong)) if wrong else {"allowed": True}


async def _attaching(asked: _Asked) -> JSON:
    options = asked.obj
    if asked.request.get("name") != "to-be-attached-pod":
        return {"allowed": True}
    if options.get("stdin") and options.get("container") == "container1":
        return _no("attaching to pod 'to-be-attached-pod' is not allowed")
    return {"allowed": True}


async def _mutated_pods(asked: _Asked) -> JSON:
    _demand(asked, "pods")
    name = (asked.obj.get("metadata") or {}).get("name")
    if name != "webhook-to-be-mutated" or _INIT in asked.containers("initContainers"):
        return _patched()
    container = {"image": "webhook-added-image", "name": _INIT, "resources": {}}
    return _patched(_add("/spec/initContainers", [container]))


async def _with_sidecar(asked: _Asked) -> JSON:
    if not asked.sidecar:
        refusal = _no("No image specified by the sidecar-image parameter")
        refusal["status"] |= {"status": "Failure", "code": 500}
        return refusal
    _demand(asked, "pods")
    if _SIDECAR in asked.containers("containers"):
        return _patched()
    container = {"image": asked.sidecar, "name": _SIDECAR, "resources": {}}
    return _patched(_add("/spec/containers/-", container))


def _data(what: str, only: str = "") -> Judge:
    """What objects with data may not have, and which of them cannot be deleted."""

    async def judge(asked: _Asked) -> JSON:
        if only:
            _demand(asked, only)
        found = asked.data.get(_LABEL)
        if asked.operation == "DELETE":
            why = f"the {what} cannot be deleted because it contains unwanted key and value"
            return _unless(found == _KEEP, why)
        unwanted = "data" if not only else "key and value"
        refused = found == _DISALLOW and asked.operation in {"CREATE", "UPDATE"}
        return _unless(refused, f"the {what} contains unwanted {unwanted}")

    return judge


def _stages(only: str = "") -> Judge:
    """One stage after the other: what two webhooks make of an object together."""

    async def judge(asked: _Asked) -> JSON:
        if only:
            _demand(asked, only)
        if asked.data.get("mutation-stage-1") == "yes":
            return _patched(_add("/data/mutation-stage-2", "yes"))
        if asked.data.get("mutation-start") == "yes":
            return _patched(_add("/data/mutation-stage-1", "yes"))
        return _patched()

    return judge


async def _crd(asked: _Asked) -> JSON:
    group = "apiextensions.k8s.io"
    if not asked.about(_CRDS, group) and not asked.about(_CRDS, group, "v1beta1"):
        one = asked.request.get("resource") or {}
        got = f"{{{one.get('group', '')} {one.get('version', '')} {one.get('resource', '')}}}"
        wanted = f"{{{group} v1beta1 {_CRDS}}}, {{{group} v1 {_CRDS}}}"
        return _no(f"expect resource to be one of [{wanted}] but got {got}")
    if asked.labels.get(_LABEL) == _DISALLOW:
        return _no("the crd contains unwanted label")
    return {"allowed": True}


def _demand(asked: _Asked, resource: str) -> None:
    """Upstream forgets that there is no answer then, and panics: the connection is cut.

    Raises EOFError.
    """
    if not asked.about(resource):
        klog(asked.command, f"expect resource to be {{ v1 {resource}}}", "E")
        raise EOFError


PATHS: dict[str, Judge] = {
    "/always-allow-delay-5s": _allow_late,
    "/always-deny": _deny,
    "/add-label": _label,
    "/pods": _pods,
    "/pods/attach": _attaching,
    "/mutating-pods": _mutated_pods,
    "/mutating-pods-sidecar": _with_sidecar,
    "/configmaps": _data("configmap", "configmaps"),
    "/mutating-configmaps": _stages("configmaps"),
    "/custom-resource": _data("custom resource"),
    "/mutating-custom-resource": _stages(),
    "/crd": _crd,
}
"""Who judges what."""


async def webhook(command: Command, args: list[str]) -> int:
    """``webhook --tls-cert-file F --tls-private-key-file F [--port 443] [--sidecar-image I]``."""
    sidecar = flags(args).get("sidecar-image", "")

    async def answer(request: Request) -> Response:
        if request.path == "/readyz":
            return http1.text("ok")
        judge = PATHS.get(request.path)
        if judge is None:
            return http1.text("404 page not found\n", 404)
        return await _reviewed(command, request, judge, sidecar)

    return await serve_reviews(command, args, answer)


async def serve_reviews(command: Command, args: list[str], answer: Handler) -> int:
    """Answer over TLS at ``--port`` until told to end, if the certificate's files are there."""
    given = flags(args)
    text = given.get("port", "443")
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise UsageError(f'invalid argument "{text}" for "--port" flag')
    for name in ("tls-cert-file", "tls-private-key-file"):
        path = given.get(name, "")
        try:
            command.env.read_file(command.path(path))
        except (FileNotFoundError, IsADirectoryError):
            klog(command, f"open {path}: no such file or directory", "F")
            return FATAL

    async with Server(command) as server:
        try:
            await server.http(int(text), answer, tls=True)
        except OSError as error:
            command.err(f"panic: listen tcp :{text}: bind: {in_use(error)}\n")
            return 2
        await server.until_signal("TERM")
    return TERMINATED


async def _reviewed(command: Command, request: Request, judge: Judge, sidecar: str) -> Response:
    kind = request.header("content-type")
    if kind != "application/json":
        klog(command, f"contentType={kind}, expect application/json", "E")
        return http1.text("")
    try:
        review = msgspec.json.decode(request.body, type=dict[str, Any])
        asked = msgspec.convert(review.get("request"), dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        told = f"Request could not be decoded: {error}"
        klog(command, told, "E")
        return http1.text(f"{told}\n", 400)
    version = review.get("apiVersion")
    if version not in _VERSIONS or review.get("kind") != "AdmissionReview":
        told = f"Unsupported group version kind: {version}, Kind={review.get('kind')}"
        klog(command, told, "E")
        return http1.text(f"{told}\n", 400)
    verdict = await judge(_Asked(command, asked, sidecar))
    response = {"uid": asked.get("uid", ""), **verdict}
    body = {"kind": "AdmissionReview", "apiVersion": version, "response": response}
    return http1.text(msgspec.json.encode(body).decode(), kind="application/json")
