"""Installs the folder that `collect` made beside a machine's own packages, without a network."""

import subprocess
import sys
from pathlib import Path


def install(parts: Path, site: Path) -> None:
    """Install all wheels below ``parts`` into the folder ``site``, to be put into PYTHONPATH.

    The machine's packages stay as they are, and no version is compared with what others want.
    Raises CalledProcessError when pip cannot install one.
    """
    packages = sorted(str(file) for kind in ("*.whl", "*.tar.gz") for file in parts.rglob(kind))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Building lapjv, where its source was carried, takes NumPy and setuptools from the machine.
    alone = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--no-build-isolation"]
    subprocess.run([*command, *alone, "--upgrade", f"--target={site}", *packages], check=True)
