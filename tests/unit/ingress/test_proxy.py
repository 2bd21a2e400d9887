"""What the controller's data path does with requests, byte for byte."""

from __future__ import annotations

import pytest

from podwire.client import http1
from podwire.client.http1 import HttpError, header
from tests.unit.ingress.bench import routes, run

A, B = "10.244.0.1", "10.244.0.2"
GET = "GET /x HTTP/1.1\nHost: h"


def test_a_request_reaches_an_endpoint_with_the_headers_that_say_who_asked():
    async def story(bench):
        await bench.backend(A)
        answer = await bench.connect().ask(
            "GET /x?y=1 HTTP/1.1\nHost: h:80\nX-Forwarded-For: 1.2.3.4\nTE: trailers\nA: b"
        )
        (seen,) = bench.seen
        assert (answer.status, answer.body) == (200, A.encode())
        assert seen.target == "/x?y=1"
        fields = {name.lower(): value for name, value in seen.headers}
        assert fields.pop("x-request-id")
        assert fields == {
            "host": "h:80", "x-real-ip": "10.244.0.7", "x-forwarded-for": "10.244.0.7",
            "x-forwarded-host": "h:80", "x-forwarded-port": "80", "x-forwarded-proto": "http",
            "x-forwarded-scheme": "http", "x-scheme": "http", "a": "b",
            "x-original-forwarded-for": "1.2.3.4",
        }  # fmt: skip
        assert header(answer.headers, "server") == ""

    run(story, routes(A))


def test_behind_tls_the_scheme_is_https_and_the_answer_carries_hsts():
    async def story(bench):
        await bench.backend(A)
        answer = await bench.connect(secure=True).ask(GET)
        assert bench.seen[0].header("x-forwarded-proto") == "https"
        assert bench.seen[0].header("x-forwarded-port") == "443"
        assert header(answer.headers, "strict-transport-security").startswith("max-age=")

    run(story, routes(A))


def test_endpoints_take_turns_on_one_connection():
    async def story(bench):
        await bench.backend(A)
        await bench.backend(B)
        client = bench.connect()
        answers = [(await client.ask(GET)).body.decode() for _ in range(4)]
        assert sorted(answers[:2]) == [A, B]
        assert answers[:2] == answers[2:]

    run(story, routes(A, B))


def test_requests_sent_at_once_are_answered_in_order():
    async def story(bench):
        await bench.backend(A, lambda request: http1.text(request.target))
        client = bench.connect()
        for n in range(3):
            await client.send(f"GET /{n} HTTP/1.1\nHost: h")
        assert [(await client.answer()).body for _ in range(3)] == [b"/0", b"/1", b"/2"]

    run(story, routes(A))


@pytest.mark.parametrize(("version", "wish", "goes_on"), [
    ("1.1", "", True), ("1.1", "Connection: close", False), ("1.0", "", False),
    ("1.0", "Connection: keep-alive", True),
])  # fmt: skip
def test_a_connection_goes_on_as_the_client_wishes(version, wish, goes_on):
    async def story(bench):
        await bench.backend(A)
        client = bench.connect()
        answer = await client.ask(f"GET / HTTP/{version}\nHost: h\n{wish}")
        assert answer.status == 200
        assert header(answer.headers, "connection") == ("keep-alive" if goes_on else "close")
        if goes_on:
            assert (await client.ask(GET)).status == 200
        else:
            assert await client.reader.rest() == b""

    run(story, routes(A))


def test_head_has_the_length_and_no_body():
    async def story(bench):
        await bench.backend(A)
        client = bench.connect()
        answer = await client.ask("HEAD / HTTP/1.1\nHost: h")
        assert (answer.status, answer.header("content-length")) == (200, str(len(A)))
        assert (await client.ask(GET)).body == A.encode()  # nothing was left between

    run(story, routes(A))


def test_bodies_go_there_whatever_their_framing():
    async def story(bench):
        await bench.backend(A, lambda request: http1.text(request.body.decode()))
        client = bench.connect()
        chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
        post = "POST / HTTP/1.1\nHost: h\n"
        assert (await client.ask(f"{post}Content-Length: 5", b"abcde")).body == b"abcde"
        assert (await client.ask(f"{post}Transfer-Encoding: chunked", chunks)).body == b"abcde"
        assert (await client.ask(f"{post}Content-Length: 0")).body == b""
        assert bench.seen[2].header("content-length") == "0"

    run(story, routes(A))


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_body_streams_through_in_pieces(chunked):
    """Longer than what is kept for another attempt, so it is on its way before it is complete."""

    async def story(bench):
        await bench.backend(A, lambda request: http1.text(str(len(request.body))))
        size = 500_000
        data = b"x" * size
        framing = f"Content-Length: {size}"
        if chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (size, data)
            framing = "Transfer-Encoding: chunked"
        answer = await bench.connect().ask(f"PUT / HTTP/1.1\nHost: h\n{framing}", data)
        assert answer.body == str(size).encode()

    run(story, routes(A))


def test_an_answer_without_length_is_passed_on_in_chunks():
    """And to an HTTP/1.0 client until the end."""

    async def story(bench):
        async def serve(stream, reader):
            await http1.read_request(reader, stream)
            await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await stream.send(b"2\r\nde\r\n0\r\n\r\n")
            await stream.close()

        await bench.raw(A, serve)
        answer = await bench.connect().ask(GET)
        assert (header(answer.headers, "transfer-encoding"), answer.body) == ("chunked", b"abcde")
        old = await bench.connect().ask("GET / HTTP/1.0\nHost: h")
        assert (header(old.headers, "transfer-encoding"), old.body) == ("", b"abcde")
        assert header(old.headers, "connection") == "close"

    run(story, routes(A))


def test_expect_is_answered_before_the_body_is_read():
    async def story(bench):
        await bench.backend(A, lambda request: http1.text(request.body.decode()))
        client = bench.connect()
        await client.send("POST / HTTP/1.1\nHost: h\nContent-Length: 2\nExpect: 100-continue")
        assert await client.reader.line() == b"HTTP/1.1 100 Continue"
        await client.reader.line()
        await client.stream.send(b"ab")
        assert (await client.answer()).body == b"ab"
        assert bench.seen[0].header("expect") == ""

    run(story, routes(A))


def test_a_slow_upload_takes_its_time_and_one_that_stops_is_left():
    """Each piece within the time, all of it far beyond; then a client that falls silent."""

    async def story(bench):
        await bench.backend(A, lambda request: http1.text(str(len(request.body))))
        client = bench.connect()
        head = "PUT / HTTP/1.1\nHost: h\nContent-Length: 200000"
        await client.send(head, b"x" * 100_000)
        for _ in range(10):
            await bench.env.clock.sleep(30)
            await client.stream.send(b"x" * 10_000)
        assert (await client.answer()).body == b"200000"
        silent = bench.connect()
        await silent.send(head, b"x" * 100_000)
        assert (await silent.answer()).status in {408, 504}

    run(story, routes(A))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(("head", "status"), [
    ("GET / HTTP/1.1\nHost: other", 404),
    ("GET /%zz HTTP/1.1\nHost: h", 400),
    ("GET / HTTP/1.1", 400),
    ("GET / HTTP/1.1\nHost: h\nHost: i", 400),
    ("GET / HTTP/2.0\nHost: h", 400),
    ("GET / x HTTP/1.1\nHost: h", 400),
    ("GET / HTTP/1.1\nHost: h\n broken", 400),
    ("POST / HTTP/1.1\nHost: h\nContent-Length: 1\nTransfer-Encoding: chunked", 400),
    ("POST / HTTP/1.1\nHost: h\nContent-Length: 1\nContent-Length: 2", 400),
    ("POST / HTTP/1.1\nHost: h\nContent-Length: -1", 400),
    ("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: gzip", 501),
    ("POST / HTTP/1.1\nHost: h\nContent-Length: 2000000", 413),
    (f"GET /{'x' * 9000} HTTP/1.1\nHost: h", 414),
    ("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: websocket", 501),
])  # fmt: skip
def test_what_nginx_refuses_and_what_is_not_modelled(head, status):
    """No endpoint hears of it."""

    async def story(bench):
        await bench.backend(A)
        answer = await bench.connect().ask(head)
        assert answer.status == status
        assert b"<center>nginx</center>" in answer.body
        assert bench.seen == []

    run(story, routes(A))


def test_a_chunked_body_that_grows_too_long_is_refused_on_its_way():
    async def story(bench):
        await bench.backend(A)
        data = b"%x\r\n%b\r\n" % (1_200_000, b"x" * 1_200_000)
        client = bench.connect()
        answer = await client.ask("POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked", data)
        assert answer.status == 413
        assert bench.seen == []

    run(story, routes(A))


def test_proxy_body_size_raises_the_limit():
    async def story(bench):
        await bench.backend(A, lambda request: http1.text(str(len(request.body))))
        size = 2_000_000
        head = f"POST / HTTP/1.1\nHost: h\nContent-Length: {size}"
        assert (await bench.connect().ask(head, b"x" * size)).body == str(size).encode()

    run(story, routes(A, proxy_body_size="8m"))


# ---------------------------------------------------------------- endpoints that fail


def test_the_next_endpoint_is_asked_when_one_refuses():
    async def story(bench):
        bench.net.add("node-1", A, A)  # exists, nobody listens
        await bench.backend(B)
        client = bench.connect()
        for _ in range(4):
            answer = await client.ask("POST / HTTP/1.1\nHost: h\nContent-Length: 2", b"ab")
            assert (answer.status, answer.body) == (200, B.encode())
        assert "connect() failed" in bench.process.errors[0]
        assert any("502, 200" in line for line in bench.process.lines)

    run(story, routes(A, B))


def test_three_tries_then_502():
    async def story(bench):
        answer = await bench.connect().ask(GET)
        assert answer.status == 502
        assert "502, 502, 502" in bench.process.lines[-1]

    run(story, routes(A))


def test_a_silent_endpoint_costs_five_seconds_each_and_gives_504():
    async def story(bench):
        bench.net.silent.append(A)
        before = bench.env.clock.monotonic_ns()
        answer = await bench.connect().ask(GET)
        assert answer.status == 504
        assert (bench.env.clock.monotonic_ns() - before) / 1e9 == pytest.approx(15.0, abs=0.01)

    run(story, routes(A))


def test_an_endpoint_that_takes_too_long_gives_504_and_posts_are_not_repeated():
    async def story(bench):
        heard = []

        async def serve(stream, reader):
            heard.append((await http1.read_request(reader, stream)).method)
            await bench.env.clock.sleep(3600)

        await bench.raw(A, serve)
        head = "POST / HTTP/1.1\nHost: h\nContent-Length: 1"
        assert (await bench.connect().ask(head, b"x")).status == 504
        assert heard == ["POST"]
        assert (await bench.connect().ask(GET)).status == 504
        assert heard == ["POST", "GET", "GET", "GET"]

    run(story, routes(A, proxy_read_timeout="2"))


def test_an_endpoint_that_answers_before_it_has_read_everything_is_heard():
    """It refuses a long upload from its head alone and hangs up."""

    async def story(bench):
        async def serve(stream, reader):
            await reader.line()
            await reader.fields()
            await stream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            await stream.close()

        await bench.raw(A, serve)
        client = bench.connect()
        await client.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 500000", b"x" * 400_000)
        answer = await client.answer()
        assert (answer.status, answer.body) == (403, b"no")
        assert await client.reader.rest() == b""  # the rest of the upload is not waited for

    run(story, routes(A))


def test_an_answer_that_breaks_off_resets_the_client():
    """Its status was sent already: nothing else can tell."""

    async def story(bench):
        async def serve(stream, reader):
            await http1.read_request(reader, stream)
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            stream.abort()

        await bench.raw(A, serve)
        with pytest.raises((ConnectionResetError, HttpError)):
            await bench.connect().ask(GET)

    run(story, routes(A))


def test_a_client_that_says_nothing_is_left_after_its_time():
    async def story(bench):
        client = bench.connect()
        assert await client.stream.recv() == b""
        assert bench.env.clock.monotonic_ns() / 1e9 == pytest.approx(75.0, abs=0.1)
        half = bench.connect()
        await half.stream.send(b"GET / HTTP/1.1\r\n")
        assert (await half.answer()).status == 408

    run(story, routes(A))


def test_an_upload_that_stalls_under_its_answer_ends_in_a_reset_not_in_a_second_answer():
    """A page of 408 in the middle of a body would be taken for a part of it."""

    async def story(bench):
        async def early(stream, reader):
            await reader.line()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nbegun")
            await bench.env.clock.sleep(3600)

        await bench.raw(A, early)
        client = bench.connect()
        await client.send("PUT / HTTP/1.1\nHost: h\nContent-Length: 900000", b"x" * 70_000)
        received = b""
        with pytest.raises(ConnectionResetError):  # noqa: PT012  what came before counts, too
            while data := await client.stream.recv():
                received += data
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.endswith(b"begun")

    run(story, routes(A, proxy_read_timeout="600", proxy_body_size="0"))
