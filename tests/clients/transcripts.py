"""Stories in which a real client's commands are typed and its answers are read.

A transcript is a text file of stories. Each story runs by itself, in a namespace of its own::

    == A deployment is made and found
    from https://kubernetes.io/docs/reference/kubectl/generated/kubectl_create/
    $ kubectl create deployment web --image=nginx
    out deployment.apps/web created
    $ kubectl get deployment nosuch
    err "nosuch" not found
    exit 1

A line is a word and its text:

======== =========================================================================================
``==``   begins a story; its title is a sentence
``from`` where upstream says so: a page, or a source file of kubernetes/kubernetes or helm/helm
``#``    why
``file`` the ``|`` lines below are the content of that file, in the story's own folder
``$``    a command, split as a shell would
``|``    a line of the command's input (or of the file above)
``exit`` its exit code (0 unless told; a number)
``out``  stdout contains this         ``out~`` stdout matches this expression, ``^$`` by line
``out=`` a whole line of stdout, runs of blanks being one
``err``  stderr contains this         ``err~`` stderr matches this expression
``not``  neither contains this
``save`` keep stdout, stripped, as ``${NAME}`` for the lines below
``soon`` what the command says may take a while: it is typed again until all of it is so
``only`` the versions of the client for which the lines up to the next blank line are meant
======== =========================================================================================

``${NS}`` is the story's namespace, ``${DIR}`` its folder. Nothing here is recorded from podwire.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass, field

from tests.waiting import until

COMMAND_TIMEOUT_S = 90
CHECKS = {"out", "out~", "out=", "err", "err~", "not"}


@dataclass
class Step:
    """One command, and what must come of it. ``file`` instead of ``command`` writes a file."""

    line: int
    command: str = ""
    file: str = ""
    input: list[str] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)
    exit: int = 0
    save: str = ""
    soon: bool = False
    only: tuple[str, ...] = ()


@dataclass
class Story:
    """A title, its sources and its steps."""

    title: str
    line: int
    sources: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def parse(text):
    """The stories of a transcript; ValueError names the line that is none of its words."""
    stories, only = [], ()
    for number, raw in enumerate(text.splitlines(), 1):
        word, _, rest = raw.strip().partition(" ")
        step = stories[-1].steps[-1] if stories and stories[-1].steps else None
        if not word:
            only = ()
        elif word == "==":
            stories.append(Story(rest.strip(), number))
        elif word == "from":
            stories[-1].sources.append(rest)
        elif word == "only":
            only = tuple(rest.split())
        elif word in {"$", "file"}:
            new = Step(number, only=only)
            setattr(new, "command" if word == "$" else "file", rest)
            stories[-1].steps.append(new)
        elif word == "|":
            step.input.append(raw.strip()[2:])
        elif word in CHECKS:
            step.checks.append((word, rest.strip()))
        elif word == "exit":
            step.exit = int(rest)
        elif word == "save":
            step.save = rest
        elif word == "soon":
            step.soon = True
        elif not word.startswith("#"):
            raise ValueError(f"line {number}: {word!r} is no word of a transcript")
    return stories


def holds(check, wanted, out, err):
    """Whether what was printed is as a check says."""
    if check == "not":
        return wanted not in out and wanted not in err
    text = err if check.startswith("err") else out
    if check.endswith("~"):
        return re.search(wanted, text, re.MULTILINE) is not None
    if check == "out=":
        return " ".join(wanted.split()) in [" ".join(line.split()) for line in text.splitlines()]
    return wanted in text


class Player:
    """Types a story's commands in a folder and an environment."""

    def __init__(self, folder, env, version, variables):
        self.folder = folder
        self.env = env
        self.version = version
        self.variables = {"DIR": str(folder), **variables}

    def play(self, story):
        """Every step in order; AssertionError shows the step that went otherwise."""
        for step in story.steps:
            if step.only and self.version not in step.only:
                continue
            if step.file:
                (self.folder / step.file).write_text(self.filled("\n".join(step.input)) + "\n")
            elif step.soon:
                until(step.command, lambda s=step: self.type(s) or True, every_s=0.2)
            else:
                self.type(step)

    def type(self, step):
        """Run one command and judge what it printed."""
        argv = shlex.split(self.filled(step.command))
        try:
            done = subprocess.run(
                argv, cwd=self.folder, env=self.env, input=self.filled("\n".join(step.input)),
                capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"line {step.line}: $ {step.command}: {late}") from None
        wrong = [
            f"{check} {wanted}"
            for check, wanted in ((c, self.filled(w)) for c, w in step.checks)
            if not holds(check, wanted, done.stdout, done.stderr)
        ]
        if done.returncode != step.exit:
            wrong.insert(0, f"exit {step.exit} (it was {done.returncode})")
        told = f"line {step.line}: $ {shlex.join(argv)}\nnot so: " + "\n        ".join(wrong)
        assert not wrong, f"{told}\n--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
        if step.save:
            self.variables[step.save] = done.stdout.strip()

    def filled(self, text):
        """The text with each ``${NAME}`` that is known replaced."""
        return re.sub(r"\$\{([A-Z][A-Z0-9_]*)\}", lambda m: self.variables.get(m[1], m[0]), text)
