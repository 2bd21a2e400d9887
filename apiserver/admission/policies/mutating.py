"""MutatingAdmissionPolicy: objects are changed by apply configurations and JSON patches.

Source: apiserver pkg/admission/plugin/policy/mutating (dispatcher.go, patch/).
"""

from __future__ import annotations

from typing import Any

import msgspec

from podwire.api.cel.admission import Activation, OutOfBudgetError, ShapeError, plain
from podwire.api.kinds import Kind
from podwire.api.managed import typed
from podwire.api.managed.plans import plan_of
from podwire.api.patch import PatchError
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.policies import definitions
from podwire.apiserver.admission.policies.definitions import Binding, Policy, concerned
from podwire.apiserver.admission.policies.inputs import inputs
from podwire.apiserver.admission.policies.params import ParamsError, collect
from podwire.apiserver.admission.review import Review, Round
from podwire.apiserver.admission.webhooks import hooks, reviews
from podwire.apiserver.admission.webhooks.reviews import Question

NAME = "MutatingAdmissionPolicy"


class _FailedError(Exception):
    """A mutation could not be made."""


def mutate(review: Review) -> None:
    """The plugin's step. Raises ApiError."""
    active = review.server.policies.mutating.active(review.server)
    if not active or hooks.exempt(review):
        return
    memory: Round = review.memory.setdefault(NAME, Round())
    if review.reinvoking and memory.output != msgspec.json.encode(review.obj):
        memory.require_all()
    missing: list[str] = []
    failed: list[str] = []
    question = Question(review)
    for policy, kind, binding in concerned(active, review):
        start = f"policy '{policy.name}' with binding '{binding.name}' denied request"
        try:
            wrong = _bound(question, kind, policy, binding, memory)
        except ParamsError as why:
            if not policy.ignores_failures:
                missing.append(f"{start}: failed to configure binding: {why}")
            continue
        if not policy.ignores_failures:
            failed += [f"{start}: {one}" for one in wrong]
    if review.reinvoke or memory.reinvocable:
        memory.output = msgspec.json.encode(review.obj)
    if errors := missing + failed:
        error = calls.forbidden(review.kind, review.name, "")
        causes = tuple(Cause("", one) for one in errors)
        reason = "Forbidden" if missing else "Invalid"
        raise ApiError(reason, errors[0], 403, error.details, causes)


def _bound(
    question: Question, kind: Kind[Any], policy: Policy, binding: Binding, memory: Round
) -> list[str]:
    """Apply a policy for each of a binding's params; what went wrong is the answer.

    Raises ParamsError.
    """
    review = question.review
    params = collect(review, policy, binding)
    failed: list[str] = []
    for number, param in enumerate(params):
        matched, error = policy.conditions.match(inputs(question, kind, param, conditions=True))
        key = f"{policy.name}/{binding.name}/{number}"
        if error:
            failed.append(error)
        if error or not matched or (review.reinvoking and key not in memory.again):
            continue
        before = review.obj
        for patch, expression in policy.mutations:
            shown, _ = question.objects(kind)
            if shown is None:
                continue
            activation = Activation(policy.compiler, inputs(question, kind, param))
            try:
                value, error = activation.evaluate(expression)
                error = expression.error or error
                if not error:
                    review.obj = _patched(review, kind, shown, patch, value)
            except (_FailedError, OutOfBudgetError) as wrong:
                error = str(wrong)
            if error:
                failed.append(error)
            question.forget()
        if review.obj != before:
            memory.require_all()
            review.reinvoke = True
        if policy.spec.get("reinvocationPolicy") == "IfNeeded":
            memory.reinvocable.append(key)
    return failed


def _patched(review: Review, kind: Kind[Any], shown: JSON, patch: str, value: Any) -> JSON:
    """The object after one mutation, with defaults. Raises _FailedError."""
    try:
        if patch == "JSONPatch":
            operations = [_operation(one) for one in value]
        else:
            operations = [{"op": "replace", "path": "", "value": _merged(kind, shown, value)}]
    except ShapeError as wrong:
        raise _FailedError(f"type mismatch: {wrong}") from None
    try:
        return reviews.patched(review, kind, shown, operations)
    except PatchError as wrong:
        if patch == "JSONPatch" and "test" in str(wrong):
            return review.obj  # a patch whose test fails is not applied
        raise _FailedError(f"JSON Patch: {wrong}") from None
    except ApiError as wrong:
        raise _FailedError(wrong.message) from None


def _operation(one: JSON) -> JSON:
    """One operation of a JSON patch. Raises ShapeError."""
    made: JSON = {"op": one.get("op", ""), "path": one.get("path", "")}
    if one.get("from"):
        made["from"] = one["from"]
    if "value" in one:
        made["value"] = plain(one["value"])
    return made


def _merged(kind: Kind[Any], shown: JSON, value: Any) -> JSON:
    """An apply configuration merged into an object. Raises ShapeError, _FailedError."""
    config = plain(value, "Object")
    config = {**config, "apiVersion": shown["apiVersion"], "kind": shown["kind"]}
    step = plan_of(kind)
    if wrong := typed.complaints(step, config):
        why = f"failed to convert patch object to typed object: {wrong[0]}"
        raise _FailedError(f"error applying patch: {why}")
    merged: JSON = typed.merge(step, shown, config)
    return merged


PLUGIN = Plugin(
    NAME,
    admit=mutate,
    operations=("CREATE", "UPDATE", "CONNECT"),
    subresources=None,
    moot_without=definitions.MUTATING_BINDING,
)
