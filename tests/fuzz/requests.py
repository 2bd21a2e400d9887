"""Requests of every family, drawn from a seed: ``Requests.draw()``."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import yaml

from podwire.api import kinds, protobuf_encode, schema
from podwire.api.kinds import Kind
from tests.fuzz.values import Wild
from tests.samples import sample
from tests.samples_crd import definition, widget

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
NAMES = ("a", "b", "c")
"""Few, so that the store does not grow with the number of requests."""
KEPT = frozenset(("Namespace", "CustomResourceDefinition", "ServiceAccount"))
"""Kinds without which nothing else could be tried: never deleted all at once."""
ACCEPTS = (
    "", JSON, "application/yaml", PROTOBUF, "*/*", "text/html", ";;",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/cbor",
    "," * 500,
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
)  # fmt: skip
PARAMETERS = (
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector",
    "fieldSelector",
    "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "force", "pretty",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "includeObject", "verbose",
    "sendInitialEvents", "allowWatchBookmarks", "tailLines", "sinceSeconds", "container",
)  # fmt: skip
PATHS = (
    "/", "/api", "/apis", "/version", "/healthz/etcd", "/livez", "/readyz", "/metrics",
    "/openapi/v2",
    "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks", "/apis/podwire.dev/v1alpha1", "/apis/podwire.dev/v1alpha1/traces",
    "/apis/podwire.dev/v1alpha1/components", "/apis/metrics.k8s.io/v1beta1/nodes", "/logs",
    "/debug/pprof",
    "/api/v1/namespaces/default/pods/a/proxy/x", "/api/v1/nodes/a/proxy/metrics", "/apis/apps",
    "/api/v1/namespaces/default/services/http:a:80/proxy/", "/apis/example.com/v1/widgets",
)  # fmt: skip
_TESTDATA = os.environ.get("PODWIRE_TESTDATA")


class Asked(NamedTuple):
    """One request; ``family`` says what is tried with it."""

    family: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


def _target(path: str, query: dict[str, str] | None = None) -> str:
    text = "&".join(
        f"{quote(key)}={quote(value, errors='replace')}" for key, value in (query or {}).items()
    )
    return f"{path}?{text}" if text else path


class Requests:
    """Draws requests; ``token`` is one that the server believes."""

    def __init__(self, seed: int, token: str) -> None:
        self.rng = random.Random(seed)  # noqa: S311  what is tested is no secret
        self.wild = Wild(self.rng)
        self.token = token
        self.kinds = [kind for kind in kinds.STORED if "create" in kind.verbs]
        folder = Path(_TESTDATA) if _TESTDATA else None
        self.testdata = sorted(folder.glob("*.pb")) if folder else []
        self.families: list[Callable[[], Asked]] = [
            self.create, self.create, self.update, self.patch, self.patch, self.patch, self.query,
            self.path, self.protobuf, self.yaml, self.definition, self.custom, self.policy,
            self.jwt,
            self.subresource, self.delete,
        ]  # fmt: skip

    def draw(self) -> Asked:
        """The next request."""
        asked = self.rng.choice(self.families)()
        if self.rng.random() < 0.1:
            asked.headers["Accept"] = self.rng.choice(ACCEPTS)
        return asked

    # ---------------------------------------------------------------- whole objects

    def _kind(self) -> Kind[Any]:
        return self.rng.choice(self.kinds)

    def _object(self, kind: Kind[Any]) -> Any:
        """A good object spoilt, or one made by the table of types."""
        obj = sample(kind, self.rng.choice(NAMES))
        if self.rng.random() < 0.3:
            return obj
        type_ = schema.type_of(kind)
        if type_ is None or self.rng.random() < 0.4:
            return self.wild.broken(obj)
        made = self.wild.struct(type_)
        if self.rng.random() < 0.8:
            for key in ("metadata", "apiVersion", "kind"):
                made.pop(key, None)
        spec = (
            {**obj.get("spec", {}), **made["spec"]} if isinstance(made.get("spec"), dict) else None
        )
        return {**obj, **made, **({"spec": spec} if spec and self.rng.random() < 0.7 else {})}

    def _collection(self, kind: Kind[Any]) -> str:
        return kind.path("default" if kind.namespaced else "")

    def _named(self, kind: Kind[Any], part: str = "") -> str:
        return kind.path("default" if kind.namespaced else "", self.rng.choice(NAMES), part)

    def _query(self, *, dry: float = 0.3) -> dict[str, str]:
        query = {"dryRun": "All"} if self.rng.random() < dry else {}
        while self.rng.random() < 0.3:
            query[self.rng.choice(PARAMETERS)] = self.rng.choice(
                (self.wild.text(), "1", "true", "0", "a")
            )
        return query

    def create(self) -> Asked:
        """POST of an object."""
        kind = self._kind()
        body = self.wild.encoded(self._object(kind))
        return Asked(
            "create",
            "POST",
            _target(self._collection(kind), self._query()),
            {"Content-Type": JSON},
            body,
        )

    def update(self) -> Asked:
        """PUT of an object, which may or may not be there."""
        kind = self._kind()
        body = self.wild.encoded(self._object(kind))
        return Asked(
            "update", "PUT", _target(self._named(kind), self._query()), {"Content-Type": JSON}, body
        )

    def subresource(self) -> Asked:
        """Any verb on a part of an object."""
        kind = self._kind()
        part = self.rng.choice((*kind.subresources, "status", "scale", self.wild.text() or "x"))
        method = self.rng.choice(("GET", "PUT", "POST", "PATCH", "DELETE"))
        types = (JSON, *PATCHES.values()) if method == "PATCH" else (JSON,)
        body = b"" if method == "GET" else self.wild.encoded(self._object(kind))
        target = _target(self._named(kind, quote(part, errors="replace")), self._query())
        return Asked("subresource", method, target, {"Content-Type": self.rng.choice(types)}, body)

    def delete(self) -> Asked:
        """DELETE of an object or of a whole collection, with options that may be wrong."""
        kind = self._kind()
        many = self.rng.random() < 0.3
        path = self._collection(kind) if many else self._named(kind)
        if kind.kind in KEPT and many:
            path = self._named(kind)
        options = self.wild.struct(schema.type_named("meta.v1.DeleteOptions"))
        body = self.rng.choice((b"", self.wild.encoded(options)))
        return Asked("delete", "DELETE", _target(path, self._query()), {"Content-Type": JSON}, body)

    # ---------------------------------------------------------------- patches

    def patch(self) -> Asked:
        """One of the four kinds of patches."""
        kind, (name, media) = self._kind(), self.rng.choice(list(PATCHES.items()))
        obj = sample(kind, "a")
        if name == "json":
            body: Any = [self._operation(obj) for _ in range(self.rng.randrange(1, 6))]
        elif name == "apply":
            body = self._object(kind)
        else:
            body = self.wild.broken(obj) if self.rng.random() < 0.5 else self.wild.value()
            if isinstance(body, dict) and self.rng.random() < 0.5:
                self._directives(body)
        query = self._query()
        if name == "apply" and self.rng.random() < 0.9:
            query = {"fieldManager": self.rng.choice(("f", "g")), "force": "true", **query}
        return Asked(
            f"patch {name}",
            "PATCH",
            _target(self._named(kind), query),
            {"Content-Type": media},
            self.wild.encoded(body),
        )

    def _operation(self, obj: Any) -> Any:
        verb = self.rng.choice(("add", "remove", "replace", "move", "copy", "test", "x"))
        made = {"op": verb, "path": self.wild.pointer(obj), "from": self.wild.pointer(obj)}
        if self.rng.random() < 0.9:
            made["value"] = self.wild.value()
        if self.rng.random() < 0.05:
            made.pop(self.rng.choice(("op", "path", "from")))
        return made

    def _directives(self, at: Any) -> None:
        """Strategic merge's directives, where they belong and where they do not."""
        places = [at]
        while places:
            here = places.pop()
            inner = here.values() if isinstance(here, dict) else here
            places += [value for value in inner if isinstance(value, dict | list)]
            if isinstance(here, dict) and self.rng.random() < 0.3:
                key = self.rng.choice(
                    (
                        "$patch",
                        "$retainKeys",
                        "$setElementOrder/containers",
                        "$deleteFromPrimitiveList/finalizers",
                        "$setElementOrder/x",
                    )
                )
                here[key] = self.rng.choice(
                    ("delete", "replace", "merge", ["a"], [{"name": "web"}], self.wild.value())
                )

    # ---------------------------------------------------------------- reading

    def query(self) -> Asked:
        """A list (or a short watch) with selectors and parameters that may be wrong."""
        kind = self._kind()
        query = self._query(dry=0)
        if self.rng.random() < 0.7:
            query[self.rng.choice(("labelSelector", "fieldSelector"))] = self.wild.selector()
        path = self._collection(kind) if self.rng.random() < 0.7 else self._named(kind)
        return Asked("query", "GET", _target(path, query), {})

    def path(self) -> Asked:
        """Paths that are nearly right."""
        path = self.rng.choice(PATHS)
        if self.rng.random() < 0.6:
            parts = path.split("/")
            parts[self.rng.randrange(len(parts))] = quote(self.wild.text(), errors="replace")
            path = "/" + "/".join(parts).lstrip("/")
        method = self.rng.choice(("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
        headers = {"Content-Type": self.rng.choice((JSON, "", "x/y", JSON + ";charset=\xff"))}
        if self.rng.random() < 0.1:
            name = self.rng.choice(
                (
                    "Impersonate-User",
                    "Impersonate-Group",
                    "Impersonate-Uid",
                    "Impersonate-Extra-a%zz",
                )
            )
            headers[name] = self.rng.choice(("a", "", "system:serviceaccount:", "system:masters"))
        body = b"" if method == "GET" else self.wild.encoded(self.wild.value())
        return Asked("path", method, _target(path, self._query(dry=0)), headers, body)

    # ---------------------------------------------------------------- other encodings

    def protobuf(self) -> Asked:
        """A protobuf message with flipped bits: our own encoding, or upstream's test data."""
        if self.testdata and self.rng.random() < 0.5:
            file = self.rng.choice(self.testdata)
            group_version, kind_name = file.stem.rsplit(".", 1)
            kind = next(
                (
                    k
                    for k in self.kinds
                    if k.kind == kind_name and group_version.endswith(k.version)
                ),
                self.kinds[0],
            )
            data = file.read_bytes()
        else:
            kind = self._kind()
            type_ = schema.type_of(kind)
            obj = sample(kind, self.rng.choice(NAMES))
            message = protobuf_encode.encode(type_, obj) if type_ else b""
            data = protobuf_encode.wrap(kind.api_version, kind.kind, message)
        body = self.wild.flipped(data)
        return Asked(
            "protobuf",
            "POST",
            _target(self._collection(kind), self._query()),
            {"Content-Type": PROTOBUF},
            body,
        )

    def yaml(self) -> Asked:
        """YAML: bombs, merge keys, anchors that lead to themselves, tags, several documents."""
        kind = self._kind()
        text = yaml.safe_dump(self._yaml_object(kind), allow_unicode=True).encode(
            "utf-8", "replace"
        )
        which = self.rng.randrange(12)
        if which == 0:
            lines = ["a0: &a0 [x]"] + [
                f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
            ]
            text += "\n".join(lines).encode()
        elif which == 1:
            text += b"m: &m {<<: *m}\n"
        elif which == 2:
            lines = ["m0: &m0 {a: 1}"] + [
                f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)
            ]
            text += "\n".join(lines).encode()
        elif which == 3:
            text = text.replace(
                b": ",
                self.rng.choice(
                    (
                        b": !!python/object:os.system ",
                        b": !!binary ",
                        b": &x ",
                        b": *x ",
                        b": !!int ",
                    )
                ),
                1,
            )
        elif which == 4:
            text += b"---\n" * self.rng.choice((1, 1000))
        elif which == 5:
            text += b"d: " + self.rng.choice((b"[", b"{a: ", b"- ", b"? ")) * self.rng.choice(
                (50, 1000, 20_000)
            )
        elif which in {6, 7}:
            text = self.wild.flipped(text)
        elif which == 8:
            text += b"k: " + self.rng.choice(
                (
                    b"0x" + b"f" * 5000,
                    b"1" * 5000,
                    b"2026-99-99",
                    b"1:99:99",
                    b".inf",
                    b".nan",
                    b"0o9",
                )
            )
        media = self.rng.choice(("application/yaml", PATCHES["apply"]))
        if media == "application/yaml":
            return Asked(
                "yaml",
                "POST",
                _target(self._collection(kind), self._query()),
                {"Content-Type": media},
                text,
            )
        target = _target(self._named(kind), {"fieldManager": "f", **self._query()})
        return Asked("yaml", "PATCH", target, {"Content-Type": media}, text)

    def _yaml_object(self, kind: Kind[Any]) -> Any:
        return json.loads(json.dumps(self._object(kind)))

    # ---------------------------------------------------------------- extensions

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
        target = _target(
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
                "custom", "POST", _target(path, self._query()), {"Content-Type": JSON}, body
            )
        media = self.rng.choice(list(PATCHES.values()))
        target = _target(f"{path}/a", {"fieldManager": "f", **self._query()})
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
        target = _target(f"/apis/admissionregistration.k8s.io/v1/{plural}", {"dryRun": "All"})
        return Asked("policy", "POST", target, {"Content-Type": JSON}, self.wild.encoded(obj))

    # ---------------------------------------------------------------- tokens

    def jwt(self) -> Asked:
        """A request with a spoilt token; whoever gets in with one is a defect."""
        head, body, signature = self.token.split(".")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(body + "=="))
        which = self.rng.randrange(7)
        if which == 0:
            head = _part({"alg": self.rng.choice(("none", "HS256", "RS256", "ES384", "None", 1))})
            signature = self.rng.choice(("", signature))
        elif which == 1:
            claims[self.rng.choice(list(claims))] = self.wild.value()
            body = _part(claims)
        elif which == 2:
            signature = signature[: self.rng.randrange(len(signature) - 2)]
        elif which == 3:
            body = base64.urlsafe_b64encode(
                b'{"iss":' + b"[" * self.rng.choice((50, 2000))
            ).decode()
        elif which == 4:
            head = _part(
                {"alg": "ES256", "kid": self.wild.value(), "x": "A" * self.rng.choice((1, 3000))}
            )
        elif which == 5:
            signature = base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()
        else:
            text = self.wild.flipped(f"{head}.{body}".encode())
            head, body = "".join(chr(c) for c in text if 32 < c < 127), "x"
        return self._with_token(f"{head}.{body}.{signature}")

    def _with_token(self, token: str) -> Asked:
        return Asked(
            "jwt", "GET", "/api/v1/namespaces/default/pods", {"Authorization": f"Bearer {token}"}
        )


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
