"""The stories of stories/*.txt, typed into helm 4 and helm 3: the life of a chart."""

from pathlib import Path

import pytest

from tests.clients.transcripts import parse

pytestmark = pytest.mark.xdist_group("helm")

STORIES = [
    story
    for path in sorted((Path(__file__).parent / "stories").glob("*.txt"))
    for story in parse(path.read_text())
]


@pytest.mark.parametrize("story", STORIES, ids=[story.title for story in STORIES])
def test_helm_is_answered_as_by_the_real_one(story, desk):
    """Each command of the story ends and prints as helm's documentation says."""
    desk.player(desk.version).play(story)
