"""kubernetes 37, the official client, synchronous."""

import threading
import time

import pytest
from kubernetes import client, config, dynamic, informer, leaderelection, stream, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig
from kubernetes.leaderelection import leaderelection as election
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

assert leaderelection


@pytest.fixture(autouse=True)
def configured():
    """The cluster of KUBECONFIG."""
    config.load_kube_config()


@pytest.fixture
def core():
    return client.CoreV1Api()


@pytest.fixture
def apps():
    return client.AppsV1Api()


def deployment(name="web", replicas=1):
    labels = {"app": name}
    container = client.V1Container(name="c", image="nginx:1.29")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(
            replicas=replicas, selector=client.V1LabelSelector(match_labels=labels),
            template=template,
        ),
    )  # fmt: skip


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def test_versions_and_groups_are_told():
    assert client.VersionApi().get_code().git_version.startswith("v1.37")
    groups = [group.name for group in client.ApisApi().get_api_versions().groups]
    assert {"apps", "batch", "networking.k8s.io"} <= set(groups)
    names = [resource.name for resource in client.CoreV1Api().get_api_resources().resources]
    assert {"pods", "pods/log", "pods/exec", "services"} <= set(names)


def test_a_deployment_lives(apps, ns, until):
    made = apps.create_namespaced_deployment(ns, deployment())
    assert made.metadata.uid
    until(lambda: apps.read_namespaced_deployment("web", ns).status.ready_replicas == 1)
    patched = apps.patch_namespaced_deployment("web", ns, {"spec": {"replicas": 2}})
    assert patched.spec.replicas == 2
    scaled = apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 3}})
    assert scaled.spec.replicas == 3
    assert apps.read_namespaced_deployment_scale("web", ns).status.selector == "app=web"
    assert apps.read_namespaced_deployment_status("web", ns).metadata.name == "web"
    ended = apps.delete_namespaced_deployment("web", ns, propagation_policy="Background")
    assert ended["status"] == "Success"
    assert apps.list_namespaced_deployment(ns).items == []
    until(lambda: not client.CoreV1Api().list_namespaced_pod(ns).items, 60)


def test_an_old_version_is_not_written(core, ns):
    made = core.create_namespaced_config_map(ns, config_map("c", a="1"))
    core.patch_namespaced_config_map("c", ns, {"data": {"a": "2"}})
    made.data["a"] = "3"
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_config_map("c", ns, made)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    made.metadata.resource_version = None
    assert core.replace_namespaced_config_map("c", ns, made).data == {"a": "3"}
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("nosuch", ns)
    assert missing.value.status == 404
    with pytest.raises(ApiException) as twice:
        core.create_namespaced_config_map(ns, config_map("c"))
    assert '"reason":"AlreadyExists"' in twice.value.body.replace(" ", "")


def test_lists_come_in_pages_and_by_selectors(core, ns):
    for number in range(5):
        labels = {"odd": str(number % 2)}
        core.create_namespaced_config_map(ns, config_map(f"c{number}", labels, n=str(number)))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(ns, limit=2, _continue=token)
        assert len(page.items) <= 2
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert [name for name in names if name != "kube-root-ca.crt"] == [f"c{n}" for n in range(5)]
    odd = core.list_namespaced_config_map(ns, label_selector="odd=1").items
    assert [item.metadata.name for item in odd] == ["c1", "c3"]
    one = core.list_namespaced_config_map(ns, field_selector="metadata.name=c4").items
    assert [item.data for item in one] == [{"n": "4"}]
    core.delete_collection_namespaced_config_map(ns, label_selector="odd=1")
    assert core.list_namespaced_config_map(ns, label_selector="odd=1").items == []


def test_a_watch_sees_each_change_and_goes_on_where_it_stopped(core, ns):
    start = core.list_namespaced_config_map(ns).metadata.resource_version
    core.create_namespaced_config_map(ns, config_map("c"))
    core.patch_namespaced_config_map("c", ns, {"data": {"a": "1"}})
    core.delete_namespaced_config_map("c", ns)
    seen, watching = [], watch.Watch()
    chosen = {"field_selector": "metadata.name=c", "resource_version": start}
    for event in watching.stream(core.list_namespaced_config_map, ns, timeout_seconds=60, **chosen):
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            watching.stop()
    assert seen == [("ADDED", None), ("MODIFIED", {"a": "1"}), ("DELETED", {"a": "1"})]
    with pytest.raises(ApiException) as gone:
        list(watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version="999999",
                                  timeout_seconds=1))  # fmt: skip
    assert gone.value.status == 504


def test_an_informer_keeps_a_cache(core, ns, until):
    core.create_namespaced_config_map(ns, config_map("first"))
    seen = []
    shared = informer.SharedInformer(core.list_namespaced_config_map, namespace=ns)
    shared.add_event_handler(informer.ADDED, lambda o: seen.append(("+", o.metadata.name)))
    shared.add_event_handler(informer.DELETED, lambda o: seen.append(("-", o.metadata.name)))
    shared.start()
    try:
        until(lambda: ("+", "first") in seen)
        core.create_namespaced_config_map(ns, config_map("second"))
        until(lambda: ("+", "second") in seen)
        core.delete_namespaced_config_map("first", ns)
        until(lambda: ("-", "first") in seen)
        assert shared.cache.get_by_key(f"{ns}/second").metadata.name == "second"
        assert shared.cache.get_by_key(f"{ns}/first") is None
    finally:
        shared.stop()


def test_the_dynamic_client_finds_kinds_and_patches_in_four_ways(ns):
    found = dynamic.DynamicClient(client.ApiClient())
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1"}}
    assert maps.create(body=body, namespace=ns).data.a == "1"
    strategic = "application/strategic-merge-patch+json"
    change = {"metadata": {"name": "c"}, "data": {"b": "2"}}
    assert maps.patch(body=change, namespace=ns, content_type=strategic).data.b == "2"
    merge = "application/merge-patch+json"
    change = {"metadata": {"name": "c"}, "data": {"b": None}}
    assert maps.patch(body=change, namespace=ns, content_type=merge).data.to_dict() == {"a": "1"}
    operations = [{"op": "add", "path": "/data/c", "value": "3"}]
    jsons = "application/json-patch+json"
    assert maps.patch(body=operations, name="c", namespace=ns, content_type=jsons).data.c == "3"
    assert [item.metadata.name for item in maps.get(namespace=ns, label_selector="!x").items]
    maps.delete(name="c", namespace=ns)
    with pytest.raises(dynamic.exceptions.NotFoundError):
        maps.get(name="c", namespace=ns)


def test_what_is_applied_is_owned(ns):
    found = dynamic.DynamicClient(client.ApiClient())
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1"}}
    made = maps.server_side_apply(body=body, namespace=ns, field_manager="one")
    assert [entry.manager for entry in made.metadata.managedFields] == ["one"]
    body["data"] = {"a": "2"}
    with pytest.raises(dynamic.exceptions.ConflictError) as refused:
        maps.server_side_apply(body=body, namespace=ns, field_manager="two")
    assert 'conflict with \\"one\\"' in refused.value.body
    forced = {"field_manager": "two", "force_conflicts": True}
    assert maps.server_side_apply(body=body, namespace=ns, **forced).data.a == "2"


def test_yaml_is_created_as_it_is(ns, core):
    text = {"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
         "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "n"},
         "spec": {"podSelector": {}}},
    ]}  # fmt: skip
    utils.create_from_dict(client.ApiClient(), text, namespace=ns)
    port = core.read_namespaced_service("s", ns).spec.ports[0]
    assert (port.protocol, port.target_port) == ("TCP", 80)
    assert client.NetworkingV1Api().read_namespaced_network_policy("n", ns).spec.policy_types == [
        "Ingress"
    ]


def test_commands_run_in_pods(core, ns, pod):
    call = (core.connect_get_namespaced_pod_exec, pod, ns)
    streams = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    said = stream.stream(*call, command=["sh", "-c", "echo out; echo err >&2"], **streams)
    assert sorted(said.split()) == ["err", "out"]
    opened = {**streams, "stdin": True, "_preload_content": False}
    session = stream.stream(*call, command=["sh"], **opened)
    session.write_stdin("echo one\n")
    assert session.readline_stdout(timeout=60) == "one"
    session.write_stdin("exit 7\n")
    session.run_forever(timeout=60)
    assert session.returncode == 7
    session.close()
    with pytest.raises(ApiException):
        stream.stream(core.connect_get_namespaced_pod_exec, "nosuch", ns, command=["ls"], **streams)


def test_ports_are_forwarded(core, ns, pod):
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, pod, ns, ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.sendall(b"GET /hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := socket.recv(4096):
        answer += piece
    assert b"200 OK" in answer
    assert answer.endswith(b"web")
    assert forward.error(8080) is None


def test_logs_are_read_and_followed(core, ns, pod):
    assert "Started HTTP server" in core.read_namespaced_pod_log(pod, ns)
    assert core.read_namespaced_pod_log(pod, ns, tail_lines=1).count("\n") == 1
    follow = watch.Watch()
    for line in follow.stream(core.read_namespaced_pod_log, pod, ns):
        if "Started HTTP server" in line:
            follow.stop()


def test_pods_are_reached_through_the_api_server(core, ns, pod):
    answer = core.connect_get_namespaced_pod_proxy_with_path(f"{pod}:8080", ns, "hostname")
    assert answer == "web"


def test_an_eviction_ends_a_pod(core, ns, pod, until):
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod, namespace=ns))
    core.create_namespaced_pod_eviction(pod, ns, body)
    until(lambda: not core.list_namespaced_pod(ns).items, 60)


def test_a_lease_is_led_by_one(ns, until):
    led, lease = [], LeaseLock("lead", ns, "me")

    def lead():
        led.append(time.monotonic())

    chosen = electionconfig.Config(lease, lease_duration=5, renew_deadline=4, retry_period=1,
                                   onstarted_leading=lead, onstopped_leading=None)  # fmt: skip
    threading.Thread(target=election.LeaderElection(chosen).run, daemon=True).start()
    until(lambda: led)
    found = client.CoordinationV1Api().read_namespaced_lease("lead", ns)
    assert found.spec.holder_identity == "me"
    assert found.spec.renew_time.microsecond >= 0


def test_one_may_ask_what_one_may(ns):
    asked = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods", namespace=ns)
    ))  # fmt: skip
    told = client.AuthorizationV1Api().create_self_subject_access_review(asked)
    assert told.status.allowed is True


def test_a_definition_is_established_and_its_objects_live(ns, until, gadgets):
    name = gadgets["metadata"]["name"]
    definitions, custom = client.ApiextensionsV1Api(), client.CustomObjectsApi()
    definitions.create_custom_resource_definition(gadgets)

    def established():
        found = definitions.read_custom_resource_definition(name).status.conditions or []
        return ("Established", "True") in [(c.type, c.status) for c in found]

    until(established)
    where = ("lib.example.com", "v1", ns, "gadgets")
    body = {"apiVersion": "lib.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    custom.create_namespaced_custom_object(*where, {**body, "spec": {"size": 1}})
    with pytest.raises(ApiException) as refused:
        custom.create_namespaced_custom_object(*where, {**body, "spec": {"size": "1"}})
    assert refused.value.status == 422
    patched = custom.patch_namespaced_custom_object(*where, "g", {"spec": {"size": 2}})
    assert patched["metadata"]["generation"] == 2
    found = custom.list_namespaced_custom_object(*where)["items"]
    assert [item["spec"] for item in found] == [{"size": 2}]
    seen = dynamic.DynamicClient(client.ApiClient()).resources.get(
        api_version="lib.example.com/v1", kind="Gadget"
    )
    assert seen.get(name="g", namespace=ns).spec.size == 2
    custom.delete_namespaced_custom_object(*where, "g")
    definitions.delete_custom_resource_definition(name)
