"""Where a command may write: looked at before the work begins."""

import tempfile
from pathlib import Path

from assets.methods.common.errors import UserError


def check_output_folder(out: Path, source: str | None = None) -> None:
    """Refuse a folder that could not be written, or whose mosaic would be taken for a photo."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder.")
    photos = Path(source) if source is not None else None
    if photos and photos.is_dir() and out.resolve().is_relative_to(photos.resolve()):
        raise UserError(
            f"--out {out} lies inside {source}, where the next run would take the mosaic for a "
            "photo: name a folder outside."
        )
    _check_writable(out, out)


def check_output_file(out: Path, source: str) -> None:
    """Refuse a file that could not be written, or that would replace or join the source."""
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file.")
    if Path(source).exists() and out.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"--out {out} is part of {source}, which is read only: name another file.")
    _check_writable(out, out.absolute().parent)


def _check_writable(out: Path, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--out {out} cannot be written to: {error.strerror}.") from error
