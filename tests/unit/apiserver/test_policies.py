"""Admission policies: what their expressions refuse, warn of, audit and change."""

from __future__ import annotations

from typing import Any

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError

CONFIG_MAP, POD = kinds.CONFIG_MAP, kinds.POD
GROUP = "admissionregistration.k8s.io/v1"
RULE = {
    "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
    "resources": ["configmaps"],
}  # fmt: skip


def kind(mutating: bool, suffix: str = ""):
    word = "Mutating" if mutating else "Validating"
    return kinds.named(GROUP, f"{word}AdmissionPolicy{suffix}")


async def policy(w, name: str, binding: dict[str, Any] | None = None, **spec: Any) -> None:
    """A policy about config maps and its binding ``bind``."""
    mutating = "mutations" in spec
    spec.setdefault("matchConstraints", {"resourceRules": [RULE]})
    if mutating:
        spec.setdefault("reinvocationPolicy", "Never")
    await w.client.create(kind(mutating), {"metadata": {"name": name}, "spec": spec})
    bound = {"policyName": name, **(binding or {})}
    if not mutating:
        bound.setdefault("validationActions", ["Deny"])
    body = {"metadata": {"name": f"{name}-bind"}, "spec": bound}
    await w.client.create(kind(mutating, "Binding"), body)


def config_map(name: str, namespace: str = "default", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


async def refused(w, obj: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await w.client.create(CONFIG_MAP, obj)
    return caught.value


def test_a_validation_that_does_not_hold_denies_with_upstreams_words(simulate):
    """422, the policy and its binding named, the expression told where there is no message."""

    async def story(w):
        await policy(w, "short", validations=[{"expression": "size(object.data) < 2"}])
        await w.client.create(CONFIG_MAP, config_map("fine", a="1"))
        error = await refused(w, config_map("long", a="1", b="2"))
        assert (error.code, error.reason) == (422, "Invalid")
        assert error.message == (
            "configmaps \"long\" is forbidden: ValidatingAdmissionPolicy 'short' with binding "
            "'short-bind' denied request: failed expression: size(object.data) < 2"
        )

    simulate(story)


def test_messages_reasons_variables_and_params_make_the_denial(simulate):
    """messageExpression speaks, the reason is the answer's, params come from the binding."""

    async def story(w):
        await w.client.create(CONFIG_MAP, config_map("limits", max="3"))
        await policy(
            w, "sized",
            {"paramRef": {
                "name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny",
            }},
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            variables=[{"name": "max", "expression": "int(params.data.max)"},
                       {"name": "count", "expression": "size(object.data)"}],
            matchConditions=[{"name": "mine", "expression": "object.metadata.name != 'limits'"}],
            validations=[{
                "expression": "variables.count <= variables.max",
                "messageExpression": "string(variables.count) + ' > ' + string(variables.max)",
                "reason": "Forbidden",
            }],
        )  # fmt: skip
        error = await refused(w, config_map("big", a="", b="", c="", d=""))
        assert (error.code, error.reason) == (403, "Forbidden")
        assert error.message.endswith("denied request: 4 > 3")
        await w.client.patch(CONFIG_MAP, "limits", {"data": {"max": "9"}}, "default")
        await w.client.create(CONFIG_MAP, config_map("big", a="", b="", c="", d=""))
        await w.client.delete(CONFIG_MAP, "limits", "default")
        error = await refused(w, config_map("more"))
        assert error.message.endswith(
            "denied request: failed to configure binding: no params found for policy binding with "
            "`Deny` parameterNotFoundAction"
        )

    simulate(story)


def test_a_failing_expression_denies_unless_failures_are_ignored(simulate):
    """failurePolicy decides about expressions that cannot be evaluated, not about refusals."""

    async def story(w):
        await policy(w, "strict", validations=[{"expression": "object.data.nope == 'x'"}])
        error = await refused(w, config_map("a", b="1"))
        assert error.message.endswith(
            "expression 'object.data.nope == 'x'' resulted in error: no such key: nope"
        )
        await w.client.patch(kind(False), "strict", {"spec": {"failurePolicy": "Ignore"}})
        await w.client.create(CONFIG_MAP, config_map("a", b="1"))

    simulate(story)


def test_warn_and_audit_let_the_write_pass_and_tell_of_it(simulate):
    """A warning for the client, annotations for the audit log."""

    async def story(w):
        await policy(
            w, "told", {"validationActions": ["Warn", "Audit"]},
            validations=[{"expression": "false", "message": "no"}],
            auditAnnotations=[{"key": "who", "valueExpression": "request.userInfo.username"}],
        )  # fmt: skip
        answer = await w.raw("POST", CONFIG_MAP.path("default"), config_map("a"))
        assert answer.status == 201
        words = "Validation failed for ValidatingAdmissionPolicy 'told' with binding 'told-bind'"
        warnings = [text for name, text in answer.headers.items() if name.lower() == "warning"]
        assert warnings == [f'299 - "{words}: no"']

    simulate(story)


def test_rules_selectors_names_and_exclusions_say_what_a_policy_sees(simulate):
    """What is excluded, in another namespace or under another name is not asked about."""

    async def story(w):
        await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "free", "labels": {"a": "b"}}})
        select = {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}
        await policy(
            w, "none",
            matchConstraints={
                "resourceRules": [RULE], "namespaceSelector": select,
                "excludeResourceRules": [{**RULE, "resourceNames": ["spared"]}],
            },
            validations=[{"expression": "false"}],
        )  # fmt: skip
        await w.client.create(CONFIG_MAP, config_map("x", "free"))
        await w.client.create(CONFIG_MAP, config_map("spared"))
        await refused(w, config_map("x"))

    simulate(story)


def test_the_authorizer_is_asked_for_the_user_and_for_service_accounts(simulate):
    """authorizer asks about whoever writes, serviceAccount() about somebody else."""

    async def story(w):
        asked = []

        def decide(_server, question):
            asked.append((question.user.name, question.verb, question.resource))
            return question.user.name == "admin", "because"

        ask = "authorizer.group('').resource('secrets').namespace('default').check('get')"
        other = "authorizer.serviceAccount('default', 'robot').group('').resource('secrets')"
        await policy(w, "may", validations=[
            {"expression": f"{ask}.allowed() && {ask}.reason() == 'because'"},
            {"expression": f"!{other}.check('get').allowed()"},
            {"expression": "authorizer.requestResource.check('create').allowed()"},
        ])  # fmt: skip
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("podwire.apiserver.admission.policies.inputs.authorize", decide)
            await w.client.create(CONFIG_MAP, config_map("a"))
        assert asked == [
            ("admin", "get", "secrets"),
            ("system:serviceaccount:default:robot", "get", "secrets"),
            ("admin", "create", "configmaps"),
        ]

    simulate(story)


def test_mutations_apply_configurations_and_patches_in_order(simulate):
    """Each mutation sees what the one before it made; defaults are filled in again."""

    async def story(w):
        await policy(w, "change", mutations=[
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{labels: {'team': 'a'}}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('x/y'), "
                "value: object.metadata.labels.team + '-b'}]"}},
        ])  # fmt: skip
        made = await w.json("POST", CONFIG_MAP.path("default"), config_map("a", b="1"))
        assert made["metadata"]["labels"] == {"team": "a", "x/y": "a-b"}
        assert made["data"] == {"b": "1"}

    simulate(story)


def test_a_mutation_that_cannot_be_made_denies_and_changes_nothing(simulate):
    """The policy and its binding are named; types that do not fit their place are told."""

    async def story(w):
        await policy(w, "odd", mutations=[
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.wrong{labels: {'a': 'b'}}}"}},
        ])  # fmt: skip
        error = await refused(w, config_map("a"))
        assert error.message == (
            "policy 'odd' with binding 'odd-bind' denied request: type mismatch: unexpected type "
            'name "Object.wrong", expected "Object.metadata", which matches field name path from '
            "root Object type"
        )

    simulate(story)


def test_a_broken_expression_is_refused_when_the_policy_is_made(simulate):
    """The mistake is pointed out where it stands."""

    async def story(w):
        body = {
            "metadata": {"name": "bad"},
            "spec": {
                "matchConstraints": {"resourceRules": [RULE]},
                "validations": [{"expression": "objct.data == 1"}],
            },
        }
        with pytest.raises(ApiError) as caught:
            await w.client.create(kind(False), body)
        assert caught.value.message == (
            'ValidatingAdmissionPolicy.admissionregistration.k8s.io "bad" is invalid: '
            'spec.validations[0].expression: Invalid value: "objct.data == 1": compilation failed: '
            "ERROR: <input>:1:1: undeclared reference to 'objct' (in container '')\n"
            " | objct.data == 1\n | ^"
        )

    simulate(story)


EITHER = "Required value: validations or auditAnnotations must contain at least one item"
PATCH = {"expression": "[JSONPatch{op: 'remove', path: '/data'}]"}
MISTAKES: list[tuple[str, bool, dict[str, Any], str]] = [
    ("nothing", False, {}, f"spec.validations: {EITHER}\nspec.auditAnnotations: {EITHER}"),
    ("names", False, {
        "paramKind": {"apiVersion": "a/b/c"},
        "variables": [{"name": "for", "expression": " "}],
        "validations": [{"expression": "true", "message": "a\nb", "reason": "Unauthorized"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'a'"}] * 2,
    }, """\
spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c
spec.paramKind.kind: Required value
spec.variables[0].name: Invalid value: "for": name is not a valid CEL identifier
spec.variables[0].expression: Required value: expression is not specified
spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks
spec.validations[0].reason: Unsupported value: "Unauthorized": supported values: "Forbidden", \
"Invalid", "RequestEntityTooLarge"
spec.auditAnnotations[1].key: Duplicate value: "k\""""),
    ("mutations", True, {
        "matchConstraints": {"resourceRules": [{**RULE, "operations": ["DELETE"]}]},
        "mutations": [
            {"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}},
            {"patchType": "Merge", "jsonPatch": PATCH}, {"jsonPatch": PATCH},
        ],
    }, """\
spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: \
"*", "CONNECT", "CREATE", "UPDATE"
spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch
spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be \
specified when patchType is JSONPatch
spec.mutations[1].patchType: Unsupported value: "Merge": supported values: \
"ApplyConfiguration", "JSONPatch"
spec.mutations[2].patchType: Required value
spec.reinvocationPolicy: Required value"""),
]  # fmt: skip


async def mistakes(w, of: Any, spec: dict[str, Any]) -> str:
    """What is wrong with an object, a line each."""
    with pytest.raises(ApiError) as caught:
        await w.client.create(of, {"metadata": {"name": "bad"}, "spec": spec})
    return "\n".join(f"{one.field}: {one.message}" for one in caught.value.causes)


def test_a_policy_that_is_badly_made_is_told_field_by_field(simulate):
    """The form of things, as upstream's validation words it."""

    async def story(w):
        for about, mutating, spec, told in MISTAKES:
            whole = {"matchConstraints": {"resourceRules": [RULE]}, **spec}
            assert await mistakes(w, kind(mutating), whole) == told, about
        rule = {**RULE, "resourceNames": ["a/b", "c", "c"]}
        names = "spec.matchResouces.resourceRules[0].resourceNames"
        both = "Forbidden: name and selector are mutually exclusive"
        reference = {"name": "a", "selector": {}, "parameterNotFoundAction": "Ask"}
        spec = {"policyName": "p", "paramRef": reference,
                "matchResources": {"resourceRules": [rule]}}  # fmt: skip
        assert (
            await mistakes(w, kind(False, "Binding"), spec)
            == f"""\
spec.paramRef.name: {both}
spec.paramRef.selector: {both}
spec.paramRef.parameterNotFoundAction: Unsupported value: "Ask": supported values: "Deny", "Allow"
{names}[0]: Invalid value: "a/b": may not contain '/'
{names}[2]: Duplicate value: "c"
spec.validationActions: Required value: at least one validation action is required"""
        )

    simulate(story)


def test_a_mutating_policy_without_its_params_forbids_creation_and_no_deletion(simulate):
    """What is deleted cannot be changed; missing params are told before wrong mutations."""

    async def story(w):
        await w.client.create(CONFIG_MAP, config_map("there"))
        await policy(
            w, "labels",
            {"paramRef": {"name": "gone", "parameterNotFoundAction": "Deny"}},
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            matchConstraints={"resourceRules": [{**RULE, "operations": ["*"]}]},
            mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'remove', path: '/data'}]"}}],
        )  # fmt: skip
        error = await refused(w, config_map("new"))
        assert (error.code, error.reason) == (403, "Forbidden")
        assert error.message == (
            "policy 'labels' with binding 'labels-bind' denied request: failed to configure "
            "binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )
        await w.client.delete(CONFIG_MAP, "there", "default")

    simulate(story)
