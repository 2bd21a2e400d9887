"""Identities by upstream's names: service accounts, nodes, components. What a name says, the groups
must say too, so a room is asked for the name only.

Source: apiserver pkg/authentication/{user,serviceaccount}, kubernetes pkg/auth/nodeidentifier.
"""

from __future__ import annotations

from podwire.client.counters import User

AUTHENTICATED = "system:authenticated"
ACCOUNTS = "system:serviceaccounts"
_ACCOUNT, _NODE = "system:serviceaccount:", "system:node:"


def service_account(namespace: str, name: str) -> User:
    """A service account as a user."""
    groups = (ACCOUNTS, f"{ACCOUNTS}:{namespace}", AUTHENTICATED)
    return User(f"{_ACCOUNT}{namespace}:{name}", groups)


def node(name: str) -> User:
    """The kubelet of a node as a user."""
    return User(f"{_NODE}{name}", ("system:nodes", AUTHENTICATED))


def named(name: str) -> User:
    """The user of a component's name, with the groups that belong to it."""
    if name.startswith(_NODE):
        return node(name.removeprefix(_NODE))
    if name.startswith(_ACCOUNT):
        namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
        return service_account(namespace, account)
    return User(name)
