"""Requests whose headers came before are read like all others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.apiserver.http.parser import MalformedError, RequestParser
from tests.rotation import examples

LINES = (
    "GET / HTTP/1.1", "GET /a?b=c%20d HTTP/1.1", "GET /a/../b HTTP/1.1", "GET /a  HTTP/1.1",
    "GET /a HTTP/1.0", "GET /a HTTP/1.2", "GET /a", "POST /a HTTP/1.1", "HEAD /a HTTP/1.1",
    "GET /ä HTTP/1.1", "GET /a\x00 HTTP/1.1", "GET /a#b HTTP/1.1", "GET http://x/a HTTP/1.1",
    "GET * HTTP/1.1", "GET /a HTTP/1.1\r", "\r\nGET /a HTTP/1.1", "get /a HTTP/1.1", "",
)  # fmt: skip
BLOCKS = (
    "Host: x\r\n\r\n", "Host: x\r\nA: 1\r\nA: 2\r\n\r\n", "Host: x\r\nConnection: close\r\n\r\n",
    "Host: x\r\nConnection: keep-alive\r\n\r\n", "Host: x\r\nContent-Length: 0\r\n\r\n",
    "Host: x\r\nContent-Length: 3\r\n\r\nabc", "\r\n", "Host: x\r\nHost: x\r\n\r\n",
    "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Host: x\r\nUpgrade: y\r\n\r\n",
    "Host: x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n", "Host: x\r\n\r\n\r\n",
    "Host: x\r\nExpect: 100-continue\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "Host: x\r\n",
)  # fmt: skip

line, block = st.sampled_from(LINES[:2]), st.sampled_from(BLOCKS[:2])
usual = st.tuples(line, block)
odd = st.one_of(
    st.tuples(st.sampled_from(LINES), block), st.tuples(line, st.sampled_from(BLOCKS))
)  # fmt: skip
conversations = st.lists(
    st.one_of(usual, odd).map(lambda piece: "\r\n".join(piece).encode()), min_size=3, max_size=12
)


def told(pieces, *, remembering):
    """What a parser makes of these pieces, and how it ended."""
    found = []
    parser = RequestParser(lambda _, has_body: found.append(has_body))
    if not remembering:
        parser._again = lambda _: False
    for piece in pieces:
        try:
            parser.feed(piece)
        except MalformedError as error:
            found.append((error.status, error.reason))
            break
        while parser.complete:
            one = parser.complete.popleft()
            found.append(
                (one.method, one.target, dict(one.headers), one.body, one.keep_alive, one.one_zero,
                 one.upgrade)
            )  # fmt: skip
            one.headers["x-spoiled"] = "by whoever answered it"
        found.append((parser.reading, parser.in_body, parser.upgraded))
    return found


@settings(max_examples=examples(300))
@given(conversations)
def test_headers_that_came_before_mean_the_same(sent):
    """llhttp reads everything in one parser and only what is new in the other."""
    assert told(sent, remembering=True) == told(sent, remembering=False)


WRITES = (
    "POST /a HTTP/1.1", "PUT /a?b=c%20d HTTP/1.1", "PATCH /a HTTP/1.1", "DELETE /a HTTP/1.1",
    "POST /a HTTP/1.0", "POST /ä HTTP/1.1", "POST /a  HTTP/1.1", "GET /a HTTP/1.1",
)  # fmt: skip
HEADERS = (
    "Host: x\r\nContent-Length: %s\r\n", "Host: x\r\nContent-Length: %s\r\nA: 1\r\nA: 2\r\n",
    "content-length: %s\r\nHost: x\r\n", "Host: x\r\nContent-Length: %s\r\nContent-Length: 3\r\n",
    "Host: x\r\nContent-Length:%s\r\n", "Host: x\r\nA: content-length: 3\r\nContent-Length: %s\r\n",
    "Host: x\r\nContent-Length: %s\r\nConnection: close\r\n", "Content-Length: %s\r\n",
    "Host: x\r\nContent-Length: %s\r\nExpect: 100-continue\r\n", "Host: x\r\n",
    "Host: x\r\nContent-Length: %s\r\nTransfer-Encoding: chunked\r\n",
)  # fmt: skip
BODIES = ("abc", "{}", "x" * 12, "a\r\n\r\nb", "")
LENGTHS = ("0", "3", "03", "+3", " 3", "3 ", "-1", "12a", "", "99999999", "1000000")


def write(line, headers, body, length):
    head = (
        headers % (len(body.encode()) if length is None else length) if "%" in headers else headers
    )
    return f"{line}\r\n{head}\r\n{body}".encode()


plain_writes = st.builds(
    write, st.sampled_from(WRITES[:3]), st.sampled_from(HEADERS[:3]), st.sampled_from(BODIES),
    st.none(),
)  # fmt: skip
odd_writes = st.builds(
    write, st.sampled_from(WRITES), st.sampled_from(HEADERS), st.sampled_from(BODIES),
    st.none() | st.sampled_from(LENGTHS),
)  # fmt: skip


@settings(max_examples=examples(500))
@given(st.lists(plain_writes | plain_writes | odd_writes, min_size=2, max_size=10))
def test_writes_whose_headers_came_before_mean_the_same(sent):
    """Whatever their length says, and wherever it stands."""
    assert told(sent, remembering=True) == told(sent, remembering=False)


def test_of_a_repeated_write_only_the_first_line_and_the_length_are_read():
    parser = RequestParser(lambda *_: None)
    parser.feed(write(WRITES[0], HEADERS[1], "{}", None))
    parser.complete.clear()
    parser._parser = None
    parser.feed(write("PUT /b HTTP/1.1", HEADERS[1], '{"a": 1}', None))
    one = parser.complete[0]
    assert (one.method, one.target, one.body) == ("PUT", "/b", b'{"a": 1}')
    assert one.headers == {"host": "x", "content-length": "8", "a": "1, 2"}


def test_only_the_first_line_of_a_repeated_get_is_read():
    parser = RequestParser(lambda *_: None)
    parser.feed(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    parser.complete.clear()
    parser._parser = None
    parser.feed(b"GET /b?c=d HTTP/1.1\r\nHost: x\r\n\r\n")
    assert parser.complete[0].path_and_query == ("/b", (("c", "d"),))


def test_a_get_whose_body_was_refused_is_not_taken_for_one_without():
    """The same bytes again, now let in, bring their body."""
    refusals = iter(("nobody", None))
    parser = RequestParser(lambda incoming, _: setattr(incoming, "refusal", next(refusals)))
    for body in (b"", b"abc"):
        parser.feed(b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert parser.complete.popleft().body == body
