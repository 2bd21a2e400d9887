"""Containers that cannot start: no image, no model, no command."""

import pytest

from podwire.api.status import ApiError
from podwire.client.hosting import RoomHost
from podwire.kubelet.images import refusal
from podwire.kubelet.profile import normalized
from tests.unit.kubelet.conftest import state


def test_images_that_cannot_be_pulled_end_in_image_pull_back_off(simulate):
    """Registries below .invalid do not exist."""

    async def story(node):
        await node.pod(image="registry.invalid/team/app:v1")
        await node.until(lambda p: state(p) == ("waiting", "ErrImagePull"))
        pod = await node.until(lambda p: state(p) == ("waiting", "ImagePullBackOff"))
        message = pod.status.container_statuses[0].state["waiting"]["message"]
        assert message.startswith(
            'Back-off pulling image "registry.invalid/team/app:v1": ErrImagePull: '
            'failed to pull and unpack image "registry.invalid/team/app:v1": '
        )
        assert message.endswith("dial tcp: lookup registry.invalid: no such host")
        await node.delete()
        await node.gone()

    simulate(story)


def test_a_tag_that_was_mistyped_is_not_found(simulate):
    """nginx:1.161 of the page about Deployments, in containerd's words."""

    async def story(node):
        await node.pod(image="nginx:1.161")
        pod = await node.until(lambda p: state(p) == ("waiting", "ImagePullBackOff"))
        message = pod.status.container_statuses[0].state["waiting"]["message"]
        assert message == (
            'Back-off pulling image "nginx:1.161": ErrImagePull: rpc error: code = NotFound desc = '
            'failed to pull and unpack image "docker.io/library/nginx:1.161": failed to resolve '
            'reference "docker.io/library/nginx:1.161": docker.io/library/nginx:1.161: not found'
        )
        await node.delete()
        await node.gone()

    simulate(story)


@pytest.mark.parametrize(
    ("image", "there"),
    [("nginx", 1), ("nginx:1.14.2", 1), ("nginx:1.27-alpine3.20", 1), ("nginx:stable-alpine", 1),
     ("nginx:1.91", 0), ("nginx:nope", 0), ("busybox:1.36-musl", 1), ("busybox:typo", 0),
     ("example.com/nginx:nope", 1)],
)  # fmt: skip
def test_tags_are_known_by_their_looks_where_they_are_known(image, there):
    """Only Docker's own nginx and busybox; whatever else is asked for exists."""
    assert bool(refusal(normalized(image))) is not bool(there)


class Broken(RoomHost):
    """Has an image whose command does not exist."""

    def implements(self, image):
        return image == "broken"

    async def start(self, process):
        raise FileNotFoundError(2, "No such file or directory", process.spec.argv[0])


class Objecting(RoomHost):
    """Knows a script that it cannot run."""

    def implements(self, image):
        return image == "scripted"

    def objection(self, process):
        return f"bash: not modelled: {process.spec.argv[-1]}"


def test_a_script_that_cannot_be_modelled_makes_its_container_wait_and_say_so(simulate):
    """Better no answer than a wrong one: nothing runs, status and Event have the reason."""

    async def story(node):
        hosts = (*node.ctx.hosts, Objecting((), node._batch))
        object.__setattr__(node.ctx, "hosts", hosts)
        command = ["bash", "-c", "coproc cat"]
        await node.pod(containers=[{"name": "c", "image": "scripted", "command": command}])
        pod = await node.until(lambda p: state(p) == ("waiting", "NotModelled"))
        message = pod.status.container_statuses[0].state["waiting"]["message"]
        assert message == "bash: not modelled: coproc cat"
        assert await node.events("NotModelled") == [("NotModelled", message)]
        assert not node.started
        await node.delete()
        await node.gone()

    simulate(story)


def test_a_container_that_ends_at_once_is_not_started_again_because_another_failed(simulate):
    """restartPolicy Never: the kubelet looks again before it has learnt of the quick one's end."""

    async def story(node):
        runs = []

        async def quick(process):
            runs.append(process.spec.name)
            return 0

        hosts = Broken((), quick), RoomHost(("quick",), quick)
        object.__setattr__(node.ctx, "hosts", (*node.ctx.hosts, *hosts))
        both = [{"name": "c", "image": "broken", "command": ["nope"]}]
        both.append({"name": "d", "image": "quick"})
        await node.pod(restartPolicy="Never", containers=both)
        pod = await node.until(lambda p: p.status.phase == "Failed")
        assert [state(pod, 0)[1], state(pod, 1)[1]] == ["StartError", "Completed"]
        assert [status.restart_count for status in pod.status.container_statuses] == [0, 0]
        assert runs == ["d"]
        with pytest.raises(ApiError, match="container d not found in pod p_default"):
            await node.streams.attach("node-1", "default", "p", "d", stdin=False)

    simulate(story)


def test_a_command_that_does_not_exist_ends_in_a_start_error(simulate):
    """It waits for another try; exit code 128 and containerd's words; then the crash loop."""

    async def story(node):
        object.__setattr__(node.ctx, "hosts", (*node.ctx.hosts, Broken((), node._batch)))
        await node.pod(containers=[{"name": "c", "image": "broken", "command": ["nope"]}])
        await node.until(lambda p: state(p) == ("waiting", "RunContainerError"))
        pod = await node.until(lambda p: state(p) == ("waiting", "CrashLoopBackOff"))
        last = pod.status.container_statuses[0].last_state["terminated"]
        assert (last["exitCode"], last["reason"]) == (128, "StartError")
        assert last["message"].endswith('exec: "nope": executable file not found in $PATH: unknown')

    simulate(story)


def test_an_image_that_nobody_modelled_says_so_once(simulate):
    """One event per container, whatever happens to it later."""

    async def story(node):
        class Everything(RoomHost):
            def implements(self, image):
                return True

            def describe(self, image):
                return "generic"

            def uid(self, image):
                return None

            def stop_signal(self, image):
                return ""

        everything = Everything((), node._batch)
        object.__setattr__(node.ctx, "hosts", (*node.ctx.hosts, everything))
        node.exits["c"] = [1, 0]
        await node.pod(image="shop/cart:v7", restartPolicy="OnFailure")
        await node.until(lambda p: p.status.phase == "Succeeded")
        (notice,) = await node.events("GenericProgram")
        assert notice[1].startswith('Image "shop/cart:v7" is not modelled')

    simulate(story)
