"""What is said of a namespace that is being deleted, and in which order it is emptied.

Source: status_condition_utils_test.go and namespaced_resources_deleter.go (deleteAllContent) of
kubernetes pkg/controller/namespace/deletion.
"""

from __future__ import annotations

import msgspec
import pytest

from podwire.api import kinds
from podwire.api.times import NS, format_time
from podwire.api.view import JSON
from podwire.api.views import ConfigMap, Namespace, Pod
from podwire.client.effects import Delete
from podwire.controllers.namespace import core

NOW = 1_767_300_000 * NS
DISCOVERY, PARSING, CONTENT, REMAINING, FINALIZERS = core._OK
FAILED = ("True", "foo", "bar")


@pytest.mark.parametrize(
    ("told", "before", "expected"),
    [
        ({}, {"unknown": "True"}, ["unknown", DISCOVERY, PARSING, CONTENT, REMAINING, FINALIZERS]),
        ({}, {DISCOVERY: "True"}, [DISCOVERY, PARSING, CONTENT, REMAINING, FINALIZERS]),
        (
            {},
            {PARSING: "True", DISCOVERY: "True"},
            [PARSING, DISCOVERY, CONTENT, REMAINING, FINALIZERS],
        ),
        (
            {PARSING: FAILED},
            {PARSING: "False", DISCOVERY: "True"},
            [PARSING, DISCOVERY, CONTENT, REMAINING, FINALIZERS],
        ),
        (
            {PARSING: FAILED},
            {DISCOVERY: "True"},
            [DISCOVERY, PARSING, CONTENT, REMAINING, FINALIZERS],
        ),
    ],
    ids=["leave unknown", "success", "leave order", "overwrite with failure", "new failure"],
)
def test_conditions_are_put_beside_those_that_are_there(told, before, expected):
    """In their places; what nobody complains of is well."""
    since = format_time(NOW - NS)
    old = [
        {"type": name, "status": status, "lastTransitionTime": since}
        for name, status in before.items()
    ]
    found = core.updated(old, told, NOW)
    assert [condition["type"] for condition in found] == expected
    for condition in found:
        name = condition["type"]
        if name == "unknown":
            continue
        words = (condition["status"], condition["reason"], condition["message"])
        assert words == told.get(name, core._OK[name])
        kept = before.get(name) == condition["status"]
        assert condition["lastTransitionTime"] == (since if kept else format_time(NOW))


@pytest.mark.parametrize(
    ("left", "finalizers", "said"),
    [
        ({}, {}, {}),
        (
            {"deployments.apps.k8s.io": 5, "daemonsets.apps.k8s.io": 5},
            {},
            {
                REMAINING: "Some resources are remaining: daemonsets.apps.k8s.io has 5 resource "
                "instances, deployments.apps.k8s.io has 5 resource instances"
            },
        ),
        (
            {},
            {"service-catalog": 6, "kubedb": 5},
            {
                FINALIZERS: "Some content in the namespace has finalizers remaining: kubedb in 5 "
                "resource instances, service-catalog in 6 resource instances"
            },
        ),
    ],
)
def test_what_remains_is_told_by_name_and_number(left, finalizers, said):
    """In the order of the alphabet."""
    assert {name: words[2] for name, words in core.remaining(left, finalizers).items()} == said


def _namespace(ago_s: int) -> Namespace:
    meta = {"name": "team", "deletionTimestamp": format_time(NOW - ago_s * NS)}
    return msgspec.convert({"metadata": meta}, Namespace)


def _pod(**meta: JSON) -> core.Content:
    body = {"metadata": {"name": "p", **meta}, "spec": {"terminationGracePeriodSeconds": 30}}
    return core.Content(kinds.POD, [msgspec.convert(body, Pod)])


MAP = core.Content(
    kinds.CONFIG_MAP, [msgspec.convert({"metadata": {"name": "m"}}, ConfigMap)]
)  # fmt: skip


def test_pods_go_before_everything_else():
    """The rest is not touched, nor told to remain, before the last one has gone."""
    stage = core.stage([MAP, _pod()])
    assert [d.name for d in core.deletions(stage) if isinstance(d, Delete)] == ["p"]
    assert core._conditions(_namespace(5), stage, NOW) == {}
    assert core.overdue_s(_namespace(5), stage, NOW) == 25
    assert [d.name for d in core.deletions(core.stage([MAP]))] == ["m"]


def test_pods_that_outlive_their_grace_are_complained_of():
    """Unless a finalizer holds them."""
    why = "unexpected items still remain in namespace: team for gvr: /v1, Resource=pods"
    told = core._conditions(_namespace(31), [_pod()], NOW)
    assert told == {
        CONTENT: (
            "True",
            "ContentDeletionFailed",
            f"Failed to delete all resource types, 1 remaining: {why}",
        )
    }
    assert core._conditions(_namespace(31), [_pod(finalizers=["a/b"])], NOW) == {}
