"""RBAC: what roles and bindings allow, in whose words it is refused, and who may grant what."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.api import kinds
from podwire.apiserver.authorization import bootstrap, rules
from podwire.apiserver.authorization.attributes import Attributes
from podwire.apiserver.authorization.rbac import Policy
from podwire.apiserver.authorization.rules import Rule
from podwire.apiserver.server import DirectApi
from podwire.client.accounts import node, service_account
from podwire.client.api import Client
from podwire.client.counters import ANONYMOUS, Request, User

GROUP = "rbac.authorization.k8s.io"
ANN = User("ann", ("dev", "system:authenticated"))
RULES = f"/apis/{GROUP}/v1"


def role(name, *policy, namespace="", **more):
    """A Role or ClusterRole; each rule is (verbs, groups, resources, names)."""
    keys = ("verbs", "apiGroups", "resources", "resourceNames")
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": f"{GROUP}/v1", "kind": "Role" if namespace else "ClusterRole",
        "metadata": {"name": name, **where},
        "rules": [dict(zip(keys, rule, strict=False)) for rule in policy], **more,
    }  # fmt: skip


def bound(name, to, *subjects, namespace="", kind="ClusterRole"):
    """A binding; a subject is (kind, name) or (kind, name, namespace)."""
    own = "RoleBinding" if namespace else "ClusterRoleBinding"
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": f"{GROUP}/v1", "kind": own, "metadata": {"name": name, **where},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": to},
        "subjects": [
            dict(zip(("kind", "name", "namespace"), subject, strict=False)) for subject in subjects
        ],
    }  # fmt: skip


def policy_of(*objects):
    """A policy of these roles and bindings."""
    policy = Policy()
    for obj in objects:
        meta = obj["metadata"]
        take = policy.bound if obj["kind"].endswith("Binding") else policy.role
        take(meta.get("namespace", ""), meta["name"], obj)
    return policy


GET_PODS = role("reader", (["get"], [""], ["pods"]))


def test_an_allowed_request_is_told_by_which_binding():
    """In upstream's words, a service account's name before its namespace."""
    asked = Attributes(ANN, "get", "", "v1", "pods", "", "shop", "web")
    everywhere = policy_of(GET_PODS, bound("all", "reader", ("Group", "dev")))
    assert everywhere.decide(asked) == (
        True,
        'RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "dev"',
    )
    local = policy_of(GET_PODS, bound("own", "reader", ("ServiceAccount", "bot"), namespace="shop"))
    bot = msgspec.structs.replace(asked, user=service_account("shop", "bot"))
    who = 'ServiceAccount "bot/shop"'
    assert local.decide(bot) == (
        True,
        f'RBAC: allowed by RoleBinding "own/shop" of ClusterRole "reader" to {who}',
    )
    assert local.decide(asked) == (False, "")
    elsewhere = msgspec.structs.replace(bot, namespace="other")
    assert local.decide(elsewhere) == (False, "")


def test_a_binding_to_a_role_that_is_not_there_is_told_with_the_refusal():
    """Each role once."""
    subjects = ("User", "ann")
    policy = policy_of(bound("a", "ghost", subjects), bound("b", "ghost", subjects))
    asked = Attributes(ANN, "get", "", "v1", "pods")
    assert policy.decide(asked) == (
        False, f'RBAC: clusterrole.{GROUP} "ghost" not found',
    )  # fmt: skip
    policy.bound("", "c", bound("c", "other", subjects))
    assert policy.decide(asked)[1] == (
        f'RBAC: [clusterrole.{GROUP} "ghost" not found, clusterrole.{GROUP} "other" not found]'
    )


def test_changes_of_roles_and_bindings_count_at_once():
    """Also deletions, and subjects that were taken out of a binding."""
    policy = policy_of(GET_PODS, bound("b", "reader", ("User", "ann")))
    asked = Attributes(ANN, "get", "", "v1", "pods")
    assert policy.allows(asked)
    policy.bound("", "b", bound("b", "reader", ("User", "bob")))
    assert not policy.allows(asked)
    policy.bound("", "b", bound("b", "reader", ("User", "bob"), ("User", "ann")))
    policy.role("", "reader", None)
    assert not policy.allows(asked)
    policy.role("", "reader", GET_PODS)
    assert policy.allows(asked)
    policy.bound("", "b", None)
    assert not policy.allows(asked)


WORDS = st.sampled_from(["get", "list", "*"])
some = st.lists  # short lists of few words: what is drawn often matches


@st.composite
def drawn_rules(draw):
    """A rule about resources or about URLs."""
    verbs = tuple(draw(some(WORDS, min_size=1, max_size=2)))
    if draw(st.booleans()):
        urls = draw(some(st.sampled_from(["/a", "/a/*", "*", "/b"]), min_size=1, max_size=2))
        return Rule(verbs, urls=tuple(urls))
    resources = st.sampled_from(["pods", "pods/log", "*/log", "*", "nodes"])
    return Rule(
        verbs,
        tuple(draw(some(st.sampled_from(["", "apps", "*"]), min_size=1, max_size=2))),
        tuple(draw(some(resources, min_size=1, max_size=2))),
        tuple(draw(some(st.sampled_from(["x", "y"]), max_size=1))),
    )


@st.composite
def drawn_requests(draw):
    """A request about a resource or about a URL."""
    verb = draw(st.sampled_from(["get", "list", "watch"]))
    if draw(st.booleans()):
        return Attributes(ANN, verb, path=draw(st.sampled_from(["/a", "/a/b", "/ab", "/b", "/c"])))
    resource, sub = draw(st.sampled_from([("pods", ""), ("pods", "log"), ("nodes", "log")]))
    group, name = draw(st.sampled_from(["", "apps"])), draw(st.sampled_from(["", "x", "z"]))
    return Attributes(ANN, verb, group, "v1", resource, sub, "ns", name)


@given(some(drawn_rules(), max_size=4), drawn_requests())
def test_the_index_decides_as_the_rules_one_by_one(drawn, asked):
    """Two roads to the same answer: dict look-ups, and upstream's RuleAllows."""
    granted = {"apiVersion": "", "kind": "ClusterRole", "metadata": {"name": "r"}}
    granted["rules"] = [rules.to_json(rule) for rule in drawn]
    policy = policy_of(granted, bound("b", "r", ("User", "ann"), namespace="ns"))
    local = msgspec.structs.replace(asked, namespace="ns")
    expected = any(rules.allows(rule, local) for rule in drawn)
    assert policy.allows(local) is expected
    assert policy.decide(local)[0] is expected


@given(drawn_rules(), drawn_rules(), drawn_requests())
def test_who_holds_what_is_granted_could_do_it_before(owned, wanted, asked):
    """The check of escalation is sound: nothing that is covered allows more."""
    if not rules.uncovered([owned], [wanted]) and rules.allows(wanted, asked):
        assert rules.allows(owned, asked)


# ---------------------------------------------------------------- in an API server


async def ready(w, *objects):
    """Upstream's policy, and these."""
    for obj in (*bootstrap.objects(), *objects):
        kind = kinds.named(obj["apiVersion"], obj["kind"])
        if obj["metadata"].get("namespace") != "kube-public":
            await w.client.create(kind, obj)


def as_user(w, user):
    """A client under another identity."""
    return Client(DirectApi(w.server, user))


def rbac(simulate):
    """Run a story with roles enforced."""
    return lambda story: simulate(story, authorization_mode="RBAC")


@pytest.fixture
def enforced(simulate):
    return rbac(simulate)


def test_a_refusal_reads_as_upstreams(enforced):
    """Who, what, where, and which authorizer had something to say."""

    async def story(w):
        await ready(w, bound("broken", "ghost", ("User", "ann")))
        error = await w.refused(as_user(w, ANN).get(kinds.POD, "web", "shop"))
        assert error.code == 403
        assert error.message == (
            'pods "web" is forbidden: User "ann" cannot get resource "pods" in API group "" in '
            f'the namespace "shop": rbac: RBAC: clusterrole.{GROUP} "ghost" not found'
        )
        error = await w.refused(as_user(w, ANN).get(kinds.NAMESPACE, "default"))
        assert error.message.startswith(
            'namespaces "default" is forbidden: User "ann" cannot get resource "namespaces" in '
            'API group "" in the namespace "default"'
        )
        answer = await w.json("GET", "/apis/acme.com/v1/namespaces/shop/carts", user=ANN)
        assert answer["message"].startswith(
            'carts.acme.com is forbidden: User "ann" cannot list resource "carts" in API group '
            '"acme.com" in the namespace "shop"'
        )

    enforced(story)


def test_everybody_may_ask_for_health_and_the_authenticated_for_discovery(enforced):
    """system:public-info-viewer and system:discovery; one check of many is nobody's business."""

    async def story(w):
        await ready(w)
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert (await w.raw("GET", path, user=ANONYMOUS)).status == 200, path
        for path in ("/readyz/ping", "/metrics", "/api/v1/pods"):
            assert (await w.raw("GET", path, user=ANONYMOUS)).status == 403, path
        answer = await w.json("GET", "/metrics", user=ANN)
        assert answer["message"] == 'forbidden: User "ann" cannot get path "/metrics"'

    enforced(story)


def test_a_name_in_a_field_selector_counts_as_the_name(enforced):
    """A role for one ConfigMap lets its holder watch that one."""

    async def story(w):
        one = role("one", (["list", "watch"], [""], ["configmaps"], ["a"]), namespace="default")
        own = bound("one", "one", ("User", "ann"), namespace="default", kind="Role")
        await ready(w, one, own)
        ann = as_user(w, ANN)
        await w.config_map("a")
        found = await ann.list(kinds.CONFIG_MAP, "default", field_selector="metadata.name=a")
        assert [item.metadata.name for item in found.items] == ["a"]
        for selector in ("", "metadata.name=b", "metadata.name!=a"):
            listing = ann.list(kinds.CONFIG_MAP, "default", field_selector=selector)
            assert (await w.refused(listing)).code == 403

    enforced(story)


def test_nobody_grants_what_he_does_not_hold(enforced):
    """A role's rules and a binding's role are held against the granter's own."""

    async def story(w):
        may = role("admin-of-roles", (["create", "update", "get"], [GROUP], ["*"]))
        await ready(w, may, bound("ann", "admin-of-roles", ("User", "ann")))
        ann = as_user(w, ANN)
        wide = role("wide", (["get", "list"], ["", "apps"], ["pods"]))
        error = await w.refused(ann.create(kinds.CLUSTER_ROLE, wide))
        assert error.message == (
            f'clusterroles.{GROUP} "wide" is forbidden: user "ann" '
            '(groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not '
            "currently held:\n"
            '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}\n'
            '{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}'
        )
        binding = bound("self", "cluster-admin", ("User", "ann"))
        error = await w.refused(ann.create(kinds.CLUSTER_ROLE_BINDING, binding))
        assert '{NonResourceURLs:["*"], Verbs:["*"]}' in error.message
        missing = bound("ghost", "ghost", ("User", "ann"))
        error = await w.refused(ann.create(kinds.CLUSTER_ROLE_BINDING, missing))
        assert (error.code, error.message) == (404, f'clusterrole.{GROUP} "ghost" not found')
        held = role("held", (["create"], ["authorization.k8s.io"], ["selfsubjectaccessreviews"]))
        await ann.create(kinds.CLUSTER_ROLE, held)
        patch = w.refused(ann.patch(kinds.CLUSTER_ROLE, "held", {"rules": wide["rules"]}))
        assert (await patch).code == 403
        gathers = role("all", aggregationRule={"clusterRoleSelectors": [{}]})
        error = await w.refused(ann.create(kinds.CLUSTER_ROLE, gathers))
        assert error.message.endswith(
            "must have cluster-admin privileges to use the aggregationRule"
        )

    enforced(story)


def test_escalate_and_bind_lift_the_check(enforced):
    """For the role that they name."""

    async def story(w):
        may = role(
            "granter",
            (["create", "escalate"], [GROUP], ["clusterroles"]),
            (["create"], [GROUP], ["clusterrolebindings"]),
            (["bind"], [GROUP], ["clusterroles"], ["wide"]),
        )
        await ready(w, may, bound("ann", "granter", ("User", "ann")))
        ann = as_user(w, ANN)
        await ann.create(kinds.CLUSTER_ROLE, role("wide", (["*"], ["*"], ["*"])))
        await ann.create(kinds.CLUSTER_ROLE_BINDING, bound("x", "wide", ("User", "bob")))
        other = bound("y", "cluster-admin", ("User", "bob"))
        assert (await w.refused(ann.create(kinds.CLUSTER_ROLE_BINDING, other))).code == 403

    enforced(story)


def test_acting_as_others_is_a_right_of_its_own(enforced):
    """By user, group, service account, uid and extra."""

    async def story(w):
        may = role(
            "actor",
            (["impersonate"], [""], ["users"], ["bob"]),
            (["impersonate"], [""], ["serviceaccounts"]),
            (["impersonate"], ["authentication.k8s.io"], ["userextras/scopes"], ["view"]),
        )
        await ready(w, may, bound("ann", "actor", ("User", "ann")))

        async def whoami(**headers):
            names = {key.replace("_", "-"): value for key, value in headers.items()}
            body = msgspec.json.encode({"kind": "SelfSubjectReview"})
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            answer = await w.server.handle(Request("POST", path, (), names, body, ANN))
            return answer.status

        assert await whoami(impersonate_user="bob") == 201
        assert await whoami(impersonate_user="eve") == 403
        assert await whoami(impersonate_user="system:serviceaccount:shop:bot") == 201
        assert await whoami(impersonate_user="bob", impersonate_group="dev") == 403
        assert await whoami(impersonate_user="bob", impersonate_extra_scopes="view") == 201
        assert await whoami(impersonate_user="bob", impersonate_extra_scopes="edit") == 403

    enforced(story)


def test_can_i_list_tells_the_rules_of_a_namespace(enforced):
    """SelfSubjectRulesReview: cluster-wide ones, and those of the namespace; a node's are open."""

    async def story(w):
        await ready(w, bound("own", "view", ("User", "ann"), namespace="default"), GET_PODS)
        await w.client.patch(kinds.CLUSTER_ROLE, "view", {"rules": GET_PODS["rules"]})
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        body = {"kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}}
        status = (await w.json("POST", path, body, user=ANN))["status"]
        assert {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]} in status[
            "resourceRules"
        ]
        assert any("/api/*" in rule["nonResourceURLs"] for rule in status["nonResourceRules"])
        assert status["incomplete"] is False
        status = (await w.json("POST", path, body, user=node("node-1")))["status"]
        assert status["incomplete"] is True
        assert status["evaluationError"] == "node authorizer does not support user rule resolution"

    enforced(story)


# ---------------------------------------------------------------- the bootstrap policy


def test_an_older_policy_is_mended_and_its_owners_additions_stay():
    """Missing rules, subjects and labels come back; what says autoupdate=false is left alone."""
    wanted = next(o for o in bootstrap.objects() if o["metadata"]["name"] == "system:kube-scheduler"
                  and o["kind"] == "ClusterRole")  # fmt: skip
    extra = {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}
    found = {**wanted, "metadata": {"name": "system:kube-scheduler", "uid": "1"}}
    found["rules"] = [*wanted["rules"][3:], extra]
    (mended,) = bootstrap.complete([wanted], [found])
    assert mended["metadata"]["uid"] == "1"
    assert mended["metadata"]["labels"] == {"kubernetes.io/bootstrapping": "rbac-defaults"}
    assert mended["rules"][: len(found["rules"])] == found["rules"]
    assert not rules.uncovered(rules.parsed(mended["rules"]), rules.parsed(wanted["rules"]))
    assert bootstrap.complete([wanted], [mended]) == []
    found["metadata"]["annotations"] = {bootstrap.AUTOUPDATE: "false"}
    assert bootstrap.complete([wanted], [found]) == []
    binding = next(o for o in bootstrap.objects() if o["metadata"]["name"] == "system:discovery"
                   and o["kind"] == "ClusterRoleBinding")  # fmt: skip
    bare = {**binding, "subjects": []}
    assert bootstrap.complete([binding], [bare])[0]["subjects"] == binding["subjects"]
