"""Exceptions cross with their class and words."""

from __future__ import annotations

import errno
import os

import pytest

from podwire.api.status import ApiError, Cause
from podwire.client.framed.errors import RemoteError, from_data, promised, to_data
from podwire.dataplane.commands import CommandError

PROMISED = [
    ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
    FileNotFoundError("/etc/nothing"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/nothing"),
    OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)),
    OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)),
    ConnectionError("dial tcp node-1:10250: connect: connection refused"),
    BrokenPipeError(),
    TimeoutError(),
    TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)),
    CommandError("RTNETLINK answers: File exists"),
    LookupError("no node node-9"),
    ValueError("bad"),
]


@pytest.mark.parametrize("error", PROMISED, ids=repr)
def test_an_error_that_a_counter_promises_is_the_same_on_the_other_side(error):
    """Class, arguments and text."""
    assert promised(error)
    crossed = from_data(to_data(error))
    assert type(crossed) is type(error)
    assert str(crossed) == str(error)
    assert getattr(crossed, "errno", None) == getattr(error, "errno", None)


def test_an_api_error_keeps_its_status():
    """Reason, code, details and causes: clients read all of them."""
    error = ApiError(
        "Invalid",
        "spec is bad",
        details={"name": "x"},
        causes=(Cause("FieldValueInvalid", "no", "spec"),),
    )
    crossed = from_data(to_data(error))
    assert isinstance(crossed, ApiError)
    assert crossed.status() == error.status()


def test_a_key_error_is_a_lookup_error():
    """A subclass crosses as the class that was promised."""
    assert type(from_data(to_data(KeyError("node-9")))) is LookupError


def test_a_bug_is_a_remote_error_with_its_class_and_words():
    """It is no error that anybody catches by mistake."""
    assert not promised(ZeroDivisionError())
    crossed = from_data(to_data(ZeroDivisionError("division by zero")))
    assert type(crossed) is RemoteError
    assert str(crossed) == "ZeroDivisionError: division by zero"
