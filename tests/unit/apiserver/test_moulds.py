"""What a mould makes is what ``create`` would have made."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.moulds import memory, text
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.client.counters import Request, User
from tests.rotation import examples

PODS, EVENTS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/events"
JSON = {"content-type": "application/json"}
TEAM = "/api/v1/namespaces/team/pods"

NAMES = ("one", "two", "a-b", "x1", "1x", "a.b", "A", "", "é", "a" * 63, "a" * 64, "zz", "latest")
LABELS = ("v", "V.1", "", "-", "a b", "a" * 64, "x", "y")
IMAGES = ("nginx", "nginx:1.27", "nginx:latest", "r.io:5000/n@sha256:ab", " n", "n ", "", "n:2")
TEXTS = (
    "plain",
    'say "hi"',
    "a<b>&c",
    "",
    "%s %b %%",
    'quo"ted',
    "back\\slash",
    "ünï",
    "tab\t",
    "\n",
    "\x0b",
    "/",
    " ",
    "null",
)
TIMES = (
    "2026-11-27T13:45:00Z",
    "2027-01-01T00:00:01Z",
    "2026-02-30T00:00:00Z",
    "2026-11-27T13:45:00+01:00",
    "",
    "noon",
)
UIDS = ("11111111-2222-4333-8444-555555555555", "u", "", "U 1")


def pick(values):
    """Mostly one of the two first."""
    return st.integers(0, 30).flatmap(
        lambda n: st.sampled_from(values) if n == 30 else st.just(values[n % 2])
    )


@st.composite
def pods(draw):
    """Bodies of a few forms, in which any free string may be anything."""
    containers = [
        {
            "name": draw(pick((name, f"{name}x", *NAMES))), "image": draw(pick(IMAGES)),
            "command": [draw(pick(TEXTS)), "fixed"],
            "env": [{"name": "A", "value": draw(pick(TEXTS))}, {"name": "B", "value": "b"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
        for name in ("web", "side")
    ]  # fmt: skip
    made_up, end = draw(st.booleans()), str(draw(st.integers(0, 99)))
    metadata: dict[str, Any] = {
        "generateName" if made_up else "name": draw(pick(NAMES)) + ("-" if made_up else end),
        "labels": {"app": draw(pick(LABELS))},
        "annotations": {"example.com/a": draw(pick(TEXTS)), "x.k8s.io/b": draw(pick(TEXTS))},
    }
    if draw(st.booleans()):
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": draw(pick(UIDS))}
        ]
    spec = {"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}]}
    if draw(st.booleans()):
        spec["initContainers"] = [{"name": draw(pick(("one", "web"))), "image": "nginx"}]
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return PODS, json.dumps(body, ensure_ascii=draw(st.booleans()), separators=(",", ":"))


@st.composite
def events(draw):
    """The same of Events."""
    name = draw(pick(NAMES))
    body = {
        "metadata": {"name": f"{name}.{draw(st.integers(0, 1 << 60)):x}"},
        "involvedObject": {
            "kind": "Pod", "namespace": "default", "name": name, "uid": draw(pick(UIDS)),
        },
        "message": draw(pick(TEXTS)), "reason": "Scheduled", "type": "Normal", "count": 1,
        "firstTimestamp": draw(pick(TIMES)), "lastTimestamp": draw(pick(TIMES)),
        "source": {"component": "kubelet", "host": draw(pick(NAMES))}, "eventTime": None,
    }  # fmt: skip
    return EVENTS, json.dumps(body)


def answers_to(simulate, asked, learn_after):
    """What a server answers, and how often a mould did it."""
    found, cast = [], 0

    async def story(w):
        nonlocal cast
        issuer = Issuer(new_signing_key(w.env.secret))
        w.server.issue_tokens(issuer)
        make = w.server.moulds.cast

        def counted(call):
            nonlocal cast
            made = make(call)
            cast += made is not None
            return made

        w.server.moulds.cast = counted
        for path, body in asked:
            response = await w.raw("POST", path, body.encode())
            found.append((response.status, response.headers, response.body))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "LEARN_AFTER", learn_after)
        simulate(story)
    return found, cast


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.one_of(pods(), events()), min_size=6, max_size=24))
def test_a_mould_answers_as_create_does(simulate, asked):
    """Two servers with one seed, of which one learns of every body, answer byte for byte alike."""
    quick, _ = answers_to(simulate, asked, 1)
    plain, cast = answers_to(simulate, asked, 1 << 30)
    assert quick == plain
    assert cast == 0


def pod(name: str, **spec: Any) -> bytes:
    """A pod of one form."""
    containers = [
        {"name": f"{name}-{part}", "image": "nginx:1.27", "args": [f"--name={name}"]}
        for part in ("a", "b")
    ]
    metadata = {"name": name, "labels": {"pod": name}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    return json.dumps({**body, "spec": {"containers": containers, **spec}}).encode()


@pytest.fixture
def moulded(simulate, monkeypatch):
    """Run a story on a server that has a mould for ``pod``."""
    monkeypatch.setattr(memory, "LEARN_AFTER", 1)

    def run(story):
        async def prepared(w):
            await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
            await w.client.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "team")
            for name in ("first", "second"):
                assert (await w.raw("POST", TEAM, pod(name))).status == 201
            (form,) = w.server.moulds._forms.values()
            assert len(form.moulds) == 1
            assert form.seen == 0, "the second came out of a mould"
            await story(w)

        simulate(prepared)

    return run


def test_a_mould_fills_in_what_is_the_objects_own(moulded):
    async def story(w):
        made = json.loads((await w.raw("POST", TEAM, pod("third"))).body)
        assert made["metadata"]["labels"] == {"pod": "third"}
        first, second, third = (e.json() for e in w.server.caches.of(kinds.POD).entries())
        assert len({obj["metadata"]["uid"] for obj in (first, second, third)}) == 3
        owned = made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:containers"]
        assert list(owned) == ['k:{"name":"third-a"}', 'k:{"name":"third-b"}']

    moulded(story)


def test_what_was_learned_in_vain_is_learned_again_later(moulded):
    """Each time twice as many go the long way before; those that come out of moulds pay it back."""

    async def story(w):
        (form,) = w.server.moulds._forms.values()
        assert form.wanted == 1, "the second paid for what the first one's mould cost"
        for turn in range(3):
            label = {"metadata": {"labels": {"turn": str(turn)}}}
            await w.client.patch(kinds.NAMESPACE, "team", label)
            for i in range(form.wanted):
                assert form.seen == i
                await w.raw("POST", TEAM, pod(f"p{turn}-{i}"))
            assert form.wanted == 2 ** (turn + 1)
        for i in range(20):
            await w.raw("POST", TEAM, pod(f"paid-{i}"))
        assert form.wanted == 1

    moulded(story)


def test_a_name_that_is_taken_is_refused_out_of_a_mould_too(moulded):
    async def story(w):
        refused = await w.raw("POST", TEAM, pod("first"))
        assert refused.status == 409
        assert json.loads(refused.body)["message"] == 'pods "first" already exists'

    moulded(story)


def test_a_containers_name_may_be_that_of_no_init_container(simulate, monkeypatch):
    """Names of init containers are part of a form; so are those of the others then."""
    monkeypatch.setattr(memory, "LEARN_AFTER", 1)
    init = [{"name": "last-a", "image": "nginx"}]

    async def story(w):
        for name in ("first", "second", "third"):
            path, body = PODS, pod(name, initContainers=init)
            assert (await w.raw("POST", path, body)).status == 201
        refused = await w.raw("POST", PODS, pod("last", initContainers=init))
        assert refused.status == 422
        assert 'Duplicate value: \\"last-a\\"' in refused.body.decode()

    simulate(story)


async def _no_account(w):
    await w.client.delete(kinds.SERVICE_ACCOUNT, "default", "team")
    return 403, "error looking up service account"


async def _ending(w):
    await w.client.delete(kinds.NAMESPACE, "team")
    return 403, "it is being terminated"


async def _restricted(w):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await w.client.patch(kinds.NAMESPACE, "team", {"metadata": {"labels": labels}})
    return 403, 'violates PodSecurity \\"restricted:latest\\"'


async def _limited(w):
    limits = [{"type": "Container", "default": {"cpu": "77m"}}]
    body = {"metadata": {"name": "limits"}, "spec": {"limits": limits}}
    await w.client.create(kinds.named("v1", "LimitRange"), body, "team")
    return 201, '"cpu":"77m"'


async def _counted(w):
    body = {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "0"}}}
    await w.client.create(kinds.named("v1", "ResourceQuota"), body, "team")
    return 403, "exceeded quota"


async def _classed(w):
    body = {"metadata": {"name": "high"}, "value": 7, "globalDefault": True}
    await w.client.create(kinds.PRIORITY_CLASS, body)
    return 201, '"priority":7'


@pytest.mark.parametrize(
    "change", [_no_account, _ending, _restricted, _limited, _counted, _classed]
)
def test_a_mould_breaks_when_admission_would_decide_otherwise(moulded, change):
    async def story(w):
        status, words = await change(w)
        for name in ("third", "fourth", "fifth"):
            answer = await w.raw("POST", TEAM, pod(name))
            assert answer.status == status
            assert words in answer.body.decode()

    moulded(story)


def test_a_mould_outlasts_what_happens_in_other_namespaces(moulded):
    """There is a quota elsewhere, which counts what it sees."""

    async def story(w):
        for where in ("other", "team"):
            if where == "other":
                await w.client.create(kinds.NAMESPACE, {"metadata": {"name": "other"}})
                quota = {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "0"}}}
                await w.client.create(kinds.named("v1", "ResourceQuota"), quota, "other")
            else:
                used = {"status": {"used": {"pods": "0"}}}
                quota = kinds.named("v1", "ResourceQuota")
                await w.client.patch(quota, "quota", used, "other", subresource="status")
            for name in ("a", "b", "c"):
                made = await w.raw("POST", TEAM, pod(f"{name}-{where}"))
                assert made.status == 201
        (form,) = (form for form in w.server.moulds._forms.values() if form.moulds)
        assert form.seen == 0

    moulded(story)


@pytest.mark.parametrize("resource", ["pods", "deployments", "*"])
def test_webhooks_that_name_others_leave_moulds_alone(moulded, resource):
    """One that names pods is asked about each: here it cannot be reached."""

    async def story(w):
        rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"]}
        hook = {
            "name": "hook.example.com", "rules": [{**rule, "resources": [resource]}],
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        }  # fmt: skip
        kind = kinds.named("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
        await w.client.create(kind, {"metadata": {"name": "hook"}, "webhooks": [hook]})
        for name in ("third", "fourth", "fifth"):
            answer = await w.raw("POST", TEAM, pod(name))
            assert answer.status == (201 if resource == "deployments" else 500)
        (form,) = w.server.moulds._forms.values()
        assert bool(form.moulds) == (resource == "deployments")

    moulded(story)


def test_a_node_is_always_looked_at(moulded):
    """NodeRestriction repeats itself for others; a kubelet's create goes by no mould."""

    async def story(w):
        def cast(*groups):
            user = User("system:node:n1", ("system:masters", *groups))
            request = Request("POST", TEAM, (), JSON, pod("third"), user)
            return w.server.moulds.cast(calls.parse(request, user, w.server.kinds))

        assert cast("system:nodes") is None
        assert cast() is not None

    moulded(story)


@pytest.mark.parametrize(
    "body", [pod("x", nodeName="n1"), b'{"managedFields":1}', b'{"a":"\xc3\xa9"}', b"null"]
)
def test_what_has_no_mould(simulate, monkeypatch, body):
    """A pod that is born on a node has the node's labels; some texts are not looked at."""
    monkeypatch.setattr(memory, "LEARN_AFTER", 1)

    async def story(w):
        await w.raw("POST", PODS, body)
        assert not any(form.moulds for form in w.server.moulds._forms.values())

    simulate(story)


def test_no_plugin_is_asked_about_marks_that_does_not_repeat_itself(simulate, monkeypatch):
    """A limit of events counts those that clients made."""
    monkeypatch.setattr(memory, "LEARN_AFTER", 1)
    seen = []

    async def story(w):
        def look(review):
            seen.append(review.obj["metadata"]["name"])

        w.server.admission.plugins += (Plugin("Other", look, kinds=(kinds.POD,)),)
        for name in ("first", "second"):
            assert (await w.raw("POST", PODS, pod(name))).status == 201
        assert seen == ["first", "second"]

    simulate(story)


TRICKY = 'ab{}[],: "\\'
LEAVES = st.one_of(st.text(TRICKY, max_size=4), st.integers(), st.none(), st.booleans())


def holding(inner):
    """Lists and objects of such."""
    keys = st.text("ab,:{", max_size=3)
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3))


JSONS = st.one_of(LEAVES, holding(LEAVES | holding(LEAVES | holding(LEAVES))))


def _paths(value, path=()):
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in items:
            yield from _paths(item, (*path, step))


@given(value=JSONS, indent=st.sampled_from([None, 1]))
def test_strings_are_found_where_they_stand(value, indent):
    body = json.dumps(value, indent=indent).replace("\n", " ").encode()
    found = [(path, json.loads(body[a - 1 : b + 1])) for path, a, b in text.strings(body)]
    assert found == list(_paths(value))
