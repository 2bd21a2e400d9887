"""What the proxy changes in answers, so that a page stays behind it: Location headers and the links
of HTML. Pure.

Source: apimachinery pkg/util/proxy/transport.go (which attributes of which elements hold URLs; a
URL of another host, or a relative one, stays as it is).
"""

from __future__ import annotations

import html
import posixpath
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlsplit, urlunsplit

MAX_HTML_BYTES = 256 * 1024
"""Of one page: the worst that can be made of it takes two seconds."""

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",),
    "base": ("href",), "blockquote": ("cite",), "body": ("background",), "button": ("formaction",),
    "command": ("icon",), "del": ("cite",), "embed": ("src",), "form": ("action",),
    "frame": ("longdesc", "src"), "head": ("profile",), "html": ("manifest",),
    "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"), "ins": ("cite",), "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",),
    "source": ("src",), "video": ("poster", "src"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Links:
    """How URLs of one answer are rewritten."""

    prepend: str
    """The path of the proxy itself: ``/api/v1/namespaces/default/pods/web/proxy``."""
    backend: str
    """Host (and port) that was asked."""
    host: str
    """The client's Host header."""

    def url(self, text: str) -> str:
        """One URL as the client has to see it."""
        try:
            url = urlsplit(text)
        except ValueError:
            return text
        elsewhere = url.netloc not in {"", self.backend, self.host}
        if elsewhere or not url.path.startswith("/"):
            return text
        scheme, netloc, path = url.scheme, url.netloc, url.path
        if netloc != self.host:
            scheme = netloc = ""
        if not path.startswith(self.prepend):
            joined = posixpath.normpath(f"{self.prepend}/{path.lstrip('/')}")
            path = f"{joined}/" if path.endswith("/") and joined != "/" else joined
        return urlunsplit((scheme, netloc, path, url.query, url.fragment))

    def page(self, text: str) -> str:
        """A page of HTML with its links rewritten; everything else is left as it was."""
        finder = _Finder(self, text)
        # Without close(): a tag that does not end swallows the rest, as HTML has it, and is not
        # looked for again and again.
        finder.feed(text)
        parts, at = [], 0
        for start, end, new in finder.found:
            parts += [text[at:start], new]
            at = end
        return "".join([*parts, text[at:]])

    def body(self, data: bytes, encoding: str) -> bytes:
        """A page as it was sent. Raises ValueError when it does not decode."""
        wbits = {"gzip": 31, "deflate": -15}.get(encoding)
        if wbits is None:
            plain = data
        else:
            inflate = zlib.decompressobj(wbits)
            try:
                plain = inflate.decompress(data, MAX_HTML_BYTES + 1)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if len(plain) > MAX_HTML_BYTES:
                raise ValueError("the page is too large")
        page = self.page(plain.decode("utf-8", "surrogateescape"))
        plain = page.encode("utf-8", "surrogateescape")
        if wbits is None:
            return plain
        deflate = zlib.compressobj(wbits=wbits)
        return deflate.compress(plain) + deflate.flush()


REWRITTEN_ENCODINGS = ("", "gzip", "deflate")
"""Pages in other encodings pass as they are."""


class _Finder(HTMLParser):
    """Collects (start, end, replacement) of the tags whose links change."""

    def __init__(self, links: Links, text: str) -> None:
        super().__init__()  # which converts references: else a malformed one ends the parsing
        self._links = links
        self._starts = [0]
        for line in text.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self.found: list[tuple[int, int, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A start tag (``<br/>`` too)."""
        wanted = _ATTRIBUTES.get(tag, ())
        changed = [
            (name, self._links.url(value) if name in wanted and value else value)
            for name, value in attrs
        ]
        raw = self.get_starttag_text()
        if changed == attrs or raw is None:
            return
        words = "".join(
            f" {name}" if value is None else f' {name}="{html.escape(value)}"'
            for name, value in changed
        )
        line, column = self.getpos()
        start = self._starts[line - 1] + column
        end = "/>" if raw.endswith("/>") else ">"
        self.found.append((start, start + len(raw), f"<{tag}{words}{end}"))
