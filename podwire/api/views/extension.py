"""Views of what extends the API. Of a CustomResourceDefinition no schemas: what clients need."""

from __future__ import annotations

from typing import Any

from podwire.api.view import View
from podwire.api.views.meta import Condition, Object


class DefinitionNames(View, frozen=True, kw_only=True):
    """spec.names and status.acceptedNames."""

    plural: str = ""
    singular: str = ""
    kind: str = ""
    list_kind: str = ""
    short_names: list[str] = []
    categories: list[str] = []


class DefinitionVersion(View, frozen=True, kw_only=True):
    """spec.versions[]."""

    name: str = ""
    served: bool = False
    storage: bool = False
    subresources: dict[str, Any] = {}


class DefinitionSpec(View, frozen=True, kw_only=True):
    """spec of a CustomResourceDefinition."""

    group: str = ""
    scope: str = ""
    names: DefinitionNames = DefinitionNames()
    versions: list[DefinitionVersion] = []


class DefinitionStatus(View, frozen=True, kw_only=True):
    """status of a CustomResourceDefinition."""

    conditions: list[Condition] = []
    accepted_names: DefinitionNames = DefinitionNames()
    stored_versions: list[str] = []


class CustomResourceDefinition(Object, frozen=True, kw_only=True):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    spec: DefinitionSpec = DefinitionSpec()
    status: DefinitionStatus = DefinitionStatus()

    def is_true(self, condition: str) -> bool:
        """Whether a condition holds."""
        return any(c.type == condition and c.status == "True" for c in self.status.conditions)


class PolicyStatus(View, frozen=True, kw_only=True):
    """status of a ValidatingAdmissionPolicy."""

    observed_generation: int = 0


class ValidatingAdmissionPolicy(Object, frozen=True, kw_only=True):
    """admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy."""

    spec: dict[str, Any] = {}
    status: PolicyStatus = PolicyStatus()
