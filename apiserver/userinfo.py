"""A user as objects of the API tell of one."""

from __future__ import annotations

from podwire.api.view import JSON
from podwire.client.counters import User


def user_info(user: User) -> JSON:
    """authentication/v1 UserInfo, what is empty left out."""
    info: JSON = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    info["extra"] = {key: list(values) for key, values in user.extra}
    return {key: value for key, value in info.items() if value}
