"""Bodies in JSON and YAML: what is pruned, what is refused, and in which words."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import codec, kinds
from podwire.api.status import ApiError

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: &labels {app: web}}
spec:
  replicas: 0o2
  selector: {matchLabels: *labels}
  template:
    metadata: {labels: {<<: *labels, tier: front}}
    spec:
      containers:
      - name: web
        image: nginx
        resources: {limits: {cpu: 0.5, memory: 1024Mi}}
        env: [{name: DAY, value: "2026-01-01"}, {name: WHEN, value: "yes"}]
        args: []
"""


def message(body: object, kind: kinds.Kind[Any], validation: str = codec.STRICT) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        codec.decode("application/json", data, kind, validation)
    assert caught.value.code == 400
    return caught.value.message


def test_yaml_becomes_the_object_that_a_cluster_would_store() -> None:
    """Anchors and merges resolve, quantities are canonical, empty lists go, resources stays."""
    obj = codec.decode("application/yaml", DEPLOYMENT.encode(), kinds.DEPLOYMENT, "Strict").obj
    assert obj["spec"]["replicas"] == 2
    template = obj["spec"]["template"]
    assert template["metadata"]["labels"] == {"app": "web", "tier": "front"}
    [container] = template["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "500m", "memory": "1Gi"}}
    assert "args" not in container
    assert obj["status"] == {}


def test_what_go_always_prints_is_there_and_not_shared() -> None:
    """Two objects never share an implied dict."""
    one, two = (
        codec.decode("", b'{"spec":{"containers":[{"name":"a"}]}}', kinds.POD).obj for _ in range(2)
    )
    assert one["spec"]["containers"][0]["resources"] == {}
    one["spec"]["containers"][0]["resources"]["limits"] = {}
    assert two["spec"]["containers"][0]["resources"] == {}


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (
            {"spec": {"replicas": "x"}}, kinds.DEPLOYMENT,
            ("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of "
            "type int32"),
        ),
        (
            {"spec": {"replicas": 3_000_000_000}}, kinds.DEPLOYMENT,
            ("json: cannot unmarshal number 3000000000 into Go struct field "
            "DeploymentSpec.spec.replicas of type int32"),
        ),
        (
            {"spec": {"containers": [{"image": 5}]}}, kinds.POD,
            ("json: cannot unmarshal number into Go struct field Container.spec.containers.image "
            "of type string"),
        ),
        (
            {"spec": {"containers": {}}}, kinds.POD,
            ("json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type "
            "[]v1.Container"),
        ),
        (
            {"spec": {"ports": [{"targetPort": True}]}}, kinds.SERVICE,
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            {"metadata": {"creationTimestamp": "now"}}, kinds.POD,
            'parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"',
        ),
        ({"data": {"a": "a!"}}, kinds.SECRET, "illegal base64 data at input byte 1"),
    ],
)  # fmt: skip
def test_wrong_types_are_told_as_gos_decoder_tells_them(body, kind, why) -> None:
    """With the field's path, and the kind in front."""
    prefix = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
    assert message(body, kind) == prefix + why


def test_unknown_and_doubled_fields_are_strict_errors() -> None:
    """All of them, with paths."""
    body = (
        b'{"spec":{"replicas":1,"replicas":2,"foo":1,"template":{"spec":{"containers":'
        b'[{"name":"a","bar":null}]}}}}'
    )
    assert message(body, kinds.DEPLOYMENT) == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'duplicate field "spec.replicas", unknown field "spec.foo", '
        'unknown field "spec.template.spec.containers[0].bar"'
    )


def test_doubled_fields_are_found_in_large_bodies_without_quadratic_work() -> None:
    """Half a million small lists: one step for each, whatever waits behind it."""
    body = b'{"a": 1, "a": 2, "spec": [' + b",".join([b"[1]"] * 500_000) + b"]}"
    assert codec.duplicate_fields(body, codec.load_json(body)) == ["a"]


def test_unknown_fields_are_pruned_with_a_warning_unless_ignored() -> None:
    """Warn is the server's default."""
    body = b'{"data":{"a":"b"},"foo":1}'
    warned = codec.decode("", body, kinds.CONFIG_MAP)
    assert warned.warnings == ['unknown field "foo"']
    assert "foo" not in warned.obj
    assert not codec.decode("", body, kinds.CONFIG_MAP, codec.IGNORE).warnings


def test_a_null_means_absent() -> None:
    """Clients send creationTimestamp: null and nodeName: null."""
    body = b'{"metadata":{"creationTimestamp":null,"labels":{"a":null}},"spec":{"nodeName":null}}'
    obj = codec.decode("", body, kinds.POD).obj
    assert obj["metadata"] == {"labels": {"a": ""}}
    assert obj["spec"] == {}
    body = b'{"status":{"disruptedPods":{"a":null,"b":"2026-01-01T00:00:00Z"}}}'
    obj = codec.decode("", body, kinds.POD_DISRUPTION_BUDGET).obj
    assert obj["status"]["disruptedPods"] == {"b": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "unexpected end of JSON input (<empty>)"),
        (b"{", "must be of type Pod"),
        (b"[1]", "json: cannot unmarshal array into Go value"),
        (b'{"kind":"Service"}', "converting (v1.Service) to (core.Pod): unknown conversion"),
        (b'{"kind":"Foo"}', 'no kind "Foo" is registered for version "v1"'),
        (b'{"apiVersion":"v2"}', 'no kind "Pod" is registered for version "v2"'),
        (b'{"kind":5}', "cannot unmarshal number into Go struct field Pod.kind of type string"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_pod_are_bad_requests(body: bytes, part: str) -> None:
    """Each in upstream's words."""
    assert part in message(body, kinds.POD)


def test_other_content_types_and_sizes_are_refused() -> None:
    """415 lists what is accepted; 413 tells the limit."""
    with pytest.raises(ApiError) as caught:
        codec.decode("text/plain", b"x", kinds.POD)
    assert caught.value.code == 415
    assert caught.value.message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )
    with pytest.raises(ApiError) as caught:
        codec.decode("", b" " * (codec.MAX_BODY_BYTES + 1), kinds.POD)
    assert caught.value.code == 413


def test_delete_options_may_carry_any_group_version() -> None:
    """client-go writes the group of the object that it deletes."""
    body = b'{"kind":"DeleteOptions","apiVersion":"apps/v1","gracePeriodSeconds":0}'
    decoded = codec.decode_as("application/json; charset=utf-8", body, "v1", "DeleteOptions")
    assert decoded.obj["gracePeriodSeconds"] == 0


def test_a_trace_is_free_form_but_bounded() -> None:
    """podwire's own kind is outside the table."""
    assert codec.decode("", b'{"spec":{"source":"pod/a"}}', kinds.TRACE).obj["spec"] == {
        "source": "pod/a"
    }
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    assert "nests deeper" in message(deep, kinds.TRACE)


def _aliases(i: int) -> str:
    return f"{chr(97 + i)}: &{chr(97 + i)} [{','.join(['*' + chr(96 + i)] * 9)}]\n"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(_aliases(i) for i in range(1, 9))


@pytest.mark.parametrize(
    "text",
    [
        BOMB, "[" * 5000, "a: *b", "a: &a [*a]", "{a: 1, a: 2}", "? [x]\n: y", "\tx", "%YAML 9",
        "a: 1e999", "<<: 3",
    ],
)  # fmt: skip
def test_yaml_bombs_and_broken_yaml_are_bad_requests(text: str) -> None:
    """Aliases that multiply, endless nesting, doubled keys."""
    with pytest.raises(ApiError) as caught:
        codec.decode("application/yaml", text.encode(), kinds.CONFIG_MAP)
    assert caught.value.code == 400


JSON_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
JSON_VALUES = st.recursive(
    JSON_LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(st.binary(max_size=100), st.sampled_from(("application/json", "application/yaml")))
def test_arbitrary_bytes_decode_or_are_bad_requests(body: bytes, media: str) -> None:
    """Nothing but ApiError escapes."""
    with contextlib.suppress(ApiError):
        codec.decode(media, body, kinds.POD, codec.STRICT)


@given(JSON_VALUES, st.sampled_from(("metadata", "spec", "status", "data", "subsets", "rules")))
def test_arbitrary_json_decodes_or_is_a_bad_request(value, field: str) -> None:
    """For every kind."""
    body = json.dumps({field: value}).encode()
    for kind in kinds.ALL:
        with contextlib.suppress(ApiError):
            codec.decode("", body, kind, codec.STRICT)


@given(data=st.data())
def test_upstream_objects_with_one_value_swapped_decode_or_are_bad_requests(data, upstream) -> None:
    """The decoder meets every type code with every wrong value."""
    name = data.draw(st.sampled_from(sorted(upstream)))
    body = json.loads(json.dumps(upstream[name][0]))
    node = body
    for _ in range(data.draw(st.integers(0, 7))):
        key = data.draw(st.sampled_from(_keys(node)))
        if not isinstance(node[key], dict | list) or not node[key]:
            break
        node = node[key]
    node[data.draw(st.sampled_from(_keys(node)))] = data.draw(JSON_VALUES)
    api_version, _, kind = name.rpartition("/")
    with contextlib.suppress(ApiError):
        codec.check(body, api_version, kind, codec.STRICT)


def _keys(node: Any) -> list[Any]:
    return sorted(node) if isinstance(node, dict) else list(range(len(node)))
