"""What types say of a policy's expressions.

Cases of kubernetes apiserver pkg/admission/plugin/policy/validating/typechecking_test.go
(TestExtractTypeNames, TestTypeCheck) and of the documentation, against Kubernetes' own kinds.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.cel.typechecking import warnings
from podwire.api.views import ValidatingAdmissionPolicy
from podwire.controllers.validatingadmissionpolicystatus import core


def rule(*resources: str, group: str = "apps", version: str = "v1") -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": [version], "resources": list(resources)}


def told(*expressions: str, rules: tuple[Any, ...] = (rule("deployments"),), **spec) -> list[Any]:
    checks = [{"expression": text} for text in expressions]
    matches = {"resourceRules": list(rules)}
    found = warnings({"matchConstraints": matches, "validations": checks, **spec})
    return [(one["fieldRef"], one["warning"]) for one in found]


def test_every_kind_that_is_matched_is_checked():
    """As the documentation shows it, one paragraph each."""
    both = told("object.replicas > 1", rules=(rule("replicasets", "deployments"),))
    mistake = "ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
    assert both == [(
        "spec.validations[0].expression",
        f"apps/v1, Kind=Deployment: {mistake}\napps/v1, Kind=ReplicaSet: {mistake}",
    )]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ((), []),
        ((rule("*"),), []),
        ((rule("pods/*"),), []),
        ((rule("deployments", version="*"),), []),
        (
            (rule("pods", group=""), rule("deployments")),
            ["/v1, Kind=Pod", "apps/v1, Kind=Deployment"],
        ),
        ((rule("deployments"), rule("deployments", version="*")), ["apps/v1, Kind=Deployment"]),
        ((rule("widgets", group="example.com"),), []),
    ],
)
def test_which_kinds_are_looked_at(rules, said):
    """No wildcards, no subresources, no custom kinds; sorted by group, version and kind."""
    found = told("object.nothing == 1", rules=rules)
    paragraphs = found[0][1].split("\n\n") if found else []
    assert [text.partition(": ERROR")[0] for text in paragraphs] == said


MATCHING = [
    "object.spec.replicas == 1",
    "authorizer.group('').resource('endpoints').check('create').allowed()",
    "object.spec.strategy.rollingUpdate.maxSurge != '1%'",
    "object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] == '1')",
    "variables.works",
    "object.metadata.labels.anything == oldObject.metadata.name",
]
MISTAKEN = [
    ("object.spec.replicas == 'bar'", "found no matching overload for '_==_' applied to '(int, s"),
    ("variables.nonExisting", "undefined field 'nonExisting'"),
    ("variables.works == 1", "found no matching overload"),
    ("params.bar == 1", "undefined field 'bar'"),
    ("authorizer.allowed()", "found no matching overload for 'allowed' applied to 'kubernetes."),
]  # fmt: skip


def test_what_fits_the_types_is_not_warned_of():
    """Integers or strings, quantities, variables and what stands in metadata."""
    variables = [{"name": "works", "expression": "true"}]
    assert told(*MATCHING, variables=variables) == []


@pytest.mark.parametrize(("text", "words"), MISTAKEN)
def test_what_does_not_fit_is_told_where_it_stands(text, words):
    """Of an expression and of its message alike; params have the type of their kind."""
    given = {
        "variables": [{"name": "works", "expression": "true"}],
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    }
    ((where, warning),) = told("true", text, **given)
    assert where == "spec.validations[1].expression"
    assert words in warning
    message = [{"expression": "true", "messageExpression": text}]
    ((where, _),) = told(validations=message, **given)
    assert where == "spec.validations[0].messageExpression"


def test_each_generation_is_checked_once():
    """status.typeChecking is there once it was done, and empty where nothing is wrong."""
    meta = {"name": "p", "generation": 2}

    def policy(observed: int) -> ValidatingAdmissionPolicy:
        body = {"metadata": meta, "spec": {"a": "b"}, "status": {"observedGeneration": observed}}
        return msgspec.convert(body, ValidatingAdmissionPolicy)

    (effect,) = core.reconcile(policy(1), lambda spec: [{"warning": str(spec)}])
    assert effect.patch["status"] == {
        "observedGeneration": 2,
        "typeChecking": {"expressionWarnings": [{"warning": "{'a': 'b'}"}]},
    }
    (effect,) = core.reconcile(policy(0), lambda _: [])
    assert effect.patch["status"]["typeChecking"] == {"expressionWarnings": None}
    assert core.reconcile(policy(2), lambda _: []) == []
    assert core.reconcile(None, lambda _: []) == []
