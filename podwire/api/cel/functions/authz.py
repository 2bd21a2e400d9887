"""Questions to the authorizer: ``authorizer.group('').resource('pods').check('get').allowed()``.

Source: Kubernetes' apiserver pkg/cel/library/authz.go. Who decides is given by whoever evaluates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from podwire.api import names
from podwire.api.cel.functions import costs
from podwire.api.cel.functions.registry import method
from podwire.api.cel.types import BOOL, STRING, opaque
from podwire.api.cel.values import CelError, name_type

_PLACE = "kubernetes.authorization."
AUTHORIZER = opaque(f"{_PLACE}Authorizer")
PATH = opaque(f"{_PLACE}PathCheck")
GROUP = opaque(f"{_PLACE}GroupCheck")
RESOURCE = opaque(f"{_PLACE}ResourceCheck")
DECISION = opaque(f"{_PLACE}Decision")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: about a path, or about a resource."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None
    """Namespace and name of the account that is asked for instead of the requesting user."""

    def where(self, attribute: str, value: str) -> Question:
        """The same question with one attribute more."""
        changes: dict[str, Any] = {attribute: value}
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Question], Decision]


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The variable ``authorizer``."""

    ask: Ask = field(compare=False)
    question: Question = Question()


@dataclass(frozen=True, slots=True)
class PathCheck(Authorizer):
    """A path that may be asked about."""


@dataclass(frozen=True, slots=True)
class GroupCheck(Authorizer):
    """A group whose resources may be asked about."""


@dataclass(frozen=True, slots=True)
class ResourceCheck(Authorizer):
    """A resource that may be asked about."""


def _path(one: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise CelError("path must not be empty")
    return PathCheck(one.ask, replace(one.question, path=path))


def _service_account(one: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns1123_subdomain(name):
        raise CelError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise CelError("Invalid service account namespace")
    return Authorizer(one.ask, replace(one.question, service_account=(namespace, name)))


def _resource(one: Authorizer, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise CelError("resource must not be empty")
    return ResourceCheck(one.ask, replace(one.question, resource=resource))


def _check(one: Authorizer, verb: str) -> Decision:
    return one.ask(replace(one.question, verb=verb))


def _narrowed(attribute: str) -> Callable[[Authorizer, str], ResourceCheck]:
    return lambda one, text: ResourceCheck(one.ask, one.question.where(attribute, text))


method("path", "authorizer_path", (AUTHORIZER, STRING), PATH, _path)
method(
    "group", "authorizer_group", (AUTHORIZER, STRING), GROUP,
    lambda one, group: GroupCheck(one.ask, replace(one.question, group=group)),
)  # fmt: skip
method(
    "serviceAccount", "authorizer_serviceaccount", (AUTHORIZER, STRING, STRING), AUTHORIZER,
    _service_account,
)  # fmt: skip
method("resource", "groupcheck_resource", (GROUP, STRING), RESOURCE, _resource)
for _name in ("subresource", "namespace", "name"):
    method(_name, f"resourcecheck_{_name}", (RESOURCE, STRING), RESOURCE, _narrowed(_name))
for _name, _attribute in (("fieldSelector", "field_selector"), ("labelSelector", "label_selector")):
    method(
        _name, f"authorizer_{_name.lower()}", (RESOURCE, STRING), RESOURCE,
        _narrowed(_attribute), costs.selector,
    )  # fmt: skip
method("check", "pathcheck_check", (PATH, STRING), DECISION, _check, costs.CHECK_COST)
method("check", "resourcecheck_check", (RESOURCE, STRING), DECISION, _check, costs.CHECK_COST)
method("errored", "decision_errored", (DECISION,), BOOL, lambda one: bool(one.error))
method("error", "decision_error", (DECISION,), STRING, lambda one: one.error)
method("allowed", "decision_allowed", (DECISION,), BOOL, lambda one: one.allowed)
method("reason", "decision_reason", (DECISION,), STRING, lambda one: one.reason)
for _class, _type in (
    (Authorizer, AUTHORIZER), (PathCheck, PATH), (GroupCheck, GROUP), (ResourceCheck, RESOURCE),
    (Decision, DECISION),
):  # fmt: skip
    name_type(_class, _type.name)

__all__ = ["Ask", "Authorizer", "Decision", "Question", "ResourceCheck"]
