"""Definitions with drawn schemas and rules, webhooks that lie, policies that cost: in virtual time.

What is held: every write is answered, with upstream's statuses, within its timeouts; what is stored
is what was decided, and the stored version can be read whatever the webhooks do.
"""

import asyncio
import base64
import random

import msgspec
import pytest

from podwire.api import kinds
from podwire.apiserver.webhookclient import CallError
from tests.fuzz.conftest import SWEEP
from tests.fuzz.values import Wild
from tests.samples_crd import definition
from tests.unit.apiserver.conftest import simulate  # noqa: F401  fixture
from tests.unit.apiserver.test_conversion import CRDS, ONE, TWO, one, versions
from tests.unit.apiserver.test_policies import RULE
from tests.unit.apiserver.test_webhooks import GROUP, MUTATING, VALIDATING

DEFINITIONS = 1_000 if SWEEP else 20
LIES = 2_000 if SWEEP else 60
POLICIES = 1_000 if SWEEP else 20
TIMEOUT_S = 2
GADGETS = "/apis/example.com/v1/namespaces/default/gadgets"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
GOOD = {
    "string": ("self.size() < 100", "self != 'no'", "self.matches('^[a-z]*$')", "self <= oldSelf"),
    "integer": ("self >= 0", "self == oldSelf", "self % 7 != 3", "1 / self < 5"),
    "number": ("self < 1e300", "double(int(self)) == self"),
    "boolean": ("self", "self || !oldSelf"),
    "array": ("self.size() < 4", "self.all(x, self.exists_one(y, x == y))", "self[1] == self[0]"),
    "object": ("has(self.a)", "!has(self.b) || self.b == self.b", "self == oldSelf"),
}


@pytest.fixture(autouse=True)
def _nothing_unexpected(capfd):
    """A 500 that was not meant is logged with its traceback."""
    yield
    assert "Traceback" not in capfd.readouterr().err


class Gadgets(Wild):
    """Schemas that are structural, most often, and objects that fit them, most often."""

    def schema(self, depth=3):
        """A schema with limits, so that its rules may be cheap enough."""
        rng = self.rng
        type_ = rng.choice(("object", "object", "array", *GOOD) if depth else ("string", "integer"))
        made = {"type": type_}
        if type_ == "object" and rng.random() < 0.7:
            made["properties"] = {name: self.schema(depth - 1) for name in "abc" if depth}
            made["required"] = rng.sample("abc", rng.randrange(2))
        elif type_ == "object":
            made |= {"additionalProperties": self.schema(0), "maxProperties": 3}
        elif type_ == "array":
            made |= {"items": self.schema(depth - 1), "maxItems": rng.choice((3, 3, 10**6))}
        elif type_ == "string":
            made |= {"maxLength": rng.choice((5, 20, 10**6))}
        if rng.random() < 0.4:
            rule = rng.choice(GOOD[type_]) if rng.random() < 0.9 else self.expression()
            made["x-kubernetes-validations"] = [{"rule": rule}]
        if rng.random() < 0.2:
            made["default"] = self.fitting(made) if rng.random() < 0.8 else self.value()
        if rng.random() < 0.1:
            made[rng.choice(("nullable", "x-kubernetes-preserve-unknown-fields"))] = True
        if rng.random() < 0.03:
            made[rng.choice(("pattern", "enum", "format", "oneOf", "$ref", "x"))] = self.value()
        return made

    def fitting(self, schema):
        """A value of a schema."""
        if self.rng.random() < 0.03:
            return self.value()
        match schema["type"]:
            case "object" if "additionalProperties" in schema:
                return {k: self.fitting(schema["additionalProperties"]) for k in "xy"}
            case "object":
                inner = schema.get("properties", {})
                return {k: self.fitting(v) for k, v in inner.items() if self.rng.random() < 0.8}
            case "array":
                return [self.fitting(schema["items"]) for _ in range(self.rng.randrange(4))]
            case "string":
                return self.rng.choice(("", "a", "no", "abc", "A" * 30))
            case "integer":
                return self.rng.choice((0, 1, -1, 3, 2**31, 2**63 - 1))
            case "number":
                return self.rng.choice((0.5, -1.0, 1e308, 3))
        return self.rng.random() < 0.5


def gadget(schema):
    obj = definition(selectableFields=[], additionalPrinterColumns=[])
    obj["metadata"]["name"] = "gadgets.example.com"
    obj["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
    version = obj["spec"]["versions"][0]
    version["subresources"] = {"status": {}}
    version["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": schema}}
    return obj


def test_any_definition_is_refused_or_serves_its_objects(simulate, seed):  # noqa: F811
    """Objects are written, patched, applied, listed as Tables; then the definition goes."""
    served = 0

    async def story(w):
        nonlocal served
        gadgets = Gadgets(random.Random(seed))  # noqa: S311  what is tested is no secret
        for _ in range(DEFINITIONS):
            schema = gadgets.schema() | {"type": "object"}
            made = await w.raw("POST", CRDS, gadget(schema))
            assert made.status in {201, 400, 422}, (seed, made.body, schema)
            if made.status != 201:
                continue
            await w.env.clock.sleep(0.1)
            served += 1
            for name in "abcd":
                body = {
                    "apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name},
                    "spec": gadgets.fitting(schema),
                }  # fmt: skip
                answer = await w.raw("POST", GADGETS, body)
                assert answer.status in {201, 400, 422}, (seed, answer.body, schema)
                body["spec"] = gadgets.fitting(schema)
                for media in ("merge-patch+json", "apply-patch+yaml"):
                    answer = await w.raw(
                        "PATCH", f"{GADGETS}/{name}", body, f"application/{media}",
                        fieldManager="me",
                    )  # fmt: skip
                    assert answer.status in {200, 201, 400, 404, 409, 422} or (
                        b"failed to create typed" in answer.body
                    ), (seed, answer.body, schema)
            for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"):
                assert (await w.raw("GET", GADGETS, accept=accept)).status == 200
            gone = await w.raw("DELETE", f"{CRDS}/gadgets.example.com")
            assert gone.status == 200, gone.body
            await w.env.clock.sleep(10)

    simulate(story, seed)
    assert served > DEFINITIONS // 10, seed


class Liar:
    """Stands for the network: every answer is another way not to answer well."""

    def __init__(self, w, rng):
        self.w = w
        self.wild = Wild(rng)
        self.longest_s = 0.0
        w.server.webhooks.client = self

    async def post(self, target, body, timeout_s):
        review = msgspec.json.decode(body)
        rng = self.wild.rng
        way = rng.randrange(9)
        if way == 8:
            deep = rng.choice((b"[", b'{"a":', b'{"response":')) * rng.choice((200, 5000, 100_000))
            return rng.choice((deep, b'{"response":"\xff"}', b"1" * 5000, self.huge(review)))
        if way == 0:
            raise CallError(f'Post "{target.url}": EOF')
        if way == 1:
            try:
                async with asyncio.timeout(timeout_s):
                    await asyncio.Event().wait()
            except TimeoutError:
                raise CallError(f'Post "{target.url}": context deadline exceeded') from None
        if way == 2:
            return self.wild.flipped(body)
        if way == 3:
            return self.wild.encoded(self.wild.value())
        response = {"uid": review["request"]["uid"], **self.response(review["request"])}
        if way == 4:
            self.wild.broken(response)
        return self.wild.encoded({**review, "response": response})

    def huge(self, review):
        """An answer that is right but for its size."""
        objects = review["request"].get("objects")
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "warnings": ["w" * 900] * 9000,
        }
        if objects is not None:
            made = [
                {**obj, "apiVersion": review["request"]["desiredAPIVersion"]} for obj in objects
            ]
            for obj in made:
                obj["spec"] = {"size": 1, "dimension": "1" * (7_000_000 if SWEEP else 100_000)}
            response |= {"convertedObjects": made, "result": {"status": "Success"}}
        return self.wild.encoded({**review, "response": response})

    def response(self, request):
        """Of an admission or of a conversion, with something strange in it."""
        rng = self.wild.rng
        if "objects" in request:
            made = [
                {**obj, "apiVersion": request["desiredAPIVersion"]} for obj in request["objects"]
            ]
            for obj in made:
                if rng.random() < 0.7:
                    self.wild.broken(obj)
            return {
                "result": {"status": rng.choice(("Success", "Success", "Failure", "x"))},
                "convertedObjects": made[: rng.randrange(len(made) + 1)] * rng.choice((1, 1, 2)),
            }
        patch = [{
            "op": rng.choice(("add", "replace", "remove", "copy", "x")),
            "path": self.wild.pointer(request["object"] or {}), "from": "/metadata",
            "value": self.wild.value(),
        }]  # fmt: skip
        encoded = base64.b64encode(self.wild.encoded(patch)).decode()
        return rng.choice((
            {"allowed": True}, {"allowed": "yes"}, {}, {"allowed": True, "patch": encoded},
            {"allowed": True, "patch": encoded, "patchType": "JSONPatch"},
            {"allowed": True, "patch": "%%%", "patchType": "JSONPatch"},
            {"allowed": False, "status": self.wild.value()},
            {"allowed": False, "status": {"code": rng.choice((0, 99, 200, 302, 404, 503, -1))}},
            {"allowed": True, "warnings": [self.wild.text() * 50] * 300},
            {"allowed": True, "auditAnnotations": {self.wild.text(): self.wild.text()}},
        ))  # fmt: skip

    def close(self):
        pass


def hook(policy):
    return {
        "metadata": {"name": "liar"},
        "webhooks": [{
            "name": "liar.example.com", "sideEffects": "None", "failurePolicy": policy,
            "timeoutSeconds": TIMEOUT_S, "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://hooks.example.com/lie"},
            "rules": [{**RULE, "operations": ["*"]}],
        }],
    }  # fmt: skip


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
@pytest.mark.parametrize("kind", [MUTATING, VALIDATING], ids=["mutating", "validating"])
def test_no_admission_webhook_breaks_more_than_its_request(simulate, seed, kind, policy):  # noqa: F811
    """Silence, noise, other shapes, patches that do not apply, statuses that are none."""

    async def story(w):
        Liar(w, random.Random(seed))  # noqa: S311  what is tested is no secret
        await w.client.create(kind, hook(policy))
        for number in range(LIES // 4):
            began = w.env.clock.now_ns()
            body = {"metadata": {"name": f"m{number}", "labels": {"a": "b"}}, "data": {"k": "v"}}
            answer = await w.raw("POST", CONFIG_MAPS, body)
            took_s = (w.env.clock.now_ns() - began) / 1e9
            assert took_s < 2 * TIMEOUT_S + 1, (seed, took_s)  # mutating hooks are asked twice
            told = msgspec.json.decode(answer.body)
            if answer.status == 500:
                assert told["reason"] == "InternalError", (seed, told.get("message"))
            else:
                assert 200 <= answer.status < 600, (seed, answer.status)
            stored = await w.raw("GET", f"{CONFIG_MAPS}/m{number}")
            assert (stored.status == 200) == (answer.status == 201), (seed, told.get("message"))
        await w.client.delete(kind, "liar")
        assert (await w.raw("POST", CONFIG_MAPS, {"metadata": {"name": "z"}})).status == 201
        assert (await w.raw("GET", CONFIG_MAPS)).status == 200

    simulate(story, seed)


def test_no_conversion_webhook_breaks_more_than_its_version(simulate, seed):  # noqa: F811
    """The stored version goes on; the other is refused, in time, or is what the webhook said."""

    async def story(w):
        made = await w.raw("POST", CRDS, versions("v1"))
        assert made.status == 201
        await w.env.clock.sleep(0.1)
        Liar(w, random.Random(seed))  # noqa: S311  what is tested is no secret
        for number in range(LIES // 4):
            assert (await w.raw("POST", ONE, one(f"w{number}"))).status == 201
            for path, method, body in (
                (TWO, "GET", None), (f"{TWO}/w{number}", "GET", None),
                (TWO, "POST", {"metadata": {"name": f"x{number}"}, "spec": {"dimension": "1"}}),
            ):  # fmt: skip
                began = w.env.clock.now_ns()
                answer = await w.raw(method, path, body)
                assert (w.env.clock.now_ns() - began) / 1e9 < 70, (seed, path)
                told = msgspec.json.decode(answer.body)
                assert (
                    answer.status in {200, 201, 400, 422}
                    or "conversion webhook" in (told["message"])
                ), (seed, told.get("message"))
            assert (await w.raw("GET", f"{ONE}/w{number}")).status == 200
            assert (await w.raw("DELETE", f"{ONE}/w{number}")).status == 200

    simulate(story, seed)


COSTLY = (
    "variables.o.all(a, variables.o.all(b, variables.o.all(c, variables.o.all(d, a+b != c+d))))",
    "'%s%s'.format([object.metadata.name, object.data.k]).matches('(a+)+$')",
    "lists.range(10000000).all(x, x >= 0)",
    "object.data.map(k, object.data[k] + object.data[k]).join(',').size() < 10",
    "variables.v.size() > 0 && variables.w.size() > 0",
    "authorizer.group('').resource('pods').check('get').allowed()",
    "object.data.k.split('').map(x, x + x).all(x, x in ['a', 'b'])",
)


def test_no_policy_holds_up_the_writes_that_it_sees(simulate, seed):  # noqa: F811
    """Loops in loops, variables that double, expressions that are none: refused or cut off."""

    async def story(w):
        wild = Wild(random.Random(seed))  # noqa: S311  what is tested is no secret
        kind = kinds.named(GROUP, "ValidatingAdmissionPolicy")
        binding = kinds.named(GROUP, "ValidatingAdmissionPolicyBinding")
        stored = 0
        for number in range(POLICIES):
            name = f"p{number}"

            def text():
                return wild.rng.choice(COSTLY) if wild.rng.random() < 0.7 else wild.expression()

            spec = {
                "matchConstraints": {"resourceRules": [RULE]},
                "failurePolicy": wild.rng.choice(("Fail", "Ignore")),
                "variables": [
                    {"name": "o", "expression": "object.data"},
                    {"name": "v", "expression": "object.data.k"},
                    {"name": "w", "expression": " + ".join(["variables.v"] * 8)},
                ],
                "validations": [{"expression": text()} for _ in range(wild.rng.randrange(1, 3))],
                "auditAnnotations": [{"key": "a", "valueExpression": "string(variables.w)"}],
            }
            answer = await w.raw("POST", kind.path(), {"metadata": {"name": name}, "spec": spec})
            assert answer.status in {201, 400, 422}, (seed, answer.body)
            if answer.status != 201:
                continue
            stored += 1
            bound = {"policyName": name, "validationActions": ["Deny"]}
            await w.client.create(binding, {"metadata": {"name": name}, "spec": bound})
            data = {f"k{i}": "a" * 30 for i in range(wild.rng.choice((1, 40)))} | {"k": "a" * 500}
            body = {"metadata": {"name": f"m{number}"}, "data": data}
            answer = await w.raw("POST", CONFIG_MAPS, body)
            assert answer.status in {201, 422, 403}, (seed, spec, answer.body)
            await w.client.delete(binding, name)
            await w.client.delete(kind, name)
        assert stored, seed

    simulate(story, seed)
