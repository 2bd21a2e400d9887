"""Our gRPC against grpcio's, both ways, over real sockets; and what is not gRPC at all."""

import asyncio
from contextlib import suppress

import grpc as real
import pytest

from podwire.client import grpc, grpcwire
from podwire.client.grpc import Code, GrpcError, Health


class Stream:
    """A real connection as the counter has it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.local = writer.get_extra_info("sockname")
        self.remote = writer.get_extra_info("peername")

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def recv(self):
        return await self.reader.read(65536)

    async def close(self):
        self.writer.close()

    def abort(self):
        self.writer.transport.abort()


class Listener:
    """A real listening socket as the counter has it."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def listen(self):
        async def arrived(reader, writer):
            self.queue.put_nowait(Stream(reader, writer))

        self.server = await asyncio.start_server(arrived, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def accept(self):
        stream = await self.queue.get()
        if stream is None:
            raise OSError("closed")
        return stream

    def close(self):
        self.server.close()
        self.queue.put_nowait(None)


async def answer(path, message):
    """A health service for the names of states."""
    if path != grpc.HEALTH_CHECK:
        raise GrpcError(Code.Unimplemented, "unknown service élan")
    service = grpc.asked_service(message)
    if service not in Health.__members__:
        raise GrpcError(Code.NotFound, "unknown service")
    return grpc.check_response(Health[service])


@pytest.fixture
async def port():
    """Where our server listens."""
    listener = await Listener().listen()
    serving = asyncio.create_task(grpcwire.serve(listener, answer))
    yield listener.port
    listener.close()
    await serving


async def dialled(port):
    stream = Stream(*await asyncio.open_connection("127.0.0.1", port))
    return await grpcwire.Client(stream, f"127.0.0.1:{port}", "test").open()


async def test_grpcios_client_is_answered(port):
    async with real.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(grpc.HEALTH_CHECK)
        for health in Health:
            assert await check(grpc.check_request(health.name)) == grpc.check_response(health)
        with pytest.raises(real.RpcError) as caught:
            await check(grpc.check_request("other"))
        assert caught.value.code() is real.StatusCode.NOT_FOUND
        with pytest.raises(real.RpcError) as caught:
            await channel.unary_unary("/a.B/C")(b"")
        assert caught.value.details() == "unknown service élan"
        with pytest.raises(real.RpcError):
            await check(b"x" * (grpcwire.MAX_MESSAGE_BYTES + 1))
        assert await check(grpc.check_request("SERVING")) == b"\x08\x01"


async def test_grpcios_server_answers_us():
    async def served(request, context):
        if request == b"no":
            await context.abort(real.StatusCode.UNIMPLEMENTED, "not 100% here")
        return request[::-1]

    server = real.aio.server()
    method = real.unary_unary_rpc_method_handler(served)
    server.add_generic_rpc_handlers((real.method_handlers_generic_handler("a.B", {"C": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = await dialled(port)
    assert await client.call("/a.B/C", b"abc") == b"cba"
    with pytest.raises(GrpcError) as caught:
        await client.call("/a.B/C", b"no")
    assert (caught.value.code, caught.value.message) == (Code.Unimplemented, "not 100% here")
    await client._stream.close()
    await server.stop(None)


async def test_calls_follow_each_other_on_one_connection(port):
    client = await dialled(port)
    for health in Health:
        told = await client.call(grpc.HEALTH_CHECK, grpc.check_request(health.name))
        assert grpc.told_health(told) is health
    await client._stream.close()


@pytest.mark.parametrize("spoken", [b"HTTP/1.1 200 OK\r\n\r\n", b"", b"\x00" * 64])
async def test_a_server_that_speaks_otherwise_is_an_error(spoken):
    listener = await Listener().listen()
    dialling = asyncio.create_task(dialled(listener.port))
    stream = await listener.accept()
    await stream.send(spoken)
    await stream.close()
    with pytest.raises((GrpcError, ConnectionError)):
        await dialling
    listener.close()


async def test_a_client_that_speaks_otherwise_is_cut_off(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 64)
    with suppress(ConnectionResetError):
        while await reader.read(4096):
            pass
    writer.close()
