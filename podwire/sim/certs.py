"""What an installer leaves for a cluster whose rooms are processes: ``podwire certs DIR``.

Idempotent: what is still good is kept, so a second run changes nothing and a run with an expired
certificate renews just that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from podwire.apiserver import frontproxy
from podwire.apiserver.certs import Authority, Pair
from podwire.apiserver.frontproxy import FrontProxy
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.client.identity import ROOMS, IdentityError
from podwire.runtime.env import Env
from podwire.runtime.files import write_private
from podwire.sim.settings import ADMIN, LOOPBACK, SERVER_NAMES

CA, ADMIN_FILE, SERVING = "ca", "admin", "serving"
FRONT_PROXY_CA, FRONT_PROXY_CLIENT = frontproxy.AUTHORITY, frontproxy.CLIENT
NOT_FOR_ROOMS = (f"{CA}.key", f"{ADMIN_FILE}.key", f"{FRONT_PROXY_CA}.key")
"""Whoever reads them is everybody: no room needs them."""
ETCD = "etcd"
"""etcd is no room, but it trusts and is trusted as one."""
TOKEN = "token"  # noqa: S105  a file's name
"""The cluster's one bearer token."""
SIGNER = "signer"
"""The authority of certificate requests. It is not the rooms' own: who gets a certificate by the
API is a client of the API server, and no room.
"""
_SIGNER = "podwire-signer"
ACCOUNTS_KEY = "sa.key"
"""What signs service accounts' tokens."""


def install(
    directory: Path, env: Env, names: Sequence[str], told: Callable[[str], None]
) -> Authority:
    """Fill ``directory`` with the authority, a certificate per room, the API server's serving
    certificate (for ``names`` too), the administrator's, the bearer token, and the key of service
    accounts' tokens.

    ``told`` hears of each file that was written. Raises IdentityError for a damaged or foreign
    authority, OSError when the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    authority = _authority(directory, env, told)

    def keep(name: str, wanted: Sequence[str], make: Callable[[], Pair]) -> None:
        held = _read(directory, name)
        if held is None or not authority.still_good(held, wanted):
            _write(directory, name, make())
            told(f"{name}.crt")

    keep(ETCD, (ETCD, LOOPBACK, *names), lambda: authority.room(ETCD, (LOOPBACK, *names)))
    for room in ROOMS:
        keep(room, (room, *names), lambda room=room: authority.room(room, names))  # type: ignore[misc]
    serving = (*SERVER_NAMES, *names)
    keep(SERVING, serving, lambda: authority.server(serving))
    groups = [group for group in ADMIN.groups if group != "system:authenticated"]
    keep(ADMIN_FILE, (), lambda: authority.client(ADMIN.name, groups))
    token = directory / TOKEN
    if not token.exists():
        write_private(token, f"{env.secret(32).hex()}\n".encode())
        told(TOKEN)
    if _read(directory, SIGNER) is None:
        _write(directory, SIGNER, Authority(env.secret, env.clock.now_ns(), name=_SIGNER).pair)
        told(f"{SIGNER}.crt")
    if not (directory / ACCOUNTS_KEY).exists():
        write_private(directory / ACCOUNTS_KEY, new_signing_key(env.secret))
        told(ACCOUNTS_KEY)
    issuing = _front_authority(directory, env, told)
    held = _read(directory, FRONT_PROXY_CLIENT)
    if held is None or not issuing.still_good(held, ()):
        _write(directory, FRONT_PROXY_CLIENT, issuing.client(frontproxy.CLIENT, ()))
        told(f"{FRONT_PROXY_CLIENT}.crt")
    return authority


def front_proxy(directory: Path, client_ca: bytes) -> FrontProxy:
    """Who may speak for others. Raises IdentityError when it is not there or damaged."""
    file = directory / f"{FRONT_PROXY_CA}.crt"
    with _issued(file, directory):
        ca = file.read_bytes()  # its key is not for rooms
        return FrontProxy(ca, pair(directory, FRONT_PROXY_CLIENT), client_ca)


def pair(directory: Path, name: str) -> Pair:
    """A certificate and its key by name. Raises IdentityError when it is not there."""
    found = _read(directory, name)
    if found is None:
        raise IdentityError(
            f"{directory / name}.crt: no such certificate: issue it with: podwire certs {directory}"
        )
    return found


def token(directory: Path) -> str:
    """The bearer token. Raises IdentityError when it is not there or damaged."""
    with _issued(directory / TOKEN, directory):
        return (directory / TOKEN).read_text().strip()


def signer(directory: Path, env: Env) -> Authority:
    """The authority that signs certificate requests. Raises IdentityError."""
    with _issued(directory / f"{SIGNER}.crt", directory):
        return Authority(env.secret, env.clock.now_ns(), pair(directory, SIGNER))


def issuer(directory: Path) -> Issuer:
    """Who signs service accounts' tokens. Raises IdentityError: no key, or a damaged one."""
    file = directory / ACCOUNTS_KEY
    with _issued(file, directory):
        return Issuer(file.read_bytes())


@contextmanager
def _issued(file: Path, directory: Path) -> Iterator[None]:
    """Read a file that ``podwire certs`` wrote: IdentityError where it is not there or damaged."""
    how = f"issue it with: podwire certs {directory}"
    try:
        yield
    except OSError as error:
        raise IdentityError(f"{file}: {error.strerror}: {how}") from error
    except ValueError as error:
        raise IdentityError(f"{file}: {error}; remove it and {how}") from error


def _authority(directory: Path, env: Env, told: Callable[[str], None]) -> Authority:
    kept = _read(directory, CA)
    try:
        authority = Authority(env.secret, env.clock.now_ns(), kept)
    except ValueError as error:
        raise IdentityError(
            f"{directory / CA}.crt: {error}; to start with a new authority, remove {directory}"
        ) from error
    if kept is None:
        _write(directory, CA, authority.pair)
        told(f"{CA}.crt")
    return authority


def _front_authority(directory: Path, env: Env, told: Callable[[str], None]) -> Authority:
    kept = _read(directory, FRONT_PROXY_CA)
    try:
        authority = Authority(env.secret, env.clock.now_ns(), kept, name=FRONT_PROXY_CA)
    except ValueError as error:
        raise IdentityError(
            f"{directory / FRONT_PROXY_CA}.crt: {error}; to start with a new one, remove it"
        ) from error
    if kept is None:
        _write(directory, FRONT_PROXY_CA, authority.pair)
        told(f"{FRONT_PROXY_CA}.crt")
    return authority


def _read(directory: Path, name: str) -> Pair | None:
    try:
        return Pair(
            (directory / f"{name}.crt").read_bytes(), (directory / f"{name}.key").read_bytes()
        )
    except FileNotFoundError:
        return None


def _write(directory: Path, name: str, made: Pair) -> None:
    """The key first: a certificate without its key would be kept."""
    write_private(directory / f"{name}.key", made.key)
    write_private(directory / f"{name}.crt", made.certificate)
