"""The stories of stories/*.txt, typed into helm 4 and helm 3: the life of a chart.

In the whole suite the older helm types half of them each time.
"""

from pathlib import Path

import pytest

from tests.clients import installed
from tests.clients.transcripts import parse
from tests.rotation import some

pytestmark = pytest.mark.xdist_group("helm")

STORIES = [
    story
    for path in sorted((Path(__file__).parent / "stories").glob("*.txt"))
    for story in parse(path.read_text())
]


NEWEST, *OLDER = installed.HELMS
CASES = [(NEWEST, story) for story in STORIES] + [
    (version, story) for version in OLDER for story in some(STORIES, len(STORIES) // 2)
]


@pytest.mark.parametrize(
    ("desk", "story"),
    [pytest.param(*case, id=f"{case[0]}-{case[1].title}") for case in CASES],
    indirect=["desk"],
)
def test_helm_is_answered_as_by_the_real_one(story, desk):
    """Each command of the story ends and prints as helm's documentation says."""
    desk.player(desk.version).play(story)
