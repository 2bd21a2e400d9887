"""The folder of certificates of a cluster whose rooms are processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire.client.identity import IdentityError
from podwire.runtime.env import real
from podwire.sim import certs


def test_the_front_proxys_authority_is_no_rooms_and_its_damage_is_named(tmp_path: Path) -> None:
    """The API server does without its key: whoever reads that is everybody. Without its
    certificate, as in a folder of an earlier release, or with a damaged one, both the API server
    and ``podwire certs`` say what to do.
    """
    env = real(log_level="off")
    certs.install(tmp_path, env, (), lambda _: None)
    for name in certs.NOT_FOR_ROOMS:
        (tmp_path / name).rename(tmp_path / f"{name}.away")
    certs.front_proxy(tmp_path, b"")
    for name in certs.NOT_FOR_ROOMS:
        (tmp_path / f"{name}.away").rename(tmp_path / name)
    file = tmp_path / "front-proxy-ca.crt"
    file.write_text("no certificate")
    with pytest.raises(IdentityError, match=r"front-proxy-ca.crt: .*; remove it and issue it with"):
        certs.front_proxy(tmp_path, b"")
    with pytest.raises(IdentityError, match=r"front-proxy-ca.crt: .*; to start with a new one"):
        certs.install(tmp_path, env, (), lambda _: None)
    file.unlink()
    with pytest.raises(IdentityError, match=r"front-proxy-ca.crt: No such file .*: issue it with"):
        certs.front_proxy(tmp_path, b"")
    told: list[str] = []
    certs.install(tmp_path, env, (), told.append)
    assert told == ["front-proxy-ca.crt", "front-proxy-client.crt"]
