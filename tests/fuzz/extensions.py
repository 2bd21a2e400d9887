"""Definitions, their objects, and policies."""

from __future__ import annotations

from typing import Any

from tests.fuzz.drawing import JSON, NAMES, PATCHES, Asked, Drawing, target_of
from tests.samples_crd import definition, widget


class Extensions(Drawing):
    """What extends the API."""

    def _schema(self, depth: int = 3) -> Any:
        """An OpenAPI schema, perhaps structural."""
        rule = {"rule": self.wild.expression(), "message": self.wild.text()}
        if self.rng.random() < 0.2:
            rule["messageExpression"] = self.wild.expression()
        if self.rng.random() < 0.2:
            rule["fieldPath"] = self.rng.choice((".spec", ".x.y", self.wild.text()))
        made: dict[str, Any] = {
            "type": self.rng.choice(("object", "object", "array", "string", "integer", "x"))
        }
        if self.rng.random() < 0.5:
            made["x-kubernetes-validations"] = [rule]
        if made["type"] == "object" and depth:
            made["properties"] = {
                self.rng.choice("abcd"): self._schema(depth - 1) for _ in range(2)
            }
        if made["type"] == "array" and depth:
            made["items"] = self._schema(depth - 1)
        for _ in range(self.rng.randrange(2)):
            key = self.rng.choice(
                (
                    "pattern",
                    "default",
                    "enum",
                    "format",
                    "maxLength",
                    "minimum",
                    "multipleOf",
                    "nullable",
                    "x-kubernetes-list-type",
                    "x-kubernetes-int-or-string",
                    "additionalProperties",
                    "oneOf",
                    "not",
                    "$ref",
                    "required",
                )
            )
            made[key] = self.rng.choice((self.wild.value(), True, ["a"], "(a+)+$", 5))
        return made

    def definition(self) -> Asked:
        """A CustomResourceDefinition with a drawn schema and rules; never stored."""
        obj = definition()
        obj["metadata"]["name"] = "gadgets.example.com"
        obj["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
        spec = self._schema() | {"type": "object"}
        version = obj["spec"]["versions"][0]
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec
        if self.rng.random() < 0.2:
            self.wild.broken(obj)
        target = target_of(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"dryRun": "All"}
        )
        return Asked("definition", "POST", target, {"Content-Type": JSON}, self.wild.encoded(obj))

    def custom(self) -> Asked:
        """An object of a defined kind whose rules are evaluated."""
        obj = self.wild.broken(widget(self.rng.choice(NAMES), tags=["a"], port="a"))
        path = "/apis/example.com/v1/namespaces/default/widgets"
        body = self.wild.encoded(obj)
        if self.rng.random() < 0.5:
            return Asked(
                "custom", "POST", target_of(path, self.query_of()), {"Content-Type": JSON}, body
            )
        media = self.rng.choice(list(PATCHES.values()))
        target = target_of(f"{path}/a", {"fieldManager": "f", **self.query_of()})
        return Asked("custom", "PATCH", target, {"Content-Type": media}, body)

    def policy(self) -> Asked:
        """An admission policy with a drawn expression, never stored."""
        mutating = self.rng.random() < 0.3
        kind = "MutatingAdmissionPolicy" if mutating else "ValidatingAdmissionPolicy"
        spec: dict[str, Any] = {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["configmaps"],
                    }
                ]
            },
            "matchConditions": [{"name": "m", "expression": self.wild.expression()}],
            "variables": [{"name": "v", "expression": self.wild.expression()}],
        }
        if mutating:
            spec |= {
                "reinvocationPolicy": "Never",
                "failurePolicy": "Fail",
                "mutations": [
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {"expression": self.wild.expression()},
                    }
                ],
            }
        else:
            spec["validations"] = [{"expression": self.wild.expression()}]
        plural = "mutatingadmissionpolicies" if mutating else "validatingadmissionpolicies"
        obj = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "fuzz"},
            "spec": spec,
        }
        if self.rng.random() < 0.2:
            self.wild.broken(obj)
        target = target_of(f"/apis/admissionregistration.k8s.io/v1/{plural}", {"dryRun": "All"})
        return Asked("policy", "POST", target, {"Content-Type": JSON}, self.wild.encoded(obj))
