"""The objects that bindings give to policies as ``params``.

Source: apiserver pkg/admission/plugin/policy/generic/policy_dispatcher.go (CollectParams).
"""

from __future__ import annotations

from podwire.api import conversion, kinds
from podwire.api.selectors import from_json
from podwire.api.view import JSON
from podwire.apiserver.admission.policies.definitions import Binding, Policy
from podwire.apiserver.admission.review import Review


class ParamsError(Exception):
    """There are no params as the binding wants them; the message is upstream's."""


def collect(review: Review, policy: Policy, binding: Binding) -> list[JSON | None]:
    """The params, one evaluation each; [None] for a policy without. Raises ParamsError."""
    wanted, reference = policy.spec.get("paramKind"), binding.spec.get("paramRef")
    if wanted is None or reference is None:
        return [None]
    version, name = wanted.get("apiVersion", ""), wanted.get("kind", "")
    kind = review.server.kinds.by_gvk(version, name)
    if kind is None:
        shown = f"&ParamKind{{APIVersion:{version},Kind:{name},}}"
        raise ParamsError(f"paramKind kind `{shown}` not known")
    namespace = ""
    if kind.namespaced:
        namespace = reference.get("namespace") or review.namespace
        if not namespace:
            what = "cannot use namespaced paramRef in policy binding that matches"
            raise ParamsError(f"{what} cluster-scoped resources")
    elif reference.get("namespace"):
        what = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
        raise ParamsError(what)
    cache = review.server.caches.of(kinds.stored(kind))
    if reference.get("name"):
        entry = cache.get(namespace, reference["name"])
        entries = [] if entry is None else [entry]
    else:
        selector = from_json(reference.get("selector") or {})
        entries = [
            entry
            for entry in cache.entries(namespace)
            if selector.matches(entry.view.metadata.labels)
        ]
    if not entries and reference.get("parameterNotFoundAction") == "Deny":
        what = "no params found for policy binding with `Deny` parameterNotFoundAction"
        raise ParamsError(what)
    found: list[JSON | None] = []
    for entry in entries:
        obj = conversion.from_stored(kind, entry.json())
        obj["metadata"].pop("managedFields", None)
        found.append({**obj, "apiVersion": version, "kind": name})
    return found
