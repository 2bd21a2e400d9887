"""Scripts through the real shells of this machine and through ours: the same, or "not modelled".

``scripts.txt`` holds them, separated by lines of four dashes. Where the shells differ from each
other, ours is as good as any of them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rotation import some
from tests.unit.shell.test_language import execute

SCRIPTS = (Path(__file__).parent / "scripts.txt").read_text().rstrip("\n").split("\n----\n")
BASH_SCRIPTS = (
    (Path(__file__).parent / "bash_scripts.txt").read_text().rstrip("\n").split("\n----\n")
)
SHELLS = [words for words in (["dash"], ["bash"], ["busybox", "sh"]) if shutil.which(words[0])]
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": "/root", "LC_ALL": "C"}


def really(script: str, shells: list[list[str]] = SHELLS) -> list[tuple[int, str]]:
    """Exit code and stdout of each real shell."""
    answers = []
    for shell in shells:
        done = subprocess.run(
            [*shell, "-c", script], capture_output=True, check=False, stdin=subprocess.DEVNULL,
            timeout=30, env=ENVIRONMENT,
        )  # fmt: skip
        answers.append((done.returncode, done.stdout.decode(errors="replace")))
    return answers


def held(script: str) -> str:
    """What is wrong with our answer; "" when nothing is."""
    code, out, err, _ = execute("sh", "-c", script)
    answers = really(script)
    if (code, out) in answers or "not modelled" in err:
        return ""
    return f"{script!r}: ours {code} {out!r} {err!r}; real {answers}"


@pytest.mark.skipif(not SHELLS, reason="no shell to compare with")
def test_scripts_print_what_real_shells_print() -> None:
    wrong = [told for script in some(SCRIPTS, 250) if (told := held(script))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(["bash"] not in SHELLS, reason="no bash to compare with")
def test_bash_scripts_print_what_bash_prints() -> None:
    """Arrays, ``[[ ]]``, substitutions, ``(( ))``: ``bash_scripts.txt`` through both."""
    wrong = []
    for script in BASH_SCRIPTS:
        ours = execute("bash", "-c", script)
        real = really(script, [["bash"]])[0]
        if (ours[0], ours[1]) != real and "not modelled" not in ours[2]:
            wrong.append(f"{script!r}: ours {ours[:3]}; real {real}")
    assert not wrong, "\n".join(wrong)
    refused = [one for one in BASH_SCRIPTS if "not modelled" in execute("bash", "-c", one)[2]]
    assert len(refused) < 2, refused


def test_most_scripts_are_modelled() -> None:
    """Saying "not modelled" to everything would pass the comparison."""
    refused = [s for s in some(SCRIPTS, 250) if "not modelled" in execute("sh", "-c", s)[2]]
    assert len(refused) < 15, refused


_WORDS = st.sampled_from(["a", "b c", "*x", "", "7", "-n", "$x", "${x:-d}", "$(echo q)", "'$x'"])
_ATOMS = st.one_of(
    st.builds("echo {}".format, _WORDS),
    st.builds("x={}".format, st.sampled_from(["1", "'a  b'", "", "$x$x", "$((3*2))"])),
    st.sampled_from(["true", "false", "echo $?", 'echo "[$x]"', "(exit 3)", "echo $((1<<3|1))"]),
    st.builds("printf '%s,' {} {}; echo".format, _WORDS, _WORDS),
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{}; {}".format, inner, inner),
        st.builds("{{ {}; }} && {{ {}; }}".format, inner, inner),
        st.builds("{{ {}; }} || {{ {}; }}".format, inner, inner),
        st.builds("! {{ {}; }}".format, inner),
        st.builds("if {}; then {}; else {}; fi".format, inner, inner, inner),
        st.builds("for i in 1 2; do {}; done".format, inner),
        st.builds("({})".format, inner),
        st.builds("{{ {}; }} | cat".format, inner),
        st.builds('echo "<$({})>"'.format, inner),
        st.builds("set -e; {}".format, inner),
        st.builds("f() {{ {}; }}; f".format, inner),
        st.builds('case "$x" in 1) {};; *) {};; esac'.format, inner, inner),
    )


@pytest.mark.skipif(not shutil.which("dash"), reason="no dash to compare with")
@settings(deadline=None, max_examples=60)
@given(st.recursive(_ATOMS, _compound, max_leaves=8))
def test_made_up_scripts_print_what_dash_prints(script: str) -> None:
    assert held(script) == ""
