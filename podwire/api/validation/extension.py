"""Validation of webhook configurations and APIServices: the form of things.

Expressions (CEL) are not compiled here. Source: kubernetes
pkg/apis/admissionregistration/validation and kube-aggregator pkg/apis/apiregistration/validation.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from podwire.api import names
from podwire.api.validation import meta
from podwire.api.validation.field import Errors
from podwire.api.view import JSON

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
FAILURE = ("Fail", "Ignore")
MATCH = ("Equivalent", "Exact")
REINVOCATION = ("IfNeeded", "Never")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_REVIEW_VERSIONS = ("v1", "v1beta1")


def check_validating_webhooks(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A ValidatingWebhookConfiguration."""
    _webhooks(errors, new.get("webhooks") or [])


def check_mutating_webhooks(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """A MutatingWebhookConfiguration."""
    hooks = new.get("webhooks") or []
    _webhooks(errors, hooks)
    for i, hook in enumerate(hooks):
        if "reinvocationPolicy" in hook:
            where = f"webhooks[{i}].reinvocationPolicy"
            errors.one_of(where, hook["reinvocationPolicy"], REINVOCATION)


def _webhooks(errors: Errors, hooks: list[JSON]) -> None:
    seen: dict[str, None] = {}
    for i, hook in enumerate(hooks):
        path, name = f"webhooks[{i}]", hook.get("name", "")
        _qualified(errors, f"{path}.name", name)
        for j, rule in enumerate(hook.get("rules") or ()):
            check_rule(errors, f"{path}.rules[{j}]", rule)
        for field, supported in (
            ("failurePolicy", FAILURE), ("matchPolicy", MATCH), ("sideEffects", _SIDE_EFFECTS),
        ):  # fmt: skip
            value = hook.get(field)
            if value is not None:
                errors.one_of(f"{path}.{field}", value, supported)
            elif field == "sideEffects":
                listed = ", ".join(_SIDE_EFFECTS)
                errors.required(f"{path}.{field}", f"must specify one of {listed}")
        seconds = hook.get("timeoutSeconds")
        if seconds is not None and not 1 <= seconds <= 30:
            detail = "the timeout value must be between 1 and 30 seconds"
            errors.invalid(f"{path}.timeoutSeconds", seconds, detail)
        for field in ("namespaceSelector", "objectSelector"):
            meta.label_selector(errors, f"{path}.{field}", hook.get(field))
        client_config(errors, f"{path}.clientConfig", hook["clientConfig"])
        check_conditions(errors, f"{path}.matchConditions", hook.get("matchConditions") or [])
        _review_versions(errors, path, hook.get("admissionReviewVersions") or [])
        if name and name in seen:
            errors.duplicate(f"{path}.name", name)
        seen[name] = None


def _review_versions(errors: Errors, path: str, versions: list[str]) -> None:
    where = f"{path}.admissionReviewVersions"
    if not versions:
        listed = ", ".join(_REVIEW_VERSIONS)
        errors.required(where, f"must specify one of {listed}")
        return
    seen: dict[str, None] = {}
    for i, version in enumerate(versions):
        errors.complaints(f"{where}[{i}]", version, names.dns1035_label(version))
        if version in seen:
            errors.invalid(f"{where}[{i}]", version, "duplicate version")
        seen[version] = None
    if not set(versions) & set(_REVIEW_VERSIONS):
        listed = ", ".join(_REVIEW_VERSIONS)
        errors.invalid(where, versions, f"must include at least one of {listed}")


def _qualified(errors: Errors, path: str, name: str) -> None:
    """A name of at least three segments."""
    if not name:
        errors.required(path)
        return
    complaints = names.dns1123_subdomain(name)
    errors.complaints(path, name, complaints)
    if not complaints and name.count(".") < 2:
        errors.invalid(
            path, name, "should be a domain with at least three segments separated by dots"
        )


def client_config(errors: Errors, path: str, client: JSON) -> None:
    """How a webhook is reached: by URL or by Service."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        errors.required(path, "exactly one of url or service is required")
        return
    if service is None:
        _url(errors, f"{path}.url", url or "")
        return
    for name in ("name", "namespace"):
        if not service.get(name):
            errors.required(f"{path}.service.{name}", f"service {name} is required")
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        errors.invalid(f"{path}.service.port", port, detail)
    where = service.get("path")
    if where is not None and not where.startswith("/"):
        errors.invalid(f"{path}.service.path", where, "must start with a '/'")


def _url(errors: Errors, path: str, url: str) -> None:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        errors.required(path, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        errors.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.netloc:
        errors.invalid(path, parts.netloc, f"host must be specified{form}")
    if parts.username is not None:
        user = parts.netloc.rpartition("@")[0]
        errors.invalid(path, user, "user information is not permitted in the URL")
    if parts.fragment:
        errors.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        errors.invalid(path, parts.query, "query parameters are not permitted in the URL")


def check_rule(errors: Errors, path: str, rule: JSON) -> None:
    """Which operations on which resources something is about."""
    for field in ("operations", "apiGroups", "apiVersions", "resources"):
        values = rule.get(field) or []
        if not values:
            errors.required(f"{path}.{field}")
        if field == "resources":
            _resources(errors, f"{path}.{field}", values)
            continue
        if len(values) > 1 and "*" in values:
            what = {"operations": "operations", "apiGroups": "api groups"}.get(
                field, "api versions"
            )
            errors.invalid(
                f"{path}.{field}", values, f"if '*' is present, must not specify other {what}"
            )
        for i, value in enumerate(values):
            if field == "operations":
                errors.one_of(f"{path}.{field}[{i}]", value, _OPERATIONS)
            elif field == "apiVersions" and not value:
                errors.required(f"{path}.{field}[{i}]")
    if "scope" in rule:
        errors.one_of(f"{path}.scope", rule["scope"], _SCOPES)


def _resources(errors: Errors, path: str, values: list[str]) -> None:
    whole: dict[str, None] = {}  # resources of which all subresources were named
    everywhere: dict[str, None] = {}  # subresources that were named of all resources
    for i, value in enumerate(values):
        if not value:
            errors.required(f"{path}[{i}]")
        resource, slash, part = value.partition("/")
        if not slash:
            continue
        for known, name, wide in (
            (whole, resource, f"{resource}/*"),
            (everywhere, part, f"*/{part}"),
        ):
            if name in known:
                detail = f"if '{wide}' is present, must not specify {value}"
                errors.invalid(f"{path}[{i}]", value, detail)
        if part == "*":
            whole[resource] = None
        if resource == "*":
            everywhere[part] = None
    if len(values) > 1 and "*/*" in values:
        detail = "if '*/*' is present, must not specify other resources"
        errors.invalid(path, values, detail)
    if "*" in values and any("/" not in value and value != "*" for value in values):
        detail = "if '*' is present, must not specify other resources without subresources"
        errors.invalid(path, values, detail)


def check_conditions(errors: Errors, path: str, conditions: list[JSON]) -> None:
    """The form of matchConditions."""
    if len(conditions) > 64:
        errors.too_many(path, len(conditions), 64)
    seen: dict[str, None] = {}
    for i, condition in enumerate(conditions):
        name = condition.get("name", "")
        if not condition.get("expression", "").strip():
            errors.required(f"{path}[{i}].expression")
        if not name:
            errors.required(f"{path}[{i}].name")
        elif name in seen:
            errors.duplicate(f"{path}[{i}].name", name)
        else:
            errors.complaints(f"{path}[{i}].name", name, names.label_key(name))
        seen[name] = None


def check_api_service(errors: Errors, new: JSON, _old: JSON | None) -> None:
    """An APIService: named after its version and group."""
    spec, name = new["spec"], new["metadata"].get("name", "")
    version, group = spec.get("version", ""), spec.get("group", "")
    wanted = f"{version}.{group}"
    if name != wanted:
        detail = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        errors.invalid("metadata.name", name, detail)
    if not version:
        errors.required("spec.version")
    else:
        errors.complaints("spec.version", version, names.dns1035_label(version))
    if group:
        errors.complaints("spec.group", group, names.dns1123_subdomain(group))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field, 0)
        if not 0 < value <= most:
            detail = f"must be positive and less than {most}"
            errors.invalid(f"spec.{field}", value, detail)
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            detail = "local APIServices may not have a caBundle"
            errors.invalid("spec.caBundle", f"{len(spec['caBundle'])} bytes", detail)
        if spec.get("insecureSkipTLSVerify"):
            detail = "local APIServices may not have insecureSkipTLSVerify"
            errors.invalid("spec.insecureSkipTLSVerify", True, detail)
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            errors.required(f"spec.service.{field}")
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        detail = "may not be true if caBundle is present"
        errors.invalid("spec.insecureSkipTLSVerify", True, detail)
