"""Requests whose headers came before are read like all others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.apiserver.http.parser import MalformedError, RequestParser

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


@settings(max_examples=300)
@given(conversations)
def test_headers_that_came_before_mean_the_same(sent):
    """llhttp reads everything in one parser and only what is new in the other."""
    assert told(sent, remembering=True) == told(sent, remembering=False)


def test_only_the_first_line_of_a_repeated_get_is_read():
    parser = RequestParser(lambda *_: None)
    parser.feed(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    parser.complete.clear()
    parser._parser = None
    parser.feed(b"GET /b?c=d HTTP/1.1\r\nHost: x\r\n\r\n")
    assert parser.complete[0].path_and_query == ("/b", (("c", "d"),))
