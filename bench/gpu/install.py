"""Installs the folder that `collect` made beside a machine's own packages, without a network.

Run in the root of the checkout: python -m bench.gpu.install PARTS SITE
"""

import argparse
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path


def install(parts: Path, site: Path) -> None:
    """Install all wheels below ``parts`` into the folder ``site``, to be put into PYTHONPATH.

    The machine's packages stay as they are, and no version is compared with what others want.
    All parts are installed at once: packages of two parts may share a folder such as ``google``.
    Raises CalledProcessError when pip cannot install one.
    """
    packages = sorted(str(file) for kind in ("*.whl", "*.tar.gz") for file in parts.rglob(kind))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Building lapjv, where its source was carried, takes NumPy and setuptools from the machine.
    alone = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--no-build-isolation"]
    subprocess.run([*command, *alone, "--upgrade", f"--target={site}", *packages], check=True)


def versions(site: Path) -> dict[str, str]:
    """Return the names of the packages that stand in ``site``, with their versions."""
    found = ((one.metadata["Name"], one.version) for one in distributions(path=[str(site)]))
    return dict(sorted(found, key=lambda entry: entry[0].lower()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", type=Path, help="folder that collect made")
    parser.add_argument("site", type=Path, help="folder to install into")
    chosen = parser.parse_args()
    install(chosen.parts, chosen.site)
    for name, version in versions(chosen.site).items():
        print(f"{name} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
