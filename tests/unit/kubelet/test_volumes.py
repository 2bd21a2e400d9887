"""Files, variables and volumes as programs find them."""

import base64
import re

import pytest

from podwire.api import kinds
from podwire.apiserver.admission.service_account import TOKENS
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.client.common import Commons


async def config_map(node, name, **data):
    body = {"metadata": {"name": name}, "data": data}
    return await node.client.create(kinds.CONFIG_MAP, body, "default")


def container(*mounts, name="c", **extra):
    return {
        "name": name,
        "image": "sleeper",
        "volumeMounts": [{"name": n, "mountPath": p, **more} for n, p, more in mounts],
        **extra,
    }


@pytest.mark.parametrize("commons", [None, Commons()], ids=["alone", "together"])
def test_a_config_map_is_a_folder_of_files_and_follows_its_object_after_a_while(simulate, commons):
    """But a subPath mount never changes. So of kubelets that watch together."""

    async def story(node):
        await config_map(node, "cm", greeting="hi", other="x")
        await node.pod(
            containers=[container(("v", "/etc/app", {}), ("v", "/g", {"subPath": "greeting"}))],
            volumes=[{"name": "v", "configMap": {"name": "cm"}}],
        )
        await node.ready()
        (process,) = node.started
        assert [path for path in process.files.list("/etc/app") if "/.." not in path] == [
            "/etc/app/greeting",
            "/etc/app/other",
        ]
        assert process.files.read("/etc/app/greeting") == b"hi"
        await node.client.patch(kinds.CONFIG_MAP, "cm", {"data": {"greeting": "hello"}}, "default")
        await node.env.clock.sleep(0.1)
        assert process.files.read("/etc/app/greeting") == b"hi"
        await node.env.clock.sleep(60)
        assert process.files.read("/etc/app/greeting") == b"hello"
        assert process.files.read("/g") == b"hi"

    simulate(story, commons=commons)


def test_a_missing_config_map_holds_the_pod_in_container_creating(simulate):
    """The event says which one; the pod starts when it appears."""

    async def story(node):
        await node.pod(
            containers=[container(("v", "/etc/app", {}))],
            volumes=[{"name": "v", "configMap": {"name": "late"}}],
        )
        pod = await node.until(lambda p: p.status.container_statuses)
        assert pod.status.container_statuses[0].state["waiting"]["reason"] == "ContainerCreating"
        await node.env.clock.sleep(1)
        assert (
            "FailedMount",
            'MountVolume.SetUp failed for volume "v" : configmap "late" not found',
        ) in (await node.events("FailedMount"))
        await config_map(node, "late", k="v")
        await node.ready()

    simulate(story)


def test_a_missing_secret_key_keeps_the_container_from_being_created(simulate):
    """CreateContainerConfigError, until the Secret is as it should be."""

    async def story(node):
        ref = {"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "t"}}}
        await node.pod(containers=[{"name": "c", "image": "sleeper", "env": [ref]}])
        pod = await node.until(
            lambda p: (
                p.status.container_statuses
                and p.status.container_statuses[0].state["waiting"]["reason"]
                == "CreateContainerConfigError"
            )
        )
        assert pod.status.container_statuses[0].state["waiting"]["message"] == (
            'secret "s" not found'
        )
        body = {"metadata": {"name": "s"}, "data": {"t": base64.b64encode(b"42").decode()}}
        await node.client.create(kinds.SECRET, body, "default")
        await node.ready()
        assert node.started[0].spec.env["T"] == "42"

    simulate(story)


def test_an_empty_dir_is_shared_by_the_containers_and_outlives_their_restarts(simulate):
    """The container's own files do not."""

    async def story(node):
        node.exits["c"] = [1, 0]
        batch = {**container(("shared", "/data", {})), "image": "batch"}
        other = container(("shared", "/elsewhere", {}), name="d")
        await node.pod(
            containers=[batch, other],
            volumes=[{"name": "shared", "emptyDir": {}}],
            restartPolicy="OnFailure",
        )
        await node.until(lambda p: p.status.phase == "Running")
        first = next(p for p in node.started if p.spec.name == "c")
        await first.write_file("/data/x", b"1")
        await first.write_file("/var/y", b"2")
        await node.until(lambda p: p.status.container_statuses[0].restart_count == 1)
        second = [p for p in node.started if p.spec.name == "c"][-1]
        assert second is not first
        assert second.files.read("/data/x") == b"1"
        assert second.files.list("/var") == []
        assert (
            next(p for p in node.started if p.spec.name == "d").files.read("/elsewhere/x") == b"1"
        )

    simulate(story)


def test_a_host_path_is_the_nodes_disk_in_both_directions(simulate):
    """How flannel installs its conflist and kube-proxy sees the lock."""

    async def story(node):
        node.fabric.disk["/run/flannel/subnet.env"] = b"A=1\n"
        await node.pod(
            containers=[container(("run", "/run/flannel", {}))],
            volumes=[{"name": "run", "hostPath": {"path": "/run/flannel"}}],
        )
        await node.ready()
        (process,) = node.started
        assert process.files.read("/run/flannel/subnet.env") == b"A=1\n"
        await process.write_file("/run/flannel/new", b"x")
        assert node.fabric.disk["/run/flannel/new"] == b"x"
        await process.remove_file("/run/flannel/new")
        assert "/run/flannel/new" not in node.fabric.disk
        await node.fabric.write_file("node-1", "/run/flannel/subnet.env", b"A=2\n")
        await node.env.clock.sleep(0.001)
        assert process.files.read("/run/flannel/subnet.env") == b"A=2\n"

    simulate(story)


def test_a_read_only_mount_shows_what_others_write_but_takes_nothing(simulate):
    """EROFS, as in life."""

    async def story(node):
        reader = container(("shared", "/in", {"readOnly": True}), name="d")
        await node.pod(
            containers=[container(("shared", "/out", {})), reader],
            volumes=[{"name": "shared", "emptyDir": {}}],
        )
        await node.ready()
        writer, reader = node.started
        await writer.write_file("/out/x", b"1")
        assert reader.files.read("/in/x") == b"1"
        with pytest.raises(OSError, match="Read-only file system"):
            await reader.write_file("/in/y", b"2")
        with pytest.raises(OSError, match="Read-only file system"):
            await reader.remove_file("/in/x")
        await writer.remove_file("/out/x")
        with pytest.raises(FileNotFoundError):
            reader.files.read("/in/x")

    simulate(story)


def test_projected_and_downward_volumes(simulate):
    """What kube-api-access mounts; its token is bound to the pod, and renewed before its hour."""

    async def story(node):
        node.server.issue_tokens(Issuer(new_signing_key(node.env.secret)))
        await config_map(node, "kube-root-ca.crt", **{"ca.crt": "PEM"})
        body = [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca"}]}},
            {
                "downwardAPI": {
                    "items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]
                }
            },
        ]
        pod = await node.pod(
            automountServiceAccountToken=False,
            containers=[container(("all", "/var/run/secrets", {}))],
            volumes=[{"name": "all", "projected": {"sources": body}}],
        )
        await node.ready()
        (process,) = node.started
        assert process.files.read("/var/run/secrets/ca") == b"PEM"
        assert process.files.read("/var/run/secrets/ns") == b"default"
        token = process.files.read("/var/run/secrets/token").decode()
        user = node.server.authenticator.accounts.authenticate(token).user
        assert user.name == "system:serviceaccount:default:default"
        assert dict(user.extra)["authentication.kubernetes.io/pod-uid"] == (pod.metadata.uid,)
        await node.env.clock.sleep(2800)
        assert process.files.read("/var/run/secrets/token").decode() == token
        await node.env.clock.sleep(200)
        assert process.files.read("/var/run/secrets/token").decode() != token

    simulate(story)


def test_programs_find_resolver_hosts_hostname_and_service_links(simulate):
    """The three lines of resolv.conf, and the variables of Services that exist already."""

    async def story(node):
        body = {
            "metadata": {"name": "backend"},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
        }
        await node.client.create(kinds.SERVICE, body, "default")
        await node.pod(containers=[container(command=["run", "$(BACKEND_SERVICE_HOST)"])])
        await node.ready()
        (process,) = node.started
        assert process.files.read("/etc/resolv.conf").decode() == (
            "search default.svc.cluster.local svc.cluster.local cluster.local\n"
            "nameserver 10.96.0.10\n"
            "options ndots:5\n"
        )
        assert process.files.read("/etc/hosts").endswith(b"10.244.0.2\tp\n")
        assert process.files.read("/etc/hostname") == b"p\n"
        assert process.spec.argv == ("run", "10.96.7.7")
        body["metadata"]["name"], body["spec"]["clusterIP"] = "cache", "10.96.7.8"
        await node.client.create(kinds.SERVICE, body, "default")
        await node.pod("late", containers=[container(command=["run", "$(CACHE_SERVICE_HOST)"])])
        await node.ready("late")
        assert node.started[1].spec.argv == ("run", "10.96.7.8")
        resolver = await node.streams.resolver("node-1", "default", "p")
        assert resolver.address == "10.244.0.2"
        assert (await node.streams.resolver("node-1", "", "")).netns == ""

    simulate(story)


def test_every_pod_finds_a_token_unless_it_or_its_account_declines(simulate):
    """kube-api-access, read-only, where in-cluster clients look."""

    async def story(node):
        node.server.issue_tokens(Issuer(new_signing_key(node.env.secret)))
        await config_map(node, "kube-root-ca.crt", **{"ca.crt": "PEM"})
        await node.pod()
        await node.ready()
        (process,) = node.started
        assert list(process.files.links(TOKENS)) == [
            f"{TOKENS}/{name}" for name in ("..data", "ca.crt", "namespace", "token")
        ]
        with pytest.raises(OSError, match="Read-only file system"):
            await process.write_file(f"{TOKENS}/token", b"")
        assert not (await node.pod("no", automountServiceAccountToken=False)).spec.volumes
        await node.client.patch(
            kinds.SERVICE_ACCOUNT, "default", {"automountServiceAccountToken": False}, "default"
        )
        assert not (await node.pod("nor")).spec.volumes
        assert (await node.pod("yes", automountServiceAccountToken=True)).spec.volumes

    simulate(story)


def test_a_sub_path_may_name_the_pod(simulate):
    """subPathExpr expands variables of the container."""

    async def story(node):
        name = {"fieldRef": {"fieldPath": "metadata.name"}}
        await node.pod(
            containers=[
                container(
                    ("v", "/own", {"subPathExpr": "$(POD)"}),
                    ("v", "/all", {}),
                    env=[{"name": "POD", "valueFrom": name}],
                )
            ],
            volumes=[{"name": "v", "emptyDir": {}}],
        )
        await node.ready()
        (process,) = node.started
        await process.write_file("/own/x", b"1")
        assert process.files.list("/all") == ["/all/p/x"]

    simulate(story)


def test_an_update_is_one_link_that_leads_elsewhere(simulate):
    """..data changes from one folder to the next; ls, stat and readlink tell modes and times."""

    async def story(node):
        await config_map(node, "cm", greeting="hi", other="x")
        items = [{"key": "greeting", "path": "a/b", "mode": 0o400}, {"key": "other", "path": "o"}]
        await node.pod(
            containers=[
                container(("v", "/v", {}), ("i", "/i", {}), ("v", "/g", {"subPath": "greeting"}))
            ],
            volumes=[
                {"name": "v", "configMap": {"name": "cm"}},
                {"name": "i", "configMap": {"name": "cm", "items": items, "defaultMode": 0o640}},
            ],
        )
        await node.ready()
        _, first = await node.run("readlink", "/v/..data")
        assert re.fullmatch(r"\.\.\d{4}(_\d\d){5}\.\d+\n", first)
        _, shown = await node.run("ls", "-la", "/v")
        lines = [line.split(maxsplit=8) for line in shown.splitlines()]
        assert lines[0][0] == "total"
        assert [(line[0], line[8]) for line in lines[1:]] == [
            ("drwxrwxrwx", "."),
            ("drwxr-xr-x", ".."),
            ("drwxr-xr-x", first.strip()),
            ("lrwxrwxrwx", f"..data -> {first.strip()}"),
            ("lrwxrwxrwx", "greeting -> ..data/greeting"),
            ("lrwxrwxrwx", "other -> ..data/other"),
        ]
        assert await node.run("ls", "/v") == (0, "greeting\nother\n")
        assert await node.run("ls", "/v/..data/") == (0, "greeting\nother\n")
        assert await node.run("cat", "/v/..data/greeting") == (0, "hi")
        form = "%n %a %F %s"
        _, told = await node.run("stat", "-c", form, "/g", "/v/greeting", "/i/a/b", "/i/..data/o")
        assert told.splitlines() == [
            "/g 644 regular file 2",
            "/v/greeting 777 symbolic link 15",
            "/i/a/b 400 regular file 2",
            "/i/..data/o 640 regular file 1",
        ]
        _, real = await node.run("readlink", "-f", "/i/a/b")
        assert re.fullmatch(r"/i/\.\.2.*/a/b\n", real)
        await node.client.patch(kinds.CONFIG_MAP, "cm", {"data": {"greeting": "hello"}}, "default")
        await node.env.clock.sleep(60)
        _, second = await node.run("readlink", "/v/..data")
        stamp, there = first.split(".")[2], second.split(".")[2]  # what follows them is chance
        assert there >= stamp
        assert second != first
        assert await node.run("ls", "-d", f"/v/{first.strip()}") == (
            2,
            f"ls: cannot access '/v/{first.strip()}': No such file or directory\n",
        )
        assert await node.run("cat", "/v/greeting", "/g") == (0, "hellohi")
        await node.client.patch(
            kinds.CONFIG_MAP, "cm", {"metadata": {"labels": {"a": "b"}}}, "default"
        )
        await node.env.clock.sleep(60)
        assert await node.run("readlink", "/v/..data") == (0, second)

    simulate(story)


def test_an_fs_group_owns_volumes_and_what_is_written_there(simulate):
    """Its bits are added; what the user writes is the user's; tokens are not for everybody."""

    async def story(node):
        node.server.issue_tokens(Issuer(new_signing_key(node.env.secret)))
        await config_map(node, "kube-root-ca.crt", **{"ca.crt": "PEM"})
        body = {"metadata": {"name": "s"}, "data": {"k": base64.b64encode(b"1").decode()}}
        await node.client.create(kinds.SECRET, body, "default")
        await node.pod(
            securityContext={"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
            containers=[container(("e", "/e", {}), ("s", "/s", {}))],
            volumes=[
                {"name": "e", "emptyDir": {}},
                {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
            ],
        )
        await node.ready()
        await node.run("sh", "-c", "echo 1 > /e/x; echo 1 > /srv/y")
        paths = ["/e", "/e/x", "/srv/y", "/s", "/s/..data/k", f"{TOKENS}/..data/token"]
        _, told = await node.run("stat", "-c", "%A %u %g", *paths)
        assert told.splitlines() == [
            "drwxrwsrwx 0 2000",
            "-rw-r--r-- 1000 2000",
            "-rw-r--r-- 1000 3000",
            "drwxrwsrwt 0 2000",
            "-r--r----- 0 2000",
            "-rw-r----- 1000 2000",
        ]

    simulate(story)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"configMap": {"name": "cm", "items": [{"key": "no", "path": "p"}]}},
            "configmap references non-existent config key: no",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "no", "path": "p"}]}},
            "references non-existent secret key: no",
        ),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
    ],
)
def test_what_a_volume_lacks_is_said(simulate, source, message):
    """FailedMount in upstream's words; with optional: true the pod runs without it."""

    async def story(node):
        await config_map(node, "cm", k="v")
        await node.client.create(kinds.SECRET, {"metadata": {"name": "s"}}, "default")
        mount = container(("v", "/v", {}))
        await node.pod(containers=[mount], volumes=[{"name": "v", **source}])
        ((kind, detail),) = source.items()
        optional = {"name": "v", kind: {**detail, "optional": True}}
        await node.pod("q", containers=[mount], volumes=[optional])
        await node.ready("q")
        assert await node.run("ls", "/v", name="q") == (0, "")
        await node.env.clock.sleep(1)
        assert (
            "FailedMount",
            f'MountVolume.SetUp failed for volume "v" : {message}',
        ) in await node.events("FailedMount")

    simulate(story)
