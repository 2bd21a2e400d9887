"""kubectl 1.37 as it is, against a live cluster. Expectations come from kubectl's documentation."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.xdist_group("live")

KUBECTL = str(Path(sys.executable).parent / "kubectl")
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def test_nodes_are_printed_with_the_real_columns(live):
    """get nodes -o wide shows what people look for."""
    lines = live.kubectl("get", "nodes", "-o", "wide").splitlines()
    assert lines[0].split()[:5] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert "CONTAINER-RUNTIME" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["node-1", "Ready"],
        ["node-2", "Ready"],
        ["node-3", "Ready"],
    ]


def test_version_names_the_server(live):
    """The server's version is a real one."""
    assert "Server Version: v1.37" in live.kubectl("version")


def test_every_cluster_has_what_every_cluster_has(live):
    """Namespaces, default/kubernetes, kube-dns, kube-proxy, coredns."""
    assert "kube-node-lease" in live.kubectl("get", "namespaces")
    assert "10.96.0.1" in live.kubectl("get", "svc", "kubernetes")
    system = live.kubectl("get", "ds,deploy,svc,cm", "-n", "kube-system")
    for name in ("kube-proxy", "kube-flannel-ds", "coredns", "kube-dns"):
        assert name in system


def test_api_resources_lists_short_names(live):
    """Discovery carries names, short names and scopes."""
    resources = live.kubectl("api-resources", "--no-headers")
    assert "deployments" in resources
    assert "netpol" in resources
    assert "poddisruptionbudgets" in resources


def test_explain_reads_the_schema(live):
    """OpenAPI v3 is good enough for explain, deep into a field."""
    text = live.kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "FIELD: maxSurge" in text
    assert "IntOrString" in text


def test_a_deployment_rolls_out_scales_and_rolls_back(live, namespace):
    """create, rollout status, set image, undo, scale, autoscaled rows."""
    n = ("-n", namespace)
    live.kubectl("create", "deployment", "web", f"--image={AGNHOST}", "--replicas=2", *n)
    out = live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)
    assert "successfully rolled out" in out
    live.kubectl("set", "image", "deployment/web", "agnhost=nginx:1.29", *n)
    live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)
    assert "nginx:1.29" in live.kubectl("get", "deploy", "web", "-o", "wide", *n)
    history = live.kubectl("rollout", "history", "deployment/web", *n)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    live.kubectl("rollout", "undo", "deployment/web", *n)
    live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)
    assert AGNHOST in live.kubectl("get", "deploy", "web", "-o", "wide", *n)
    live.kubectl("scale", "deployment/web", "--replicas=4", *n)
    live.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=4", "deployment/web",
                 "--timeout=60s", *n)  # fmt: skip
    assert live.kubectl("get", "deploy", "web", "--no-headers", *n).split()[1] == "4/4"
    live.kubectl("rollout", "restart", "deployment/web", *n)
    live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)


def test_apply_creates_changes_and_leaves_alone(live, namespace):
    """Client-side apply: created, configured, unchanged; diff tells the change."""
    manifest = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: %s}
"""
    n = ("-n", namespace, "-f", "-")
    assert "created" in live.kubectl("apply", *n, stdin=manifest % "red")
    assert "unchanged" in live.kubectl("apply", *n, stdin=manifest % "red")
    assert "configured" in live.kubectl("apply", *n, stdin=manifest % "blue")
    data = live.kubectl("get", "cm", "settings", "-n", namespace, "-o", "jsonpath={.data.colour}")
    assert data == "blue"


def test_a_field_that_does_not_exist_is_refused(live, namespace):
    """Strict validation names the field's path."""
    manifest = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: odd}
spec:
  replica: 3
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: nginx}]}
"""
    done = live.run(KUBECTL, "create", "-n", namespace, "-f", "-", stdin=manifest, code=1)
    assert 'unknown field "spec.replica"' in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("get", "pod", "nosuch"), 'pods "nosuch" not found'),
        (("get", "deploy", "nosuch"), 'deployments.apps "nosuch" not found'),
        (("create", "namespace", "default"), 'namespaces "default" already exists'),
        (("get", "widgets"), "the server doesn't have a resource type"),
        (("get", "pods", "--field-selector", "spec.nosuch=x"), "field label not supported"),
        (("get", "pods", "-l", "a in"), "unable to parse requirement"),
        (("logs", "nosuch"), "not found"),
        (("exec", "nosuch", "--", "true"), "not found"),
    ],
)
def test_errors_read_as_kubectl_users_know_them(live, argv, message):
    """Reasons and messages are upstream's; kubectl exits 1."""
    done = live.run(KUBECTL, *argv, code=1)
    assert message in done.stderr


def test_invalid_objects_are_refused_with_field_paths(live, namespace):
    """422 with the path of each wrong field."""
    manifest = """
apiVersion: v1
kind: Service
metadata: {name: bad}
spec:
  selector: {a: b}
  ports: [{port: 99999}]
"""
    done = live.run(KUBECTL, "create", "-n", namespace, "-f", "-", stdin=manifest, code=1)
    assert 'Service "bad" is invalid' in done.stderr
    assert "spec.ports[0].port: Invalid value: 99999" in done.stderr


def test_run_logs_exec_and_delete_a_pod(live, namespace):
    """The life of one pod in commands."""
    n = ("-n", namespace)
    live.kubectl("run", "web", f"--image={AGNHOST}", "--port=8080", *n, "--", "netexec")
    live.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", *n)
    assert "Started HTTP server" in live.kubectl("logs", "web", *n)
    assert live.kubectl("exec", "web", *n, "--", "hostname").strip() == "web"
    out = live.kubectl("exec", "-i", "web", *n, "--", "sh", stdin="echo one\nexit 0\n")
    assert out.strip() == "one"
    live.run(KUBECTL, "exec", "web", *n, "--", "sh", "-c", "exit 7", code=7)
    done = live.run(KUBECTL, "exec", "web", *n, "--", "frobnicate", code=127)
    assert "not modelled" in done.stderr + done.stdout
    described = live.kubectl("describe", "pod", "web", *n)
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert reason in described
    live.kubectl("delete", "pod", "web", "--timeout=60s", *n)
    assert live.kubectl("get", "pods", *n).strip() == ""


def test_an_unknown_image_runs_as_the_generic_program_and_says_so(live, namespace):
    """It answers 200 with its header, and one Event tells it."""
    n = ("-n", namespace)
    live.kubectl("run", "odd", "--image=example.com/team/odd:1", "--port=8088", *n)
    live.kubectl("wait", "--for=condition=Ready", "pod/odd", "--timeout=60s", *n)
    ip = live.kubectl("get", "pod", "odd", "-o", "jsonpath={.status.podIP}", *n)
    live.kubectl("run", "tools", "--image=nicolaka/netshoot", *n, "--", "sleep", "infinity")
    live.kubectl("wait", "--for=condition=Ready", "pod/tools", "--timeout=60s", *n)
    answer = live.kubectl("exec", "tools", *n, "--", "curl", "-s", "-i", f"http://{ip}:8088/")
    assert "200 OK" in answer
    assert "X-Podwire-Modelled: generic" in answer
    events = live.kubectl("get", "events", *n)
    assert events.count("generic program") == 1


def test_services_answer_by_name_and_from_the_host(live, namespace):
    """expose, nslookup, curl through the ClusterIP, the NodePort on loopback, dig."""
    n = ("-n", namespace)
    live.kubectl("create", "deployment", "web", f"--image={AGNHOST}", *n,
                 "--", "/agnhost", "netexec", "--http-port=80")  # fmt: skip
    live.kubectl("expose", "deployment", "web", "--port=80", "--type=NodePort", *n)
    live.kubectl("rollout", "status", "deployment/web", "--timeout=60s", *n)
    found = live.kubectl("exec", "deploy/web", *n, "--", "nslookup", "web")
    assert f"web.{namespace}.svc.cluster.local" in found
    pod = live.kubectl("get", "pods", "-o", "name", *n).strip().removeprefix("pod/")
    answer = live.kubectl("exec", "deploy/web", *n, "--", "curl", "-s", "http://web/hostname")
    assert answer == pod
    published = json.loads(live.podwire("get", "endpoints", "-o", "json"))["nodePorts"]
    (port,) = [p["address"] for p in published if p["service"] == f"{namespace}/web"]
    with urlopen(f"http://{port}/hostname", timeout=10) as answer:
        assert answer.read().decode() == pod


def test_watch_sees_what_happens(live, namespace):
    """get -w prints each change as it happens."""
    n = ("-n", namespace)
    command = [
        KUBECTL, "get", "cm", "-w", "-o", "name", "--field-selector=metadata.name=watched", *n,
    ]  # fmt: skip
    with subprocess.Popen(command, env=live.env, stdout=subprocess.PIPE, text=True) as watch:
        try:
            live.kubectl("create", "cm", "watched", *n)
            assert watch.stdout.readline().strip() == "configmap/watched"
            live.kubectl("annotate", "cm", "watched", "seen=yes", *n)
            assert watch.stdout.readline().strip() == "configmap/watched"
        finally:
            watch.kill()


def test_label_annotate_patch_and_select(live, namespace):
    """Merge, JSON and strategic patches; selectors of both kinds."""
    n = ("-n", namespace)
    for name in ("a", "b"):
        live.kubectl("create", "configmap", name, f"--from-literal=k={name}", *n)
    live.kubectl("label", "cm", "a", "tier=one", *n)
    assert live.kubectl("get", "cm", "-l", "tier=one", "-o", "name", *n).split() == ["configmap/a"]
    live.kubectl("patch", "cm", "a", "--type=merge", "-p", '{"data":{"k":"merged"}}', *n)
    live.kubectl("patch", "cm", "b", "--type=json",
                 "-p", '[{"op":"replace","path":"/data/k","value":"json"}]', *n)  # fmt: skip
    values = live.kubectl("get", "cm", "a", "b", "-o", "jsonpath={.items[*].data.k}", *n)
    assert values == "merged json"
    named = live.kubectl("get", "cm", "--field-selector=metadata.name=b", "-o", "name", *n)
    assert named.split() == ["configmap/b"]


def test_dry_run_changes_nothing(live, namespace):
    """--dry-run=server answers as if, and leaves nothing."""
    n = ("-n", namespace)
    out = live.kubectl("create", "cm", "ghost", "--dry-run=server", *n)
    assert "created (server dry run)" in out
    live.run(KUBECTL, "get", "cm", "ghost", *n, code=1)


def test_a_namespace_takes_its_content_with_it(live):
    """Deleting a namespace deletes what is in it, and ends."""
    live.kubectl("create", "namespace", "short")
    live.kubectl("create", "deployment", "web", "-n", "short", "--image=nginx")
    live.kubectl("delete", "namespace", "short", "--timeout=60s")
    live.run(KUBECTL, "get", "namespace", "short", code=1)


def test_a_statefulset_has_stable_names(live, namespace):
    """Ordinals, headless DNS, the pod's own name resolves."""
    manifest = f"""
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec:
  clusterIP: None
  selector: {{app: db}}
  ports: [{{port: 8080}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      containers:
        - {{name: db, image: "{AGNHOST}", args: [netexec]}}
"""
    n = ("-n", namespace)
    live.kubectl("apply", "-f", "-", *n, stdin=manifest)
    live.kubectl("rollout", "status", "sts/db", "--timeout=60s", *n)
    names = live.kubectl("get", "pods", "-l", "app=db", "-o", "name", *n).split()
    assert names == ["pod/db-0", "pod/db-1"]
    out = live.kubectl("exec", "db-0", *n, "--", "curl", "-s", "http://db-1.db:8080/hostname")
    assert out == "db-1"


def test_cordon_and_taint_keep_pods_away(live, namespace):
    """A cordoned node gets no pod; describe says what the scheduler said."""
    n = ("-n", namespace)
    for node in ("node-1", "node-2", "node-3"):
        live.kubectl("cordon", node)
    try:
        live.kubectl("run", "waits", "--image=nginx", *n)
        live.kubectl("wait", "--for=condition=PodScheduled=false", "pod/waits", "--timeout=30s", *n)
        events = live.kubectl("describe", "pod", "waits", *n)
        assert "0/3 nodes are available: 3 node(s) were unschedulable" in events
    finally:
        for node in ("node-1", "node-2", "node-3"):
            live.kubectl("uncordon", node)
    live.kubectl("wait", "--for=condition=Ready", "pod/waits", "--timeout=60s", *n)


def test_raw_health_and_openapi(live):
    """The paths that scripts ask."""
    assert live.kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]ping ok" in live.kubectl("get", "--raw", "/livez?verbose")
    assert "openapi/v3/apis/apps/v1" in live.kubectl("get", "--raw", "/openapi/v3")
