"""Defaults of the kinds that extend the API server: webhooks, policies, aggregation, fairness.

Source: kubernetes pkg/apis/{admissionregistration,flowcontrol}/v1/defaults.go and kube-aggregator
pkg/apis/apiregistration/v1/defaults.go.
"""

from __future__ import annotations

from podwire.api.view import JSON

_HTTPS = 443


def default_validating_webhooks(obj: JSON) -> None:
    """Every webhook of a ValidatingWebhookConfiguration."""
    for hook in obj.get("webhooks") or ():
        _webhook(hook)


def default_mutating_webhooks(obj: JSON) -> None:
    """Every webhook of a MutatingWebhookConfiguration."""
    for hook in obj.get("webhooks") or ():
        _webhook(hook)
        hook.setdefault("reinvocationPolicy", "Never")


def _webhook(hook: JSON) -> None:
    hook.setdefault("failurePolicy", "Fail")
    hook.setdefault("matchPolicy", "Equivalent")
    hook.setdefault("namespaceSelector", {})
    hook.setdefault("objectSelector", {})
    hook.setdefault("timeoutSeconds", 10)
    service = hook["clientConfig"].get("service")
    if service is not None:
        service.setdefault("port", _HTTPS)
    for rule in hook.get("rules") or ():
        rule.setdefault("scope", "*")


def default_admission_policy(obj: JSON) -> None:
    """A Validating- or MutatingAdmissionPolicy."""
    obj["spec"].setdefault("failurePolicy", "Fail")
    _match_resources(obj["spec"].get("matchConstraints"))


def default_policy_binding(obj: JSON) -> None:
    """A binding of an admission policy."""
    _match_resources(obj["spec"].get("matchResources"))


def _match_resources(match: JSON | None) -> None:
    if match is None:
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(name) or ():
            rule.setdefault("scope", "*")


def default_api_service(obj: JSON) -> None:
    """An APIService that is served elsewhere is asked by HTTPS."""
    service = obj["spec"].get("service")
    if service is not None:
        service.setdefault("port", _HTTPS)


def default_flow_schema(obj: JSON) -> None:
    """Matched after what names a precedence below a thousand."""
    spec = obj["spec"]
    spec["matchingPrecedence"] = spec.get("matchingPrecedence") or 1000


def default_priority_level(obj: JSON) -> None:
    """Shares, and queues when there is queuing."""
    spec = obj["spec"]
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if exempt is not None:
        exempt.setdefault("nominalConcurrencyShares", 0)
        exempt.setdefault("lendablePercent", 0)
    if limited is None:
        return
    limited.setdefault("nominalConcurrencyShares", 30)
    limited.setdefault("lendablePercent", 0)
    queuing = limited["limitResponse"].get("queuing")
    if queuing is not None:
        queuing["queues"] = queuing.get("queues") or 64
        queuing["handSize"] = queuing.get("handSize") or 8
        queuing["queueLengthLimit"] = queuing.get("queueLengthLimit") or 50
