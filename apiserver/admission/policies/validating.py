"""ValidatingAdmissionPolicy: what its validations refuse is denied, warned about or audited.

Source: apiserver pkg/admission/plugin/policy/validating (dispatcher.go, validator.go).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from podwire.api.cel.admission import Activation, Inputs, OutOfBudgetError
from podwire.api.kinds import Kind
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.policies import definitions
from podwire.apiserver.admission.policies.definitions import Binding, Check, Policy, concerned
from podwire.apiserver.admission.policies.inputs import inputs
from podwire.apiserver.admission.policies.params import ParamsError, collect
from podwire.apiserver.admission.review import Review
from podwire.apiserver.admission.webhooks import hooks
from podwire.apiserver.admission.webhooks.reviews import Question

NAME = "ValidatingAdmissionPolicy"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
_MAX_FAILURES = 50
_MAX_MESSAGE_BYTES = 5 * 1024
_MAX_ANNOTATION_LENGTH = 10 * 1024


@dataclass(slots=True)
class _Outcome:
    """What all policies say of one write."""

    denials: list[tuple[str, str]] = field(default_factory=list)
    """Whole messages and reasons; the first one is told."""
    failures: list[JSON] = field(default_factory=list)
    """For the audit log."""
    annotations: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One validation that does not hold, or could not be evaluated."""

    index: int
    message: str
    reason: str = ""


def validate(review: Review) -> None:
    """The plugin's step. Raises ApiError."""
    active = review.server.policies.validating.active(review.server)
    if not active or hooks.exempt(review):
        return
    question = Question(review)
    outcome = _Outcome()
    for policy, kind, binding in concerned(active, review):
        _bound(question, kind, policy, binding, outcome)
    _tell(review, outcome)


def _tell(review: Review, outcome: _Outcome) -> None:
    """Publish annotations and refuse. Raises ApiError."""
    for key, values in outcome.annotations.items():
        review.annotate(key, ", ".join(values))
    if outcome.failures:
        told = msgspec.json.encode(outcome.failures[:_MAX_FAILURES]).decode()
        review.annotate("validation.policy.admission.k8s.io/validation_failure", told)
    if outcome.denials:
        message, reason = outcome.denials[0]
        error = calls.forbidden(review.kind, review.name, message)
        reason = reason or "Invalid"
        code = _CODES.get(reason, 422)
        raise ApiError(reason, error.message, code, error.details, (Cause("", message),))


def _bound(
    question: Question, kind: Kind[Any], policy: Policy, binding: Binding, outcome: _Outcome
) -> None:
    """What one binding says, for each of its params."""
    review = question.review
    start = f"{NAME} '{policy.name}' with binding '{binding.name}' denied request"
    try:
        params = collect(review, policy, binding)
    except ParamsError as wrong:
        if not policy.ignores_failures:
            outcome.denials.append((f"{start}: failed to configure binding: {wrong}", ""))
        return
    actions = binding.spec.get("validationActions") or ()
    for param in params:
        for refusal in _evaluated(question, kind, policy, param):
            for action in actions:
                if action == "Deny":
                    outcome.denials.append((f"{start}: {refusal.message}", refusal.reason))
                elif action == "Audit":
                    outcome.failures.append({
                        "message": refusal.message, "policy": policy.name,
                        "binding": binding.name, "expressionIndex": refusal.index,
                        "validationActions": list(actions),
                    })  # fmt: skip
                else:
                    words = f"Validation failed for {NAME} '{policy.name}' with binding"
                    review.warn(f"{words} '{binding.name}': {refusal.message}")
        outcome.denials += [
            (f"{start}: {message}", "")
            for message in _annotations(question, kind, policy, param, outcome)
        ]


def _evaluated(
    question: Question, kind: Kind[Any], policy: Policy, param: JSON | None
) -> list[_Refusal]:
    """The validations that refuse. A failure counts as one unless failures are ignored."""
    matched, wrong = policy.conditions.match(inputs(question, kind, param, conditions=True))
    if wrong:
        return [] if policy.ignores_failures else [_Refusal(0, wrong)]
    if not matched:
        return []
    activation = Activation(policy.compiler, inputs(question, kind, param))
    found: list[_Refusal] = []
    try:
        results = [activation.evaluate(check.expression) for check in policy.checks]
        for index, (check, (value, error)) in enumerate(zip(policy.checks, results, strict=True)):
            if error:
                if not policy.ignores_failures:
                    found.append(_Refusal(index, error))
            elif value is not True:
                message = _message(activation, check)
                found.append(_Refusal(index, message, check.spec.get("reason") or "Invalid"))
    except OutOfBudgetError as spent:
        return [] if policy.ignores_failures else [_Refusal(0, str(spent))]
    return found


def _message(activation: Activation, check: Check) -> str:
    """Why a validation refuses: its expression's words, else its message, else its text."""
    if check.message is not None:
        said, _ = activation.evaluate(check.message)
        told = said.strip() if isinstance(said, str) else ""
        if told and len(told.encode()) <= _MAX_MESSAGE_BYTES and "\n" not in told:
            return str(told)
    message = (check.spec.get("message") or "").strip()
    return message or f"failed expression: {check.expression.text.strip()}"


def _annotations(
    question: Question, kind: Kind[Any], policy: Policy, param: JSON | None, outcome: _Outcome
) -> list[str]:
    """Note audit annotations; what could not be evaluated is the answer."""
    if not policy.annotations:
        return []
    given: Inputs = inputs(question, kind, param)
    if not policy.conditions.match(inputs(question, kind, param, conditions=True))[0]:
        return []
    activation = Activation(policy.compiler, given)
    failed: list[str] = []
    try:
        for key, expression in policy.annotations:
            value, error = activation.evaluate(expression)
            text = value.strip() if isinstance(value, str) else ""
            if error:
                failed.append(error)
            elif text:
                known = outcome.annotations.setdefault(f"{policy.name}/{key}", [])
                if (cut := text[:_MAX_ANNOTATION_LENGTH]) not in known:
                    known.append(cut)
    except OutOfBudgetError as spent:
        failed.append(str(spent))
    return [] if policy.ignores_failures else failed


PLUGIN = Plugin(
    NAME,
    validate=validate,
    operations=("CREATE", "UPDATE", "DELETE", "CONNECT"),
    subresources=None,
    moot_without=definitions.VALIDATING_BINDING,
)
