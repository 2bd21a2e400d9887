"""The player of transcripts itself: what it understands, and that it can say no."""

import os

import pytest

from tests.clients.transcripts import Player, parse


def play(tmp_path, text, version="2"):
    (story,) = parse("== A story\n" + text)
    player = Player(tmp_path, dict(os.environ), version, {"NS": "space"})
    player.play(story)
    return player


def test_a_story_is_typed_and_read(tmp_path):
    """Input, files, saved output and every kind of check."""
    play(
        tmp_path,
        """
        file note
        | of ${NS}
        $ cat note -
        | and more
        out of space
        out= and    more
        out~ ^and m
        not less
        save TEXT
        $ sh -c 'echo "${TEXT}" >&2; exit 3'
        err of space
        err~ more$
        exit 3
        """,
    )


@pytest.mark.parametrize(
    "text",
    [
        "$ echo one\nout two",
        "$ echo one\nout= on",
        "$ echo one\nout~ ^ne",
        "$ echo one\nnot one",
        "$ echo one\nerr one",
        "$ true\nexit 1",
        "$ false",
    ],
)
def test_what_is_not_so_fails(tmp_path, text):
    """Each check refuses what it must refuse, and names its line."""
    with pytest.raises(AssertionError, match=r"line 2: \$"):
        play(tmp_path, text)


def test_lines_for_another_version_are_left_out(tmp_path):
    """Up to the next blank line."""
    play(tmp_path, "only 1\n$ false\n\n$ true")
    with pytest.raises(AssertionError):
        play(tmp_path, "only 1 2\n$ false\n\n$ true")


def test_what_comes_soon_is_waited_for(tmp_path):
    """The command is typed again until it says so."""
    play(tmp_path, "$ sh -c 'echo x >>n; wc -l <n'\nout 3\nsoon")
    assert (tmp_path / "n").read_text() == "x\n" * 3


def test_a_word_that_is_none_is_refused():
    """A misspelt check would otherwise check nothing."""
    with pytest.raises(ValueError, match="line 2: 'otu'"):
        parse("== A\notu x")
