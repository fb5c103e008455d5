"""A step in a process of its own: `python -m bench.gpu.one_step FUNCTION DEVICE SIZES RESULT OUT`.

It exits with 1 if the step found something to be wrong.
"""

import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.gpu.sizes import BY_NAME
from bench.gpu.step import Context, Findings
from bench.gpu.utilisation import Utilisation


def main(function: str, device: Any, sizes_name: str, result: Path, out: Path) -> int:
    module, _, name = function.partition(":")
    findings = Findings(result)
    started = time.monotonic()
    # On a machine without a card nvidia-smi says nothing.
    with Utilisation() as watched, tempfile.TemporaryDirectory() as folder:
        try:
            run = getattr(import_module(f"bench.gpu.{module}"), name)
            sizes, shared = BY_NAME[sizes_name], result.parent
            run(Context(device, sizes, out, Path(folder), shared, findings))
        except Exception as error:
            findings.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            used = result.with_suffix(".used")
            used.write_text(json.dumps(watched.since(started)))
    return 1 if findings.failures else 0


if __name__ == "__main__":
    asked_function, asked_device, asked_sizes, result_file, out_folder = sys.argv[1:]
    sys.exit(main(asked_function, asked_device, asked_sizes, Path(result_file), Path(out_folder)))
