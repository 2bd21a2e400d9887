"""Validation: the field paths and messages that kubectl users know."""

import contextlib
import copy
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import codec, kinds, names, objects
from podwire.api.status import ApiError
from podwire.api.validation import validate_metadata
from tests.samples import sample

Object = dict[str, Any]
Kind = kinds.Kind[Any]

SELECTOR = {"matchLabels": {"app": "web"}}


def prepare_create(kind, obj):
    """Defaulted and valid, as the API server stores it."""
    objects.default(kind, obj)
    objects.check_create(kind, obj)
    return obj


def prepare_update(kind, new, old, subresource=""):
    """The same for a successor."""
    objects.default(kind, new, old, subresource)
    objects.check_update(kind, new, old, subresource)
    return new


STORED = [kind for kind in kinds.ALL if kind is not kinds.TRACE and "get" in kind.verbs]


def make(kind: Kind, change: Callable[[Object], object] | None = None) -> Object:
    """A valid object of the kind, changed, decoded as the API server does."""
    body = sample(kind, "web", "default" if kind is kinds.EVENT else "shop")
    if kind is kinds.JOB:  # the registry makes its selector
        body["spec"] |= {"manualSelector": True, "selector": SELECTOR}
        body["spec"]["template"]["metadata"] = {"labels": {"app": "web"}}
    if change is not None:
        change(body)
    return codec.decode("", json.dumps(body).encode(), kind, codec.STRICT).obj


def told(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.code == 422
    assert caught.value.reason == "Invalid"
    return [f"{cause.field}: {cause.message}" for cause in caught.value.causes]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.resource)
def test_a_plain_object_of_every_kind_is_valid_and_may_be_written_again(kind: Kind) -> None:
    """Create, then an update that changes nothing."""
    stored = prepare_create(kind, make(kind))
    before = copy.deepcopy(stored)
    prepare_update(kind, copy.deepcopy(stored), stored)
    assert stored == before


def test_the_answer_lists_every_cause() -> None:
    """Message, details and causes as kubectl prints them."""

    def change(body: Object) -> None:
        body["spec"]["replicas"] = -1

    with pytest.raises(ApiError) as caught:
        prepare_create(kinds.DEPLOYMENT, make(kinds.DEPLOYMENT, change))
    status = caught.value.status()
    assert status["message"] == (
        'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than '
        "or equal to 0"
    )
    assert status["details"] == {
        "name": "web",
        "group": "apps",
        "kind": "Deployment",
        "causes": [
            {
                "reason": "FieldValueInvalid",
                "message": "Invalid value: -1: must be greater than or equal to 0",
                "field": "spec.replicas",
            }
        ],
    }
    with pytest.raises(ApiError) as caught:
        prepare_create(kinds.POD, make(kinds.POD, lambda b: b["spec"].update(containers=[{}])))
    assert caught.value.message == (
        'Pod "web" is invalid: [spec.containers[0].name: Required value, '
        "spec.containers[0].image: Required value]"
    )


def _rule(action: str = "Restart", operator: str = "In", codes: int = 1) -> Object:
    return {"action": action, "exitCodes": {"operator": operator, "values": [42] * codes}}


@pytest.mark.parametrize("group", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("policy", "rules", "field", "message"),
    [
        ("Sometimes", [], "restartPolicy", 'Unsupported value: "Sometimes": supported values: '),
        (None, [_rule()], "restartPolicy",
         "Required value: must specify restartPolicy when restart rules are used"),
        ("Never", [_rule("Stop")], "restartPolicyRules[0].action",
         'Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"'),
        ("Never", [{"action": "Restart"}], "restartPolicyRules[0].exitCodes",
         "Required value: must be specified"),
        ("Never", [_rule(operator="Is")], "restartPolicyRules[0].exitCodes.operator",
         'Unsupported value: "Is": supported values: "In", "NotIn"'),
        ("Never", [_rule(codes=256)], "restartPolicyRules[0].exitCodes.values",
         "Too many: 256: must have at most 255 items"),
        ("Never", [_rule()] * 21, "restartPolicyRules",
         "Too many: 21: must have at most 20 items"),
    ],
)  # fmt: skip
def test_restart_rules_of_containers_are_checked_as_upstream_does(
    group: str, policy: str | None, rules: list[Object], field: str, message: str
) -> None:
    """Of regular and of init containers."""
    container: Object = {"name": "more", "image": "busybox", "restartPolicyRules": rules}
    if policy is not None:
        container["restartPolicy"] = policy

    def change(body: Object) -> None:
        body["spec"].setdefault(group, []).append(container)

    with pytest.raises(ApiError) as caught:
        prepare_create(kinds.POD, make(kinds.POD, change))
    at = 1 if group == "containers" else 0
    assert f"spec.{group}[{at}].{field}: {message}" in caught.value.message


def _set(path: str, value: Any) -> Callable[[Object], None]:
    """Sets a dotted path (numbers index lists)."""

    def change(body: Object) -> None:
        node: Any = body
        *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for part in way:
            node = node[part] if isinstance(part, int) else node.setdefault(part, {})
        node[last] = value

    return change


RULES = (Path(__file__).parent / "testdata" / "complaints.txt").read_text()


def rules(section: str) -> list[tuple[Kind, str, Any, str]]:
    """The lines of a section of complaints.txt: kind, path, value, complaint."""
    by_name = {kind.kind: kind for kind in kinds.STORED}
    lines = RULES.partition(f"[{section}]")[2].partition("\n[")[0].strip().splitlines()
    found = []
    for line in lines:
        if line.startswith("#"):
            continue
        rule, _, complaint = line.partition(" => ")
        name, path, value = rule.split(" ", 2)
        found.append((by_name[name], path, json.loads(value), complaint))
    return found


@pytest.mark.parametrize(("kind", "path", "value", "complaint"), rules("create"))
def test_what_is_wrong_is_told_with_its_path(
    kind: Kind, path: str, value: Any, complaint: str
) -> None:
    """Every rule in complaints.txt: what is set, and how the complaint begins."""
    obj = make(kind, _set(path, value))
    complaints = told(lambda: prepare_create(kind, obj))
    assert any(text.startswith(complaint) for text in complaints), complaints


@pytest.mark.parametrize(("kind", "path", "value", "complaint"), rules("update"))
def test_what_may_not_change_is_told(kind: Kind, path: str, value: Any, complaint: str) -> None:
    """The same, against the stored object."""
    stored = prepare_create(kind, make(kind, _set("metadata.uid", "u")))
    new = copy.deepcopy(stored)
    _set(path, value)(new)
    complaints = told(lambda: prepare_update(kind, new, stored))
    assert any(text.startswith(complaint) for text in complaints), complaints


@pytest.mark.parametrize(
    ("kind", "path", "value", "complaint"),
    [
        (
            kinds.POD, "metadata.labels", {"a": "b" * 64},
            f'metadata.labels: Invalid value: "{"b" * 64}": must be no more than 63 bytes',
        ),
        (
            kinds.POD, "metadata.annotations", {"a": "b" * 262145},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            kinds.CONFIG_MAP, "data", {"a": "x" * 1048577},
            "[]: Too long: may not be more than 1048576 bytes",
        ),
    ],
)  # fmt: skip
def test_what_is_too_long_is_told(kind: Kind, path: str, value: Any, complaint: str) -> None:
    """Labels, annotations and data have limits."""
    obj = make(kind, _set(path, value))
    assert told(lambda: prepare_create(kind, obj)) == [complaint]


def test_of_a_pod_little_more_than_the_image_may_change() -> None:
    """The message names the fields that may, and those that did."""
    stored = prepare_create(kinds.POD, make(kinds.POD))
    fine = copy.deepcopy(stored)
    fine["spec"]["containers"][0]["image"] = "nginx:2"
    fine["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    prepare_update(kinds.POD, fine, stored)
    new = copy.deepcopy(stored)
    new["spec"]["nodeName"] = "node-1"
    new["spec"]["containers"][0]["command"] = ["x"]
    [complaint] = told(lambda: prepare_update(kinds.POD, new, stored))
    assert complaint.startswith(
        "spec: Forbidden: pod updates may not change fields other than "
        "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    )
    assert complaint.endswith("\n  spec.containers[0].command\n  spec.nodeName")


def test_a_cluster_ip_may_not_change_but_may_be_left_out() -> None:
    """The message that upstream's own suite greps for."""
    stored = prepare_create(kinds.SERVICE, make(kinds.SERVICE, _set("spec.clusterIP", "10.96.0.9")))
    silent = copy.deepcopy(stored)
    del silent["spec"]["clusterIP"], silent["spec"]["clusterIPs"]
    assert prepare_update(kinds.SERVICE, silent, stored)["spec"]["clusterIP"] == "10.96.0.9"
    changed = copy.deepcopy(stored)
    changed["spec"].update(clusterIP="10.96.0.10", clusterIPs=["10.96.0.10"])
    assert told(lambda: prepare_update(kinds.SERVICE, changed, stored)) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.10"]: may not change once set'
    ]


def test_an_immutable_config_map_stays_as_it_is() -> None:
    """Neither its data nor its immutability may change."""
    stored = prepare_create(kinds.CONFIG_MAP, make(kinds.CONFIG_MAP, _set("immutable", True)))
    new = copy.deepcopy(stored)
    new["immutable"] = False
    new["data"] = {}
    assert told(lambda: prepare_update(kinds.CONFIG_MAP, new, stored)) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]


def test_a_finalizer_is_a_standard_one_or_has_a_domain() -> None:
    """Also when it comes later; a CustomResourceDefinition's need not."""
    kept = ["kubernetes", "orphan", "example.com/hold"]
    change = _set("metadata.finalizers", [*kept, "hold"])
    complaint = (
        'metadata.finalizers[3]: Invalid value: "hold": name is neither a standard finalizer name '
        "nor is it fully qualified"
    )
    body = make(kinds.CONFIG_MAP, change)
    assert told(lambda: prepare_create(kinds.CONFIG_MAP, body)) == [complaint]
    stored = make(kinds.CONFIG_MAP, _set("metadata.finalizers", kept))
    stored = prepare_create(kinds.CONFIG_MAP, stored)
    new = copy.deepcopy(stored)
    new["metadata"]["finalizers"].append("hold")
    assert told(lambda: prepare_update(kinds.CONFIG_MAP, new, stored)) == [complaint]
    definition = kinds.by_plural("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    assert definition is not None
    assert not validate_metadata(definition, {"metadata": {"name": "a.b", "finalizers": ["hold"]}})


def test_a_dying_object_gets_no_new_finalizers() -> None:
    """Removing one is what everybody waits for."""
    body = {
        "metadata.deletionTimestamp": "2026-01-01T00:00:00Z",
        "metadata.finalizers": ["a.org/x"],
    }
    stored = make(kinds.CONFIG_MAP, lambda b: [_set(k, v)(b) for k, v in body.items()])
    new = copy.deepcopy(stored)
    new["metadata"]["finalizers"] = ["a.org/y"]
    [complaint] = told(lambda: prepare_update(kinds.CONFIG_MAP, new, stored))
    assert complaint == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
        'deleted, found new finalizers []string{"a.org/y"}'
    )


def test_a_status_report_is_not_judged_by_the_rules_of_the_spec() -> None:
    """A kubelet may report on a pod whose spec it could not have written."""
    stored = prepare_create(kinds.POD, make(kinds.POD))
    new = copy.deepcopy(stored)
    new["spec"]["nodeName"] = "node-1"
    new["status"] = {"podIP": "10.244.0.2"}
    reported = prepare_update(kinds.POD, new, stored, "status")
    assert reported["status"]["podIPs"] == [{"ip": "10.244.0.2"}]


ODD = ("", "a", "Always", "None", "ClientIP", "10.0.0.1", "25%", "In")


def _thin(node: Any, seed: int, path: str = "") -> Any:
    """The value with parts left out and texts swapped, as ``seed`` decides."""
    chance = zlib.crc32(f"{seed}{path}".encode())
    if isinstance(node, dict):
        kept = {k: _thin(v, seed, f"{path}.{k}") for k, v in node.items()}
        return {k: v for k, v in kept.items() if zlib.crc32(f"{seed}{path}.{k}".encode()) % 9}
    if isinstance(node, list):
        return [_thin(v, seed, f"{path}[{i}]") for i, v in enumerate(node)] * (chance % 3)
    if isinstance(node, str) and node.endswith("Value") and chance % 2:
        return ODD[chance // 2 % len(ODD)]
    return node


@given(st.integers(0, 2**32), st.sampled_from([k for k in STORED if k not in kinds.COMPUTED]))
def test_any_decodable_object_is_prepared_or_invalid(upstream, seed: int, kind: Kind) -> None:
    """Upstream's fullest objects, thinned out: never anything but ApiError."""
    body = upstream.get(f"{kind.api_version}/{kind.kind}", ({"metadata": {"name": "a"}}, b""))[0]
    with contextlib.suppress(ApiError):
        new = codec.check(_thin(body, seed), kind.api_version, kind.kind).obj
        old = codec.check(_thin(body, seed + 1), kind.api_version, kind.kind).obj
        for obj in (new, old):
            with contextlib.suppress(ApiError):
                prepare_create(kind, obj)
        prepare_update(kind, new, old)


def test_counts_that_contradict_each_other_are_complaints_also_when_one_is_absent() -> None:
    """An absent count is zero, and more than a negative one."""
    stored = prepare_create(kinds.DEPLOYMENT, make(kinds.DEPLOYMENT))
    new = copy.deepcopy(stored)
    new["status"] = {"replicas": -1, "readyReplicas": -1}
    complaints = told(lambda: prepare_update(kinds.DEPLOYMENT, new, stored, "status"))
    assert complaints[-2:] == [
        "status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas",
        "status.updatedReplicas: Invalid value: 0: cannot be greater than status.replicas",
    ]


@pytest.mark.parametrize(
    ("resources", "wide"), [(["pods/*", "pods/log"], "pods/*"), (["*/log", "pods/log"], "*/log")]
)
def test_a_webhook_names_a_subresource_once(resources: list[str], wide: str) -> None:
    """Source: admissionregistration/validation (validateResources)."""
    kind = kinds.by_gvk("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
    assert kind is not None
    hook = make(kind)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    hook["webhooks"][0]["rules"] = [{**rule, "resources": resources}]
    [complaint] = told(lambda: prepare_create(kind, hook))
    assert complaint == (
        'webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": '
        f"if '{wide}' is present, must not specify pods/log"
    )


@given(st.lists(st.one_of(st.text(max_size=4), st.sampled_from(("A", "b c", "~", "a\nb", "=")))))
def test_environment_names_are_fine_together_when_each_is(texts: list[str]) -> None:
    """One look at all of them finds what looking at each would."""
    fine = not any(names.env_var_name(text) for text in texts)
    assert names.are_env_var_names(texts) == fine
