"""The stories of stories/*.txt, typed into each kubectl: every verb, and what it must answer.

In the whole suite the older kubectl types some of them each time.
"""

from pathlib import Path

import pytest

from tests.clients import installed
from tests.clients.transcripts import parse
from tests.rotation import some

FILES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
STORIES = [(path, story) for path in FILES for story in parse(path.read_text())]
WANTED_COMMANDS = 150


@pytest.fixture(scope="module")
def transcript(request):
    """The file whose stories share a cluster."""
    return request.param


def told(version, path, story):
    return pytest.param(
        version,
        path.stem,
        story,
        id=f"{version}-{path.stem}: {story.title}",
        marks=pytest.mark.xdist_group(f"kubectl-{path.stem}"),
    )


NEWEST, *OLDER = installed.KUBECTLS
CASES = [told(NEWEST, *each) for each in STORIES] + [
    told(version, *each) for version in OLDER for each in some(STORIES, len(STORIES) // 3)
]


@pytest.mark.parametrize(("desk", "transcript", "story"), CASES, indirect=["desk", "transcript"])
def test_kubectl_is_answered_as_by_the_real_one(transcript, story, desk, certificates):
    """Each command of the story ends and prints as upstream's documentation says."""
    desk.player(desk.version, TLS=str(certificates), VERSION=desk.version).play(story)


def test_the_stories_name_their_sources_and_are_many():
    """What upstream says is named in each; at least that many commands in all."""
    assert [story.title for _, story in STORIES if not story.sources] == []
    commands = [step.command for _, story in STORIES for step in story.steps if step.command]
    assert len([command for command in commands if "kubectl" in command]) >= WANTED_COMMANDS
