"""FieldsV1 written in one pass, held to what comparing with an unset object makes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.api import codec, kinds, objects
from podwire.api.managed import managers, shapes
from podwire.api.managed.managers import STRIPPED, UPDATE, Manager
from podwire.api.managed.plans import KEYED, LEAF, MAP, SET, STRUCT, KeysError, Step, plan, plan_of
from podwire.api.schema import type_named, type_of
from tests.rotation import examples

KINDS = (
    kinds.POD, kinds.DEPLOYMENT, kinds.SERVICE, kinds.CONFIG_MAP, kinds.NODE, kinds.NETWORK_POLICY,
    kinds.ENDPOINT_SLICE, kinds.INGRESS, kinds.JOB,
)  # fmt: skip
BY = Manager("somebody", UPDATE, "v1")
IGNORED: Any = {"f:status": {}}
STRANGE = st.sampled_from(
    [
        "a",
        "a b",
        "a!",
        "a-b",
        "ab",
        'a"',
        "a\\",
        "a<b>&",
        "a%s",
        "\n",
        "é",
        "\U0001f600",
        "\uffff",
        "",
    ]
)
NAMES = st.sampled_from("abcde") | STRANGE
SCALARS = st.sampled_from([1, 2, 10, "a", "b", True, 1.5, 80, 8080, None]) | NAMES


def values(step: Step, depth: int) -> st.SearchStrategy[Any]:
    """Values of a type, now and then of a wrong one."""
    if step.shape == LEAF or depth == 0:
        return st.sampled_from([0, 1, "", "x", [], {}, None, False])
    if step.shape == STRUCT:
        return structs(step, depth)
    if step.shape == MAP:
        return st.dictionaries(NAMES, st.deferred(lambda: values(step.item, depth - 1)), max_size=3)
    if step.shape == SET:
        return st.lists(NAMES, max_size=3) | st.lists(SCALARS, max_size=3)
    assert step.shape == KEYED
    return keyed(step, depth)


def keyed(step: Step, depth: int) -> st.SearchStrategy[Any]:
    """Lists whose items have keys: of one kind as a rule, sometimes of several or none."""
    rest = structs(step.item, depth - 1) if step.item.shape == STRUCT else st.just({})
    lists = []
    for key in (NAMES, st.sampled_from([1, 2, 10, 80, 8080]), SCALARS):
        fixed = st.fixed_dictionaries({name: key for name, _ in step.keys})
        items = st.tuples(rest, fixed).map(lambda two: {**two[0], **two[1]})
        lists.append(st.lists(items, max_size=4))
    return lists[0] | lists[1] | lists[2] | st.lists(rest | st.none(), max_size=2)


def structs(step: Step, depth: int) -> st.SearchStrategy[Any]:
    """A few fields of a struct, and one that it has not."""
    some = st.lists(st.sampled_from([*step.table, "unknown"]), max_size=6, unique=True)
    return some.flatmap(
        lambda names: st.fixed_dictionaries(
            {n: values(step.table[n], depth - 1) if n in step.table else SCALARS for n in names}
        )
    )


def plainly(step: Step, zero: Any, obj: Any) -> bytes | None:
    try:
        entries = managers.sealed(managers.compared(step, zero, obj, BY, "", IGNORED))
    except KeysError:
        return None
    return bytes(entries[0]["fieldsV1"]) if entries else b""


@settings(max_examples=examples(300))
@given(data=st.data())
def test_one_pass_writes_what_the_comparison_writes(data):
    """For objects of many kinds, also such as no decoder lets through; what it cannot it leaves."""
    kind = data.draw(st.sampled_from(KINDS))
    step, struct = plan_of(kind), type_of(kind)
    spec = step.table.get("spec")
    obj = data.draw(structs(step, 6))
    if spec is not None and data.draw(st.booleans()):
        obj["spec"] = data.draw(structs(spec, 6))
    obj["metadata"] = data.draw(structs(step.table["metadata"], 2))
    found = shapes.written(step, struct.always, obj, IGNORED, STRIPPED)
    if found is not None:
        assert found == plainly(step, struct.always, obj)
        assert shapes.written(step, struct.always, obj, IGNORED, STRIPPED) == found  # remembered


@settings(max_examples=examples(200))
@given(data=st.data())
def test_a_pod_is_always_written_in_one_pass(data):
    """Nothing that a pod may hold makes it fall back: ports with numbers, strange names, orders."""
    step, zero = plan_of(kinds.POD), type_of(kinds.POD).always
    ports = st.builds(
        lambda port, udp: {"containerPort": port, "protocol": "UDP" if udp else "TCP"},
        st.sampled_from([80, 8080, 9, 443]), st.booleans(),
    )  # fmt: skip
    env = st.builds(lambda name, value: {"name": name, **value}, NAMES, st.sampled_from([
        {}, {"value": "x"}, {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]))  # fmt: skip
    container = st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "ports": st.lists(ports, max_size=3, unique_by=str),
            "env": st.lists(env, max_size=4, unique_by=lambda item: item["name"]),
            "resources": st.just({"limits": {"cpu": "1", "100%": "2"}}),
            "volumeMounts": st.lists(
                NAMES.map(lambda n: {"name": "v", "mountPath": n}), max_size=3
            ),
        },
    )
    spec = {"containers": data.draw(st.lists(container, max_size=3))}
    meta = {"name": "p", "labels": data.draw(st.dictionaries(NAMES, NAMES, max_size=3))}
    obj = codec.check({"metadata": meta, "spec": spec}, "v1", "Pod").obj
    objects.default(kinds.POD, obj)
    found = shapes.written(step, zero, obj, IGNORED, STRIPPED)
    assert found is not None
    assert found == plainly(step, zero, obj)


def test_what_is_remembered_is_bounded(monkeypatch):
    """Shapes are forgotten when they weigh too much; giants are not remembered at all."""
    monkeypatch.setattr(shapes, "_BUDGET", 3_000)
    step, zero = plan_of(kinds.CONFIG_MAP), type_of(kinds.CONFIG_MAP).always
    for i in range(300):
        obj = {"metadata": {"labels": {f"label-{i}": "x"}}, "data": {f"key-{i}" * 2000: ""}}
        found = shapes.written(step, zero, obj, {}, STRIPPED)
        assert found == plainly(step, zero, obj)
        assert shapes._memory.size <= 3_000
    held = sum(len(known) for known in shapes._memory.known)
    assert 0 < held < 150


@pytest.mark.parametrize("zero", [{}, {"metadata": {}, "data": {"a": "b"}}])
def test_other_forms_are_left_to_the_comparison(zero):
    """An unset object with something in a map, or without metadata, is nothing that Go prints."""
    obj = {"metadata": {}, "data": {"a": "c"}}
    assert shapes.written(plan_of(kinds.CONFIG_MAP), zero, obj, {}, STRIPPED) is None


def test_what_is_alike_for_python_is_not_confused():
    """1, 1.0 and true are equal and hash alike; as keys of items they are three."""
    step, zero = plan_of(kinds.POD), type_of(kinds.POD).always
    for key in (1, True, 1.0, 1):
        container = {"name": "c", "ports": [{"containerPort": key, "name": "a"}]}
        obj = {"metadata": {}, "spec": {"containers": [container]}}
        assert shapes.written(step, zero, obj, IGNORED, STRIPPED) == plainly(step, zero, obj)


def test_percent_signs_are_nothing_special():
    """Texts are templates within, and keys of maps may hold anything."""
    pod = plan_of(kinds.POD).table
    structs_by_name = Step(MAP)
    structs_by_name.key, structs_by_name.item = "f:pods", plan(type_named("core.v1.PodSpec"))
    step = Step(STRUCT)
    step.table = {"metadata": pod["metadata"], "pods": structs_by_name}
    spec = {"dnsPolicy": "None", "nodeSelector": {"100%": ""}}
    obj = {"metadata": {"labels": {"%s": ""}}, "pods": {"%s": spec, "%": {}, "100%d": spec}}
    found = shapes.written(step, {"metadata": {}}, obj, IGNORED, STRIPPED)
    assert found is not None
    assert found == plainly(step, {"metadata": {}}, obj)
