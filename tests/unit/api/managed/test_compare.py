"""Who owns what of a type: field sets of configurations, and what a write touched."""

import pytest
import yaml

from podwire.api import codec, kinds, objects
from podwire.api.managed import fields as sets
from podwire.api.managed.compare import ABSENT, compare
from podwire.api.managed.plans import KeysError, plan_of, schemaless
from podwire.api.managed.typed import complaints, ensure_named, field_set, merge, remove
from podwire.api.schema import type_of

POD, DEPLOYMENT, SERVICE = plan_of(kinds.POD), plan_of(kinds.DEPLOYMENT), plan_of(kinds.SERVICE)


def load(text):
    return yaml.safe_load(text)


def shown(fields):
    return [sets.shown(path) for path in sets.paths(fields)]


def pod(*containers):
    return {"spec": {"containers": list(containers)}}


def test_a_configuration_owns_leaves_items_and_entries_of_maps():
    """Structs on the way are not owned themselves; lists that are maps go by their keys."""
    found = field_set(POD, load("""
        metadata: {labels: {app: web}, finalizers: [a.io/x]}
        spec:
          nodeSelector: {disk: ssd}
          securityContext: {}
          volumes: []
          containers: [{name: c, args: [x], env: [{name: A, value: "1"}],
                        resources: {limits: {cpu: "1"}}}]
    """))  # fmt: skip
    assert shown(found) == [
        '.metadata.finalizers[="a.io/x"]',
        ".metadata.labels.app",
        ".spec.nodeSelector",
        ".spec.securityContext",
        '.spec.containers[name="c"]',
        '.spec.containers[name="c"].args',
        '.spec.containers[name="c"].name',
        '.spec.containers[name="c"].env[name="A"]',
        '.spec.containers[name="c"].env[name="A"].name',
        '.spec.containers[name="c"].env[name="A"].value',
        '.spec.containers[name="c"].resources.limits.cpu',
    ]


def test_a_key_that_an_item_leaves_out_is_its_default():
    """Ports are TCP unless they say otherwise."""
    found = field_set(SERVICE, load("spec: {ports: [{port: 80}, {port: 53, protocol: UDP}]}"))
    assert shown(found)[:2] == [
        '.spec.ports[port=53,protocol="UDP"]', '.spec.ports[port=80,protocol="TCP"]',
    ]  # fmt: skip


def test_a_new_pod_is_owned_as_a_real_cluster_says():
    """Containers is never unset for Go, so it is not owned; ports and labels are."""
    obj = codec.check(
        load("""
        metadata: {name: a, namespace: default, labels: {app: a}}
        spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
        """), "v1", "Pod",
    ).obj  # fmt: skip
    objects.default(kinds.POD, obj)
    touched, removed = compare(POD, type_of(kinds.POD).always, obj)
    assert removed == {}
    assert touched["f:metadata"]["f:labels"] == {".": {}, "f:app": {}}
    assert touched["f:spec"] == {
        "f:containers": {
            'k:{"name":"c"}': {
                ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                "f:ports": {
                    ".": {},
                    'k:{"containerPort":80,"protocol":"TCP"}': {
                        ".": {}, "f:containerPort": {}, "f:protocol": {},
                    },
                },
                "f:resources": {}, "f:terminationMessagePath": {},
                "f:terminationMessagePolicy": {},
            }
        },
        "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {},
        "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
    }  # fmt: skip


def test_a_write_touches_what_it_changed_and_nothing_beside():
    """Changed, added and removed, in lists by key and in any order of items."""
    old = pod({"name": "a", "image": "1"}, {"name": "b", "image": "1", "args": ["x"]})
    new = pod({"name": "b", "image": "2"}, {"name": "a", "image": "1"}, {"name": "c"})
    touched, removed = compare(POD, old, new)
    assert shown(touched) == [
        '.spec.containers[name="c"]',
        '.spec.containers[name="b"].image',
        '.spec.containers[name="c"].name',
    ]
    assert shown(removed) == ['.spec.containers[name="b"].args']


def test_an_item_that_goes_takes_everything_along():
    """The item and all below it are removed."""
    old = pod({"name": "a"}, {"name": "b", "env": [{"name": "E", "value": "1"}]})
    _, removed = compare(POD, old, pod({"name": "a"}))
    assert shown(removed) == [
        '.spec.containers[name="b"]',
        '.spec.containers[name="b"].env',
        '.spec.containers[name="b"].name',
        '.spec.containers[name="b"].env[name="E"]',
        '.spec.containers[name="b"].env[name="E"].name',
        '.spec.containers[name="b"].env[name="E"].value',
    ]


@pytest.mark.parametrize(
    ("old", "new", "touched", "removed"),
    [
        ([("a", "1"), ("a", "2")], [("a", "1"), ("a", "2")], [], []),
        ([("a", "1"), ("a", "2")], [("a", "1"), ("a", "3")], [".env"], []),
        ([("a", "1"), ("a", "2")], [("a", "1")], [".env", ".env.name", ".env.value"], [".env"]),
        ([("a", "1")], [("a", "1"), ("a", "2")], [".env"], [".env", ".env.name", ".env.value"]),
        ([("a", "1"), ("a", "2")], [], [], [".env"]),
        ([], [("a", "1"), ("a", "2")], [".env"], []),
    ],
)
def test_items_that_share_a_key_are_one_field(old, new, touched, removed):
    """Until one of them is left, or while there was only one."""

    def container(pairs):
        env = [{"name": name, "value": value} for name, value in (("z", "0"), *pairs)]
        return pod({"name": "c", "env": env})

    prefix = '.spec.containers[name="c"].env[name="a"]'
    found = compare(POD, container(old), container(new))
    assert [
        [path.replace(prefix, ".env") for path in shown(fields)] for fields in found
    ] == [touched, removed]  # fmt: skip


def test_atomic_values_are_one_field():
    """A selector, a node selector, a list of arguments: whoever changes a part has it all."""
    old = load("spec: {selector: {matchLabels: {a: b}}, template: {spec: {nodeSelector: {x: y}}}}")
    new = load("spec: {selector: {matchLabels: {a: c}}, template: {spec: {nodeSelector: {x: z}}}}")
    touched, removed = compare(DEPLOYMENT, old, new)
    assert shown(touched) == [".spec.selector", ".spec.template.spec.nodeSelector"]
    assert removed == {}


def test_a_field_that_go_never_leaves_out_is_changed_to_null_not_removed():
    """Whoever unset a Deployment's selector owns its absence; of an optional field nobody does."""
    old = load("spec: {selector: {matchLabels: {a: b}}, replicas: 1}")
    touched, removed = compare(DEPLOYMENT, old, {"spec": {}})
    assert (shown(touched), shown(removed)) == ([".spec.selector"], [".spec.replicas"])


def test_without_a_schema_maps_are_taken_apart_and_lists_are_not():
    """How custom resources are owned that declare nothing."""
    step = schemaless()
    value = load("{metadata: {labels: {a: b}}, spec: {list: [{name: x}], map: {k: 1}, empty: {}}}")
    assert shown(field_set(step, value)) == [
        ".spec", ".metadata.labels.a", ".spec.empty", ".spec.list", ".spec.map", ".spec.map.k",
    ]  # fmt: skip
    touched, removed = compare(
        step, {"spec": {"x": {"a": 1}, "y": 1}}, {"spec": {"x": 2, "y": {"b": 1}}}
    )
    assert shown(touched) == [".spec.x", ".spec.y", ".spec.y.b"]
    assert shown(removed) == [".spec.x.a"]


NO_KEYS = (
    'associative list with keys has an element that omits all key fields ["name"] (and doesn\'t '
    "have default values for any key fields)"
)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ("spec: {replicas: x}", [".spec.replicas: expected numeric (int or float), got string"]),
        ("spec: {foo: 1}", [".spec.foo: field not declared in schema"]),
        ("spec: 1", [".spec: expected map, got &{1}"]),
        ("metadata: {labels: {a: 1}}",
         [".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}"]),
        ("spec: {template: {spec: {containers: {}}}}",
         [".spec.template.spec.containers: expected list, got &{map[]}"]),
        ("spec: {template: {spec: {containers: [{name: a}, {name: a}]}}}",
         ['.spec.template.spec.containers: duplicate entries for key [name="a"]']),
        ("spec: {template: {spec: {containers: [{image: a}]}}}",
         [f".spec.template.spec.containers: element 0: {NO_KEYS}"]),
        ("spec: {paused: 1, minReadySeconds: []}",
         [".spec.paused: expected boolean, got &{1}",
          ".spec.minReadySeconds: expected numeric (int or float), got []interface {}"]),
        ("{spec: null, metadata: {labels: null}, apiVersion: apps/v1}", []),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_says_where(config, wrong):
    """In upstream's words."""
    assert complaints(DEPLOYMENT, load(config)) == wrong


def test_a_list_item_without_its_key_cannot_be_owned():
    """Upstream gives up on the whole comparison too."""
    with pytest.raises(KeysError, match="omits all key fields"):
        compare(POD, pod({"name": "a"}), pod({"image": "x"}))


def test_a_merge_keeps_what_the_configuration_does_not_say():
    """Neither argument changes; maps and structs merge, atomic values are replaced."""
    live = load("""
        metadata: {labels: {a: "1", b: "2"}}
        spec: {selector: {matchLabels: {x: y}}, replicas: 3}
    """)
    config = load("""
        metadata: {labels: {b: "3", c: "4"}}
        spec: {selector: {matchLabels: {z: z}}, paused: true}
    """)
    assert merge(DEPLOYMENT, live, config) == {
        "metadata": {"labels": {"a": "1", "b": "3", "c": "4"}},
        "spec": {"selector": {"matchLabels": {"z": "z"}}, "replicas": 3, "paused": True},
    }
    assert live["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert merge(DEPLOYMENT, ABSENT, config) == config


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ("abc", "c", "abc"),
        ("abc", "ca", "bca"),
        ("abc", "d", "abcd"),
        ("abc", "dab", "dabc"),
        ("abc", "dcb", "adcb"),
        ("ab", "cd", "abcd"),
        ("", "ba", "ba"),
        ("abcde", "eca", "bdeca"),
    ],
)
def test_a_merged_list_has_the_order_of_the_configuration(live, config, merged):
    """Where it speaks of the items; the others stay between those where they stood."""
    found = merge(
        POD, pod(*({"name": n, "image": "1"} for n in live)), pod(*({"name": n} for n in config))
    )
    assert "".join(c["name"] for c in found["spec"]["containers"]) == merged
    finalizers = merge(
        POD, {"metadata": {"finalizers": list(live)}}, {"metadata": {"finalizers": list(config)}}
    )
    assert "".join(finalizers["metadata"]["finalizers"]) == merged


def test_removal_takes_items_fields_and_what_is_owned_as_one():
    """What becomes empty is gone too."""
    value = load("""
        metadata: {labels: {a: "1"}}
        spec:
          nodeSelector: {x: y}
          containers: [{name: a, image: "1", args: [x]}, {name: b}]
    """)
    gone = sets.of_paths(
        [
            ("f:metadata", "f:labels", "f:a"),
            ("f:spec", "f:nodeSelector"),
            ("f:spec", "f:containers", 'k:{"name":"a"}', "f:image"),
            ("f:spec", "f:containers", 'k:{"name":"b"}'),
        ]
    )
    assert remove(POD, value, gone) == {
        "metadata": {"labels": None},
        "spec": {"containers": [{"name": "a", "args": ["x"]}]},
    }


def test_named_fields_are_members_when_asked_for():
    """``a.b.c`` owns ``a`` then, but not the entry of a map on the way."""
    one = sets.of_paths([("f:spec", "f:containers", 'k:{"name":"a"}', "f:image"),
                         ("f:metadata", "f:labels", "f:x")])  # fmt: skip
    assert shown(ensure_named(POD, one)) == [
        ".metadata", ".spec", ".metadata.labels", ".metadata.labels.x", ".spec.containers",
        '.spec.containers[name="a"].image',
    ]  # fmt: skip
