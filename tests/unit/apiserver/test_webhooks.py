"""Admission webhooks: whom they are asked about, what they are told, what their answers do.

The hooks are functions here; ``tests/unit/apiserver_http/test_outgoing.py`` has real ones.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver.storage import write
from podwire.apiserver.webhookclient import CallError

CONFIG_MAP, NAMESPACE, POD = kinds.CONFIG_MAP, kinds.NAMESPACE, kinds.POD
GROUP = "admissionregistration.k8s.io/v1"
MUTATING = kinds.named(GROUP, "MutatingWebhookConfiguration")
VALIDATING = kinds.named(GROUP, "ValidatingWebhookConfiguration")
MERGE = "application/merge-patch+json"
EVERYTHING = {
    "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
}  # fmt: skip


class Hooks:
    """Stands for the network: answers by the path of the hook's URL, and remembers."""

    def __init__(self, w, **answers: Any) -> None:
        self.w = w
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        w.server.webhooks.client = self

    async def post(self, target, body: bytes, timeout_s: float) -> bytes:
        review = msgspec.json.decode(body)
        name = target.path.strip("/")
        self.asked.append((name, review["request"]))
        try:
            async with asyncio.timeout(timeout_s):
                answer = self.answers[name](review["request"])
                if asyncio.iscoroutine(answer):
                    answer = await answer
        except TimeoutError:
            raise CallError(f'Post "{target.url}": context deadline exceeded') from None
        if isinstance(answer, bytes):
            return answer
        response = {"uid": review["request"]["uid"], "allowed": True, **answer}
        return msgspec.json.encode({**review, "response": response})

    def close(self) -> None:
        pass

    async def install(self, kind, *names: str, configuration: str = "hooks", **fields: Any) -> None:
        """A configuration with a hook of each name."""
        await self.w.client.create(kind, {
            "metadata": {"name": configuration},
            "webhooks": [{
                "name": f"{name}.example.com", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "rules": [EVERYTHING],
                "clientConfig": {"url": f"https://hooks.example.com/{name}"}, **fields,
            } for name in names],
        })  # fmt: skip

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def allow(_request):
    return {}


def patch(*operations):
    encoded = base64.b64encode(msgspec.json.encode(list(operations))).decode()
    return {"patch": encoded, "patchType": "JSONPatch"}


def label(key: str, value: str = "x"):
    """A hook that sets a label if it is not there."""

    def answer(request):
        labels = request["object"]["metadata"].get("labels")
        if labels is None:
            return patch({"op": "add", "path": "/metadata/labels", "value": {key: value}})
        if labels.get(key) == value:
            return {}
        return patch({"op": "add", "path": f"/metadata/labels/{key}", "value": value})

    return answer


def test_a_hook_is_told_the_whole_request(simulate):
    """User, versions, names, options, both objects with their managedFields and revisions."""

    async def story(w):
        hooks = Hooks(w, see=allow)
        await hooks.install(VALIDATING, "see")
        body = {"metadata": {"name": "a"}, "data": {"k": "v"}}
        await w.json("POST", CONFIG_MAP.path("default"), body, fieldManager="me", dryRun="All")
        (_, request), = hooks.asked  # fmt: skip
        shown = request["object"]
        assert request | {"object": None, "uid": ""} == {
            "uid": "", "object": None, "oldObject": None, "operation": "CREATE", "name": "a",
            "namespace": "default", "dryRun": True,
            "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
            "resource": {"group": "", "version": "v1", "resource": "configmaps"},
            "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
            "userInfo": {
                "username": "admin", "groups": ["system:masters", "system:authenticated"],
            },
            "options": {
                "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"],
                "fieldManager": "me",
            },
        }  # fmt: skip
        assert (shown["apiVersion"], shown["kind"], shown["data"]) == (
            "v1",
            "ConfigMap",
            {"k": "v"},
        )
        assert shown["metadata"]["managedFields"][0]["manager"] == "me"
        made = await w.json("POST", CONFIG_MAP.path("default"), body)
        await w.json(
            "PATCH", CONFIG_MAP.path("default", "a"), {"data": {"k": "w"}}, content_type=MERGE
        )
        _, request = hooks.asked[-1]
        assert (request["operation"], request["options"]["kind"]) == ("UPDATE", "PatchOptions")
        assert (request["oldObject"]["data"], request["object"]["data"]) == ({"k": "v"}, {"k": "w"})
        revision = made["metadata"]["resourceVersion"]
        assert request["oldObject"]["metadata"]["resourceVersion"] == revision
        await w.json("DELETE", CONFIG_MAP.path("default", "a"))
        _, request = hooks.asked[-1]
        assert (request["operation"], request["object"]) == ("DELETE", None)
        assert request["oldObject"]["metadata"]["name"] == "a"

    simulate(story)


def test_a_refusal_is_the_hooks_own_status(simulate):
    """With words before its message; without a code it is 400."""

    async def story(w):
        said: dict[str, Any] = {}
        hooks = Hooks(w, no=lambda _request: {"allowed": False, "status": said})
        await hooks.install(VALIDATING, "no")
        start = 'admission webhook "no.example.com" denied the request'
        for status, code, reason, message in (
            ({}, 400, "", f"{start} without explanation"),
            ({"message": "because"}, 400, "", f"{start}: because"),
            ({"reason": "Forbidden", "code": 403}, 403, "Forbidden", f"{start}: Forbidden"),
            ({"message": "m", "code": 200}, 400, "", f"{start}: m"),
        ):
            said.clear()
            said.update(status)
            answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
            assert answer["message"] == message
            assert (answer["code"], answer.get("reason", "")) == (code, reason)
        assert w.server.caches.of(CONFIG_MAP).get("default", "a") is None

    simulate(story)


def test_hooks_that_mutate_see_what_those_before_them_made(simulate):
    """In order of the configurations' names, then of the list; the last one is stored."""

    async def story(w):
        hooks = Hooks(w, one=label("one"), two=label("two"), last=allow)
        await hooks.install(MUTATING, "two", configuration="b")
        await hooks.install(MUTATING, "one", configuration="a")
        await hooks.install(VALIDATING, "last")
        made = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
        assert made["metadata"]["labels"] == {"one": "x", "two": "x"}
        assert hooks.names == ["one", "two", "last"]
        assert hooks.asked[-1][1]["object"]["metadata"]["labels"] == {"one": "x", "two": "x"}
        assert "uid" in hooks.asked[-1][1]["object"]["metadata"]
        assert "uid" not in hooks.asked[0][1]["object"]["metadata"]

    simulate(story)


def test_a_hook_that_wants_to_is_asked_again_after_others_changed_the_object(simulate):
    """reinvocationPolicy: IfNeeded; Never is asked once."""

    async def story(w):
        hooks = Hooks(w, one=label("one"), two=label("two"), three=label("three"))
        await hooks.install(MUTATING, "one", configuration="a", reinvocationPolicy="IfNeeded")
        await hooks.install(MUTATING, "two", configuration="b")
        await hooks.install(MUTATING, "three", configuration="c", reinvocationPolicy="IfNeeded")
        await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
        assert hooks.names == ["one", "two", "three", "one"]

    simulate(story)


def test_a_hook_that_fails_stops_the_write_unless_it_may_fail(simulate):
    """failurePolicy, timeoutSeconds, and what is told of a failure."""

    async def story(w):
        async def slow(_request):
            await asyncio.sleep(60)

        hooks = Hooks(w, slow=slow)
        await hooks.install(VALIDATING, "slow", timeoutSeconds=3)
        began = w.env.clock.monotonic_ns()
        answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
        why = (
            'failed calling webhook "slow.example.com": failed to call webhook: '
            'Post "https://hooks.example.com/slow": context deadline exceeded'
        )
        assert answer["message"] == f"Internal error occurred: {why}"
        assert (answer["code"], answer["reason"]) == (500, "InternalError")
        assert (w.env.clock.monotonic_ns() - began) / 1e9 == pytest.approx(3, abs=0.1)
        at = VALIDATING.path("", "hooks")
        body = {"webhooks": [{"name": "slow.example.com", "failurePolicy": "Ignore"}]}
        await w.json("PATCH", at, body, content_type="application/strategic-merge-patch+json")
        made = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
        assert made["kind"] == "ConfigMap"
        told = w.server.metrics.text(w.server)
        assert (
            'apiserver_admission_webhook_fail_open_count{name="slow.example.com",'
            'type="validating"} 1'
        ) in told
        assert (
            'apiserver_admission_webhook_rejection_count{error_type="calling_webhook_error",'
            'name="slow.example.com",operation="CREATE",rejection_code="503",type="validating"} 1'
        ) in told

    simulate(story)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"uid": "other"}, 'expected response.uid="'),
        ({"patch": "e30="}, "webhook returned response.patch but not response.patchType"),
        ({"patchType": "JSONPatch"}, "webhook returned response.patchType but not response.patch"),
        ({"patch": "!", "patchType": "JSONPatch"}, "received undecodable patch"),
        (b"{}", "webhook response was absent"),
        (b"nonsense", "couldn't get version/kind; json parse error"),
    ],
)
def test_what_is_no_answer_counts_as_a_failure(simulate, answer, why):
    """And is told in upstream's words."""

    async def story(w):
        hooks = Hooks(w, odd=lambda _request: answer)
        await hooks.install(MUTATING, "odd")
        found = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "a"}})
        assert 'failed calling webhook "odd.example.com": received invalid' in found["message"]
        assert why in found["message"]

    simulate(story)


def test_only_what_rules_and_selectors_name_is_asked_about(simulate):
    """Operations, resources, subresources, scope, labels of objects and namespaces."""

    async def story(w):
        hooks = Hooks(w, a=allow, b=allow, c=allow, d=allow)
        rule = {"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"]}
        await hooks.install(
            VALIDATING, "a", configuration="a",
            rules=[{**rule, "resources": ["pods/status", "configmaps"]}],
        )  # fmt: skip
        await hooks.install(
            VALIDATING, "b", configuration="b", rules=[{**EVERYTHING, "scope": "Cluster"}]
        )
        await hooks.install(
            VALIDATING, "c", configuration="c",
            namespaceSelector={"matchLabels": {"team": "red"}}, rules=[EVERYTHING],
        )  # fmt: skip
        await hooks.install(
            VALIDATING, "d", configuration="d", objectSelector={"matchLabels": {"app": "x"}}
        )
        await w.config_map("plain")
        assert hooks.names == []
        await w.json(
            "PATCH", CONFIG_MAP.path("default", "plain"), {"data": {"z": "z"}}, content_type=MERGE
        )
        assert hooks.names == ["a"]
        await w.client.create(NAMESPACE, {"metadata": {"name": "n", "labels": {"team": "red"}}})
        assert sorted(hooks.names) == ["a", "b", "c"]
        await w.config_map("labelled", "n", labels={"app": "x"})
        assert sorted(hooks.names[3:]) == ["c", "d"]
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await w.client.create(POD, pod, "default")
        status = {"status": {"reason": "r"}}
        await w.json("PATCH", f"{POD.path('default', 'p')}/status", status, content_type=MERGE)
        assert hooks.names[5:] == ["a"]
        await w.client.delete(VALIDATING, "a", "")
        assert hooks.names[6:] == []  # nobody is asked about configurations

    simulate(story)


def test_an_equivalent_resource_is_shown_in_the_version_that_the_rule_names(simulate):
    """matchPolicy Equivalent; Exact does not see it."""

    async def story(w):
        hooks = Hooks(w, same=label("seen"), exact=allow)
        rule = {**EVERYTHING, "apiGroups": ["events.k8s.io"], "resources": ["events"]}
        await hooks.install(MUTATING, "same", rules=[rule])
        await hooks.install(VALIDATING, "exact", rules=[rule], matchPolicy="Exact")
        event = {
            "metadata": {"name": "e"}, "reason": "R", "message": "M", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        }  # fmt: skip
        made = await w.json("POST", kinds.EVENT.path("default"), event)
        assert hooks.names == ["same"]
        request = hooks.asked[0][1]
        assert request["kind"]["group"] == "events.k8s.io"
        assert (request["requestKind"]["group"], request["object"]["note"]) == ("", "M")
        assert (made["message"], made["metadata"]["labels"]) == ("M", {"seen": "x"})

    simulate(story)


def test_a_scale_is_shown_and_patched_as_a_scale(simulate):
    """Though it is its parent that is written."""

    async def story(w):
        def three(_request):
            return patch({"op": "replace", "path": "/spec/replicas", "value": 3})

        hooks = Hooks(w, three=three)
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
        await w.client.create(
            kinds.DEPLOYMENT, {"metadata": {"name": "d"}, "spec": spec}, "default"
        )
        await hooks.install(MUTATING, "three")
        at = f"{kinds.DEPLOYMENT.path('default', 'd')}/scale"
        scale = await w.json("PATCH", at, {"spec": {"replicas": 7}}, content_type=MERGE)
        assert scale["spec"]["replicas"] == 3
        request = hooks.asked[0][1]
        assert (request["kind"]["kind"], request["subResource"]) == ("Scale", "scale")
        assert request["object"]["spec"] == {"replicas": 7}
        assert request["oldObject"]["spec"] == {"replicas": 1}

    simulate(story)


def test_a_dry_run_asks_only_hooks_without_side_effects(simulate):
    """A hook that cannot tell refuses it."""

    async def story(w):
        hooks = Hooks(w, a=allow)
        await hooks.install(VALIDATING, "a")
        body = {"metadata": {"name": "m"}}
        assert (await w.raw("POST", CONFIG_MAP.path("default"), body, dryRun="All")).status == 201
        entry = w.server.caches.of(VALIDATING).get("", "hooks")
        older = entry.json()  # what v1 does not let in, older objects may have
        older["webhooks"][0]["sideEffects"] = "Some"
        await write(w.server, VALIDATING, older, entry)
        answer = await w.json("POST", CONFIG_MAP.path("default"), body, dryRun="All")
        message = 'admission webhook "a.example.com" does not support dry run'
        assert (answer["reason"], answer["message"]) == ("BadRequest", message)

    simulate(story)


def test_warnings_reach_the_client_and_annotations_the_audit_event(simulate):
    """Also of a hook that refuses."""

    async def story(w):
        told = {"warnings": ["careful"], "auditAnnotations": {"k": "v"}}
        hooks = Hooks(w, a=lambda _request: told)
        await hooks.install(VALIDATING, "a")
        answer = await w.raw("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "m"}})
        assert answer.headers["warning"] == '299 - "careful"'

    simulate(story)


def test_hooks_that_validate_are_asked_at_the_same_time(simulate):
    """Three that take a second each take one; the first refusal in order is told."""

    async def story(w):
        async def slow(_request):
            await asyncio.sleep(1)
            return {"allowed": False}

        hooks = Hooks(w, a=slow, b=slow, c=slow)
        await hooks.install(VALIDATING, "a", "b", "c")
        began = w.env.clock.monotonic_ns()
        answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "m"}})
        assert '"a.example.com"' in answer["message"]
        assert (w.env.clock.monotonic_ns() - began) / 1e9 == pytest.approx(1, abs=0.1)

    simulate(story)


def test_a_hook_on_a_service_needs_an_endpoint(simulate):
    """What is said without the Service, and without anybody behind it."""

    async def story(w):
        service = {"namespace": "default", "name": "hook", "path": "/p"}
        body = {
            "metadata": {"name": "h"},
            "webhooks": [{
                "name": "a.example.com", "sideEffects": "None", "rules": [EVERYTHING],
                "admissionReviewVersions": ["v1"], "clientConfig": {"service": service},
            }],
        }  # fmt: skip
        await w.client.create(VALIDATING, body)
        url = 'Post "https://hook.default.svc:443/p?timeout=10s"'
        answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "m"}})
        assert answer["message"].endswith(
            f'failed to call webhook: {url}: service "hook" not found'
        )
        await w.client.delete(VALIDATING, "h", "")
        made = {"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}}
        created = await w.client.create(kinds.SERVICE, made, "default")
        await w.client.create(VALIDATING, body)
        answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "m"}})
        at = f"{created.spec.cluster_ip}:443"
        assert answer["message"].endswith(f"{url}: dial tcp {at}: connect: connection refused")

    simulate(story)


def test_match_conditions_say_which_writes_a_hook_is_asked_about(simulate):
    """One that cannot be evaluated refuses the write, or is no match where failures are ignored."""

    async def story(w):
        hooks = Hooks(w, a=allow, b=allow)
        wanted = [
            {"name": "named", "expression": "object.metadata.name.startsWith('x')"},
            {"name": "other", "expression": "request.userInfo.username != 'robot'"},
        ]
        await hooks.install(VALIDATING, "a", matchConditions=wanted)
        await w.config_map("y")
        assert hooks.names == []
        await w.config_map("x1")
        assert hooks.names == ["a"]
        broken = [{"name": "broken", "expression": "object.data.missing == 'x'"}]
        await hooks.install(VALIDATING, "b", configuration="b", matchConditions=broken)
        answer = await w.json("POST", CONFIG_MAP.path("default"), {"metadata": {"name": "z"}})
        assert answer["reason"] == "Forbidden"
        assert "no such key" in answer["message"]
        await w.client.delete(VALIDATING, "b", "")
        await hooks.install(
            VALIDATING, "b", configuration="b", matchConditions=broken, failurePolicy="Ignore"
        )
        await w.config_map("z")
        assert hooks.names == ["a"]

    simulate(story)
