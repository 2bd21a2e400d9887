"""The token controller's decisions."""

from __future__ import annotations

import base64

import msgspec

from podwire.api import kinds
from podwire.api.views import Secret, ServiceAccount
from podwire.client.effects import Delete, Patch
from podwire.controllers.serviceaccounttoken import core

ACCOUNT = msgspec.convert({"metadata": {"name": "a", "namespace": "x", "uid": "u"}}, ServiceAccount)


def secret(notes=None, type_=core.TYPE, **data):
    """A Secret of namespace x."""
    return msgspec.convert(
        {
            "metadata": {
                "name": "s",
                "namespace": "x",
                "uid": "s-uid",
                "resourceVersion": "7",
                "annotations": {core.NAME: "a"} if notes is None else notes,
            },
            "type": type_,
            "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
        },
        Secret,
    )


def decided(found, account=ACCOUNT):
    return core.reconcile(found, account, "CA", lambda _account, name: f"token of {name}")


def test_a_secret_of_an_account_is_filled():
    """Token, CA, namespace and the account's uid, if nobody wrote between."""
    (effect,) = decided(secret())
    assert isinstance(effect, Patch)
    assert effect.patch["metadata"] == {
        "uid": "s-uid",
        "resourceVersion": "7",
        "annotations": {core.UID: "u"},
    }
    data = {k: base64.b64decode(v).decode() for k, v in effect.patch["data"].items()}
    assert data == {"token": "token of s", "ca.crt": "CA", "namespace": "x"}


def test_a_whole_secret_is_left_alone():
    """So is one of another type, or of nobody."""
    notes = {core.NAME: "a", core.UID: "u"}
    assert decided(secret(notes, **{"ca.crt": "CA"}, namespace="x", token="t")) == []
    assert decided(secret(type_="Opaque")) == []
    assert decided(secret({})) == []
    assert decided(None) == []


def test_a_secret_goes_with_its_account():
    """A namesake is another account."""
    gone = [Delete(kinds.SECRET, "s", "x", uid="s-uid")]
    assert decided(secret(), None) == gone
    assert decided(secret({core.NAME: "a", core.UID: "other"})) == gone
