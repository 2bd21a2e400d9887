"""Tools that move bytes: tar, dd, cp, mv, sums, base64, head of devices, the size of a terminal."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire.kubelet import programs
from podwire.runtime import sim
from tests.unit.programs.fakes import Captured, FakeProcess, spec
from tests.unit.programs.flatnet import FlatNet

FILES = {"/data/a.txt": b"one\ntwo\n", "/data/sub/b": b"\0\xff" * 300}


def run(*argv, stdin=(), image="debian", files=FILES, size=(0, 0), tty=False):
    """Run a command: its code, what it printed, and the container's files afterwards."""

    async def main(env):
        process = FakeProcess(FlatNet(), spec(image), files)
        captured = Captured(env, process, stdin)
        captured.env.size = lambda: size
        captured.env.tty = tty
        code = await programs.exec_command(captured.env, argv)
        return code, captured, process.files

    return sim.run(main)


def archive(members, form=tarfile.GNU_FORMAT):
    """An archive as Python's own library makes it; content None is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type = tarfile.DIRTYPE
            info.size = len(data or b"")
            out.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def content(data):
    """Names and contents of an archive, as Python's own library reads it."""
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        return {
            m.name: found.extractfile(m).read() if m.isfile() else None for m in found.getmembers()
        }


def test_an_archive_of_a_folder_is_what_tar_libraries_read():
    """kubectl cp from a pod: folders first, leading slashes dropped, whole records."""
    code, out, _ = run("tar", "cf", "-", "/data")
    assert code == 0
    assert content(out.stdout) == {
        "data": None, "data/a.txt": b"one\ntwo\n", "data/sub": None, "data/sub/b": b"\0\xff" * 300,
    }  # fmt: skip
    assert len(out.stdout) % 10_240 == 0
    assert out.errors == "tar: Removing leading `/' from member names\n"


names = st.text("abc/.-é", min_size=1, max_size=120).filter(
    lambda name: all(part not in {"", ".", ".."} for part in name.split("/"))
)


def no_file_is_a_folder(members):
    """Whether some disk could hold them all: none lies below another."""
    return not any(other.startswith(f"{name}/") for name in members for other in members)


@given(
    st.dictionaries(names, st.binary(max_size=1500), max_size=4).filter(no_file_is_a_folder),
    st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT)),
    st.integers(1, 3000),
)
def test_what_libraries_pack_is_unpacked_as_it_was(members, form, step):
    """kubectl cp to a pod: any names, any sizes, stdin in any pieces."""
    try:
        data = archive(members, form)
    except ValueError:
        return  # ustar cannot hold the name
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    code, _, files = run("tar", "-xmf", "-", "-C", "/in", stdin=pieces, files={})
    assert code == 0
    assert {k[4:]: v for k, v in files.items() if k.startswith("/in/")} == members


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"no archive" * 100, "This does not look like a tar archive"),
        (archive({"x": b"y" * 600})[:1100], "Unexpected EOF in archive"),
        (archive({"../../etc/passwd": b"root"}), "Member name contains '..', skipping"),
    ],
)
def test_archives_that_are_none_or_mean_harm_are_refused(data, why):
    """Exit code 2, and nothing is written outside."""
    code, out, files = run("tar", "xf", "-", stdin=[data])
    assert (code, why in out.errors) == (2, True)
    assert set(files) == {*FILES, "/etc/hosts", "/etc/resolv.conf"}


def test_tar_tells_what_it_misses():
    """In the words of GNU's and of busybox's."""
    code, out, _ = run("tar", "cf", "-", "/nope")
    assert code == 2
    assert out.errors.splitlines()[0] == "tar: /nope: Cannot stat: No such file or directory"
    code, out, _ = run("tar", "cf", "-", "/nope", image="busybox")
    assert (code, out.errors.splitlines()[0]) == (1, "tar: /nope: No such file or directory")
    assert run("tar", "czf", "-", "/data")[0] == 2
    assert run("tar")[0] == 2


@pytest.mark.parametrize(
    ("argv", "stdin", "path", "wanted"),
    [
        (("dd", "of=/x"), [b"from ", b"stdin"], "/x", b"from stdin"),
        (("dd", "if=/dev/zero", "of=/x", "bs=1k", "count=3"), [], "/x", bytes(3072)),
        (("dd", "if=/data/a.txt", "of=/x", "bs=1", "skip=4"), [], "/x", b"two\n"),
        (("dd", "if=/data/a.txt", "of=/x", "bs=2", "seek=1"), [], "/x", b"\0\0one\ntwo\n"),
        (
            ("dd", "of=/data/a.txt", "bs=1", "seek=1", "conv=notrunc"), [b"N"],
            "/data/a.txt", b"oNe\ntwo\n",
        ),
        (("cp", "/data/a.txt", "/x"), [], "/x", b"one\ntwo\n"),
        (("cp", "-r", "/data", "/copy"), [], "/copy/sub/b", b"\0\xff" * 300),
        (("mv", "/data/a.txt", "/root"), [], "/root/a.txt", b"one\ntwo\n"),
    ],
)  # fmt: skip
def test_bytes_come_where_they_are_sent(argv, stdin, path, wanted):
    """dd, cp and mv write what they read."""
    code, _, files = run(*argv, stdin=stdin)
    assert (code, files[path]) == (0, wanted)
    assert ("/data/a.txt" in files) == (argv[0] != "mv")


def test_dd_counts_records_on_stderr():
    """Whole and partial ones; nothing with status=none."""
    _, out, _ = run("dd", "if=/data/a.txt", "bs=3")
    assert (out.stdout, out.errors.splitlines()[:2]) == (
        b"one\ntwo\n", ["2+1 records in", "2+1 records out"],
    )  # fmt: skip
    assert run("dd", "if=/data/a.txt", "status=none")[1].errors == ""
    for words in (("if=/dev/zero",), ("if=/nope",), ("bs=x",), ("bs=1G", "count=9"), ("what",)):
        assert run("dd", *words)[0] == 1


def test_sums_and_base64_are_the_real_ones():
    """Of files, of stdin, wrapped or not."""
    assert run("sha256sum", stdin=[b"abc"])[1].text == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"
    )
    assert run("md5sum", "/data/a.txt")[1].text.endswith("  /data/a.txt\n")
    assert run("base64", "-w", "0", stdin=[b"hello"])[1].text == "aGVsbG8="
    assert run("base64", "-w4", stdin=[b"hello"])[1].text == "aGVs\nbG8=\n"
    assert run("base64", "-d", stdin=[b"aGVs\nbG8=\n"])[1].stdout == b"hello"
    assert run("base64", "-d", stdin=[b"!!"])[0] == 1


def test_head_and_tail_cut_bytes():
    """kubectl cp resumes with tail -c +N; people make files of /dev/urandom."""
    assert run("tail", "-c", "+6", "/data/a.txt")[1].stdout == b"wo\n"
    assert run("tail", "-c", "3", "/data/a.txt")[1].stdout == b"wo\n"
    assert run("head", "-c", "5", "/dev/zero")[1].stdout == bytes(5)
    one, two = (run("head", "-c", "64", "/dev/urandom")[1].stdout for _ in range(2))
    assert (len(one), one) == (64, two), "chance comes from the seed"


def test_a_terminal_has_the_size_its_client_told():
    """Without one, stty says so and tput guesses as terminfo does."""
    assert run("stty", "size", size=(99, 33), tty=True)[1].stdout == b"33 99\r\n"
    assert run("tput", "cols", size=(99, 33), tty=True)[1].stdout == b"99\r\n"
    code, out, _ = run("stty", "size")
    assert (code, out.errors) == (1, "stty: 'standard input': Inappropriate ioctl for device\n")
    assert run("tput", "lines")[1].text == "24\n"
    assert run("sh", "-c", "echo $TERM", tty=True)[1].stdout == b"xterm\r\n"


NODE = {"/host/etc/os-release": b"ID=podwire\n", "/host/etc/hostname": b"node-1\n", "/x": b""}


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("chroot", "/host", "cat", "/etc/hostname"), 0, "node-1\n"),
        (("sh", "-c", "cd /host && chroot . sh -c 'ls /etc; pwd'"), 0, "hostname\nos-release\n/\n"),
        (("chroot", "/host", "cat", "/../../x"), 1, "cat: /../../x: No such file or directory"),
        (("chroot", "/nowhere"), 125, "chroot: cannot change root directory to '/nowhere'"),
        (("chroot", "/x", "ls"), 127, "chroot: failed to run command 'ls'"),
    ],
)
def test_chroot_leads_into_the_nodes_disk_and_no_further_back(argv, code, said):
    """What ``kubectl debug node/NAME`` is used for; a folder without a system has no commands."""
    got, out, _ = run(*argv, image="busybox", files=NODE)
    assert got == code
    assert (out.stdout or out.stderr).decode().startswith(said)


def test_chroot_reads_commands_from_stdin():
    """Without a command it is a shell; what is written lands below the new root."""
    code, _, files = run("chroot", "/host", stdin=[b"echo hi > /tmp/a\nexit 3\n"], files=NODE)
    assert code == 3
    assert files["/host/tmp/a"] == b"hi\n"


GROWS = "(sleep 1.5; echo a >/log/1; sleep 2; echo b >>/log/1; echo c >/log/2) & timeout 6 tail "


@pytest.mark.parametrize(
    ("image", "waits", "appeared"),
    [
        ("busybox", "tail: can't open '/log/1': No such file or directory\n",
         "tail: /log/1 has appeared; following end of new file\n"),
        ("debian", "tail: cannot open '/log/1' for reading: No such file or directory\n",
         "tail: '/log/1' has appeared;  following new file\n"),
    ],
)  # fmt: skip
def test_tail_follows_a_log_that_another_container_has_yet_to_write(image, waits, appeared):
    """The sidecar of Kubernetes' logging page: ``tail -n+1 -F`` of a file that comes and grows."""
    code, out, _ = run("sh", "-c", GROWS + "-n+1 -F /log/1", image=image)
    assert (code, out.text) == (143 if image == "busybox" else 124, "a\nb\n")
    assert out.errors == waits + appeared


def test_tail_of_several_files_heads_each_piece_and_without_retry_gives_up_the_missing():
    """``tail -f``: headings whenever the file changes; nothing to follow ends it."""
    _, out, _ = run("sh", "-c", GROWS + "-f /data/a.txt /log/1")
    assert out.text == "==> /data/a.txt <==\none\ntwo\n"
    _, out, _ = run("sh", "-c", GROWS + "-F /log/1 /log/2")
    assert out.text == "==> /log/1 <==\na\nb\n\n==> /log/2 <==\nc\n"
    assert run("tail", "-f", "/nowhere", image="busybox")[0] == 1


def test_a_script_file_is_a_command_once_it_may_be_run():
    """``#!`` names who runs it, with its words; chmod lets it; no first line: the shell's own."""
    two = b"#!/usr/bin/env bash\necho two $1 $0\nexit 3\n"
    files = {"/s/run.sh": b"#!/bin/sh -e\nfalse\necho no\n", "/s/two": two, "/s/plain": b"echo p"}
    code, out, _ = run("sh", "-c", "/s/two a; cd /s; ./two", files=files)
    assert code == 126
    assert out.errors == "sh: /s/two: Permission denied\nsh: ./two: Permission denied\n"
    script = "chmod -R +x /s && /s/run.sh; echo $?; cd /s; ./two b; echo $?; ./plain"
    code, out, _ = run("sh", "-c", script, files=files)
    assert (code, out.text) == (0, "1\ntwo b ./two\n3\np\n")


def test_modes_and_owners_are_told_by_ls_and_stat():
    """chmod by number and by letters, chown by number; what cannot be is said."""
    script = (
        "echo x >/tmp/f; chmod 640 /tmp/f; chown 999:998 /tmp/f; ls -l /tmp/f | cut -c1-10;"
        "chmod u+x,g=rw,o-r /tmp/f; stat -c '%a %u %g' /tmp/f; chmod 7 /nowhere; chown me /tmp/f"
    )
    code, out, _ = run("sh", "-c", script)
    assert (code, out.text) == (1, "-rw-r-----\n760 999 998\n")
    assert out.errors == (
        "chmod: cannot access '/nowhere': No such file or directory\n"
        "chown: not modelled: which number the user 'me' has\n"
    )
