"""exec and attach over SPDY, as client-go speaks it when WebSockets are refused."""

import json
from contextlib import asynccontextmanager

import pytest

from podwire.api.status import ApiError
from podwire.apiserver.http.spdy.frames import Data, RstStream
from tests.unit.apiserver_http.wires import SpdyClient, upgraded

POD = "/api/v1/namespaces/default/pods/web"
EXEC = f"{POD}/exec?command=cat&stdout=true&stderr=true"
OFFER = [("Upgrade", "SPDY/3.1")] + [
    ("X-Stream-Protocol-Version", f"{v}channel.k8s.io") for v in ("v5.", "v4.", "v3.", "v2.", "")
]


def offering(version):
    """The headers of a client that speaks one protocol."""
    return [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", version)]


@asynccontextmanager
async def running(site, query="", offer=OFFER, path=EXEC):
    """The client, its streams by name, and the command."""
    await site.pod()
    async with upgraded(site, path + query, offer) as (status, headers, duplex):
        assert status == 101
        assert headers["upgrade"] == "spdy/3.1"
        client = SpdyClient(duplex)
        client.protocol = headers["x-stream-protocol-version"]
        names = ["error", "stdout"]
        names += [] if "tty" in query else ["stderr"]
        names += ["stdin"] if "stdin" in query else []
        names += ["resize"] if "tty" in query else []
        streams = {name: await client.open(streamtype=name) for name in names}
        yield client, streams, site.kubelets.started[0]


async def test_four_streams_and_a_status(site):
    """v4: the newest that kubelets speak; the exit code is in the status."""
    async with running(site, "&stdin=true") as (client, streams, command):
        assert client.protocol == "v4.channel.k8s.io"
        await client.send(Data(streams["stdin"], b"in"), Data(streams["stdin"], b"", fin=True))
        assert [await command.stdin.get(), await command.stdin.get()] == [b"in", b""]
        command.print(1, b"out")
        command.print(2, b"err")
        command.exit(3)
        status = json.loads(await client.text(streams["error"]))
        assert await client.text(streams["stdout"]) == b"out"
        assert await client.text(streams["stderr"]) == b"err"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert not command.cancelled.is_set()


@pytest.mark.parametrize("version", ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
async def test_older_versions_tell_failures_as_text(site, version):
    """Success is silence."""
    await site.pod()
    words = (
        b"command terminated with non-zero exit code: error executing command [cat], exit code 9"
    )
    for code, told in ((0, b""), (9, words)):
        async with upgraded(site, EXEC, offering(version)) as (_, headers, duplex):
            assert headers["x-stream-protocol-version"] == version
            client = SpdyClient(duplex)
            error = await client.open(streamtype="error")
            for name in ("stdout", "stderr"):
                await client.open(streamtype=name)
            site.kubelets.started[-1].exit(code)
            assert await client.text(error) == told


async def test_a_terminal_has_one_output_and_a_size(site):
    """stderr=true beside tty=true opens no stream, as the kubelet has it."""
    async with running(site, "&stdin=true&tty=true") as (client, streams, command):
        await client.send(Data(streams["resize"], b'{"Width":101,"Height":7}'))
        await client.send(Data(streams["stdin"], b"x"))
        await command.stdin.get()
        assert command.size == (101, 7)
        command.exit(0)
        await client.text(streams["error"])


async def test_a_client_that_disappears_kills_its_command(site):
    """Also one that never opened its streams."""
    async with running(site) as (client, _, command):
        client.duplex.close()
        await command.cancelled.wait()
    async with upgraded(site, EXEC, OFFER) as (_, _, duplex):
        client = SpdyClient(duplex)
        await client.open(streamtype="error")
        duplex.close()
        await site.kubelets.started[-1].cancelled.wait()


async def test_streams_that_nobody_asked_for_are_reset(site):
    """A second stdout, a stdin that was not wanted, a name that does not exist."""
    async with running(site) as (client, streams, command):
        for name in ("stdout", "stdin", "nonsense"):
            number = await client.open(streamtype=name)
            await client.until(lambda n=number: RstStream(n, 1) in client.frames)
        command.print(1, b"still here")
        command.exit(0)
        assert await client.text(streams["stdout"]) == b"still here"


async def test_attach_is_exec_without_a_command(site):
    """The kubelet is told whether stdin is wanted."""
    path = f"{POD}/attach?stdout=true&stderr=true"
    async with running(site, "&stdin=true", path=path) as (client, streams, command):
        command.print(1, b"hello")
        command.exit(0)
        assert await client.text(streams["stdout"]) == b"hello"
        assert json.loads(await client.text(streams["error"]))["status"] == "Success"
    assert site.kubelets.asked == [("node-1", "default", "web", "main", "attach", True)]


async def test_what_is_wrong_is_told_before_the_switch(site):
    """The API server by a Status, the kubelet by plain text, and nothing is started."""

    async def refusal(path=EXEC, offer=OFFER):
        async with upgraded(site, path, offer) as (status, headers, duplex):
            length = int(headers["content-length"])
            body = b""
            while len(body) < length:
                body += await duplex.read()
            return status, body.decode()

    status, body = await refusal()
    assert (status, json.loads(body)["message"]) == (404, 'pods "web" not found')
    await site.pod()
    assert (await refusal(f"{EXEC}&container=zz"))[0] == 400
    status, body = await refusal(offer=offering("v9.channel.k8s.io"))
    assert (status, "unable to negotiate protocol" in body) == (403, True)
    status, body = await refusal(offer=[("Upgrade", "SPDY/3.1")])
    assert (status, "X-Stream-Protocol-Version does not exist" in body) == (400, True)
    site.kubelets.refusal = ApiError("NotFound", 'container not found ("main")')
    assert await refusal() == (500, 'container not found ("main")\n')
    site.kubelets.refusal = ConnectionError("dial tcp node-1:10250: connect: connection refused")
    status, body = await refusal()
    assert status == 500
    assert json.loads(body)["message"].startswith("error dialing backend: dial tcp node-1:10250")
    assert not site.kubelets.started
