"""What an authorizer decides on, and the words in which it is told."""

from __future__ import annotations

import msgspec

from podwire.client.counters import User


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """A verb on a resource, or (with ``path``) on a URL."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    """What a list or watch demands of fields by ``=``: the node authorizer looks at it."""

    @property
    def combined(self) -> str:
        """``pods/log``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def words(self) -> str:
        """``User "x" cannot get resource "pods" in API group "" in the namespace "y"``."""
        who = f'User "{_plain(self.user.name)}" cannot {_plain(self.verb)}'
        if self.path:
            return f'{who} path "{_plain(self.path)}"'
        where = f' in the namespace "{self.namespace}"' if self.namespace else ""
        where = _plain(where) or " at the cluster scope"
        what = _plain(self.combined)
        return f'{who} resource "{what}" in API group "{_plain(self.group)}"{where}'


def _plain(text: str) -> str:
    """What a browser would take for HTML is escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
