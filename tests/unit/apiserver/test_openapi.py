"""OpenAPI as clients ask for it: by group version, by hash, in the form they take."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from podwire.api import kinds, protobuf, protobuf_encode
from podwire.apiserver import openapi, openapi_gnostic
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


@pytest.mark.parametrize(
    "kind", [k for k in kinds.ALL if k not in (kinds.TRACE, *kinds.COMPUTED)], ids=str
)
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
        if method != "parameters" and operation["x-kubernetes-group-version-kind"] == gvk
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
        ids = [
            operation["operationId"]
            for item in document["paths"].values()
            for method, operation in item.items()
            if method != "parameters"
        ]
        assert len(ids) == len(set(ids))


def test_what_stands_in_braces_in_a_path_is_a_parameter_of_it(documents):
    """Whoever makes requests of a document, generator or fuzzer, has to be told."""
    for document in documents.values():
        for path, item in document["paths"].items():
            told = [p["name"] for p in item["parameters"] if p["in"] == "path"]
            assert told == [part[1:-1] for part in path.split("/") if part.startswith("{")], path


def test_what_a_write_may_succeed_with_is_told(documents):
    """As upstream's documents do: created by POST, PUT and PATCH, accepted by POST and DELETE."""
    paths = documents["apps", "v1"]["paths"]
    item = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    collection = paths["/apis/apps/v1/namespaces/{namespace}/deployments"]
    for operation, told in (
        (collection["post"], {"200", "201", "202", "401"}),
        (collection["delete"], {"200", "401"}),
        (item["get"], {"200", "401"}),
        (item["put"], {"200", "201", "401"}),
        (item["patch"], {"200", "201", "401"}),
        (item["delete"], {"200", "202", "401"}),
    ):
        assert operation["responses"].keys() == told


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


def test_swagger_is_json_or_protobuf(simulate):
    """In the form that comes first in Accept; ETag and 304 for each as for v3."""

    async def asked(w):
        await served(w)
        told = await w.raw("GET", "/openapi/v2", accept=f"application/json,{GNOSTIC}")
        body = msgspec.json.decode(told.body)
        assert body["swagger"] == "2.0"
        assert body["definitions"]["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"]
        port = body["definitions"]["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
        assert port == {"$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
        for accept in (GNOSTIC, GNOSTIC.replace("@", ".") + ",application/json"):
            encoded = await w.raw("GET", "/openapi/v2", accept=accept)
            assert encoded.headers["content-type"] == GNOSTIC.replace("@", ".")
            assert encoded.headers["etag"] != told.headers["etag"]
            assert fields(encoded.body)[1] == [b"2.0"]
        assert (await w.raw("GET", "/openapi/v2", accept="text/html")).status == 406
        assert (await w.raw("GET", "/openapi/v3", accept=GNOSTIC)).status == 406

    simulate(asked)


def fields(message: bytes) -> dict[int, list[Any]]:
    """The values of a message by their numbers."""
    found: dict[int, list[Any]] = {}
    for number, _, value in protobuf._records(message):
        found.setdefault(number, []).append(value)
    return found


def named(message: bytes, number: int) -> dict[str, dict[int, list[Any]]]:
    """Pairs of a name and a message."""
    pairs = [fields(pair) for pair in fields(message)[number]]
    return {pair[1][0].decode(): fields(pair[2][0]) for pair in pairs}


def test_the_protobuf_has_every_definition_path_and_extension():
    """Read by the numbers of gnostic's proto file: Schema, Operation, QueryParameterSubSchema."""
    swagger = Definitions().v2()
    document = fields(openapi_gnostic.document(swagger))
    definitions = named(document[9][0], 1)
    assert definitions.keys() == swagger["definitions"].keys()
    pod = definitions["io.k8s.api.core.v1.Pod"]
    assert fields(pod[22][0])[1] == [b"object"]
    kind = {name: value[2][0] for name, value in named(pod_extension(pod), 31).items()}
    assert msgspec.json.decode(kind["x-kubernetes-group-version-kind"]) == [
        {"group": "", "version": "v1", "kind": "Pod"}
    ]
    spec = named(pod[25][0], 1)["spec"]
    assert spec[1] == [b"#/definitions/io.k8s.api.core.v1.PodSpec"]
    containers = named(definitions["io.k8s.api.core.v1.PodSpec"][25][0], 1)["containers"]
    assert fields(fields(containers[23][0])[1][0])[1] == [
        b"#/definitions/io.k8s.api.core.v1.Container"
    ]
    data = named(definitions["io.k8s.api.core.v1.ConfigMap"][25][0], 1)["data"]
    assert fields(fields(fields(data[21][0])[1][0])[22][0])[1] == [b"string"]
    paths = named(document[8][0], 2)
    assert paths.keys() == swagger["paths"].keys()
    patch = fields(paths["/api/v1/namespaces/{namespace}/pods/{name}"][8][0])
    query = [fields(p)[1][0] for p in patch[8]]
    query = [fields(fields(fields(p)[2][0])[3][0]) for p in query if 2 in fields(p)]
    assert b"fieldValidation" in [parameter[4][0] for parameter in query]


def pod_extension(schema: dict[int, list[Any]]) -> bytes:
    """The extensions of a schema, as a message of them only."""
    return b"".join(protobuf_encode.record(31, value) for value in schema[31])


def test_what_the_protobuf_cannot_say_is_an_error():
    """A field without a number would be lost."""
    with pytest.raises(ValueError, match="oneOf"):
        openapi_gnostic.document({"definitions": {"A": {"oneOf": []}}})


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
