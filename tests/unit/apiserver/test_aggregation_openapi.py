"""OpenAPI v2 of several servers as one document, as kube-openapi's aggregator joins them."""

import msgspec
import pytest

from podwire.apiserver import openapi_gnostic
from podwire.apiserver.aggregation import swagger

ROOT = "/apis/wardle.example.com/v1"
FLUNDER = "example.Flunder"


def refers(name):
    schema = {"$ref": f"#/definitions/{name}"}
    return {"get": {"responses": {"200": {"description": "OK", "schema": schema}}}}


def document(paths, definitions, **more):
    return msgspec.json.encode({"paths": paths, "definitions": definitions, **more})


def part(paths, definitions, **more):
    return swagger.part_of(document(paths, definitions, **more), ROOT)


def own(paths=None, definitions=None):
    return {"swagger": "2.0", "paths": paths or {}, "definitions": definitions or {}}


def test_a_part_is_its_group_versions_paths_and_what_they_need():
    """Definitions that only other paths refer to are left out; unused ones stay."""
    definitions = {
        FLUNDER: {"type": "object", "properties": {"a": {"$ref": "#/definitions/A"}}},
        "A": {"type": "string"}, "Other": {"type": "object"}, "Unused": {"type": "object"},
    }  # fmt: skip
    paths = {f"{ROOT}/flunders": refers(FLUNDER), "/apis/other/v1/others": refers("Other")}
    found = msgspec.json.decode(part(paths, definitions))
    assert list(found["paths"]) == [f"{ROOT}/flunders"]
    assert list(found["definitions"]) == [FLUNDER, "A", "Unused"]
    assert part({"/apis/other/v1/others": refers("Other")}, definitions) == b""


def test_what_protobuf_cannot_say_is_left_out_and_shared_parameters_are_told_in_place():
    """Both forms of the joined document say the same."""
    limits = {
        "type": "integer", "maximum": 3, "minimum": 0.5, "multipleOf": 2, "maxLength": 1,
        "oneOf": [{}], "nullable": True, "x-more": {"a": 1}, "description": "Some.",
    }  # fmt: skip
    where = [
        {"$ref": "#/parameters/pretty"},
        {"in": "path", "name": "n", "type": "string"},
        {"in": "header", "name": "h", "type": "array", "items": {"type": "string"}},
    ]
    item = refers(FLUNDER) | {"parameters": where}
    shared = {"pretty": {"in": "query", "name": "pretty", "type": "string", "x-a": 1}}
    made = part({f"{ROOT}/flunders": item}, {FLUNDER: limits}, parameters=shared)
    joined = swagger.merged(own(), [made], [ROOT])
    assert set(limits) - set(joined["definitions"][FLUNDER]) == {"oneOf", "nullable"}
    parameters = joined["paths"][f"{ROOT}/flunders"]["parameters"]
    assert [p["name"] for p in parameters] == ["pretty", "n", "h"]
    assert b"flunders" in openapi_gnostic.document(joined)


def test_definitions_that_differ_get_other_names_and_equal_ones_serve_both():
    """They may differ in the kinds that they define; then they define those of both."""
    status = {"type": "object", "x-kubernetes-group-version-kind": [
        {"group": "", "version": "v1", "kind": "Status"}]}  # fmt: skip
    theirs = {"type": "object", "x-kubernetes-group-version-kind": [
        {"group": "wardle", "version": "v1", "kind": "Status"}]}  # fmt: skip
    definitions = {
        "Status": theirs, "Meta": {"type": "object", "description": "Other."},
        FLUNDER: {"properties": {"m": {"$ref": "#/definitions/Meta"}}},
        "Meta_v2": {"type": "string"},
    }  # fmt: skip
    made = part({f"{ROOT}/flunders": refers(FLUNDER)}, definitions)
    before = own(definitions={"Status": status, "Meta": {"type": "object"}})
    once = swagger.merged(before, [made], [ROOT])["definitions"]
    kinds = once["Status"]["x-kubernetes-group-version-kind"]
    assert [kind["group"] for kind in kinds] == ["", "wardle"]
    assert once["Meta"] == {"type": "object"}
    assert once["Meta_v3"] == {"type": "object", "description": "Other."}
    assert once[FLUNDER]["properties"]["m"] == {"$ref": "#/definitions/Meta_v3"}
    other = msgspec.json.encode({
        "paths": {f"{ROOT}beta/others": refers("Meta")},
        "definitions": {"Meta": {"type": "object", "description": "Other."}},
    })  # fmt: skip
    twice = swagger.merged(before, [made, other], [ROOT])
    assert twice["definitions"].keys() == once.keys()
    (answer,) = twice["paths"][f"{ROOT}beta/others"]["get"]["responses"].values()
    assert answer["schema"] == {"$ref": "#/definitions/Meta_v3"}


def test_the_first_path_counts_and_a_taken_group_version_is_not_ours():
    """What a second server says of a path, and needs for it alone, is not told."""
    mine = own({f"{ROOT}/old": refers("Old"), "/apis/a/v1/b": refers("Old")}, {"Old": {}})
    first = part({f"{ROOT}/x": refers("X")}, {"X": {"type": "string"}})
    second = part({f"{ROOT}/x": refers("Y"), f"{ROOT}/z": refers("Z")}, {"Y": {}, "Z": {}})
    joined = swagger.merged(mine, [first, second], [ROOT])
    assert list(joined["paths"]) == ["/apis/a/v1/b", f"{ROOT}/x", f"{ROOT}/z"]
    assert list(joined["definitions"]) == ["Old", "X", "Z"]
    assert joined["paths"][f"{ROOT}/x"] == refers("X")


DEEP: dict[str, object] = {"type": "object"}
for _ in range(100):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"\xff", b"[" * 100_000, b'{"paths": 3}', b'{"paths": {"/apis": 3}, "x": }',
        document({f"{ROOT}/x": 3}, {}),
        document({f"{ROOT}/x": {"get": {"parameters": [{"in": "moon"}]}}}, {}),
        document({f"{ROOT}/x": {"parameters": [{"$ref": "#/parameters/none"}]}}, {}),
        document({f"{ROOT}/x": refers("X")}, {"X": DEEP}),
        document({f"{ROOT}/x": refers("X")}, {"X": {"maximum": "3"}}),
        document({f"{ROOT}/x": refers("X")}, {"X": {"x-kubernetes-group-version-kind": [1]}}),
    ],
)  # fmt: skip
def test_a_document_that_is_none_is_refused(body):
    """Whatever an extension server says: a ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"."):
        swagger.part_of(body, ROOT)


def test_definitions_may_refer_in_circles():
    """As JSONSchemaProps does."""
    definitions = {"X": {"properties": {"x": {"$ref": "#/definitions/X"}}}}
    made = part({f"{ROOT}/x": refers("X")}, definitions)
    assert swagger.merged(own(), [made], [ROOT])["definitions"] == definitions
