"""The few files of images that people look at: which distribution it is, its users, its page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from podwire.client.hosting import repository
from podwire.kubelet.programs.image import Image

_DEBIAN = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
_UBUNTU = {"20.04": "Focal Fossa", "22.04": "Jammy Jellyfish", "24.04": "Noble Numbat"}
_DEFAULT = {"debian": "13", "ubuntu": "24.04", "alpine": "3.22"}
_USERS = (
    ("root", 0, "/root"), ("daemon", 1, "/usr/sbin"), ("www-data", 33, "/var/www"),
    ("nobody", 65534, "/nonexistent"),
)  # fmt: skip


def files(image: Image, reference: str) -> Mapping[str, bytes]:
    """By absolute path; none where the image is nobody's or has no shell to look with."""
    if image.generic or image.node or image.tools == ():
        return {}
    return _files(image.name, image.busybox, reference)


@lru_cache(maxsize=256)
def _files(name: str, busybox: bool, reference: str) -> Mapping[str, bytes]:
    found = {"/etc/passwd": _passwd(name, busybox=busybox), "/etc/group": _group(name)}
    told = _os_release(name, reference, busybox=busybox)
    if told:
        found["/etc/os-release"] = told.encode()
    if name == "nginx":
        from podwire.kubelet.programs import nginx  # noqa: PLC0415  on first use

        found[f"{nginx.ROOT}/index.html"] = nginx.WELCOME.encode()
    return found


def _users(name: str) -> list[tuple[str, int, str]]:
    own = [("nginx", 101, "/nonexistent")] if name == "nginx" else []
    return [*_USERS, *own]


def _passwd(image: str, *, busybox: bool) -> bytes:
    shell = "/bin/sh" if busybox else "/bin/bash"
    lines = [
        f"{name}:x:{uid}:{uid}:{name}:{home}:{shell if not uid else '/usr/sbin/nologin'}\n"
        for name, uid, home in _users(image)
    ]
    return "".join(lines).encode()


def _group(image: str) -> bytes:
    return "".join(f"{name}:x:{uid}:\n" for name, uid, _ in _users(image)).encode()


def _os_release(image: str, reference: str, *, busybox: bool) -> str:
    """os-release(5); "" for busybox, which has none, and for what is not known."""
    name = repository(reference)
    last, tag = name.rpartition("/")[2], reference[len(name) :]
    if image == "busybox" or (image == "debian" and last not in {"debian", "ubuntu"}):
        return ""
    kind = "alpine" if busybox or image == "netshoot" else last if last == "ubuntu" else "debian"
    told = re.search(r"(\d{1,3}(?:\.\d{1,3})?)", tag)
    version = told[1] if told and last == kind else _DEFAULT[kind]
    if kind == "debian":
        code = next((c for c in _DEBIAN.values() if c in tag), "")
        version = next((v for v, c in _DEBIAN.items() if c == code), version.partition(".")[0])
    return _lines(kind, version)


def _lines(kind: str, version: str) -> str:
    if kind == "alpine":
        return (
            f'NAME="Alpine Linux"\nID=alpine\nVERSION_ID={version}.0\n'
            f'PRETTY_NAME="Alpine Linux v{version}"\nHOME_URL="https://alpinelinux.org/"\n'
        )
    if kind == "ubuntu":
        code = _UBUNTU.get(version, "")
        short = code.partition(" ")[0].lower()
        return (
            f'PRETTY_NAME="Ubuntu {version} LTS"\nNAME="Ubuntu"\nVERSION_ID="{version}"\n'
            f'VERSION="{version} LTS ({code})"\nVERSION_CODENAME={short}\nID=ubuntu\n'
            'ID_LIKE=debian\nHOME_URL="https://www.ubuntu.com/"\n'
        )
    code = _DEBIAN.get(version, "sid")
    return (
        f'PRETTY_NAME="Debian GNU/Linux {version} ({code})"\nNAME="Debian GNU/Linux"\n'
        f'VERSION_ID="{version}"\nVERSION="{version} ({code})"\nVERSION_CODENAME={code}\n'
        'ID=debian\nHOME_URL="https://www.debian.org/"\n'
    )
