"""The audit policy: which requests are logged, how much of them, at which stages.

Source: apiserver pkg/apis/audit (v1 types, validation) and pkg/audit/policy (checker.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from podwire.api import names
from podwire.apiserver import configfile
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.configfile import ConfigFileError

Level = Literal["None", "Metadata", "Request", "RequestResponse"]
Stage = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]


class PolicyError(ValueError):
    """The file is no audit policy; the message lists each field and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What of one request is logged."""

    level: Level = "None"
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOTHING = Decision()


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, alias_generator=to_camel
    )


class GroupResources(_Model):
    """Resources of one API group, perhaps only those of some names."""

    group: str = ""
    resources: list[str] = []
    resource_names: list[str] = []

    @field_validator("group")
    @classmethod
    def a_group(cls, value: str) -> str:
        """A name without version, or ``*``."""
        wrong = names.dns1123_subdomain(value) if value not in {"", "*"} else []
        if wrong:
            raise ValueError(wrong[0])
        return value

    def model_post_init(self, _context: object) -> None:
        """Names need resources. Raises ValueError."""
        if self.resource_names and not self.resources:
            raise ValueError("using resourceNames requires at least one resource")

    def matches(self, asked: Attributes) -> bool:
        """Whether a request is about one of them."""
        if self.group != asked.group:
            return False
        if not self.resources:
            return True
        if self.resource_names and asked.name not in self.resource_names:
            return False
        wanted = {asked.combined, "*", f"{asked.resource}/*"}
        if asked.subresource:
            wanted.add(f"*/{asked.subresource}")
        return not wanted.isdisjoint(self.resources)


class Rule(_Model):
    """Requests of one kind, and how they are logged."""

    level: Level
    users: list[str] = []
    user_groups: list[str] = []
    verbs: list[str] = []
    resources: list[GroupResources] = []
    namespaces: list[str] = []
    non_resource_urls: list[str] = Field(default=[], alias="nonResourceURLs")
    omit_stages: list[Stage] = []
    omit_managed_fields: bool | None = None

    @field_validator("non_resource_urls")
    @classmethod
    def paths(cls, value: list[str]) -> list[str]:
        """Absolute, with ``*`` at the end at most."""
        for url in value:
            if url != "*" and not url.startswith("/"):
                raise ValueError("non-resource URL rules must begin with a '/' character")
            if "*" in url[:-1]:
                raise ValueError(
                    "non-resource URL wildcards '*' must be the final character of the rule"
                )
        return value

    def model_post_init(self, _context: object) -> None:
        """A rule is about resources or about URLs. Raises ValueError."""
        if self.non_resource_urls and (self.resources or self.namespaces):
            raise ValueError("rules cannot apply to both regular resources and non-resource URLs")

    def matches(self, asked: Attributes) -> bool:
        """Whether the rule is about a request."""
        user = asked.user
        if self.users and user.name not in self.users:
            return False
        if self.user_groups and not any(group in self.user_groups for group in user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._is_about(asked)
        if self.non_resource_urls:
            return bool(asked.path) and any(
                _meets(url, asked.path) for url in self.non_resource_urls
            )
        return True

    def _is_about(self, asked: Attributes) -> bool:
        if asked.path:
            return False
        if self.namespaces and asked.namespace not in self.namespaces:
            return False
        return not self.resources or any(group.matches(asked) for group in self.resources)


def _meets(url: str, path: str) -> bool:
    if url in {"*", path}:
        return True
    return url.endswith("*") and path.startswith(url.rstrip("*"))


class Policy(_Model):
    """audit.k8s.io/v1 Policy."""

    api_version: Literal["audit.k8s.io/v1"]
    kind: Literal["Policy"]
    metadata: dict[str, object] = {}
    rules: list[Rule] = Field(min_length=1)
    omit_stages: list[Stage] = []
    omit_managed_fields: bool = False

    def decide(self, asked: Attributes) -> Decision:
        """How a request is logged: the first rule that is about it says so."""
        for rule in self.rules:
            if rule.matches(asked):
                own = rule.omit_managed_fields
                return Decision(
                    rule.level,
                    frozenset((*self.omit_stages, *rule.omit_stages)),
                    self.omit_managed_fields if own is None else own,
                )
        return NOTHING


def load(file: Path) -> Policy:
    """The policy in a file. Raises PolicyError, OSError."""
    try:
        return _policy(configfile.read(file), str(file))
    except ConfigFileError as error:
        raise PolicyError(str(error)) from error


def parse(text: bytes | str, file: str = "policy") -> Policy:
    """The policy that a text says. Raises PolicyError."""
    try:
        data = text.encode() if isinstance(text, str) else text
        return _policy(configfile.parse(data, file), file)
    except ConfigFileError as error:
        raise PolicyError(str(error)) from error


def _policy(found: object, file: str) -> Policy:
    try:
        return Policy.model_validate(found)
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(map(str, one['loc'])) or 'policy'}: {one['msg']}"
            for one in error.errors()
        ]
        raise PolicyError("\n".join(lines)) from error
