"""Real kubectl: tokens, reviews, impersonation, certificates, debuggers, deletions.

What each command must answer is told by the Kubernetes documentation pages that are named.
"""

import base64
import json

from tests import csr
from tests.clients.conftest import BIN
from tests.waiting import until


def server(live):
    """The flags of a client that has no kubeconfig."""
    url = live.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    return ("--kubeconfig=/dev/null", f"--server={url}", "--insecure-skip-tls-verify")


def whoami(live, *flags):
    """The user that the server sees."""
    answer = live.kubectl(*flags, "auth", "whoami", "-o", "json")
    return json.loads(answer)["status"]["userInfo"]


def refused(live, *argv, **options):
    """What kubectl printed on stderr before it failed."""
    return live.run(str(BIN / "kubectl"), *argv, code=1, **options).stderr


def test_a_token_makes_its_bearer_a_service_account(live, namespace):
    """kubectl create token; docs/reference/access-authn-authz/service-accounts-admin."""
    live.kubectl("create", "serviceaccount", "robot", "-n", namespace)
    token = live.kubectl("create", "token", "robot", "-n", namespace, "--duration=20m").strip()
    user = whoami(live, *server(live), f"--token={token}")
    assert user["username"] == f"system:serviceaccount:{namespace}:robot"
    assert user["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    ]
    assert user["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    error = refused(live, "create", "token", "robot", "-n", namespace, "--duration=1m")
    assert "may not specify a duration less than 10 minutes" in error
    live.kubectl("delete", "serviceaccount", "robot", "-n", namespace)
    assert "Unauthorized" in refused(live, *server(live), f"--token={token}", "auth", "whoami")


def test_a_token_dies_with_the_pod_that_it_is_bound_to(live, namespace):
    """kubectl create token --bound-object-kind."""
    live.kubectl("run", "web", "--image=nginx", "-n", namespace)
    live.kubectl("wait", "pod/web", "--for=condition=Ready", "-n", namespace, "--timeout=30s")
    bound = ("--bound-object-kind=Pod", "--bound-object-name=web")
    token = live.kubectl("create", "token", "default", "-n", namespace, *bound).strip()
    extra = whoami(live, *server(live), f"--token={token}")["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["web"]
    assert extra["authentication.kubernetes.io/node-name"][0].startswith("node-")
    live.kubectl("delete", "pod", "web", "-n", namespace, "--force", "--grace-period=0")
    assert "Unauthorized" in refused(live, *server(live), f"--token={token}", "auth", "whoami")


def test_a_secret_of_an_account_is_filled_and_emptied_with_it(live, namespace):
    """docs/concepts/configuration/secret: ServiceAccount token Secrets."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "old",
            "namespace": namespace,
            "annotations": {"kubernetes.io/service-account.name": "default"},
        },
    }
    live.kubectl("create", "-f", "-", stdin=json.dumps(secret))
    show = ("get", "secret", "old", "-n", namespace, "-o", "jsonpath={.data.token}")
    token = base64.b64decode(until("a value", lambda: live.kubectl(*show))).decode()
    user = whoami(live, *server(live), f"--token={token}")
    assert user["username"] == f"system:serviceaccount:{namespace}:default"
    live.kubectl("delete", "secret", "old", "-n", namespace)
    assert "Unauthorized" in refused(live, *server(live), f"--token={token}", "auth", "whoami")


def test_who_may_asks_as_others_too(live):
    """kubectl auth can-i, --list, whoami, --as; docs/reference/access-authn-authz/authorization."""
    assert live.kubectl("auth", "can-i", "create", "deployments").strip() == "yes"
    assert "*.*" in live.kubectl("auth", "can-i", "--list")
    flags = ("--as=ann", "--as-group=dev", "--as-group=ops", "--as-uid=7", "--as-user-extra=k=v")
    assert whoami(live, *flags) == {
        "username": "ann",
        "uid": "7",
        "groups": ["dev", "ops", "system:authenticated"],
        "extra": {"k": ["v"]},
    }
    nobody = live.run(str(BIN / "kubectl"), "auth", "can-i", "get", "pods", "--as=ann", code=1)
    assert nobody.stdout.strip() == "no"
    nobody = live.run(
        str(BIN / "kubectl"), "get", "pods", "--as=system:anonymous", code=1
    ).stderr  # fmt: skip
    assert 'User "system:anonymous" cannot list resource "pods"' in nobody


def test_a_request_becomes_a_certificate_that_opens_the_door(live, tmp_path):
    """docs/reference/access-authn-authz/certificate-signing-requests: normal user."""
    key = csr.new_key()
    body = csr.body("ann", csr.request("ann", ["dev"], key=key), expirationSeconds=3600)
    live.kubectl("create", "-f", "-", stdin=json.dumps(body))
    try:
        assert "approved" in live.kubectl("certificate", "approve", "ann")
        show = ("get", "csr", "ann", "-o", "jsonpath={.status.certificate}")
        (tmp_path / "ann.crt").write_bytes(
            base64.b64decode(until("a value", lambda: live.kubectl(*show)))
        )
        (tmp_path / "ann.key").write_bytes(csr.key_pem(key))
        own = (f"--client-certificate={tmp_path}/ann.crt", f"--client-key={tmp_path}/ann.key")
        user = whoami(live, *server(live), *own)
        assert (user["username"], user["groups"]) == ("ann", ["dev", "system:authenticated"])
        assert "Approved,Issued" in live.kubectl("describe", "csr", "ann")
        assert "already Approved" in refused(live, "certificate", "deny", "ann")
    finally:
        live.kubectl("delete", "csr", "ann")


def test_a_denied_request_gets_nothing(live):
    """kubectl certificate deny."""
    live.kubectl("create", "-f", "-", stdin=json.dumps(csr.body("bob", csr.request("bob"))))
    try:
        assert "denied" in live.kubectl("certificate", "deny", "bob")
        shown = json.loads(live.kubectl("get", "csr", "bob", "-o", "json"))
        assert [c["type"] for c in shown["status"]["conditions"]] == ["Denied"]
        assert shown["spec"]["username"] == "kubernetes-admin"
        assert "certificate" not in shown["status"]
    finally:
        live.kubectl("delete", "csr", "bob")


def test_a_kubelet_asks_for_itself_and_is_approved(live):
    """The built-in approver and signer: kube-apiserver-client-kubelet."""
    body = csr.body(
        "node", csr.request("system:node:new", ["system:nodes"]),
        "kubernetes.io/kube-apiserver-client-kubelet", ("digital signature", "client auth"),
    )  # fmt: skip
    live.kubectl("create", "-f", "-", stdin=json.dumps(body))
    show = ("get", "csr", "node", "-o", "jsonpath={.status.certificate}")
    assert until("a value", lambda: live.kubectl(*show))
    live.kubectl("delete", "csr", "node")


def test_a_debugger_runs_beside_a_pod(live, namespace):
    """kubectl debug; docs/tasks/debug/debug-application/debug-running-pod."""
    live.kubectl("run", "web", "--image=nginx", "-n", namespace)
    live.kubectl("wait", "pod/web", "--for=condition=Ready", "-n", namespace, "--timeout=30s")
    debug = ("debug", "web", "-n", namespace, "--image=busybox", "-c", "dbg", "--", "sleep", "1000")
    live.kubectl(*debug)
    state = "jsonpath={.status.ephemeralContainerStatuses[0].state.running.startedAt}"
    until("it runs", lambda: live.kubectl("get", "pod", "web", "-n", namespace, "-o", state))
    said = live.kubectl("exec", "web", "-n", namespace, "-c", "dbg", "--", "echo", "here")
    assert said.strip() == "here"


def test_a_pod_is_resized_in_place(live, namespace):
    """kubectl patch --subresource resize; docs/tasks/configure-pod-container/resize."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {
            "containers": [
                {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "10m"}}}
            ]
        },
    }
    live.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    resize = ("patch", "pod", "p", "-n", namespace, "--subresource=resize", "-p")
    more = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "20m"}}}]}}
    live.kubectl(*resize, json.dumps(more))
    cpu = "jsonpath={.spec.containers[0].resources.requests.cpu}"
    assert live.kubectl("get", "pod", "p", "-n", namespace, "-o", cpu) == "20m"
    limits = {"cpu": "20m", "memory": "1Gi"}
    more["spec"]["containers"][0]["resources"] = {"requests": limits, "limits": limits}
    assert "Pod QOS Class may not change" in refused(live, *resize, json.dumps(more))


def deploy(live, namespace, name="web"):
    """A Deployment whose ReplicaSet and pod are there."""
    live.kubectl("create", "deployment", name, "--image=nginx", "-n", namespace)
    live.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=60s")


def names(live, kind, namespace):
    """The names that a list shows."""
    return live.kubectl("get", kind, "-n", namespace, "-o", "name").split()


def test_every_way_to_delete_what_has_dependents(live, namespace):
    """--cascade in all modes; docs/tasks/administer-cluster/use-cascading-deletion."""
    deploy(live, namespace)
    live.kubectl("delete", "deployment", "web", "-n", namespace, "--cascade=orphan")
    assert names(live, "deployments", namespace) == []
    (left,) = names(live, "replicasets", namespace)
    owners = live.kubectl(
        "get", left, "-n", namespace, "-o", "jsonpath={.metadata.ownerReferences}"
    )
    assert owners == ""
    live.kubectl("delete", left, "-n", namespace, "--cascade=foreground")
    assert names(live, "pods", namespace) == []
    deploy(live, namespace, "two")
    live.kubectl("delete", "deployment", "two", "-n", namespace, "--cascade=background")
    until("they are gone", lambda: not names(live, "replicasets,pods", namespace))


def test_a_dry_run_changes_nothing(live, namespace):
    """--dry-run=server on several verbs."""
    deploy(live, namespace)
    before = live.kubectl("get", "deployment,pods", "-n", namespace, "-o", "json")
    dry = ("-n", namespace, "--dry-run=server")
    (pod,) = names(live, "pods", namespace)
    for argv, told in (
        (("delete", "deployment", "web"), "deleted"),
        (("scale", "deployment", "web", "--replicas=3"), "scaled"),
        (("set", "image", "deployment/web", "nginx=other"), "image updated"),
        (("label", pod, "x=y"), "labeled"),
        (("delete", pod), "deleted"),
    ):
        assert told in live.kubectl(*argv, *dry)
    after = live.kubectl("get", "deployment,pods", "-n", namespace, "-o", "json")
    assert json.loads(after)["items"] == json.loads(before)["items"]


def test_what_a_new_cluster_shows(live):
    """Priority classes, flow schemas, API services, component statuses (deprecated, as told)."""
    assert names(live, "priorityclasses", "default") == [
        "priorityclass.scheduling.k8s.io/system-cluster-critical",
        "priorityclass.scheduling.k8s.io/system-node-critical",
    ]
    schemas = names(live, "flowschemas", "default")
    assert "flowschema.flowcontrol.apiserver.k8s.io/global-default" in schemas
    condition = "--for=condition=Available"
    live.kubectl("wait", "apiservice/v1.apps", condition, "--timeout=10s")
    done = live.run(str(BIN / "kubectl"), "get", "componentstatuses", "-o", "json")
    assert "v1 ComponentStatus is deprecated in v1.19+" in done.stderr
    found = {
        item["metadata"]["name"]: item["conditions"][0]["status"]
        for item in json.loads(done.stdout)["items"]
    }
    assert found == {"controller-manager": "True", "etcd-0": "True", "scheduler": "True"}
    assert "the server could not find the requested resource" in refused(
        live, "get", "--raw", "/api/v1/widgets"
    )
