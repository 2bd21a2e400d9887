"""``x-kubernetes-validations``: CEL rules in a structural schema.

Two calls for those who serve CustomResourceDefinitions:

- ``check(schema, path, errors)`` when a CRD is created or its schema changes (after its schema was
  found to be structural): compile errors, estimated costs, misuse of oldSelf.
- ``compile_rules(schema)`` once per served schema, None where there are no rules; its
  ``validate(obj, old, errors, warnings)`` on every write, after the schema's own validation found
  nothing. Status is validated as part of the whole object, as upstream does.

``schema`` is an ``openAPIV3Schema`` as JSON. Source of the behaviour: apiextensions-apiserver
pkg/apiserver/schema/cel and pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from podwire.api.validation.field import Errors
from podwire.api.view import JSON


class Rules:
    """The compiled rules of one schema; keep it as long as the schema is served."""

    def validate(self, obj: JSON, old: JSON | None, errors: Errors, warnings: list[str]) -> None:
        """Add what the rules find wrong in ``obj``; ``old`` is the stored object of an update.

        What was wrong already and is unchanged becomes a warning (ratcheting).
        """


def compile_rules(schema: JSON) -> Rules | None:
    """The rules of ``schema``, or None when it has none."""


def check(schema: JSON, path: str, errors: Errors, stored: JSON | None = None) -> None:
    """Add what is wrong with the rules of a CRD's schema that stands at ``path``.

    ``stored`` is the schema before an update: its expressions are not held to the limits again.
    """
