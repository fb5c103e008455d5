"""The memory that decoding takes: of large photos of each format, and of maps of odd photos.

`python -m bench.photo_memory large` decodes a photo of each format, of 200 megapixels by default,
each in a process of its own. `python -m bench.photo_memory maps` maps as many odd photos as plain
ones, all of 24 megapixels, and tells the most memory that `tessera map` has used.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import tifffile
from PIL import Image

Encode = Callable[[Image.Image], bytes]


def encode(image_format: str, mode: str | None = None, **options: object) -> Encode:
    def saved(image: Image.Image) -> bytes:
        out = io.BytesIO()
        (image.convert(mode) if mode else image).save(out, image_format, **options)
        return out.getvalue()

    return saved


def encode_heif(image: Image.Image) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=50)
    return out.getvalue()


def encode_float(image: Image.Image) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.asarray(image.convert("L"), np.float32), compression="zlib")
    return out.getvalue()


def encode_few_bits(image: Image.Image) -> bytes:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 16
    return encode("PNG")(Image.fromarray(grey))


def without_end(image: Image.Image) -> bytes:
    return encode("JPEG")(image)[:-2]


def with_wrong_checksum(image: Image.Image) -> bytes:
    png = encode("PNG", compress_level=1)(image)
    return png[:33] + b"\0\0\0\3tEXtk\0v\0\0\0\0" + png[33:]


LARGE: dict[str, Encode] = {
    "JPEG": encode("JPEG"),
    "JPEG, progressive": encode("JPEG", progressive=True),
    "PNG": encode("PNG", compress_level=1),
    "PNG, alpha": encode("PNG", "RGBA", compress_level=1),
    "PNG, palette": encode("PNG", "P", compress_level=1),
    "PNG, by libvips": with_wrong_checksum,
    "GIF": encode("GIF", "P"),
    "BMP": encode("BMP"),
    "TIFF": encode("TIFF", compression="tiff_lzw"),
    "TIFF, LAB": encode("TIFF", "LAB", compression="tiff_lzw"),
    "TIFF, floating-point grey": encode_float,
    "PNG, grey of 12 bits in 16": encode_few_bits,
    "WebP": encode("WEBP", method=0, quality=10),
    "AVIF": encode("AVIF", speed=10),
    "HEIF": encode_heif,
}
ODD: dict[str, Encode] = {
    name: LARGE[name] for name in LARGE if name not in ("JPEG", "PNG", "TIFF", "BMP")
} | {
    "JPEG without its end": without_end,
    "TIFF, CMYK": encode("TIFF", "CMYK", compression="tiff_lzw"),
    "WebP, alpha": encode("WEBP", "RGBA", lossless=True, method=0),
}

# Linux's own count, because that of `wait4` begins with what the parent uses.
_MOST = """
import re, pathlib
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""
_DECODE = f"""
import sys, pathlib
from assets.methods.photos.decode import decode
from assets.methods.photos.opened_file import DecodeLimits
decode(pathlib.Path(sys.argv[1]).read_bytes(), DecodeLimits(max_pixels=10**10))
{_MOST}
"""
_MAP = f"""
import sys
from orchestration.cli.main import main
sys.argv[0] = "tessera"
try:
    main()
finally:
    {_MOST.strip().replace(chr(10), chr(10) + "    ")}
"""


def scene(width: int, height: int) -> Image.Image:
    """A picture that compresses well, so that a thousand of them fit on a disk."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def peak(code: str, *arguments: str, **environment: str) -> tuple[float, float]:
    """Return the most memory that a process has used, in MB, and its seconds; it prints kB last."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1]) / 1024, time.monotonic() - begun


def large(megapixels: float, only: str) -> None:
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    image = scene(width, round(width * 3 / 4))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo")
        file.write_bytes(LARGE["PNG"](scene(300, 300)))
        before, _ = peak(_DECODE, str(file))
        print(f"{image.width:,} x {image.height:,} px; with a small photo {before:,.0f} MB")
        for name, make in LARGE.items():
            if only not in name:
                continue
            file.write_bytes(make(image))
            megabytes, seconds = peak(_DECODE, str(file))
            print(
                f"{name:<28}{file.stat().st_size / 1e6:>7.1f} MB file"
                f"{megabytes - before:>8,.0f} MB above{seconds:>6.1f} s",
                flush=True,
            )


def maps(n_photos: int, megapixels: float) -> None:
    width = round((megapixels * 1e6 * 3 / 2) ** 0.5)
    image = scene(width, round(width * 2 / 3))
    for what, kinds in (("plain", {"JPEG": LARGE["JPEG"]}), ("odd", ODD)):
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder, "photos")
            photos.mkdir()
            encoded = [make(image) for make in kinds.values()]
            for number in range(n_photos):
                # What follows the end is ignored, and makes a photo of its own of each file.
                data = encoded[number % len(encoded)]
                tail = b"\0" * 64 + number.to_bytes(4, "big")
                (photos / f"{number}").write_bytes(data + tail)
            out = str(Path(folder, "out"))
            megabytes, seconds = peak(
                _MAP, "map", str(photos), "--out", out, TESSERA_HOME=str(Path(folder, "home"))
            )
        print(f"{n_photos:,} {what} photos: {megabytes:,.0f} MB, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["large", "maps"])
    parser.add_argument("--megapixels", type=float)
    parser.add_argument("--only", default="", help="part of the names of the formats to measure")
    parser.add_argument("--photos", type=int, default=1000)
    options = parser.parse_args()
    if options.part == "large":
        large(options.megapixels or 200, options.only)
    else:
        maps(options.photos, options.megapixels or 24)


if __name__ == "__main__":
    main()
