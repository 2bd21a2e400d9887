"""OpenAPI as clients ask for it: by group version, by hash, in the form they take."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver import openapi
from podwire.apiserver.discovery import group_versions
from podwire.apiserver.openapi_documents import PROSE, Definitions

GNOSTIC = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


async def served(w: Any) -> Any:
    for route in openapi.ROUTES:
        w.server.routes.add(route)
    return w


@pytest.fixture(scope="module")
def documents() -> dict[tuple[str, str], dict[str, Any]]:
    definitions = Definitions()
    return {gv: definitions.v3(*gv) for gv in group_versions()}


@pytest.mark.parametrize("kind", [k for k in kinds.ALL if k is not kinds.TRACE], ids=str)
def test_kubectl_finds_what_it_looks_for_of_every_kind(documents, kind):
    """The schema by its GVK; of writes: fieldValidation; of patches: strategic merge."""
    document = documents[kind.group, kind.version]
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    schemas = document["components"]["schemas"]
    assert [s for s in schemas.values() if gvk in s.get("x-kubernetes-group-version-kind", ())]
    operations = [
        (method, operation)
        for item in document["paths"].values()
        for method, operation in item.items()
        if operation["x-kubernetes-group-version-kind"] == gvk
    ]
    if "create" in kind.verbs:
        post = next(operation for method, operation in operations if method == "post")
        assert "fieldValidation" in [p["name"] for p in post["parameters"]]
    if "patch" in kind.verbs:
        patch = next(operation for method, operation in operations if method == "patch")
        assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_no_reference_dangles_in_any_document(documents):
    """Neither in v3 nor in v2."""
    for document in documents.values():
        text = msgspec.json.encode(document).decode()
        referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
        assert referred <= document["components"]["schemas"].keys()
    swagger = Definitions().v2()
    text = msgspec.json.encode(swagger).decode()
    assert "components/schemas" not in text
    referred = {part.split('"')[0] for part in text.split('"#/definitions/')[1:]}
    assert referred <= swagger["definitions"].keys()


def test_no_operation_has_the_id_of_another(documents):
    """Generators make methods of them."""
    for document in documents.values():
        ids = [o["operationId"] for item in document["paths"].values() for o in item.values()]
        assert len(ids) == len(set(ids))


def test_a_document_is_immutable_under_its_hash(simulate):
    """The index names it; another hash is redirected; who has it gets 304."""

    async def asked(w):
        await served(w)
        index = await w.json("GET", "/openapi/v3")
        assert set(index["paths"]) == {
            f"apis/{g}/{v}" if g else f"api/{v}" for g, v in group_versions()
        }
        url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        path, _, digest = url.partition("?hash=")
        told = await w.raw("GET", path, hash=digest)
        assert told.headers["cache-control"] == "public, immutable"
        assert told.headers["etag"] == f'"{digest}"'
        assert "expires" in told.headers
        assert "cache-control" not in (await w.raw("GET", path)).headers
        other = await w.raw("GET", path, hash="ABC")
        assert (other.status, other.headers["location"]) == (301, url)
        assert (await w.raw("GET", "/openapi/v3/apis/none/v1")).status == 404

    simulate(asked)


def test_swagger_is_json_or_not_at_all(simulate):
    """The gnostic form is told to be missing; ETag and 304 as for v3."""

    async def asked(w):
        await served(w)
        told = await w.raw("GET", "/openapi/v2", accept=f"{GNOSTIC},application/json")
        body = msgspec.json.decode(told.body)
        assert body["swagger"] == "2.0"
        assert body["definitions"]["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"]
        port = body["definitions"]["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
        assert port == {"$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
        assert (await w.raw("GET", "/openapi/v2", accept=GNOSTIC)).status == 406

    simulate(asked)


def test_descriptions_come_from_an_installed_kubernetes_validate(tmp_path, monkeypatch):
    """Of a kind, of a field, of an item; without it there are none."""
    name = "io.k8s.api.core.v1.ConfigMap"
    assert "description" not in Definitions().schemas[name]
    data = tmp_path / "kubernetes_validate" / PROSE
    data.parent.mkdir(parents=True)
    (tmp_path / "kubernetes_validate" / "__init__.py").touch()
    fields = {"data": {"description": "Pairs.", "additionalProperties": {"description": "One."}}}
    prose = {name: {"description": "It holds.", "properties": fields}}
    data.write_bytes(msgspec.json.encode({"$defs": prose}))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    told = Definitions().schemas[name]
    assert told["description"] == "It holds."
    assert told["properties"]["data"]["description"] == "Pairs."
    assert told["properties"]["data"]["additionalProperties"]["description"] == "One."
