"""The commands in README.md and docs/, and a folder to run them in as a reader does."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
# `make dev` is run by test_dev.py, `tessera serve` by test_serve.py, `make study` by test_study.py,
# `make check` by .ci/run and `make test-all`. This environment is the activated one.
ELSEWHERE = {"make dev", "tessera serve", "make study", "make check", "source .venv/bin/activate"}
# Those weights would have to be downloaded.
WITHOUT_NETWORK = {"--backbone timm:resnet50": "--backbone efficientnet-lite0"}


def origins_on_page() -> dict[tuple[str, str], str]:
    """What docs/provenance.md says of each file, by command and name."""
    page = (ROOT / "docs" / "provenance.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \| `([a-z]+)` \| (.*) \|$", page, re.MULTILINE)
    return {
        (command, name): says
        for names, command, says in rows
        for name in re.findall(r"`(.*?)`", names)
    }


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


def commands(page: Path, elsewhere: set[str] = ELSEWHERE) -> list[str]:
    """Return the commands of a page, save those that are run ``elsewhere``."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.strip().split("\n")]
    return [line for line in lines if line not in elsewhere]


class Checkout:
    """A folder like a checkout, with photos and labels, in which commands are run.

    ``tessera`` runs the command line in this process.
    """

    def __init__(
        self, folder: Path, photos: Path, labels: Path, tessera: Callable[..., Ran]
    ) -> None:
        self._folder, self._tessera = folder, tessera
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copy(photos / "photo_000.png", folder / "photo.jpg")
        shutil.copytree(labels.parent, folder, dirs_exist_ok=True)

    def run(self, command: str) -> str:
        """Run a command, which has to succeed, and return what it wrote.

        Of a task of make, its only command is run.
        """
        for with_network, without in WITHOUT_NETWORK.items():
            command = command.replace(with_network, without)
        if command.startswith("make "):
            (command,) = self.run_script(f"{command} --dry-run").out.splitlines()
            command = re.sub(r"^\S+/tessera ", "tessera ", command)
        # A process of its own would import for seconds what has been imported here.
        is_ours = command.startswith("tessera ")
        ran = self._tessera(*shlex.split(command)[1:]) if is_ours else self.run_script(command)
        assert ran.code == 0, f"{command}\n{ran.out}{ran.err}"
        assert "Traceback" not in ran.err
        return ran.out

    def run_page(self, page: Path, elsewhere: set[str] = ELSEWHERE) -> list[str]:
        """Run a page's commands one after the other and return what each wrote.

        The later ones build on the earlier.
        """
        return [self.run(command) for command in commands(page, elsewhere)]

    def run_script(self, script: str) -> Ran:
        """Run a script in a shell of its own."""
        environment = Path(sys.executable).parent
        if script.startswith("make "):
            # The environment that runs this test is installed already.
            marker = environment.parent / ".installed"
            script += f" VENV={environment.parent} -o {marker} -o {marker}-dev"
        # Under `make test` they would tell this make that it is a part of that one.
        of_make = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
        variables = {name: value for name, value in os.environ.items() if name not in of_make}
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=variables | {"PATH": f"{environment}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)
