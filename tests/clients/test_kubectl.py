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
    done = live.run(KUBECTL, "exec", "web", *n, "--", "frobnicate", code=1)
    assert "podwire: frobnicate is not modelled" in done.stderr
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


def test_drain_respects_budgets_and_uncordon_lets_pods_return(live, namespace):
    """Pods leave one by one by the Eviction API; DaemonSets' stay; the node gets none."""
    n = ("-n", namespace)
    live.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3", *n)
    live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
    live.kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2", *n)
    live.kubectl(
        "wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/web", "--timeout=30s", *n
    )
    hosts = ("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}", *n)
    node = live.kubectl(*hosts).split()[0]
    try:
        out = live.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
            "--pod-selector=app=web", "--timeout=60s",
        )  # fmt: skip
        assert f"node/{node} drained" in out
        assert "evicted" in out
        live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
        assert node not in live.kubectl(*hosts).split()
    finally:
        live.kubectl("uncordon", node)


def test_raw_health_and_openapi(live):
    """The paths that scripts ask."""
    assert live.kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]ping ok" in live.kubectl("get", "--raw", "/livez?verbose")
    assert "openapi/v3/apis/apps/v1" in live.kubectl("get", "--raw", "/openapi/v3")


def test_a_deployment_is_edited_in_every_way_kubectl_has(live, namespace):
    """edit, set env, set resources, diff, replace, pause, resume, history."""
    n = ("-n", namespace)
    live.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=1", *n)
    live.run("env", "KUBE_EDITOR=sed -i 's/replicas: 1/replicas: 2/'", KUBECTL, "edit",
             "deploy/web", *n)  # fmt: skip
    live.kubectl("rollout", "pause", "deploy/web", *n)
    live.kubectl("set", "env", "deploy/web", "A=B", *n)
    live.kubectl("set", "resources", "deploy/web", "--limits=cpu=200m,memory=64Mi", *n)
    live.kubectl("rollout", "resume", "deploy/web", *n)
    live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
    shown = live.kubectl("rollout", "history", "deploy/web", "--revision=2", *n)
    assert "A:\tB" in shown
    assert "cpu:\t200m" in shown
    text = live.kubectl("get", "deploy", "web", "-o", "yaml", *n)
    assert "replicas: 2" in text
    changed = text.replace("replicas: 2", "replicas: 3", 1)
    done = live.run(KUBECTL, "diff", *n, "-f", "-", stdin=changed, code=1)
    assert "+  replicas: 3" in done.stdout
    live.kubectl("replace", *n, "-f", "-", stdin=changed)
    live.kubectl("wait", "deploy/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s",
                 *n)  # fmt: skip
    assert live.kubectl("events", "--for", "deploy/web", *n).count("ScalingReplicaSet") > 2
    live.kubectl("delete", "deploy", "web", "--cascade=orphan", *n)
    assert live.kubectl("get", "rs", "-o", "name", *n).count("replicaset") == 2


def test_output_is_shaped_as_asked(live):
    """custom-columns, go-template, sort-by, -L, --show-labels, -o name."""
    n = ("-n", "kube-system")
    columns = "custom-columns=NAME:.metadata.name,IP:.spec.clusterIP"
    assert live.kubectl("get", "svc", *n, "-o", columns).split() == [
        "NAME", "IP", "kube-dns", "10.96.0.10",
    ]  # fmt: skip
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    assert live.kubectl("get", "nodes", "-o", f"go-template={template}").split() == [
        "node-1", "node-2", "node-3",
    ]  # fmt: skip
    assert live.kubectl("get", "nodes", "-L", "kubernetes.io/hostname").count("node-2") == 2
    assert "k8s-app=kube-dns" in live.kubectl("get", "deploy", *n, "--show-labels")
    names = live.kubectl("get", "ds", *n, "--sort-by=.metadata.name", "-o", "name").split()
    assert names == sorted(names)
    assert "Kubernetes control plane is running at" in live.kubectl("cluster-info")


def test_one_pod_runs_to_its_end_and_is_gone(live, namespace):
    """kubectl run -i --rm, the shell a debugger uses."""
    n = ("-n", namespace)
    out = live.kubectl("run", "once", "--image=nicolaka/netshoot", "-i", "--rm", "--quiet",
                       "--restart=Never", *n, "--", "dig", "+short",
                       "kubernetes.default.svc.cluster.local")  # fmt: skip
    assert "10.96.0.1" in out
    assert live.kubectl("get", "pods", *n) == ""


def test_policies_are_enforced_and_traced(live, namespace):
    """curl from a pod times out with 28; the trace names the policy; a change heals it."""
    n = ("-n", namespace)
    live.kubectl("run", "server", f"--image={AGNHOST}", "--port=8080", "--expose", *n,
                 "--", "netexec")  # fmt: skip
    live.kubectl("run", "client", "--image=nicolaka/netshoot", *n, "--", "sleep", "infinity")
    live.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s", *n)
    curl = ("exec", "client", *n, "--", "curl", "-s", "-m", "2", "http://server:8080/hostname")
    live.kubectl("wait", "service/server", "--for=jsonpath={.spec.clusterIP}", *n)
    trace = ("trace", "pod/client", "svc/server", *n)
    # kube-proxy syncs at most once a second: until then the Service refuses
    patient = "until curl -s -m 2 http://server:8080/hostname; do sleep 0.1; done"
    assert live.kubectl("exec", "client", *n, "--", "sh", "-c", patient) == "server"
    assert "DELIVERED" in live.podwire(*trace)
    live.kubectl("apply", *n, "-f", "-", stdin=DENY)
    told = live.run(sys.executable, "-m", "podwire", *trace, code=1).stdout
    assert "DENIED_IN" in told
    assert "is isolated for ingress" in told
    assert f"{namespace}/closed" in told
    live.run(KUBECTL, *curl, code=28)
    live.kubectl("delete", "netpol", "closed", *n)
    assert live.kubectl(*curl) == "server"


DENY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {run: server}}, policyTypes: [Ingress]}
"""


def test_nodes_have_a_shell_and_their_kernels_tools(live):
    """podwire node exec is ssh NODE COMMAND; its code is the command's."""
    node = ("node", "exec", "node-1", "--")
    assert "KUBE-SVC-" in live.podwire(*node, "iptables", "-t", "nat", "-L", "KUBE-SERVICES", "-n")
    assert "dev flannel.1 onlink" in live.podwire(*node, "ip", "route")
    assert int(live.podwire(*node, "sh", "-c", "iptables-save | grep -c KUBE-")) > 10
    live.run(sys.executable, "-m", "podwire", *node, "sh", "-c", "exit 9", code=9)
    live.run(sys.executable, "-m", "podwire", *node, "frobnicate", code=127)


def test_podwire_kubectl_leaves_every_word_to_kubectl(live, namespace):
    """Also its own --name, and the -- before a command."""
    n = ("-n", namespace)
    live.podwire("kubectl", *n, "create", "deployment", "web", "--image=nginx")
    live.podwire("kubectl", "expose", "deploy/web", "--port=80", "--name", "other", *n)
    assert "other" in live.kubectl("get", "svc", *n)
    live.kubectl("rollout", "status", "deploy/web", "--timeout=60s", *n)
    done = live.run(sys.executable, "-m", "podwire", "kubectl", "exec", *n, "deploy/web", "--",
                    "sh", "-c", "echo $HOSTNAME; exit 5", code=5)  # fmt: skip
    assert done.stdout.startswith("web-")


def test_up_twice_is_no_error_and_writes_the_kubeconfig_asked_for(live, tmp_path):
    """The second up leaves the cluster as it is."""
    file = tmp_path / "other"
    live.podwire("up", "--detach", "--kubeconfig", str(file))
    assert "node-1" in live.kubectl("get", "nodes", "--kubeconfig", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
