"""What a kubelet may read (the node authorizer) and write (NodeRestriction)."""

from __future__ import annotations

import pytest

from podwire.api import kinds
from podwire.apiserver.authorization import bootstrap
from podwire.apiserver.server import DirectApi
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.client.accounts import node
from podwire.client.api import STRATEGIC, Client
from podwire.client.counters import User

LEASE = {"metadata": {"name": "node-1", "namespace": "kube-node-lease"}, "spec": {}}


def pod(name, at="node-1", **spec):
    """A pod bound to a node that refers to a ConfigMap, a Secret and a claim."""
    env = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "secret-of-env", "key": "a"}}}
    container = {"name": "c", "image": "nginx", "env": [env]}
    volumes = [
        {"name": "m", "configMap": {"name": "map"}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
    ]
    own = {"nodeName": at, "containers": [container], "volumes": volumes, **spec}
    return {"metadata": {"name": name}, "spec": own}


class Nodes:
    """A server that enforces, two nodes with a pod each, and the first one's kubelet."""

    def __init__(self, w):
        self.w = w
        self.one = Client(DirectApi(w.server, node("node-1")))
        self.two = Client(DirectApi(w.server, node("node-2")))

    async def made(self):
        w = self.w
        for name in ("kube-node-lease", "kube-public"):
            await w.client.create(kinds.NAMESPACE, {"metadata": {"name": name}})
        for obj in bootstrap.objects():
            await w.client.create(kinds.named(obj["apiVersion"], obj["kind"]), obj)
        for kubelet, name in ((self.one, "node-1"), (self.two, "node-2")):
            await kubelet.create(kinds.NODE, {"metadata": {"name": name}})
        for kind, name in (
            (kinds.CONFIG_MAP, "map"), (kinds.CONFIG_MAP, "other"),
            (kinds.SECRET, "secret-of-env"), (kinds.SECRET, "projected"),
        ):  # fmt: skip
            await w.client.create(kind, {"metadata": {"name": name}}, "default")
        claim = {"accessModes": ["ReadWriteOnce"], "volumeName": "disk"}
        claim["resources"] = {"requests": {"storage": "1Gi"}}
        body = {"metadata": {"name": "claim"}, "spec": claim}
        await w.client.create(kinds.PERSISTENT_VOLUME_CLAIM, body, "default")
        await w.client.create(kinds.POD, pod("web"), "default")
        elsewhere = {"nodeName": "node-2", "containers": [{"name": "c", "image": "nginx"}]}
        await w.client.create(
            kinds.POD, {"metadata": {"name": "far"}, "spec": elsewhere}, "default"
        )
        return self

    async def why(self, call):
        """The message of a 403."""
        error = await self.w.refused(call)
        assert error.code == 403, error
        return error.message


@pytest.fixture
def nodes(simulate):
    """Run a story of two kubelets."""

    def run(story):
        async def main(w):
            await story(await Nodes(w).made())

        simulate(main, authorization_mode="RBAC")

    return run


def test_a_node_reads_what_its_pods_refer_to_and_nothing_else(nodes):
    """By name: a get, or a list and watch of that name."""

    async def story(n):
        for kind, name in (
            (kinds.CONFIG_MAP, "map"), (kinds.SECRET, "secret-of-env"),
            (kinds.SECRET, "projected"), (kinds.PERSISTENT_VOLUME_CLAIM, "claim"),
        ):  # fmt: skip
            await n.one.get(kind, name, "default")
            assert "no relationship found between node 'node-2' and this object" in await n.why(
                n.two.get(kind, name, "default")
            )
        found = await n.one.list(
            kinds.CONFIG_MAP, "default", field_selector="metadata.name=map"
        )  # fmt: skip
        assert len(found.items) == 1
        assert await n.why(n.one.get(kinds.CONFIG_MAP, "other", "default")) == (
            'configmaps "other" is forbidden: User "system:node:node-1" cannot get resource '
            '"configmaps" in API group "" in the namespace "default": node: no relationship found '
            "between node 'node-1' and this object"
        )
        everything = n.one.list(kinds.SECRET, "default")
        assert (await n.why(everything)).endswith("node: No Object name found")
        everywhere = n.one.list(kinds.SECRET)
        assert (await n.why(everywhere)).endswith("can only read namespaced object of this type")

    nodes(story)


def test_what_a_pod_refers_to_is_readable_as_long_as_the_pod_is_bound(nodes):
    """A deleted pod takes the right with it."""

    async def story(n):
        await n.w.client.delete(kinds.POD, "web", "default", grace_period_seconds=0)
        assert "no relationship" in await n.why(n.one.get(kinds.CONFIG_MAP, "map", "default"))

    nodes(story)


def test_a_node_lists_its_own_pods_and_itself(nodes):
    """With the field selector that says so."""

    async def story(n):
        own = await n.one.list(kinds.POD, field_selector="spec.nodeName=node-1")
        assert [p.metadata.name for p in own.items] == ["web"]
        for selector in ("", "spec.nodeName=node-2"):
            why = await n.why(n.one.list(kinds.POD, field_selector=selector))
            assert why.endswith("node: can only list/watch pods with spec.nodeName field selector")
        assert "no relationship" in await n.why(n.one.get(kinds.POD, "far", "default"))
        assert (await n.one.get(kinds.NODE, "node-1")).metadata.name == "node-1"
        why = await n.why(n.one.get(kinds.NODE, "node-2"))
        assert why.endswith("node 'node-1' cannot read 'node-2', only its own Node object")
        assert await n.one.list(kinds.SERVICE)

    nodes(story)


def test_a_node_changes_no_other_node_and_no_label_that_steers_work_to_it(nodes):
    """Its own taints and owners neither."""

    async def story(n):
        await n.one.patch(kinds.NODE, "node-1", {"metadata": {"labels": {"acme.com/x": "1"}}})
        label = {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "1"}}}
        assert await n.why(n.one.patch(kinds.NODE, "node-1", label)) == (
            'nodes "node-1" is forbidden: is not allowed to modify labels: '
            "node-restriction.kubernetes.io/x"
        )
        label = {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}
        assert "modify labels: node-role" in await n.why(n.one.patch(kinds.NODE, "node-1", label))
        await n.one.patch(kinds.NODE, "node-1", {"metadata": {"labels": {"kubernetes.io/os": "x"}}})
        taint = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
        assert 'node "node-1" is not allowed to modify taints' in await n.why(
            n.one.patch(kinds.NODE, "node-1", taint)
        )
        assert 'node "node-1" is not allowed to modify node "node-2"' in await n.why(
            n.one.patch(kinds.NODE, "node-2", label)
        )
        third = {"metadata": {"name": "node-3", "labels": {"a.k8s.io/b": "1"}}}
        why = await n.why(Client(DirectApi(n.w.server, node("node-3"))).create(kinds.NODE, third))
        assert why.endswith("is not allowed to set the following labels: a.k8s.io/b")

    nodes(story)


def test_a_node_tells_the_status_of_its_own_pods_only(nodes):
    """And deletes them; labels do not change on the way."""

    async def story(n):
        status = {"status": {"phase": "Running"}}
        for name, client, fine in (("web", n.one, True), ("far", n.one, False)):
            call = client.patch(
                kinds.POD, name, status, "default", subresource="status", content_type=STRATEGIC
            )
            if fine:
                await call
            else:
                assert "can only update pod status for pods with" in await n.why(call)
        label = {"metadata": {"labels": {"a": "b"}}}
        call = n.one.patch(kinds.POD, "web", label, "default", subresource="status")
        assert "cannot update labels through pod status" in await n.why(call)
        assert "can only delete pods" in await n.why(n.one.delete(kinds.POD, "far", "default"))
        evict = n.one.send(
            "POST", kinds.POD.path("default", "far", "eviction"),
            body={"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "far"}},
        )  # fmt: skip
        assert "can only evict pods" in await n.why(evict)
        await n.one.delete(kinds.POD, "web", "default", grace_period_seconds=0)

    nodes(story)


def test_a_node_makes_mirror_pods_that_refer_to_nothing(nodes):
    """Bound to itself, owned by its Node."""

    async def story(n):
        uid = (await n.one.get(kinds.NODE, "node-1")).metadata.uid
        owner = {
            "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": uid, "controller": True,
        }  # fmt: skip
        mirror = {
            "metadata": {
                "name": "static-node-1",
                "annotations": {"kubernetes.io/config.mirror": "abc"},
                "ownerReferences": [owner],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "nginx"}]},
        }

        async def why(**meta):
            changed = {**mirror, "metadata": {**mirror["metadata"], **meta}}
            return await n.why(n.one.create(kinds.POD, changed, "default"))

        assert "can only create mirror pods" in await why(annotations={})
        assert "with an owner reference set to itself" in await why(ownerReferences=[])
        assert "UID mismatch" in await why(ownerReferences=[{**owner, "uid": "x"}])
        assert "a controller owner" in await why(ownerReferences=[{**owner, "controller": False}])
        spec = {**mirror["spec"], "volumes": [{"name": "v", "configMap": {"name": "map"}}]}
        call = n.one.create(kinds.POD, {**mirror, "spec": spec}, "default")
        assert "can not create pods that reference configmaps" in await n.why(call)
        await n.one.create(kinds.POD, mirror, "default")

    nodes(story)


def test_a_node_has_one_lease(nodes):
    """Its own, in the namespace of node leases."""

    async def story(n):
        await n.one.create(kinds.LEASE, LEASE)
        other = {**LEASE, "metadata": {**LEASE["metadata"], "name": "node-2"}}
        why = await n.why(n.one.create(kinds.LEASE, other))
        assert why.endswith("can only access node lease with the same name as the requesting node")
        why = await n.why(n.two.get(kinds.LEASE, "node-1", "kube-node-lease"))
        assert why.endswith("can only access node lease with the same name as the requesting node")
        why = await n.why(n.one.get(kinds.LEASE, "x", "kube-system"))
        assert why.endswith('can only access leases in the "kube-node-lease" system namespace')

    nodes(story)


def test_a_node_asks_for_tokens_of_its_pods_accounts_bound_to_those_pods(nodes):
    """Not of other accounts, and not for another node's pod."""

    async def story(n):
        n.w.server.issue_tokens(Issuer(new_signing_key(n.w.env.secret)))
        path = kinds.SERVICE_ACCOUNT.path("default", "default", "token")

        def token(name, uid, **more):
            ref = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, **more}
            return n.one.send("POST", path, body={"spec": {"boundObjectRef": ref}})

        web = (await n.one.get(kinds.POD, "web", "default")).metadata.uid
        far = (await n.two.get(kinds.POD, "far", "default")).metadata.uid
        await token("web", web)
        why = await n.why(token("far", far))
        assert why.endswith("node requested token bound to a pod scheduled on a different node")
        why = await n.why(token("web", ""))
        assert why.endswith("node requested token with a pod binding without a uid")
        why = await n.why(n.one.send("POST", path, body={"spec": {}}))
        assert why.endswith("node requested token not bound to a pod")
        other = kinds.SERVICE_ACCOUNT.path("kube-system", "default", "token")
        assert "no relationship" in await n.why(n.one.send("POST", other, body={"spec": {}}))

    nodes(story)


def test_who_says_he_is_a_node_without_a_name_is_refused(nodes):
    """And a user called so without the group is no node."""

    async def story(n):
        nameless = User("system:node:", ("system:nodes", "system:authenticated"))
        why = await n.why(Client(DirectApi(n.w.server, nameless)).list(kinds.SERVICE))
        assert why.endswith('node: unknown node for user "system:node:"')
        alone = User("system:node:node-1", ("system:authenticated",))
        why = await n.why(Client(DirectApi(n.w.server, alone)).list(kinds.SERVICE))
        assert why.endswith('in API group "" at the cluster scope')

    nodes(story)
