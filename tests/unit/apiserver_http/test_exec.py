"""exec over WebSocket, as kubectl speaks it."""

import base64
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from podwire.api.status import ApiError

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
EXEC = "/api/v1/namespaces/default/pods/web/exec?command=cat&command=-n&stdout=true&stderr=true"
both = pytest.mark.parametrize("protocol", [V5, V4])


@asynccontextmanager
async def running(site, protocol, query="&stdin=true"):
    """A WebSocket and the command at its other end."""
    await site.pod()
    async with (
        site.admin() as http,
        http.ws_connect(f"{EXEC}{query}", protocols=(protocol,)) as socket,
    ):
        assert socket.protocol == protocol
        first = await socket.receive_bytes()
        assert first == b"\x01"  # upstream says so that the connection stands
        yield socket, site.kubelets.started[0]


async def received(socket):
    """Everything the server sends, as (channel, data), until it closes."""
    return [(message.data[0], message.data[1:]) async for message in socket]


@both
async def test_output_comes_on_its_channels_and_the_end_on_channel_three(site, protocol):
    """1 is stdout, 2 stderr, 3 a Status; then the server closes."""
    async with running(site, protocol) as (socket, command):
        command.print(1, b"out")
        command.print(2, b"err")
        command.exit(0)
        *printed, (channel, status) = await received(socket)
    assert printed == [(1, b"out"), (2, b"err")]
    assert channel == 3
    assert json.loads(status) == {"metadata": {}, "status": "Success"}
    assert not command.cancelled.is_set()
    assert site.kubelets.asked == [("node-1", "default", "web", "main", ("cat", "-n"), False)]


@both
@pytest.mark.parametrize("code", [1, 42, 127, 137])
async def test_an_exit_code_is_a_cause_of_the_status(site, protocol, code):
    """kubectl takes its own exit code from there."""
    async with running(site, protocol) as (socket, command):
        command.exit(code)
        ((channel, status),) = await received(socket)
    assert channel == 3
    told = json.loads(status)
    assert (told["status"], told["reason"]) == ("Failure", "NonZeroExitCode")
    assert told["details"]["causes"] == [{"reason": "ExitCode", "message": str(code)}]


@both
async def test_stdin_reaches_the_command_in_order(site, protocol):
    """Channel 0; empty messages say nothing."""
    async with running(site, protocol) as (socket, command):
        for data in (b"\x00one", b"\x00", b"\x00two"):
            await socket.send_bytes(data)
        assert [await command.stdin.get(), await command.stdin.get()] == [b"one", b"two"]
        command.exit(0)
        await received(socket)


async def test_version_five_closes_stdin_and_goes_on(site):
    """255 0: end of file; the command may still print."""
    async with running(site, V5) as (socket, command):
        await socket.send_bytes(b"\x00text")
        await socket.send_bytes(b"\xff\x00")
        assert [await command.stdin.get(), await command.stdin.get()] == [b"text", b""]
        command.print(1, b"text")
        command.exit(0)
        assert (await received(socket))[0] == (1, b"text")


async def test_version_four_knows_no_close(site):
    """There, 255 is a channel that nobody reads."""
    async with running(site, V4) as (socket, command):
        await socket.send_bytes(b"\xff\x00")
        await socket.send_bytes(b"\x00text")
        assert await command.stdin.get() == b"text"
        command.exit(0)
        await received(socket)


async def test_without_stdin_a_command_reads_its_end_at_once(site):
    """stdin=true was not asked: nothing of channel 0 is passed on, no resize, just the end."""
    async with running(site, V5, "") as (socket, command):
        await socket.send_bytes(b"\x00text")
        await socket.send_bytes(b'\x04{"Width":80,"Height":24}')
        await socket.ping()
        command.exit(0)
        await received(socket)
    assert command.stdin.get_nowait() == b""
    assert command.stdin.empty()


async def test_a_terminal_nobody_types_into_stays_open(site):
    """kubectl exec -t without -i: a shell waits for ever at its prompt."""
    async with running(site, V5, "&tty=true") as (socket, command):
        await socket.ping()
        command.exit(0)
        await received(socket)
    assert command.stdin.empty()


async def test_tty_is_told_to_the_kubelet(site):
    """tty=true."""
    async with running(site, V5, "&stdin=true&tty=true") as (socket, command):
        command.exit(0)
        await received(socket)
    assert site.kubelets.asked[0][-1] is True


@both
async def test_a_client_that_closes_kills_its_command(site, protocol):
    """The closing handshake in the middle of a run."""
    async with running(site, protocol) as (socket, command):
        await socket.close()
        await command.cancelled.wait()


@both
async def test_a_client_that_disappears_kills_its_command(site, protocol):
    """No closing handshake: the connection is just gone."""
    async with running(site, protocol) as (socket, command):
        socket._response.connection.transport.abort()
        await command.cancelled.wait()


async def test_a_message_beyond_the_limit_kills_the_command(site):
    """What one client may make the server hold is bounded."""
    async with running(site, V5) as (socket, command):
        await socket.send_bytes(bytes(5 * 1024 * 1024))
        await command.cancelled.wait()


@pytest.mark.parametrize("protocols", [("v9.channel.k8s.io",), ("SPDY/3.1",)])
async def test_a_protocol_not_spoken_here_is_a_bad_request(site, protocols):
    """400 before anything is started."""
    await site.pod()
    async with site.admin() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(EXEC, protocols=protocols)
    assert caught.value.status == 400
    assert not site.kubelets.started


async def test_half_a_handshake_starts_nothing(site):
    """An upgrade without Sec-WebSocket-Key: 400, and no command is left running."""
    await site.pod()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": V5,
    }
    async with site.admin() as http, http.get(EXEC, headers=headers) as answer:
        assert answer.status == 400
    assert not site.kubelets.started


async def test_without_an_upgrade_exec_is_a_bad_request(site):
    """kubectl sees upstream's words."""
    await site.pod()
    async with site.admin() as http, http.get(EXEC) as answer:
        assert answer.status == 400
        assert (await answer.json())["message"] == "Upgrade request required"


async def refusal(site, path=EXEC, token=True):
    """The status a WebSocket handshake is refused with."""
    async with site.admin() if token else site.session() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(path, protocols=(V5,))
    assert not site.kubelets.started
    return caught.value.status


async def test_a_client_without_a_protocol_is_told_failures_as_text(site):
    """The first dialect: no sub-protocol, no Status; success is silence."""
    await site.pod()
    why = b"error executing command [cat -n], exit code 3"
    words = b"command terminated with non-zero exit code: " + why
    for code, told in ((0, []), (3, [(3, words)])):
        async with site.admin() as http, http.ws_connect(EXEC) as socket:
            await socket.receive_bytes()
            site.kubelets.started[-1].exit(code)
            assert await received(socket) == told


async def test_base64_dialects_speak_text(site):
    """``v4.base64.channel.k8s.io``: the channel as a digit, then base64."""
    await site.pod()
    protocols = ("v4.base64.channel.k8s.io",)
    async with (
        site.admin() as http,
        http.ws_connect(f"{EXEC}&stdin=true", protocols=protocols) as socket,
    ):
        assert await socket.receive_str() == "1"
        command = site.kubelets.started[0]
        await socket.send_str("0aGk=")
        assert await command.stdin.get() == b"hi"
        command.print(2, b"no")
        command.exit(0)
        assert await socket.receive_str() == "2bm8="
        status = base64.b64decode((await socket.receive_str())[1:])
        assert json.loads(status)["status"] == "Success"


async def test_a_terminals_size_reaches_the_command(site):
    """Channel 4, as JSON; what is none changes nothing."""
    async with running(site, V5, "&stdin=true&tty=true") as (socket, command):
        for text in (b"nonsense", b'{"Width":-1,"Height":2}', b'{"Width":120,"Height":40}'):
            await socket.send_bytes(b"\x04" + text)
        await socket.send_bytes(b"\x00x")
        await command.stdin.get()
        assert command.size == (120, 40)
        command.exit(0)
        await received(socket)


async def test_what_the_kubelet_refuses_comes_on_the_error_channel_of_version_five(site):
    """There the server has switched already; version 4 gets the kubelet's own answer."""
    await site.pod()
    site.kubelets.refusal = ApiError("NotFound", 'container not found ("main")')
    async with site.admin() as http, http.ws_connect(EXEC, protocols=(V5,)) as socket:
        await socket.receive_bytes()
        ((channel, status),) = await received(socket)
    assert channel == 3
    assert json.loads(status)["message"] == (
        'Internal error occurred: unable to upgrade connection: container not found ("main")'
    )
    headers = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": V4,
    }  # fmt: skip
    async with site.admin() as http, http.get(EXEC, headers=headers) as answer:
        assert (answer.status, await answer.text()) == (500, 'container not found ("main")\n')


async def test_a_command_that_cannot_be_started_ends_with_an_internal_error(site):
    """Upstream takes the kubelet's words into its own in version 5."""
    prefix = "Internal error occurred: "
    for protocol, words in ((V5, 2 * prefix), (V4, prefix)):
        site.kubelets.unstartable = ApiError("InternalError", f"{prefix}no such program")
        await site.pod(protocol[:2])
        path = EXEC.replace("/web/", f"/{protocol[:2]}/")
        async with site.admin() as http, http.ws_connect(path, protocols=(protocol,)) as socket:
            await socket.receive_bytes()
            ((_, status),) = await received(socket)
        told = json.loads(status)
        assert (told["reason"], told["code"]) == ("InternalError", 500)
        assert told["message"] == f"{words}no such program"


async def test_other_protocols_are_ignored(site):
    """``curl --http2`` asks for h2c; it gets what it asked for by HTTP/1.1."""
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"}
    async with site.admin() as http, http.get("/api/v1/pods", headers=headers) as answer:
        assert (answer.status, (await answer.json())["kind"]) == (200, "PodList")


async def test_nobody_may_exec(site):
    """Anonymous: 403 before the pod is even looked up."""
    await site.pod()
    assert await refusal(site, token=False) == 403


async def test_what_cannot_be_executed_is_refused_as_plain_http(site):
    """No pod, no container of that name, no command, no stream, no exec at all."""
    assert await refusal(site) == 404
    await site.pod()
    assert await refusal(site, f"{EXEC}&container=none") == 400
    assert await refusal(site, EXEC.partition("?")[0]) == 400
    assert await refusal(site, "/api/v1/namespaces/default/pods") == 200
    assert await refusal(site, EXEC.partition("&stdout")[0]) == 400


async def test_a_pod_may_be_asked_twice_at_once(site):
    """Two commands, two conversations."""
    await site.pod()
    async with (
        site.admin() as http,
        http.ws_connect(EXEC, protocols=(V5,)) as one,
        http.ws_connect(EXEC, protocols=(V5,)) as two,
    ):
        await one.receive_bytes()
        await two.receive_bytes()
        first, second = site.kubelets.started
        second.print(1, b"two")
        second.exit(0)
        assert (await received(two))[0] == (1, b"two")
        first.print(1, b"one")
        first.exit(0)
        assert (await received(one))[0] == (1, b"one")
    assert not first.cancelled.is_set()
