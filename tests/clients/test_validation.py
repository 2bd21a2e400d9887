"""Refusals, warnings, defaults and tables as the real kubectl shows them."""

import json

from tests.clients.conftest import BIN


def refused(live, *argv, **options):
    """What kubectl printed on stderr before it failed."""
    return live.run(str(BIN / "kubectl"), *argv, code=1, **options).stderr


def written(live, namespace, body, *flags):
    """kubectl create -f -: the finished process."""
    argv = (str(BIN / "kubectl"), "-n", namespace, "create", "-f", "-", *flags)
    return live.run(*argv, stdin=json.dumps(body))


def refused_body(live, namespace, body):
    """kubectl create -f - of something that is refused: its stderr."""
    return refused(live, "-n", namespace, "create", "-f", "-", stdin=json.dumps(body))


def pod(name, **spec):
    """A manifest of a pod with one container."""
    containers = [{"name": "c", "image": "nginx"}]
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": containers, **spec},
    }  # fmt: skip


def test_what_is_invalid_is_told_with_its_field(live, namespace):
    """The first line of a 422 is Kubernetes' own: kind, name, field, value, reason."""
    told = refused(
        live, "-n", namespace, "create", "quota", "q", "--hard=pods=3,requests.cpu=1",
        "--scopes=BestEffort",
    )  # fmt: skip
    assert told.strip() == (
        'error: failed to create quota: ResourceQuota "q" is invalid: spec.scopes: '
        'Invalid value: ["BestEffort"]: unsupported scope applied to resource'
    )
    told = refused(
        live, "-n", namespace, "create", "cronjob", "c", "--image=i", "--schedule=61 * * * *"
    )
    assert 'CronJob.batch "c" is invalid: spec.schedule: Invalid value: "61 * * * *"' in told
    told = refused(live, "create", "priorityclass", "p", "--value=2000000000")
    assert "maximum allowed value of a user defined priority is 1000000000" in told
    told = refused(live, "patch", "node", "node-1", "-p", '{"spec":{"podCIDR":"10.9.0.0/24"}}')
    assert "Forbidden: node updates may only change labels, taints, or capacity" in told


def test_several_complaints_are_a_list(live, namespace):
    """kubectl shows one line for each field."""
    body = pod("Web", restartPolicy="Sometimes")
    body["spec"]["containers"][0]["ports"] = [{"containerPort": 0}]
    told = refused_body(live, namespace, body)
    assert told.startswith('The Pod "Web" is invalid: \n* metadata.name: Invalid value: "Web"')
    assert "\n* spec.containers[0].ports[0].containerPort: Required value" in told
    assert '\n* spec.restartPolicy: Unsupported value: "Sometimes": supported values: ' in told


def test_what_cannot_change_is_told(live, namespace):
    """A pod's containers, a Deployment's selector, a ConfigMap that is immutable."""
    written(live, namespace, pod("a"))
    patch = '{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}]}}'
    told = refused(live, "-n", namespace, "patch", "pod", "a", "-p", patch)
    assert "Forbidden: pod updates may not change fields other than" in told
    live.kubectl("-n", namespace, "create", "deployment", "d", "--image=nginx", "--replicas=0")
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}}
    patch = json.dumps({"spec": {"selector": {"matchLabels": labels}, "template": template}})
    told = refused(live, "-n", namespace, "patch", "deployment", "d", "-p", patch)
    assert told.startswith('The Deployment "d" is invalid: spec.selector: Invalid value: ')
    assert "field is immutable" in told
    live.kubectl("-n", namespace, "create", "configmap", "m", "--from-literal=a=b")
    live.kubectl("-n", namespace, "patch", "configmap", "m", "-p", '{"immutable":true}')
    told = refused(live, "-n", namespace, "patch", "configmap", "m", "-p", '{"data":{"a":"c"}}')
    assert "data: Forbidden: field is immutable when `immutable` is set" in told


def test_a_quota_stops_the_pod_that_is_too_many(live, namespace):
    """403 with what was asked for, what is used and what is allowed; a bound fills defaults in."""
    live.kubectl("-n", namespace, "create", "quota", "q", "--hard=pods=1,limits.cpu=1")
    told = refused_body(live, namespace, pod("a"))
    assert 'pods "a" is forbidden: failed quota: q: must specify limits.cpu for: c' in told
    item = {"type": "Container", "default": {"cpu": "500m"}}
    written(live, namespace, {
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"},
        "spec": {"limits": [item]},
    })  # fmt: skip
    written(live, namespace, pod("a"))
    told = refused_body(live, namespace, pod("b"))
    assert told.strip() == (
        'Error from server (Forbidden): error when creating "STDIN": pods "b" is forbidden: '
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"
    )


def test_warnings_reach_the_terminal(live, namespace):
    """kubectl prints them on stderr and carries on."""
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    body = pod("a")
    body["spec"]["containers"][0]["env"] = env
    done = written(live, namespace, body)
    assert done.stderr.strip() == (
        'Warning: spec.containers[0].env[1]: hides previous definition of "A", which may be '
        "dropped when using apply"
    )
    done = live.run(str(BIN / "kubectl"), "-n", namespace, "get", "endpoints")
    assert done.stderr.startswith("Warning: v1 Endpoints is deprecated in v1.33+; use discovery")


def columns(live, namespace, what):
    """The header of kubectl get -o wide."""
    return live.kubectl("-n", namespace, "get", what, "-o", "wide").splitlines()[0].split("  ")


def test_every_kind_has_its_columns(live, namespace):
    """As printers print them."""
    live.kubectl("-n", namespace, "create", "deployment", "d", "--image=nginx", "--replicas=0")
    live.kubectl("-n", namespace, "autoscale", "deployment", "d", "--max=3", "--cpu=50%")
    live.kubectl("-n", namespace, "create", "cronjob", "c", "--image=busybox", "--schedule=@hourly")
    live.kubectl("-n", namespace, "create", "poddisruptionbudget", "p", "--selector=a=b",
                 "--min-available=50%")  # fmt: skip
    heads = {
        "hpa": "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE",
        "cronjob": "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES "
                   "SELECTOR",
        "pdb": "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE",
    }  # fmt: skip
    for kind, head in heads.items():
        cells = [cell.strip() for cell in columns(live, namespace, kind) if cell.strip()]
        assert " ".join(cells) == head
    shown = live.kubectl("-n", namespace, "get", "hpa", "--no-headers").split()
    assert shown[:4] == ["d", "Deployment/d", "cpu:", "<unknown>/50%"]
    shown = live.kubectl("-n", namespace, "get", "cronjob", "--no-headers").split()
    assert shown[:6] == ["c", "@hourly", "<none>", "False", "0", "<none>"]


def test_describe_shows_the_defaults(live, namespace):
    """What was not written is there all the same."""
    live.kubectl("-n", namespace, "create", "cronjob", "c", "--image=busybox", "--schedule=@hourly")
    told = live.kubectl("-n", namespace, "describe", "cronjob", "c")
    assert "Concurrency Policy:            Allow" in told
    assert "Successful Job History Limit:  3" in told
    assert "Failed Job History Limit:      1" in told
    written(live, namespace, {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": namespace}, "provisioner": "example.com/p",
    })  # fmt: skip
    shown = live.kubectl("get", "storageclass", namespace, "--no-headers").split()
    assert shown[1:5] == ["example.com/p", "Delete", "Immediate", "false"]
    live.kubectl("delete", "storageclass", namespace)
