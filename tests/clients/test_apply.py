"""Server-side apply and managedFields with the real kubectl."""

import json

import pytest

from tests.clients.conftest import BIN

KUBECTL = str(BIN / "kubectl")


def manifest(replicas=1, image="nginx:1.27", labels=""):
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web{labels}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - {{name: c, image: "{image}", ports: [{{containerPort: 80}}]}}
"""


@pytest.fixture
def run(live, namespace):
    """kubectl in the test's namespace: what it printed on stdout, or the finished process."""

    def kubectl(*argv, text="", code=0):
        done = live.run(KUBECTL, "-n", namespace, *argv, stdin=text, code=code)
        return done.stdout if code == 0 else done

    return kubectl


def managers(run, name="deploy/web"):
    obj = json.loads(run("get", name, "-o", "json", "--show-managed-fields"))
    return {
        (e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"]
        for e in obj["metadata"].get("managedFields", ())
    }


def test_server_side_apply_creates_changes_and_asks_before_it_takes(run):
    """created, configured in dry runs and in truth, a conflict with scale, force."""
    ssa = ("apply", "--server-side", "-f", "-")
    assert "serverside-applied" in run(*ssa, text=manifest())
    assert ("kubectl", "Apply", "") in managers(run)
    dry = run(*ssa, "--dry-run=server", text=manifest(2))
    assert "serverside-applied (server dry run)" in dry
    assert run("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "1"
    run("scale", "deploy/web", "--replicas=3")
    refused = run(*ssa, text=manifest(2), code=1)
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using '
        "apps/v1: .spec.replicas"
    ) in refused.stderr
    run(*ssa, "--force-conflicts", text=manifest(2))
    assert run("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert ("kubectl", "Update", "scale") not in managers(run)
    assert ("kube-controller-manager", "Update", "status") in managers(run)


def test_diff_shows_what_a_server_side_apply_would_change(run):
    """Exit code 0 without a difference, 1 with one. A status at rest makes none of its own."""
    run("apply", "--server-side", "-f", "-", text=manifest())
    run("rollout", "status", "deploy/web", "--timeout=60s")
    assert run("diff", "--server-side", "-f", "-", text=manifest()) == ""
    changed = run("diff", "--server-side", "-f", "-", text=manifest(image="nginx:1.28"), code=1)
    assert "+      - image: nginx:1.28" in changed.stdout


def test_who_moves_from_client_side_to_server_side_apply_has_no_conflicts(run):
    """kubectl takes the old entry over, keeps the annotation, prunes what the manifest dropped."""
    run("apply", "-f", "-", text=manifest(labels=", old: x"))
    assert ("kubectl-client-side-apply", "Update", "") in managers(run)
    run("apply", "--server-side", "-f", "-", text=manifest(2))
    found = managers(run)
    assert ("kubectl-client-side-apply", "Update", "") not in found
    assert ("kubectl-last-applied", "Apply", "") in found
    assert run("get", "deploy/web", "-o", "jsonpath={.metadata.labels}") == '{"app":"web"}'
    assert "replicas: 2" in run("apply", "view-last-applied", "deploy/web")
    assert "configured" in run("apply", "-f", "-", text=manifest(3))
    assert "unchanged" in run("apply", "-f", "-", text=manifest(3))


def test_last_applied_is_edited_and_set(live, run, namespace):
    """apply edit-last-applied and set-last-applied patch the annotation."""
    run("apply", "-f", "-", text=manifest())
    live.run("env", "KUBE_EDITOR=sed -i 's/replicas: 1/replicas: 4/'", KUBECTL, "-n", namespace,
             "apply", "edit-last-applied", "deploy/web")  # fmt: skip
    assert "replicas: 4" in run("apply", "view-last-applied", "deploy/web")
    run("apply", "set-last-applied", "-f", "-", text=manifest(5))
    assert "replicas: 5" in run("apply", "view-last-applied", "deploy/web")


def test_edit_and_replace_own_what_they_change(live, run, namespace):
    """kubectl-edit and kubectl-replace take just that from the creator."""
    run("apply", "--server-side", "-f", "-", text=manifest())
    live.run("env", "KUBE_EDITOR=sed -i s/nginx:1.27/nginx:1.28/", KUBECTL, "-n", namespace,
             "edit", "deploy/web")  # fmt: skip
    edited = managers(run)["kubectl-edit", "Update", ""]
    template = {"f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": {}}}}}
    assert edited["f:spec"] == {"f:template": template}
    obj = json.loads(run("get", "deploy/web", "-o", "json", "--show-managed-fields"))
    obj["spec"]["minReadySeconds"] = 1
    run("replace", "-f", "-", text=json.dumps(obj))
    assert managers(run)["kubectl-replace", "Update", ""] == {"f:spec": {"f:minReadySeconds": {}}}
    refused = run("apply", "--server-side", "-f", "-", text=manifest(), code=1)
    assert 'conflict with "kubectl-edit" using apps/v1' in refused.stderr


def test_two_managers_share_an_object(run):
    """Each owns its part; what one gives up goes, what the other has stays."""
    one = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {a: '1'}}"
    two = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {b: '2'}}"
    empty = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}}"
    ssa = ("apply", "--server-side", "-f", "-")
    run(*ssa, "--field-manager=one", text=one)
    run(*ssa, "--field-manager=two", text=two)
    assert run("get", "cm/shared", "-o", "jsonpath={.data}") == '{"a":"1","b":"2"}'
    run(*ssa, "--field-manager=one", text=empty)
    assert run("get", "cm/shared", "-o", "jsonpath={.data}") == '{"b":"2"}'
    assert list(managers(run, "cm/shared")) == [("two", "Apply", "")]


def test_a_field_that_does_not_exist_is_refused(run):
    """Before anything is created."""
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, foo: 1}"
    refused = run("apply", "--server-side", "-f", "-", text=text, code=1)
    assert ".foo: field not declared in schema" in refused.stderr
    run("get", "cm/x", code=1)
