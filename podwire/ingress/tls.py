"""Real TLS over a modelled stream, and the controller's certificates.

A publication passes bytes through, so the handshake is between the real client and this program:
``ssl`` works on memory, the bytes travel as packets. In virtual time it works as well; only its
random bytes are OpenSSL's own, which no decision depends on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
from collections.abc import Callable

from podwire.client.counters import Stream
from podwire.l7.certs import KeyPair
from podwire.runtime.files import private_file
from podwire.runtime.ports import Rng

RECORD_BYTES = 16 * 1024
MAX_CONTEXTS = 1024
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FAKE_NAME = "Kubernetes Ingress Controller Fake Certificate"
FAKE_ORGANIZATION = "Acme Co"
FAKE_HOST = "ingress.local"


def fake_certificate(rng: Rng, now_ns: int) -> KeyPair:
    """The default certificate that nobody should trust; its key follows from the seed.

    Names and lifetime as ingress-nginx's internal/net/ssl makes it; an EC key, to be replayable.
    """
    from cryptography import x509  # noqa: PLC0415  heavy: only for a real TLS client
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    number = int.from_bytes(rng.bytes(48), "big") % (_P256_ORDER - 1) + 1
    key = ec.derive_private_key(number, ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, FAKE_ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, FAKE_NAME),
        ]
    )
    now = dt.datetime.fromtimestamp(now_ns // 10**9, tz=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(rng.bytes(16), "big") >> 1 or 1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(FAKE_HOST)]), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(certificate.public_bytes(pem), secret, (FAKE_HOST,))


def context(pair: KeyPair) -> ssl.SSLContext:
    """A server's context (TLS 1.2 and 1.3, HTTP/1.1). Raises ssl.SSLError, OSError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    with private_file(pair.certificate + b"\n" + pair.key) as path:
        made.load_cert_chain(path)
    return made


class Contexts:
    """The contexts of a table's certificates, each made when the first client asks for it.

    ``find`` gives the pair for a server name, or None for the fake one.
    """

    def __init__(self, fake: Callable[[], KeyPair], find: Callable[[str], KeyPair | None]) -> None:
        self._fake = fake
        self._find = find
        self._default: ssl.SSLContext | None = None
        self._made: dict[KeyPair, ssl.SSLContext] = {}

    def default(self) -> ssl.SSLContext:
        """The context a handshake starts with; SNI changes it. Raises ssl.SSLError, OSError."""
        if self._default is None:
            self._default = context(self._fake())
            self._default.sni_callback = self._named
        return self._default

    def _named(self, inner: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        pair = self._find(name.lower()) if name else None
        if pair is None:
            return
        made = self._made.get(pair)
        if made is None:
            if len(self._made) >= MAX_CONTEXTS:
                self._made.clear()  # certificates that were renewed leave theirs behind
            made = self._made[pair] = context(pair)
        inner.context = made


class TlsStream:
    """``counters.Stream`` with TLS inside. ``received`` is what came of the handshake already."""

    def __init__(self, stream: Stream, received: bytes, default: ssl.SSLContext) -> None:
        self.local, self.remote = stream.local, stream.remote
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._in.write(received)
        self._ssl = default.wrap_bio(self._in, self._out, server_side=True)

    async def handshake(self) -> None:
        """Shake hands. Raises ssl.SSLError, OSError."""
        while True:
            try:
                self._ssl.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more():
                    raise ConnectionResetError("the client left during the handshake") from None
            except ssl.SSLError:
                await self._flush()  # the alert that tells the client why
                raise
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        if data := self._out.read():
            await self._stream.send(data)

    async def _more(self) -> bool:
        data = await self._stream.recv()
        if data:
            self._in.write(data)
        return bool(data)

    async def recv(self) -> bytes:
        """The next bytes, b"" at end of stream. Raises OSError (ssl.SSLError among them)."""
        while True:
            try:
                return self._ssl.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more():
                    return b""
            except ssl.SSLZeroReturnError:
                return b""

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises BrokenPipeError, ConnectionResetError."""
        for start in range(0, len(data), RECORD_BYTES):
            self._ssl.write(data[start : start + RECORD_BYTES])
            await self._flush()

    async def close(self) -> None:
        """Say goodbye (close_notify), then FIN."""
        with contextlib.suppress(ssl.SSLError):  # the client's own goodbye is not waited for
            self._ssl.unwrap()
        try:
            await self._flush()
        except OSError:
            self._stream.abort()
        else:
            await self._stream.close()

    def abort(self) -> None:
        """Send RST."""
        self._stream.abort()
