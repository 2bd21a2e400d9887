"""The audit log: what a policy chooses, and what a line says."""

from __future__ import annotations

import asyncio
from contextvars import Context

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver.audit.auditor import Auditor
from podwire.apiserver.audit.policy import PolicyError, parse
from podwire.apiserver.audit.sink import Log
from podwire.apiserver.authorization import bootstrap
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.server import DirectApi
from podwire.client.api import Client
from podwire.client.counters import Request, User

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
EXAMPLE = (
    HEAD
    + """
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  resources: [{group: "", resources: [pods]}]
- level: Metadata
  resources: [{group: "", resources: [pods/log, pods/status]}]
- level: None
  resources: [{group: "", resources: [configmaps], resourceNames: [controller-leader]}]
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", /version]
- level: Request
  resources: [{group: "", resources: [configmaps]}]
  namespaces: [kube-system]
- level: Metadata
  resources: [{group: "", resources: [secrets, configmaps]}]
- level: Request
  resources: [{group: ""}, {group: extensions}]
- level: Metadata
  omitStages: [ResponseStarted]
"""
)
"""The example of the Kubernetes documentation (Auditing), its own nine rules."""
ANN = User("ann", ("system:authenticated",))


@pytest.mark.parametrize(
    ("level", "asked"),
    [
        ("RequestResponse", {"resource": "pods"}),
        ("Metadata", {"resource": "pods", "subresource": "log"}),
        ("Request", {"resource": "pods", "subresource": "exec"}),
        ("None", {"resource": "configmaps", "name": "controller-leader"}),
        ("Request", {"resource": "configmaps", "namespace": "kube-system"}),
        ("Metadata", {"resource": "configmaps", "namespace": "default"}),
        ("Metadata", {"resource": "secrets"}),
        ("Request", {"resource": "services", "verb": "watch"}),
        ("None", {"resource": "services", "verb": "watch", "user": User("system:kube-proxy")}),
        ("None", {"path": "/apis/apps/v1"}),
        ("Metadata", {"path": "/healthz"}),
        ("Metadata", {"resource": "deployments", "group": "apps"}),
    ],
)
def test_the_first_rule_that_is_about_a_request_says_its_level(level, asked):
    """The documentation's example."""
    attributes = Attributes(**{"user": ANN, "verb": "get", **asked})
    found = parse(EXAMPLE).decide(attributes)
    assert found.level == level
    assert "RequestReceived" in found.omit_stages or level == "None"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "policy: Input should be a valid dictionary"),
        (HEAD, "rules: Field required"),
        (HEAD + "rules: []", "rules: List should have at least 1 item"),
        (HEAD + "rules: [{level: All}]", "rules.0.level: Input should be 'None'"),
        (HEAD + "rules: [{level: None, verb: [get]}]", "rules.0.verb: Extra inputs"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [api]}]", "must begin with a '/'"),
        (HEAD + 'rules: [{level: None, nonResourceURLs: ["/a*b"]}]', "must be the final character"),
        (HEAD + "rules: [{level: None, namespaces: [a], nonResourceURLs: [/a]}]", "cannot apply"),
        (
            HEAD + "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
            "at least one resource",
        ),
        (HEAD + "rules: [{level: None, resources: [{group: a/v1}]}]", "rules.0.resources.0.group"),
        (HEAD + "rules: [{level: None, omitStages: [Never]}]", "rules.0.omitStages.0"),
        ("apiVersion: v1\nkind: Policy\nrules: [{level: None}]", "apiVersion: Input should be"),
        ("a: [", "policy: "),
    ],
)
def test_a_wrong_policy_says_which_field(text, told):
    """With its path."""
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert told in str(caught.value)


class Lines:
    """A sink in memory."""

    def __init__(self):
        self.events = []

    def write(self, line):
        self.events.append(msgspec.json.decode(line))


def audited(w, rules, **more):
    """Log the server's requests as these rules say; where the events go."""
    lines = Lines()
    policy = parse(msgspec.json.encode(
        {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules, **more}
    ))  # fmt: skip
    w.server.auditor = Auditor(w.server, policy, lines)
    return lines


def test_a_line_says_who_asked_for_what_and_what_came_of_it(simulate):
    """Metadata: no bodies; the decision and its reason as annotations."""

    async def story(w):
        for obj in bootstrap.objects():
            if obj["metadata"].get("namespace") != "kube-public":
                await w.client.create(kinds.named(obj["apiVersion"], obj["kind"]), obj)
        lines = audited(w, [{"level": "Metadata"}])
        ann = Client(DirectApi(w.server, ANN), user_agent="kubectl/v1")
        await w.refused(ann.get(kinds.SECRET, "top", "default"))
        await ann.send("GET", "/version", (("timeout", "5s"),))
        received, complete, *rest = lines.events
        assert list(complete) == [
            "kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user",
            "userAgent", "objectRef", "responseStatus", "requestReceivedTimestamp",
            "stageTimestamp", "annotations",
        ]  # fmt: skip
        assert [received["stage"], complete["stage"]] == ["RequestReceived", "ResponseComplete"]
        assert received["auditID"] == complete["auditID"]
        assert complete["requestURI"] == "/api/v1/namespaces/default/secrets/top"
        assert complete["user"] == {"username": "ann", "groups": ["system:authenticated"]}
        assert complete["objectRef"] == {
            "resource": "secrets", "namespace": "default", "name": "top", "apiVersion": "v1",
        }  # fmt: skip
        assert complete["responseStatus"]["code"] == 403
        assert complete["responseStatus"]["reason"] == "Forbidden"
        assert complete["annotations"] == {
            "authorization.k8s.io/decision": "forbid", "authorization.k8s.io/reason": "",
        }  # fmt: skip
        version = rest[-1]
        assert "objectRef" not in version
        assert version["requestURI"] == "/version?timeout=5s"
        assert version["annotations"]["authorization.k8s.io/reason"].startswith("RBAC: allowed by ")

    simulate(story, authorization_mode="RBAC")


def test_bodies_are_logged_by_level_and_without_managed_fields_if_asked(simulate):
    """Request has what was sent, RequestResponse also what was answered; a secret's stay out."""

    async def story(w):
        rules = [
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
            {"level": "Request", "verbs": ["patch"]},
            {"level": "RequestResponse", "omitStages": ["RequestReceived"]},
        ]
        lines = audited(w, rules, omitManagedFields=True)
        await w.config_map("a")
        (created,) = lines.events
        assert created["objectRef"]["name"] == "a"
        assert created["requestObject"]["data"] == {"k": "a"}
        assert created["responseObject"]["metadata"]["uid"]
        assert "managedFields" not in created["responseObject"]["metadata"]
        patch = {"data": {"k": "b"}}
        await w.client.patch(kinds.CONFIG_MAP, "a", patch, "default")
        assert lines.events[-1]["requestObject"] == patch
        assert "responseObject" not in lines.events[-1]
        secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        await w.client.create(kinds.SECRET, secret, "default")
        assert lines.events[-1]["objectRef"]["name"] == "s"
        assert "hunter2" not in str(lines.events)
        listed = await w.client.list(kinds.CONFIG_MAP)
        assert len(listed.items) == len(lines.events[-1]["responseObject"]["items"])

    simulate(story)


def test_a_watch_is_complete_when_it_ends(simulate):
    """ResponseStarted when it begins."""

    async def story(w):
        lines = audited(w, [{"level": "Metadata"}])
        response = await w.raw("GET", "/api/v1/configmaps", watch="true")
        before = ["RequestReceived", "ResponseStarted"]
        assert [event["stage"] for event in lines.events] == before
        await response.stream.aclose()
        assert [event["stage"] for event in lines.events] == [*before, "ResponseComplete"]

    simulate(story)


def test_who_is_impersonated_stands_beside_who_asked(simulate):
    """And the decision is about the former."""

    async def story(w):
        lines = audited(w, [{"level": "Metadata", "omitStages": ["RequestReceived"]}])
        headers = {"impersonate-user": "bob"}
        admin = User("admin", ("system:masters", "system:authenticated"))
        await w.server.handle(Request("GET", "/api/v1/nodes", (), headers, b"", admin))
        (event,) = lines.events
        assert event["user"]["username"] == "admin"
        assert event["impersonatedUser"] == {
            "username": "bob", "groups": ["system:authenticated"],
        }  # fmt: skip
        assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert event["responseStatus"]["code"] == 403

    simulate(story, authorization_mode="RBAC")


def test_a_body_in_yaml_is_logged_as_json(simulate):
    """Whatever the client spoke."""

    async def story(w):
        lines = audited(w, [{"level": "Request", "omitStages": ["RequestReceived"]}])
        text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\ndata: {k: v}\n"
        path = "/api/v1/namespaces/default/configmaps"
        answer = await w.raw("POST", path, text, content_type="application/yaml")
        assert answer.status == 201
        assert lines.events[-1]["requestObject"]["data"] == {"k": "v"}

    simulate(story)


def test_what_admission_says_of_a_request_stands_in_its_line(simulate):
    """Here the Pod Security Standard that a namespace only audits."""

    async def story(w):
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}}
        await w.client.patch(kinds.NAMESPACE, "default", label)
        lines = audited(w, [{"level": "Metadata", "omitStages": ["RequestReceived"]}])
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await w.client.create(kinds.POD, pod, "default")
        told = lines.events[-1]["annotations"]["pod-security.kubernetes.io/audit-violations"]
        assert "allowPrivilegeEscalation != false" in told

    simulate(story)


def test_what_no_rule_wants_is_answered_without_a_line(simulate):
    """Level None: admission may say what it likes, nobody writes it down."""

    async def story(w):
        lines = audited(w, [{"level": "None"}])
        for name in ("a", "b"):
            await asyncio.create_task(w.config_map(name), context=Context())
        assert lines.events == []

    simulate(story)


async def test_the_file_is_its_owners_and_is_appended_to(tmp_path):
    """Mode 0600; lines of an earlier life stay."""
    path = tmp_path / "audit.log"
    for line in (b"one", b"two"):
        log = Log(str(path))
        log.write(line)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600
