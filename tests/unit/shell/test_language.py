"""The mini-shell's language, sentence by sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podwire.kubelet.programs import exec_command
from podwire.kubelet.programs.image import NODE_IMAGE
from podwire.kubelet.programs.registry import image_of
from podwire.kubelet.shell.find import find
from podwire.kubelet.shell.lexer import ShellSyntaxError
from podwire.kubelet.shell.parser import parse
from podwire.kubelet.shell.tools import SERVER_TOOLS, TOOLS
from podwire.kubelet.shell.tty import MAX_LINE_BYTES, MAX_LINES, Tty
from podwire.runtime import sim
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.rotation import examples
from tests.unit.programs.fakes import Captured, FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

IMAGE = "nicolaka/netshoot"
FILES = {"/data/a.txt": b"one\ntwo\n", "/etc/hostname": b"web-1\n"}


def execute(
    *argv: str, image: str = IMAGE, stdin: Sequence[bytes] = (), tty: bool = False
) -> tuple[int, str, str, FakeProcess]:
    """Run a command in a container: code, stdout, stderr, the container."""

    async def main(env: Env) -> tuple[int, str, str, FakeProcess]:
        process = FakeProcess(FlatNet(), spec(image), FILES)
        captured = Captured(env, process, stdin)
        captured.env.tty = tty
        code = await exec_command(captured.env, argv)
        return code, captured.text, captured.errors, process

    return sim.run(main, horizon_s=10_000)


def sh(script: str, **more: Sequence[bytes]) -> tuple[int, str]:
    code, out, err, _ = execute("sh", "-c", script, **more)  # type: ignore[arg-type]
    return code, out + err


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo a b  c", "a b c\n"),
        ("echo 'a  b' \"c $HOSTNAME\" \\$x", "a  b c web-1 $x\n"),
        ("x=1; y=$x$x; echo ${y}3 ${#y}", "113 2\n"),
        ("echo ${n:-d} ${n:=e} $n ${n:+f} ${m+g}.", "d e e f .\n"),
        ("p=/a/b.tar.gz; echo ${p##*/} ${p#*/} ${p%.*} ${p%%.*}",
         "b.tar.gz a/b.tar.gz /a/b.tar /a/b\n"),
        ("x='a b'; for i in $x \"$x\"; do echo [$i]; done", "[a]\n[b]\n[a b]\n"),
        ("for i in $(seq 3) `echo 4`; do printf %s, $i; done", "1,2,3,4,"),
        ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done", "1\n2\n3\n"),
        ("until true; do :; done; echo $?", "0\n"),
        ("if false; then echo a; elif true; then echo b; else echo c; fi", "b\n"),
        ("case web-1 in db*) echo db;; web-?|x) echo web;; *) echo none;; esac", "web\n"),
        ("false || echo or; true && echo and; ! false && echo not", "or\nand\nnot\n"),
        ("(x=2; echo $x); echo ${x:-unset}", "2\nunset\n"),
        ("{ echo a; echo b >&2; } 2>&1 | tr a-z A-Z", "A\nB\n"),
        ("echo hidden >/dev/null; ls /none 2>/dev/null; echo $?", "2\n"),
        ("cat /data/a.txt | grep -v one | wc -l", "1\n"),
        ("f() { echo $1-$2; return 3; }; f a b; echo $?", "a-b\n3\n"),
        ("set -- a 'b c'; echo $#; for i in \"$@\"; do echo $i; done; shift; echo $1",
         "2\na\nb c\nb c\n"),
        ("for i in 1 2 3; do [ $i = 2 ] && continue; [ $i = 3 ] && break; echo $i; done", "1\n"),
        ("echo $((2 + 3 * (4 - 1) % 5)) $((7 / -2)) $((1 < 2 && 3 != 3))", "6 -3 0\n"),
        ("echo a > /tmp/f; echo b >> /tmp/f; cat < /tmp/f", "a\nb\n"),
        ("ls /data/*.txt; ls /data/*.none 2>&1 | cut -d: -f2",
         "/data/a.txt\n cannot access '/data/*.none'\n"),
        ("echo one two | while read a b; do echo $b $a; done", "two one\n"),
        ("set -e; false; echo never", ""),
        ("set -x; echo a", "a\n+ echo a\n"),
        ("eval 'x=1; echo $x'; A=b env | grep ^A=", "1\nA=b\n"),
        ("yes | head -2; seq 10 | tail -n 2 | head -n 1", "y\ny\n9\n"),
        ("echo 'a.b.c' | sed 's/\\./-/g; s/^a/x&/' | cut -d- -f1,3", "xa-c\n"),
        ("test -n '' ; echo $?; [ 3 -ge 2 -a ! -f /none ]; echo $?", "1\n0\n"),
        ("sleep 5 & wait; date +%S; timeout 2 sleep 9; echo $?", "05\n124\n"),
        ("date foo 2>&1; echo $?", "date: invalid date 'foo'\n1\n"),
        ("printf '%s=%d\\n' a 1 b 2; printf '100%%'", "a=1\nb=2\n100%"),
        ("echo c b a | xargs -n1 | sort | uniq -c | tr -s ' '", " 1 a\n 1 b\n 1 c\n"),
        ("command -v curl && type cd; hostname -i",
         "/usr/bin/curl\ncd is a shell builtin\n10.244.1.5\n"),
        (('for i in `seq 1 2`; do check="$(echo x)" && test -n "$check" && '
         "echo OK > /results/$i; done; cat /results/1 /results/2"), "OK\nOK\n"),
        ("touch /tmp/healthy; rm /tmp/healthy; rm -f /tmp/healthy; test -f /tmp/healthy; echo $?",
         "1\n"),
        ("echo x > /d/a; echo y > /d/e/b; rm -rf /d; ls /d || rm /none; echo $?",
         ("1\nls: cannot access '/d': No such file or directory\n"
          "rm: cannot remove '/none': No such file or directory\n")),
    ],
)  # fmt: skip
def test_scripts_print_what_a_posix_shell_prints(script: str, output: str) -> None:
    """Quoting, expansion, control flow, redirections, pipes, functions, tools."""
    assert sh(script)[1] == output


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("exit 7", 7, ""),
        ("nosuch", 127, "sh: nosuch: not found\n"),
        ("echo 'open", 2, "syntax error: unterminated quoted string"),
        ("if true; then", 2, "syntax error: unexpected end of file"),
        ("echo )", 2, 'syntax error: unexpected ")"'),
        ("cat <<EOF\nx", 2, "not modelled: end of file inside a here-document"),
        ("echo $'a'", 2, "not modelled: $'...'"),
        ("[[ a = a ]]", 127, "sh: [[: not found\n"),
        ("echo ${x?gone}", 2, "x: gone"),
        ("echo $((1/0))", 2, "divide by zero"),
        ("while true; do :; done", 1, "commands in one second: not modelled"),
        ("f() { f; }; f", 1, "nested too deep"),
        ("cat /none", 1, "cat: /none: No such file or directory"),
        ("test a -eq 1", 2, "bad number"),
    ],
)
def test_failures_have_the_code_and_the_words_of_a_shell(
    script: str, code: int, message: str
) -> None:
    """Also: what would never end, ends."""
    got, output = sh(script)
    assert got == code
    assert message in output


def test_an_unknown_command_without_a_shell_is_not_modelled() -> None:
    """kubectl exec POD -- nosuch: 127."""
    assert execute("nosuch", "x")[::2] == (127, "nosuch: not modelled\n")
    assert execute("dig", "x", image="nginx")[0] == 127
    assert execute("sh", image="hashicorp/http-echo")[0] == 127


def test_every_tool_of_the_list_can_be_loaded() -> None:
    """A name without a module would crash the first use."""
    assert [name for name in TOOLS if find(image_of(NODE_IMAGE), name) is None] == []
    assert find(image_of(IMAGE), "crictl") is None
    assert [name for name in SERVER_TOOLS if name not in TOOLS] == []


def test_lines_typed_into_a_shell_run_one_by_one() -> None:
    """kubectl exec -i: unfinished commands wait for more lines, errors do not end it."""
    stdin = [b"echo a; x=5\nfor i in 1 2", b"\ndo echo $i\ndone\n)\n", b"echo $x\nexit 4\necho no"]
    code, out, err, _ = execute("sh", stdin=stdin)
    assert (code, out) == (4, "a\n1\n2\n5\n")
    assert "syntax error" in err


def test_a_terminal_echoes_edits_and_interrupts() -> None:
    """kubectl exec -it: raw keys in, CR LF out, Ctrl-C ends the command and not the shell."""
    keys = [b"echo hj\x7fi\r", b"sleep 100\r", b"\x03", b"echo $?\r", b"exit\r"]
    code, out, _, _ = execute("sh", image="busybox", stdin=keys, tty=True)
    assert code == 0
    assert out.startswith("/ # echo hj\b \bi\r\n") or "echo hj\b \bi\r\n" in out
    assert "\r\nhi\r\n" in out or "hi\r\n" in out
    assert "^C" in out


def test_what_is_typed_and_not_read_is_bounded() -> None:
    """A line has 4095 bytes, as in Linux; beyond some lines the client waits, and none is lost."""
    typed = 0

    async def read() -> bytes:
        nonlocal typed
        typed += 1
        return b"%05d" % typed + b"x" * 9000 + b"\r"

    async def story(_env: Env) -> None:
        tty = Tty(read, lambda _data: None)
        async with Nursery() as nursery:
            nursery.start(tty.pump(), name="typist")
            for number in range(1, 3 * MAX_LINES):
                line = await tty.read()
                await asyncio.sleep(0)
                assert line == (b"%05d" % number).ljust(MAX_LINE_BYTES, b"x") + b"\n"
                assert typed <= number + MAX_LINES + 2
            nursery.cancel()

    sim.run(story)


def test_network_tools_are_the_kernels() -> None:
    """Ip addr is answered by the fabric, in the pod's namespace."""
    assert execute("ip", "addr")[:2] == (0, "ran ip addr\n")


@settings(max_examples=examples(150))
@given(st.text(max_size=60))
def test_any_text_parses_or_is_a_clean_error(text: str) -> None:
    """No script breaks the parser."""
    try:
        parse(text)
    except ShellSyntaxError:
        return


WORDS = st.sampled_from(
    ["echo", "x=1", "$x", "${x:-y}", "$(echo", "a)", "`", '"', "'", ";", "|", "&&", "(", ")", "{",
     "}", "if", "then", "fi", "for", "in", "do", "done", "while", "true", "false", "!", ">", "/a",
     "2>&1", "\n", "&", "case", "esac", ";;", "*", "$((", "1", "+", "))", "f()", "break", "exit"]
)  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(WORDS, max_size=14))
def test_any_words_of_the_language_end_cleanly(words: list[str]) -> None:
    """Whatever order they come in: an exit code and bounded output."""
    code, output = sh(" ".join(words))
    assert 0 <= code < 256
    assert len(output) < 1_000_000
    assert "Traceback" not in output


def test_loops_let_others_run() -> None:
    """A busy loop in one container does not stop the world."""

    async def main(env: Env) -> int:
        process = FakeProcess(FlatNet(), spec(IMAGE))
        captured = Captured(env, process)
        busy = exec_command(captured.env, ["sh", "-c", "for i in $(seq 500); do :; done"])
        task = asyncio.ensure_future(busy)
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert sim.run(main) > 100


ARGS = st.lists(
    st.sampled_from(
        ["-n", "-c", "-f", "-d", "-w", "-z", "-l", "-u", "-x", "-t", "-p", "-e", "-s", "--x", "-",
         "+short", "+time=1", "@x", "1", "0", "-1", "99999999999", "a", "[", "*", "(", "\\",
         "/data",
         "/data/a.txt", "=", "s/a/", "s/(/x/", "%d", "%", "http://", "x:y", "::1", "[::", "..", "é"]
    ),
    max_size=4,
)  # fmt: skip
OFFLINE = sorted(
    name for name, module in TOOLS.items() if module not in {"fabric", "memory", "uname"}
)


@settings(max_examples=examples(400), deadline=None)
@given(st.sampled_from([name for name in OFFLINE if name != "httpd"]), ARGS)
def test_any_arguments_get_an_answer_in_the_tools_own_words(name: str, args: list[str]) -> None:
    """No option, number, pattern or name breaks a tool: never a Python traceback."""
    code, out, err, _ = execute(
        "timeout", "100", name, *args, stdin=[b"a b\n1\n"], image=NODE_IMAGE
    )
    assert 0 <= code < 256
    assert "Traceback" not in out + err
