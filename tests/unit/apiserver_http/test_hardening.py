"""What a scanner would ask of the door: docs/security.md has the table."""

import socket
import ssl

import pytest

from podwire.apiserver.http.server import tls_context


def hello(site, version, ciphers="ALL:@SECLEVEL=0"):
    """A handshake with one version of TLS, without certificate checks; what was agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(site.http.address, 5) as raw, context.wrap_socket(raw) as tls:
        return tls.version(), tls.cipher()[0]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_tls_is_refused(site, in_thread, version):
    """TLS 1.2 is the least."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await in_thread(hello, site, version)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_new_tls_is_spoken(site, in_thread, version):
    """The two that count as safe."""
    spoken, cipher = await in_thread(hello, site, version)
    assert spoken == version.name.replace("_", ".")
    assert "GCM" in cipher or "CHACHA20" in cipher


@pytest.mark.parametrize(
    "cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"]
)
async def test_ciphers_without_authentication_of_their_own_are_refused(site, in_thread, cipher):
    """No CBC, no key exchange that a stolen key undoes later."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await in_thread(hello, site, ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0")


def test_every_cipher_is_authenticated_and_forward_secret(tmp_path, authority):
    """Whatever OpenSSL this is."""
    pair = authority.server(["127.0.0.1"])
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    context = tls_context(str(tmp_path / "crt"), str(tmp_path / "key"), authority.pem)
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["name"].startswith(("ECDHE-", "TLS_")), cipher["name"]


@pytest.mark.parametrize(
    "path", ["/debug/pprof/", "/debug/pprof/profile", "/debug/flags/v", "/logs/"]
)
async def test_nothing_profiles_the_server_from_outside(site, path):
    """CIS 1.2.15: there is no profiling endpoint at all."""
    async with site.admin() as http, http.get(path) as answer:
        assert answer.status == 404


async def test_it_listens_on_loopback(site):
    """Unless asked otherwise."""
    assert site.http.address[0] == "127.0.0.1"
