"""Admission plugins held to upstream's own tables, case by case.

Facts from kubernetes plugin/pkg/admission/{gc,podtolerationrestriction,podnodeselector,
podtopologylabels,extendedresourcetoleration,antiaffinity,network/denyserviceexternalips,
alwayspullimages}/*_test.go and pkg/util/tolerations/tolerations_test.go.
"""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.admission import (
    always_pull_images,
    anti_affinity,
    deny_external_ips,
    extended_resources,
    owner_references,
    pod_node_selector,
    pod_tolerations,
    topology_labels,
)
from podwire.apiserver.admission.review import Review
from podwire.runtime.clock import RealClock

OBJECT = dict[str, Any]


class Caches:
    """What there is beside the object: each one by its name."""

    def __init__(self, **there: OBJECT) -> None:
        self.there = there

    def of(self, kind: Any) -> Any:
        def get(_namespace: str, _name: str) -> Any:
            metadata = {"labels": {}, "annotations": {}, **self.there.get(kind.singular, {})}
            return SimpleNamespace(view=SimpleNamespace(metadata=SimpleNamespace(**metadata)))

        return SimpleNamespace(get=get)


def review(obj: OBJECT, old: OBJECT | None = None, kind: Any = kinds.POD, **more: Any) -> Review:
    """An attempt to write a pod (or something else) in the namespace ns."""
    server = SimpleNamespace(
        caches=Caches(**more.pop("there", {})), authorizer=more.pop("authorizer", None),
        kinds=kinds,
    )  # fmt: skip
    call: Any = SimpleNamespace(user=more.pop("user", None))
    operation = more.pop("operation", "CREATE" if old is None else "UPDATE")
    given: Any = server
    return Review(given, call, kind, operation, "ns", "foo", obj, old, **more)


def refusal(step: Any, asked: Review) -> str:
    """Why a plugin's step refuses, '' when it does not."""
    try:
        step(asked)
    except ApiError as error:
        return error.message
    return ""


# --------------------------------------------------------------- OwnerReferences

RC1, RC2, DS1, NODE = (
    {"apiVersion": version, "kind": kind, "name": name}
    for version, kind, name in (
        ("v1", "ReplicationController", "rc1"), ("v1", "ReplicationController", "rc2"),
        ("apps/v1", "DaemonSet", "ds1"), ("v1", "Node", "node1"),
    )
)  # fmt: skip


def block(ref: OBJECT) -> OBJECT:
    return {**ref, "blockOwnerDeletion": True}


def unblock(ref: OBJECT) -> OBJECT:
    return {**ref, "blockOwnerDeletion": False}


class Rights:
    """May do all but delete and finalize some resource ('*': any; '': may do everything)."""

    def __init__(self, without: str) -> None:
        self.without = without

    def decide(self, asked: Any) -> tuple[bool, str]:
        if not self.without:
            return True, ""
        harmful = asked.verb == "delete" or (asked.verb, asked.subresource) == (
            "update",
            "finalizers",
        )
        return not (harmful and asked.resource in {"*", self.without}), ""


FIRST, SECOND = {"name": "first"}, {"name": "second"}
CANNOT_DELETE = "cannot set an ownerRef on a resource you can't delete"
CANNOT_FINALIZE = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you"
# without which rights, the references before and after, whether and why that is refused
OWNERS: list[tuple[str, list[OBJECT] | None, list[OBJECT], str]] = [
    ("", None, [], ""), ("", None, [FIRST], ""), ("pods", None, [], ""),
    ("pods", None, [FIRST], ""), ("", [], [], ""), ("", [FIRST], [FIRST], ""),
    ("", [], [FIRST], ""), ("pods", [], [], ""), ("pods", [FIRST], [FIRST], ""),
    ("pods", [], [FIRST], CANNOT_DELETE), ("pods", [FIRST], [FIRST, SECOND], CANNOT_DELETE),
    ("others", [], [FIRST], ""),
    ("", None, [unblock(RC1), unblock(RC2)], ""),
    ("", None, [block(RC1), block(RC2), block(NODE)], ""),
    ("", None, [block({"apiVersion": "un/v1", "kind": "Known", "name": "x"})], ""),
    ("replicationcontrollers", None, [unblock(RC1), RC2], ""),
    ("nodes", None, [unblock(NODE)], ""),
    ("replicationcontrollers", None, [block(RC1), unblock(RC2)], CANNOT_FINALIZE),
    ("replicationcontrollers", None, [block(DS1)], ""),
    ("nodes", None, [block(NODE)], CANNOT_FINALIZE),
    ("", [RC1, NODE], [unblock(RC1), unblock(NODE)], ""),
    ("", [unblock(RC1), unblock(NODE)], [block(RC1), block(NODE)], ""),
    ("", [], [block(RC1), block(NODE)], ""),
    ("replicationcontrollers", [RC1], [unblock(RC1)], ""),
    ("replicationcontrollers", [unblock(RC1)], [block(RC1)], CANNOT_FINALIZE),
    ("replicationcontrollers", [RC1], [block(RC1)], CANNOT_FINALIZE),
    ("nodes", [NODE], [block(NODE)], CANNOT_FINALIZE),
    ("replicationcontrollers", [block(RC1)], [unblock(RC1)], ""),
    ("nodes", [block(NODE)], [unblock(NODE)], ""),
    ("replicationcontrollers", [unblock(DS1)], [block(DS1)], ""),
    ("replicationcontrollers", [], [unblock(RC1), RC2], ""),
    ("replicationcontrollers", [], [block(RC1)], CANNOT_FINALIZE),
    ("replicationcontrollers", [], [block(DS1)], ""),
    ("nodes", [], [block(NODE)], CANNOT_FINALIZE),
]  # fmt: skip


@pytest.mark.parametrize(("without", "old", "new", "why"), OWNERS)
def test_owner_references_are_held_to_rights(without, old, new, why):
    """TestGCAdmission and TestBlockOwnerDeletionAdmission; a pod's status is not looked at."""

    def pod(refs: list[OBJECT]) -> OBJECT:
        return {"metadata": {"ownerReferences": refs}}

    before = None if old is None else pod(old)
    asked = review(pod(new), before, authorizer=Rights(without))
    told = refusal(owner_references.validate, asked)
    assert (why in told) if why else told == ""
    asked.subresource = "status"
    assert refusal(owner_references.validate, asked) == ""


# ------------------------------------------------------------------- tolerations

EFFECTS = {"nosched": "NoSchedule", "noexec": "NoExecute", "prefnosched": "PreferNoSchedule"}


def toleration(name: str) -> OBJECT:
    """By upstream's names: ``foo-bar-noexec-10`` is foo=bar:NoExecute for ten seconds."""
    key, *rest = name.split("-")
    found: OBJECT = {"operator": "Exists"} if key == "all" else {"key": key, "operator": "Exists"}
    for part in rest:
        if part in EFFECTS:
            found["effect"] = EFFECTS[part]
        elif part.isdigit():
            found["tolerationSeconds"] = int(part)
        else:
            found |= {"operator": "Equal", "value": part}
    return found


NAMES = [
    "all", "all-nosched", "all-noexec", "foo", "foo-bar", "foo-nosched", "foo-bar-nosched",
    "foo-baz-nosched", "faz-nosched", "faz-baz-nosched", "foo-prefnosched", "foo-noexec",
    "foo-bar-noexec", "foo-noexec-10", "foo-noexec-0", "foo-bar-noexec-10",
]  # fmt: skip
COVERED = {
    "all": " ".join(NAMES[1:]),
    "all-nosched": "foo-nosched foo-bar-nosched foo-baz-nosched faz-nosched faz-baz-nosched",
    "all-noexec": "foo-noexec foo-bar-noexec foo-noexec-10 foo-noexec-0 foo-bar-noexec-10",
    "foo": "foo-bar foo-nosched foo-bar-nosched foo-baz-nosched foo-prefnosched foo-noexec "
    "foo-bar-noexec foo-noexec-10 foo-noexec-0 foo-bar-noexec-10",
    "foo-bar": "foo-bar-nosched foo-bar-noexec foo-bar-noexec-10",
    "foo-nosched": "foo-bar-nosched foo-baz-nosched",
    "faz-nosched": "faz-baz-nosched",
    "foo-noexec": "foo-bar-noexec foo-noexec-10 foo-noexec-0 foo-bar-noexec-10",
    "foo-bar-noexec": "foo-bar-noexec-10",
    "foo-noexec-10": "foo-noexec-0 foo-bar-noexec-10",
}


@pytest.mark.parametrize("wide", NAMES)
def test_which_tolerations_one_covers(wide):
    """TestIsSuperset: itself, those of the table and no other."""
    found = [n for n in NAMES if pod_tolerations.covers(toleration(wide), toleration(n))]
    assert found == [n for n in NAMES if n == wide or n in COVERED.get(wide, "").split()]


MERGED = [
    ("foo-bar-nosched faz-baz-nosched foo-noexec-10", "foo-prefnosched foo-baz-nosched",
     "foo-bar-nosched faz-baz-nosched foo-noexec-10 foo-prefnosched foo-baz-nosched"),
    ("foo-bar-nosched faz-baz-nosched foo-noexec-10",
     "foo-bar-nosched faz-baz-nosched foo-noexec-10",
     "foo-bar-nosched faz-baz-nosched foo-noexec-10"),
    ("foo-bar-nosched foo-baz-nosched", "foo-nosched faz-baz-nosched",
     "foo-nosched faz-baz-nosched"),
    ("foo-bar-nosched foo-baz-nosched foo-noexec-10", "all", "all"),
    ("all", "foo-bar-nosched foo-baz-nosched foo-noexec-10", "all"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "both"), MERGED)
def test_how_tolerations_are_merged(first, second, both):
    """TestMergeTolerations."""
    lists = ([toleration(name) for name in text.split()] for text in (first, second))
    assert pod_tolerations.merged(*lists) == [toleration(name) for name in both.split()]


ONE, TWO, OTHER = (toleration(f"testKey-{value}-nosched") for value in ("v", "w", "x"))
PRESSURE = toleration("node.kubernetes.io/memory_pressure-nosched")
PRESSURE["key"] = "node.kubernetes.io/memory-pressure"
BURSTABLE = {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}
GUARANTEED = {name: {"cpu": "1", "memory": "1"} for name in ("limits", "requests")}
# the container's resources, the pod's tolerations; the cluster's, the namespace's, and the same of
# the whitelist (None: says nothing); what becomes of it
TOLERATED: list[tuple[Any, ...]] = [
    ({}, [], [ONE], None, None, None, [ONE]),
    ({}, [ONE], [ONE], [], None, None, [ONE]),
    ({}, [ONE], [], [ONE], None, None, [ONE]),
    ({}, [], [], [ONE], None, None, [ONE]),
    ({}, [TWO], [], [ONE], None, None, [TWO, ONE]),
    ({}, [TWO], [OTHER], [], None, None, [TWO]),
    ({}, [], [], [ONE], None, [ONE], [ONE]),
    ({}, [], [ONE], [], None, None, []),
    ({}, [ONE], None, None, [TWO], [], [ONE]),
    ({}, [], [], [ONE], None, [TWO], "namespace"),
    ({}, [ONE], [], None, [TWO], None, "cluster"),
    (BURSTABLE, [], [], [ONE], None, [], [ONE, PRESSURE]),
    ({}, [ONE, TWO], [], [], None, [], [ONE, TWO]),
    (GUARANTEED, [], [], [ONE], None, [], [ONE, PRESSURE]),
]


@pytest.mark.parametrize(
    ("resources", "own", "defaults", "of_namespace", "whitelist", "narrower", "then"), TOLERATED
)
def test_what_pods_of_a_namespace_tolerate(
    resources, own, defaults, of_namespace, whitelist, narrower, then
):
    """TestPodAdmission of PodTolerationRestriction; an update gets no defaults."""
    prefix = "scheduler.alpha.kubernetes.io"
    texts = {
        f"{prefix}/defaultTolerations": of_namespace,
        f"{prefix}/tolerationsWhitelist": narrower,
    }
    annotations = {key: json.dumps(value) for key, value in texts.items() if value is not None}
    admit, validate = pod_tolerations.configure(
        {"default": defaults or [], "whitelist": whitelist or []}, RealClock()
    )
    pod = {"spec": {"containers": [{"resources": resources}], "tolerations": list(own)}}
    there = {"namespace": {"annotations": annotations}}
    asked = review(copy.deepcopy(pod), there=there)
    if isinstance(then, str):
        assert refusal(admit, asked).endswith(f"conflict with its {then} whitelist")
        return
    assert refusal(admit, asked) == ""
    assert asked.obj["spec"]["tolerations"] == then
    assert refusal(validate, asked) == ""
    again = review(copy.deepcopy(pod), pod, there=there)
    if not narrower:
        assert refusal(admit, again) == ""
        pressure = [PRESSURE] if resources else []
        assert again.obj["spec"]["tolerations"] == own + pressure


# -------------------------------------------------------------------- the others

# the cluster's selector, the namespace's (None: says nothing), its whitelist, the pod's; the sum
SELECTED: list[tuple[str, str | None, str, dict[str, str], dict[str, str] | None]] = [
    ("", None, "", {}, {}),
    ("infra = false", None, "", {}, {"infra": "false"}),
    ("", " infra = false ", "", {}, {"infra": "false"}),
    ("infra = false", "infra=true", "", {}, {"infra": "true"}),
    ("infra = false", "", "", {}, {}),
    ("infra = false", "infra=true", "", {"env": "test"}, {"infra": "true", "env": "test"}),
    ("env = test", "infra=true", "", {"infra": "false"}, None),
    ("env=dev", "infra=false, env = test", "", {"env": "dev", "color": "blue"}, None),
    ("env=dev", "infra=false, env = dev", "env=dev, infra=false, color=blue",
     {"env": "dev", "color": "blue"}, {"infra": "false", "env": "dev", "color": "blue"}),
    ("env=dev", "infra=false, env = dev", "env=dev, infra=true, color=blue",
     {"env": "dev", "color": "blue"}, None),
    ("env=dev", None, "env=prd", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("default", "of_namespace", "whitelist", "own", "then"), SELECTED)
def test_on_which_nodes_pods_of_a_namespace_run(default, of_namespace, whitelist, own, then):
    """TestPodAdmission of PodNodeSelector."""
    given = {"clusterDefaultNodeSelector": default, "ns": whitelist}
    admit, validate = pod_node_selector.configure(
        {"podNodeSelectorPluginConfig": given}, RealClock()
    )
    key = "scheduler.alpha.kubernetes.io/node-selector"
    annotations = {} if of_namespace is None else {key: of_namespace}
    asked = review(
        {"spec": {"nodeSelector": own}}, there={"namespace": {"annotations": annotations}}
    )
    told = refusal(admit, asked)
    assert (told == "") == (then is not None)
    if then is not None:
        assert asked.obj["spec"]["nodeSelector"] == then
        assert refusal(validate, asked) == ""


ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
COPIED: list[tuple[dict[str, str], dict[str, str], dict[str, str]]] = [
    ({ZONE: "z", REGION: "r", "topology.kubernetes.io/arbitrary": "x", "non-topology.io/l": "x"},
     {}, {ZONE: "z", REGION: "r"}),
    ({ZONE: "z", "topology.kubernetes.io/arbitrary": "x"}, {}, {ZONE: "z"}),
    ({REGION: "r", f"sub.{ZONE}": "x"}, {}, {REGION: "r"}),
    ({"topology.kubernetes.io": "x"}, {}, {}),
    ({ZONE: "new"}, {ZONE: "old"}, {ZONE: "old"}),
]  # fmt: skip


@pytest.mark.parametrize(("labels", "own", "then"), COPIED)
def test_which_labels_of_its_node_a_pod_gets(labels, own, then):
    """TestPodTopology, by a Binding and by a pod that is made on its node."""
    there = {"node": {"labels": labels}}
    binding = {"metadata": {"labels": dict(own)}, "target": {"kind": "Node", "name": "n"}}
    pod = {"metadata": {"labels": dict(own)}, "spec": {"nodeName": "n"}}
    for part, obj in (("binding", binding), ("", pod)):
        topology_labels.admit(review(obj, subresource=part, there=there))
        assert obj["metadata"]["labels"] == then


DO, EK = ({"key": f"example.com/device-{n}", "operator": "Exists", "effect": "NoSchedule"}
          for n in ("do", "ek"))  # fmt: skip
BAR = {"key": "foo", "operator": "Equal", "value": "bar", "effect": "NoSchedule"}
DIFFERENT = {**EK, "operator": "Equal", "value": "foo", "effect": "NoExecute"}
DEVICES: list[tuple[list[str], list[str], list[OBJECT], list[OBJECT]]] = [
    ([], [], [], []),
    (["cpu"], [], [], []),
    ([], ["memory"], [], []),
    ([EK["key"]], [], [], [EK]),
    ([], [DO["key"]], [], [DO]),
    (["cpu", EK["key"]], [], [BAR], [BAR, EK]),
    (["memory", EK["key"]], ["cpu", DO["key"]], [], [DO, EK]),
    (["cpu", "memory", EK["key"]], [], [EK], [EK]),
    (["cpu", EK["key"]], [], [DIFFERENT], [DIFFERENT, EK]),
    (["cpu", EK["key"]], [], [{"operator": "Exists"}], [{"operator": "Exists"}, EK]),
]


@pytest.mark.parametrize(("asked", "by_init", "own", "then"), DEVICES)
def test_whose_taints_are_tolerated(asked, by_init, own, then):
    """TestAdmit of ExtendedResourceToleration."""

    def containers(names: list[str]) -> list[OBJECT]:
        return [{"resources": {"requests": {name: "1"}}} for name in names]

    spec = {"containers": containers(asked), "initContainers": containers(by_init),
            "tolerations": list(own)}  # fmt: skip
    extended_resources.admit(review({"spec": spec}))
    assert spec["tolerations"] == then


KEYS = [([], True), (["kubernetes.io/hostname"], True), ([" zone "], False),
        (["kubernetes.io/hostname", " zone ", "kubernetes.io/hostname"], False)]  # fmt: skip


@pytest.mark.parametrize(("keys", "may"), KEYS)
def test_how_far_pods_keep_others_away(keys, may):
    """TestInterPodAffinityAdmission; what is preferred may reach any distance."""
    preferred = [{"weight": 5, "podAffinityTerm": {"topologyKey": "az"}}]
    apart = {
        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key} for key in keys],
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
    }
    asked = review({"spec": {"affinity": {"podAntiAffinity": apart}}})
    assert (refusal(anti_affinity.validate, asked) == "") == may


ADDRESSES = [
    (None, "", True), (None, "1", False), ("1 2", "1 2", True), ("2 1", "1 2", True),
    ("1 3", "1 2", False), ("1", "1 2", False), ("1 2", "", True), ("1 2", "1", True),
    ("1 2", "2", True),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "may"), ADDRESSES)
def test_which_external_addresses_a_service_has(old, new, may):
    """TestAdmission of DenyServiceExternalIPs."""

    def service(text: str) -> OBJECT:
        return {"spec": {"externalIPs": text.split()}}

    before = None if old is None else service(old)
    asked = review(service(new), before, kinds.SERVICE)
    assert (refusal(deny_external_ips.validate, asked) == "") == may


def test_every_policy_becomes_always():
    """TestAdmission, TestValidate and TestUpdatePod of AlwaysPullImages."""
    policies = ["", "Never", "IfNotPresent", "Always"]
    every = [{"image": "image", "imagePullPolicy": policy} for policy in policies]
    pod = {"spec": {name: copy.deepcopy(every) for name in ("initContainers", "containers")}}
    wrong = ", ".join(
        f'pods "foo" is forbidden: spec.{group}[{index}].imagePullPolicy: Unsupported value: '
        f'"{policies[index]}": supported values: "Always"'
        for group in ("initContainers", "containers")
        for index in range(3)
    )
    assert refusal(always_pull_images.validate, review(pod)) == f"[{wrong}]"
    old = copy.deepcopy(pod)
    always_pull_images.admit(review(pod, old))
    assert pod == old
    pod["spec"]["containers"][1]["image"] = "image2"
    always_pull_images.admit(review(pod, old))
    assert refusal(always_pull_images.validate, review(pod)) == ""
