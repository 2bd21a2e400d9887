"""``podwire certs``: certificates for a cluster whose rooms are processes."""

from __future__ import annotations

import os
from pathlib import Path

import click

from podwire.cli.errors import EXIT_UNREACHABLE, EXIT_USAGE, Failure


@click.command("certs", epilog="Example: podwire certs ./pki --kubeconfig ./kubeconfig")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--dns", "names", multiple=True, metavar="NAME",
    help="Another name or address of the rooms and the API server; may be repeated.",
)  # fmt: skip
@click.option(
    "--kubeconfig", "kubeconfig_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Also write the administrator's kubeconfig there.",
)  # fmt: skip
@click.option(
    "--server", default="https://127.0.0.1:6443", show_default=True,
    help="The API server's address in that kubeconfig.",
)  # fmt: skip
@click.option(
    "--owner", default=None, metavar="UID[:GID]",
    help="Give the rooms' files to this user (needs root: a container that prepares volumes); "
    "the authority's key and the administrator's stay where they are.",
)  # fmt: skip
@click.option(
    "--give", "given", multiple=True, type=click.Path(path_type=Path, exists=True), metavar="DIR",
    help="Also give that user this folder; may be repeated.",
)  # fmt: skip
@click.option("--name", default="podwire", show_default=True, help="The cluster's name in it.")
def command(
    directory: Path,
    names: tuple[str, ...],
    kubeconfig_file: Path | None,
    server: str,
    owner: str | None,
    given: tuple[Path, ...],
    name: str,
) -> None:
    """Issue what the rooms of a cluster need to trust each other.

    Fills DIRECTORY with an authority, a certificate for each room, the API server's and the
    administrator's. What is still good is kept; what has expired is renewed.
    """
    from podwire.client.identity import IdentityError  # noqa: PLC0415  as light as the verb
    from podwire.runtime.env import real  # noqa: PLC0415
    from podwire.sim import certs  # noqa: PLC0415

    uid, gid = _owner(owner)
    try:
        authority = certs.install(
            directory, real(log_level="off"), names, lambda file: click.echo(f" ✓ {file}", err=True)
        )
        if kubeconfig_file is not None:
            _kubeconfig(kubeconfig_file, name, server, authority.pem, directory)
        if owner is not None:
            for path in (directory, *directory.iterdir(), *given):
                mine = path.parent == directory and path.name in certs.NOT_FOR_ROOMS
                os.chown(path, *((os.geteuid(), os.getegid()) if mine else (uid, gid)))
    except IdentityError as error:
        raise Failure(str(error), EXIT_UNREACHABLE) from error
    except OSError as error:
        raise Failure(f"cannot write {error.filename or directory}: {error.strerror}") from error


def _owner(text: str | None) -> tuple[int, int]:
    """``UID[:GID]`` as numbers. Raises Failure (2)."""
    uid, _, gid = (text or "0").partition(":")
    if not uid.isdecimal() or not (gid or uid).isdecimal():
        raise Failure(f"--owner {text!r}: use numbers, such as 1000:1000", EXIT_USAGE)
    return int(uid), int(gid or uid)


def _kubeconfig(file: Path, name: str, server: str, ca_pem: bytes, directory: Path) -> None:
    """Write a kubeconfig of its own, for the owner of the folder that it is put into."""
    from podwire.cli import kubeconfig  # noqa: PLC0415
    from podwire.runtime.files import write_private  # noqa: PLC0415
    from podwire.sim import certs  # noqa: PLC0415

    admin = certs.pair(directory, certs.ADMIN_FILE)
    document = kubeconfig.document(name, server, ca_pem, admin.certificate, admin.key)
    document["current-context"] = kubeconfig.context_name(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, kubeconfig.dump(document).encode())
    owner = file.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:  # a container's root writes for the user outside
        os.chown(file, owner.st_uid, owner.st_gid)
    click.echo(f" ✓ {file}", err=True)
