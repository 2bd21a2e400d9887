"""The expressions of admission policies: what is wrong with them is told before they are stored.

Source: pkg/apis/admissionregistration/validation/validation.go (validateCELCondition and its
kin).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from podwire.api.validation.field import Errors
from podwire.api.view import JSON

if TYPE_CHECKING:
    from podwire.api.cel.admission import Compiler, Expression


def check_expressions(errors: Errors, new: JSON, old: JSON | None) -> None:
    """Add what is wrong with a policy's expressions; those that are stored already are let be."""
    # CEL is large, and most who import validation never see a policy
    from podwire.api.cel.admission import Compiler  # noqa: PLC0415

    spec: JSON = new["spec"]
    variables = spec.get("variables") or ()
    compiler = Compiler(
        params=spec.get("paramKind") is not None,
        patches=new.get("kind") == "MutatingAdmissionPolicy",
        variables=[(one.get("name", ""), one.get("expression", "")) for one in variables],
    )
    kept = frozenset(_texts((old or {}).get("spec") or {}))
    for path, expression in _compiled(compiler, spec):
        if expression.error and expression.text.strip() and expression.text not in kept:
            errors.invalid(path, expression.text, expression.error)


def _compiled(compiler: Compiler, spec: JSON) -> Iterator[tuple[str, Expression]]:
    from podwire.api.cel.admission import MUTATIONS, Compiler  # noqa: PLC0415  as above
    from podwire.api.cel.types import BOOL, NULL, STRING  # noqa: PLC0415  as above

    conditions = Compiler(params=spec.get("paramKind") is not None)
    for i, one in enumerate(spec.get("matchConditions") or ()):
        text = one.get("expression", "")
        yield f"spec.matchConditions[{i}].expression", conditions.compile(text, BOOL)
    for i, expression in enumerate(compiler.variables.values()):
        yield f"spec.variables[{i}].expression", expression
    for i, one in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{i}]"
        yield f"{path}.expression", compiler.compile(one.get("expression", ""), BOOL)
        if message := one.get("messageExpression"):
            made = compiler.compile(message, STRING, authorizer=False)
            yield f"{path}.messageExpression", made
    for i, one in enumerate(spec.get("auditAnnotations") or ()):
        made = compiler.compile(one.get("valueExpression", ""), STRING, NULL, authorizer=False)
        yield f"spec.auditAnnotations[{i}].valueExpression", made
    for i, one in enumerate(spec.get("mutations") or ()):
        for part, (_, wanted) in MUTATIONS.items():
            if text := (one.get(part) or {}).get("expression"):
                yield f"spec.mutations[{i}].{part}.expression", compiler.compile(text, wanted)


def _texts(spec: JSON) -> Iterator[str]:
    """Every expression of a policy."""
    for group in ("matchConditions", "variables", "validations", "auditAnnotations", "mutations"):
        for one in spec.get(group) or ():
            for holder in (one, *(value for value in one.values() if isinstance(value, dict))):
                for name in ("expression", "messageExpression", "valueExpression"):
                    if text := holder.get(name):
                        yield text
