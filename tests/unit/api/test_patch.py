"""Patches: the three kinds, their laws and their refusals."""

import contextlib
import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import kinds, patch, schema, strategic
from podwire.api.status import ApiError

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "labels": {"app": "web", "tier": "front"},
        "finalizers": ["a", "b"],
    },
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "nginx:1",
                "resources": {},
                "env": [{"name": "A", "value": "1"}],
            },
            {"name": "log", "image": "fluent:1", "resources": {}},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "a"}],
    },
    "status": {},
}


def merged(change: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy(POD)
    found = strategic.merge(schema.type_named("core.v1.Pod"), POD, change)
    assert before == POD, "the original must not change"
    return found


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_containers_merge_by_name() -> None:
    """The point of strategic merge: one image changes, the rest stays."""
    spec = merged({"spec": {"containers": [{"name": "log", "image": "fluent:2"}]}})["spec"]
    by_name = {c["name"]: c for c in spec["containers"]}
    assert by_name["log"] == {"name": "log", "image": "fluent:2", "resources": {}}
    assert by_name["web"] == POD["spec"]["containers"][0]


def test_a_new_container_comes_first_unless_the_order_is_set() -> None:
    """Surprising, and what a real cluster does."""
    new = {"name": "new", "image": "x"}
    assert names(merged({"spec": {"containers": [new]}})["spec"]["containers"]) == [
        "new",
        "web",
        "log",
    ]
    ordered = {"$setElementOrder/containers": [{"name": "web"}, {"name": "log"}, {"name": "new"}]}
    change = {"spec": {**ordered, "containers": [new]}}
    assert names(merged(change)["spec"]["containers"]) == ["web", "log", "new"]


def test_set_element_order_alone_reorders() -> None:
    """And the server's own items keep their place."""
    change = {"spec": {"$setElementOrder/containers": [{"name": "log"}, {"name": "web"}]}}
    assert names(merged(change)["spec"]["containers"]) == ["log", "web"]


def test_an_item_is_deleted_by_directive_and_a_field_by_null() -> None:
    """$patch: delete and null."""
    change = {
        "metadata": {"labels": {"tier": None, "absent": None}},
        "spec": {"containers": [{"name": "log", "$patch": "delete"}]},
    }
    found = merged(change)
    assert names(found["spec"]["containers"]) == ["web"]
    assert found["metadata"]["labels"] == {"app": "web"}


def test_replace_directives_replace() -> None:
    """In a list and in a map."""
    change = {
        "metadata": {"labels": {"$patch": "replace", "only": "one"}},
        "spec": {"containers": [{"$patch": "replace"}, {"name": "sole"}]},
    }
    found = merged(change)
    assert found["metadata"]["labels"] == {"only": "one"}
    assert found["spec"]["containers"] == [{"name": "sole"}]


def test_retain_keys_drops_what_a_union_no_longer_has() -> None:
    """How kubectl switches a volume's source or a Deployment's strategy."""
    change = {
        "spec": {
            "volumes": [
                {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}
            ]
        }
    }
    assert merged(change)["spec"]["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_primitive_lists_unite_and_shrink_by_directive() -> None:
    """finalizers is a set; atomic lists (tolerations) are replaced."""
    change = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "spec": {"tolerations": [{"key": "b"}]},
    }
    found = merged(change)
    assert sorted(found["metadata"]["finalizers"]) == ["b", "c"]
    assert found["spec"]["tolerations"] == [{"key": "b"}]


def test_service_ports_merge_by_port_number() -> None:
    """patchMergeKey=port."""
    service = schema.type_named("core.v1.Service")
    original = {"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443}]}}
    found = strategic.merge(
        service, original, {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    )
    assert {"port": 80, "nodePort": 30080, "targetPort": 8080} in found["spec"]["ports"]
    assert {"port": 443} in found["spec"]["ports"]


def test_a_new_item_takes_the_place_of_a_deleted_one() -> None:
    """At the end of the list: whoever is there stays before it, as Go's arrays have it."""
    change = {
        "spec": {
            "$setElementOrder/containers": [{"name": "new"}],
            "containers": [{"name": "new"}, {"name": "web", "$patch": "delete"}],
        }
    }
    assert names(merged(change)["spec"]["containers"]) == ["log", "new"]


def test_nothing_is_made_of_a_list_that_is_not_there() -> None:
    """To delete from an absent list leaves it absent."""
    change = {"spec": {"$deleteFromPrimitiveList/imagePullSecrets": ["a"]}}
    assert "imagePullSecrets" not in merged(change)["spec"]


CONTAINER_B = {"containers": [{"name": "b"}]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"spec": {"containers": [{"image": "x"}]}}, "does not contain declared merge key: name"),
        ({"$patch": "explode"}, "unknown patch type: explode in map: map[$patch:explode]"),
        ({"spec": {"$patch": "merge"}}, "unknown patch type: merge in map: map[$patch:merge]"),
        ({"spec": {"containers": [{"name": "web", "$patch": "merge"}]}},
         "merging lists cannot yet be specified in the patch"),
        ({"spec": {"$setElementOrder/containers": [{"name": "a"}], **CONTAINER_B}},
         "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n"),
        ({"spec": {"$setElementOrder/containers": 1}},
         "invalid patch format of setElementOrder list"),
        ({"spec": {"$retainKeys": ["a"], "nodeName": "x"}}, "invalid patch format of retainKeys"),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}},
         "invalid patch format of primitive list"),
    ],
)  # fmt: skip
def test_contradictory_strategic_patches_are_bad_requests(change: dict[str, Any], why: str) -> None:
    """400, and in upstream's words."""
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.STRATEGIC_PATCH_TYPE, POD, json.dumps(change).encode())
    assert caught.value.code == 400
    assert why in caught.value.message


def test_the_patch_of_kubectl_set_image_applies() -> None:
    """As kubectl 1.37 sends it, strictly validated."""
    change = (
        b'{"spec":{"$setElementOrder/containers":[{"name":"web"},{"name":"log"}],'
        b'"containers":[{"image":"nginx:2","name":"web"}]}}'
    )
    obj = patch.apply_patch(kinds.POD, patch.STRATEGIC_PATCH_TYPE, POD, change, "Strict").obj
    assert [c["image"] for c in obj["spec"]["containers"]] == ["nginx:2", "fluent:1"]


OPERATIONS: list[tuple[dict[str, Any], Any]] = [
    ({"op": "add", "path": "/a/b", "value": 1}, {"a": {"b": 1}, "l": [1, 2]}),
    ({"op": "add", "path": "/l/-", "value": 3}, {"a": {}, "l": [1, 2, 3]}),
    ({"op": "add", "path": "/l/0", "value": 0}, {"a": {}, "l": [0, 1, 2]}),
    ({"op": "replace", "path": "/l", "value": None}, {"a": {}, "l": None}),
    ({"op": "remove", "path": "/l/1"}, {"a": {}, "l": [1]}),
    ({"op": "move", "path": "/a/l", "from": "/l"}, {"a": {"l": [1, 2]}}),
    ({"op": "copy", "path": "/a/l", "from": "/l/0"}, {"a": {"l": 1}, "l": [1, 2]}),
    ({"op": "test", "path": "/l/1", "value": 2.0}, {"a": {}, "l": [1, 2]}),
    ({"op": "test", "path": "/none", "value": None}, {"a": {}, "l": [1, 2]}),
    ({"op": "add", "path": "/x~1y~0z", "value": 1}, {"a": {}, "l": [1, 2], "x/y~z": 1}),
    ({"op": "replace", "path": "", "value": 5}, 5),
]


@pytest.mark.parametrize(("operation", "outcome"), OPERATIONS)
def test_json_patch_operations(operation: dict[str, Any], outcome: Any) -> None:
    """RFC 6902, one line each."""
    original = {"a": {}, "l": [1, 2]}
    assert patch.json_patch(original, [operation]) == outcome
    assert original == {"a": {}, "l": [1, 2]}


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (
            {"op": "replace", "path": "/x", "value": 1},
            "replace operation does not apply: doc is missing key: /x: missing value",
        ),
        (
            {"op": "remove", "path": "/x/y"},
            "remove operation does not apply: doc is missing path: /x/y: missing value",
        ),
        (
            {"op": "test", "path": "/kind", "value": "Node"},
            "testing value /kind failed: test failed",
        ),
        (
            {"op": "add", "path": "/spec/containers/9", "value": {}},
            (
                "add operation does not apply: Unable to access invalid index: 9: "
                "invalid index referenced"
            ),
        ),
        ({"op": "explode", "path": ""}, "Unexpected kind: explode"),
    ],
)  # fmt: skip
def test_a_json_patch_that_does_not_apply_is_unprocessable(
    operation: dict[str, Any], why: str
) -> None:
    """422 in general words, as the API server answers; kubectl prints them only with details."""
    with pytest.raises(patch.PatchError, match=re.escape(why)):
        patch.json_patch(POD, [operation])
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.JSON_PATCH_TYPE, POD, json.dumps([operation]).encode())
    assert caught.value.code == 422
    told = caught.value.status()
    assert told["message"] == "the server rejected our request due to an error in our request"
    assert told["details"] == {}


def test_copies_that_double_a_document_are_refused() -> None:
    """Thirty of them would make a billion of one."""
    grow = [{"op": "add", "path": "/metadata/annotations", "value": {"a": "x" * 1000}}]
    grow += [{"op": "copy", "from": "/metadata", "path": f"/metadata/x{i}"} for i in range(30)]
    with pytest.raises(patch.PatchError, match="copies add"):
        patch.json_patch(POD, grow)


@pytest.mark.parametrize("media", patch.ACCEPTED[:3])
def test_a_patch_that_nests_too_deep_is_a_bad_request(media: str) -> None:
    """Not the interpreter's stack decides, and no failure of the server's."""
    deep = '{"a":' * 800 + "1" + "}" * 800
    body = f'{{"metadata":{{"annotations":{deep}}}}}'
    if media == patch.JSON_PATCH_TYPE:
        body = f'[{{"op":"add","path":"/metadata/annotations","value":{deep}}}]'
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, media, POD, body.encode())
    assert caught.value.code in {400, 422}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"spec": {"priority": "high"}}, "unrecognized type: int32"),
        ({"spec": {"priority": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"nodeName": 5}}, "cannot convert int64 to string"),
        ({"spec": {"nodeName": True}}, "unrecognized type: string"),
        ({"spec": {"hostNetwork": "yes"}}, "unrecognized type: bool"),
        ({"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"metadata": {"labels": "a"}}, "cannot restore map from string"),
        ({"spec": {"volumes": "v"}}, "cannot restore slice from string"),
        ({"spec": {"affinity": "v"}}, "cannot restore struct from: string"),
    ],
)
def test_a_strategic_patch_of_a_wrong_type_is_told_as_the_converter_tells_it(
    change: dict[str, Any], why: str
) -> None:
    """Upstream converts its outcome from a map; the others decode JSON. From converter.go."""
    encoded = json.dumps(change).encode()
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.STRATEGIC_PATCH_TYPE, POD, encoded)
    assert caught.value.causes[0].message.endswith(f": {why}")
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.MERGE_PATCH_TYPE, POD, encoded)
    assert "json: cannot unmarshal" in caught.value.causes[0].message


def test_a_patch_must_leave_an_object_of_the_kind() -> None:
    """A wrong type, or an unknown field under Strict, is 422 and shows what came of the patch; of a
    strategic one the patch.
    """
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.MERGE_PATCH_TYPE, POD, b'{"spec":{"nodeName":5}}')
    assert caught.value.code == 422
    assert caught.value.message.startswith(' "" is invalid: patch: Invalid value: "{\\"apiVersion')
    for media in (patch.MERGE_PATCH_TYPE, patch.STRATEGIC_PATCH_TYPE):
        with pytest.raises(ApiError) as caught:
            patch.apply_patch(kinds.POD, media, POD, b'{"spec":{"foo":5}}', "Strict")
        assert caught.value.code == 422
        assert caught.value.message.endswith(': strict decoding error: unknown field "spec.foo"')
    assert caught.value.causes[0].message == (
        'Invalid value: "map[spec:map[foo:5]]": strict decoding error: unknown field "spec.foo"'
    )
    warned = patch.apply_patch(kinds.POD, patch.MERGE_PATCH_TYPE, POD, b'{"spec":{"foo":5}}')
    assert warned.warnings == ['unknown field "spec.foo"']


def test_a_json_patch_itself_is_decoded_strictly() -> None:
    """Unknown and doubled names of its operations are warnings, or refused."""
    text = b'[{"op":"add","path":"/spec/x","value":1,"oops":2,"op":"add"}]'
    told = [
        'json patch duplicate field "[0].op"', 'json patch unknown field "[0].oops"',
        'unknown field "spec.x"',
    ]  # fmt: skip
    assert patch.apply_patch(kinds.POD, patch.JSON_PATCH_TYPE, POD, text).warnings == told
    assert patch.apply_patch(kinds.POD, patch.JSON_PATCH_TYPE, POD, text, "Ignore").warnings == []
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, patch.JSON_PATCH_TYPE, POD, text, "Strict")
    assert caught.value.message.endswith(f": strict decoding error: {', '.join(told)}")


@pytest.mark.parametrize("media", ["application/apply-patch+cbor", "text/plain", ""])
def test_other_patch_types_are_unsupported(media: str) -> None:
    """And told which are not."""
    with pytest.raises(ApiError) as caught:
        patch.apply_patch(kinds.POD, media, POD, b"{}")
    assert caught.value.code == 415
    assert caught.value.message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, "
        "application/strategic-merge-patch+json, application/apply-patch+yaml"
    )


LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
KEYS = st.sampled_from("abcd")
VALUES = st.recursive(
    LEAF, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3)
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def nulls(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and any(map(nulls, value.values())))


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_idempotent_and_leaves_the_original_alone(original, change) -> None:
    """Applying twice is applying once; the empty patch is the identity; nulls never remain."""
    before = copy.deepcopy(original)
    once = patch.merge_patch(original, change)
    assert original == before
    assert patch.merge_patch(once, change) == once
    assert patch.merge_patch(original, {}) == original
    if not nulls(original):
        assert not nulls(once)


FLAT = st.dictionaries(KEYS, st.integers(-3, 3) | st.text("ab", max_size=2), max_size=4)


@given(FLAT, FLAT, FLAT)
def test_merge_patches_compose(original, one, two) -> None:
    """Without nulls and nesting, patching the patch is patching twice."""
    twice = patch.merge_patch(patch.merge_patch(original, one), two)
    assert patch.merge_patch(original, patch.merge_patch(one, two)) == twice


ITEMS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abcd")},
        optional={"image": st.sampled_from("xyz"), "env": st.just([{"name": "E", "value": "1"}])},
    ),
    max_size=4,
    unique_by=lambda item: str(item["name"]),
)


@given(ITEMS, ITEMS, st.sets(st.sampled_from("abcd")))
def test_a_strategic_patch_is_idempotent(original, change, deleted) -> None:
    """For keyed lists with deletions: twice is once, and keys stay unique."""
    pod = schema.type_named("core.v1.Pod")
    kept = [item for item in change if item["name"] not in deleted]
    gone = [{"name": name, "$patch": "delete"} for name in sorted(deleted)]
    body = {"spec": {"containers": [*kept, *gone]}}
    once = strategic.merge(pod, {"spec": {"containers": original}}, body)
    assert strategic.merge(pod, once, body) == once
    assert len(set(names(once["spec"]["containers"]))) == len(once["spec"]["containers"])


DIRECTIVES = st.sampled_from((
    "$patch", "$retainKeys", "$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers",
    "containers", "finalizers", "labels", "metadata", "spec", "name", "volumes",
))  # fmt: skip
TRICKY = st.recursive(
    LEAF | st.sampled_from(("delete", "replace", "merge", "web", "v")),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(DIRECTIVES, v, max_size=4),
)


@given(TRICKY, st.sampled_from(patch.ACCEPTED))
def test_any_patch_applies_or_is_refused(change, media: str) -> None:
    """Nothing but ApiError escapes, and the original survives."""
    before = copy.deepcopy(POD)
    with contextlib.suppress(ApiError):
        patch.apply_patch(kinds.POD, media, POD, json.dumps(change).encode())
    assert before == POD


PATHS = (
    "", "/", "/spec", "/spec/containers/0", "/spec/containers/-1", "/metadata/labels/app", "x",
)  # fmt: skip
VERBS = st.sampled_from(("add", "remove", "replace", "move", "copy", "test", 5))
OPERATION = st.fixed_dictionaries(
    {"op": VERBS, "path": st.sampled_from(PATHS)},
    optional={"value": VALUES, "from": st.sampled_from(("", "/spec", "/spec/containers/1", 3))},
)


@given(st.lists(OPERATION | LEAF, max_size=4))
def test_any_json_patch_applies_or_is_refused(operations) -> None:
    """The document is never left half changed for the caller."""
    before = copy.deepcopy(POD)
    with contextlib.suppress(ApiError):
        patch.apply_patch(kinds.POD, patch.JSON_PATCH_TYPE, POD, json.dumps(operations).encode())
    assert before == POD


@given(st.binary(max_size=40), st.sampled_from(patch.ACCEPTED))
def test_any_bytes_are_a_patch_or_a_bad_request(body: bytes, media: str) -> None:
    """400, not 500."""
    with contextlib.suppress(ApiError):
        patch.apply_patch(kinds.POD, media, POD, body)


ITEM: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["a", "b", "c", 1, None]),
        "status": st.sampled_from(["True", None, {"x": None}]),
        "$patch": st.sampled_from(["delete", "replace", "merge"]),
    },
)
ITEMS = st.lists(st.one_of(ITEM, st.just("text")), max_size=4)
KEYED: st.SearchStrategy[Any] = st.lists(
    st.builds(lambda key, value: {"type": key, "status": value},
              st.sampled_from("abcd"), st.sampled_from(["True", "False"])),
    max_size=4,
)  # fmt: skip


@given(original=KEYED | ITEMS, change=KEYED | ITEMS)
def test_lists_merge_the_same_way_when_nothing_comes_or_goes(original, change) -> None:
    """The short way through a list that is a map says what the long way says, or nothing."""
    field = schema.type_named("core.v1.PodStatus").fields["conditions"]
    usual = strategic._merge_usual(original, change, field)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strategic, "_merge_usual", lambda *_: None)
        if usual is not None:
            assert strategic._merge_list(original, change, field) == usual
