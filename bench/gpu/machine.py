"""The step that says what the machine is."""

import platform
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from bench.gpu.step import Context

CARD_FIELDS = (
    "name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "compute_cap",
)  # fmt: skip


def describe(context: Context) -> None:
    """Describe card, driver, torch and processor, and the version of every dependency."""
    import torch

    findings, table = context.findings, "Machine"
    if shutil.which("nvidia-smi"):
        query = f"--query-gpu={','.join(CARD_FIELDS)}"
        asked = ["nvidia-smi", query, "--format=csv,noheader", "-i", "0"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        if answer.returncode:
            findings.fail(f"nvidia-smi: {(answer.stderr or answer.stdout).strip()}")
        else:
            for field, value in zip(CARD_FIELDS, answer.stdout.split(","), strict=True):
                findings.row(table, what=f"card, {field}", value=value.strip())
    findings.row(table, what="torch", value=torch.__version__)
    findings.row(table, what="torch's CUDA", value=torch.version.cuda)
    findings.row(table, what="CUDA is available", value=torch.cuda.is_available())
    if torch.cuda.is_available():
        findings.row(table, what="cuDNN", value=str(torch.backends.cudnn.version()))
        findings.row(table, what="cards", value=torch.cuda.device_count())
    findings.row(table, what="processor", value=_processor())
    findings.row(table, what="usable cores", value=context.cores)
    findings.row(table, what="Python", value=sys.version.split()[0])
    findings.row(table, what="system", value=platform.platform())
    _versions(context)
    if context.device == "cuda":
        _compute_something(context)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions(context: Context) -> None:
    """Name the version of each package that we ask for."""
    from packaging.requirements import Requirement

    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    for line in (project["name"], *project["dependencies"]):
        wanted = Requirement(line)
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found = ""
        context.findings.row(
            "Versions",
            package=wanted.name,
            version=found,
            asked_for=str(wanted.specifier),
            fits=bool(found) and wanted.specifier.contains(found, prereleases=True),
        )


def _compute_something(context: Context) -> None:
    import torch

    if not torch.cuda.is_available():
        context.findings.fail("torch finds no CUDA device.")
        return
    product = torch.ones(256, 256, device="cuda") @ torch.ones(256, 256, device="cuda")
    if float(product.sum()) != 256**3:
        context.findings.fail("A product of matrices on the card is wrong.")
