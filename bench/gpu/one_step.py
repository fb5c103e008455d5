"""A step in a process of its own: `python -m bench.gpu.one_step NAME DEVICE SIZES RESULT OUT`.

It exits with 1 if the step found something to be wrong.
"""

import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from bench.gpu import sizes
from bench.gpu.step import Context, Findings
from bench.gpu.utilisation import Utilisation


def main(function: str, device: str, sizes_name: str, result: Path, out: Path) -> int:
    module, _, name = function.partition(":")
    findings = Findings(result)
    started = time.monotonic()
    # On a machine without a card nvidia-smi says nothing.
    with Utilisation() as watched, tempfile.TemporaryDirectory() as folder:
        try:
            run = getattr(import_module(f"bench.gpu.{module}"), name)
            run(Context(device, getattr(sizes, sizes_name), out, Path(folder), findings))
        except Exception as error:
            findings.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            used = result.with_suffix(".used")
            used.write_text(json.dumps(watched.since(started)))
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], *map(Path, sys.argv[4:6])))
