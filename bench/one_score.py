"""The same photos through all ways to a score, and how far the scores of one photo differ.

The ways are the commands score, explain, deconv and evaluate, and the HTTP service, which is asked
with a photo's bytes, with its URL, and with the URL of an input that it stores. The photos are
those of FOLDER, evenly spread over its names, and some that are made here: large, tall,
transparent, turned, tiny, and moving. Beside the scores stands that of the square which the
deconvnet reads, and whether its report warns of it. It exits with 1 when a photo has two scores
that differ by more than 1e-6, or a square with another score has no warning.
Run: python -m bench.one_score FOLDER [how many]
"""

import base64
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
from PIL import Image

from bench.serving import Connection, running_service

TOLERANCE = 1e-6
LARGEST_SQUARE_DIFFERENCE = 0.02
OUTPUTS = "/v2/models/nsfw-v1.0/outputs"
ORIENTATION = 0x0112
# One window, as large as any photo: only the scores are compared here.
ONE_WINDOW = ("--box", "4096", "--stride", "4096", "--experiment", "seen")
SQUARE, WARNED = "square", "warned"

Scores = dict[str, float]
# Runs `tessera` with these arguments.
Run = Callable[..., object]


def make_photos(folder: Path, photographs: Mapping[str, Image.Image], scale: float = 1.0) -> None:
    """Write photos of all kinds to ``folder``, made of two photographs or more.

    The largest have 24 megapixels at a ``scale`` of 1.
    """
    (name, first), (other, second), *_ = photographs.items()

    def sized(image: Image.Image, width: int, height: int) -> Image.Image:
        size = max(1, round(scale * width)), max(1, round(scale * height))
        return image.resize(size, Image.Resampling.BICUBIC)

    sized(first, 6000, 4000).save(folder / f"{name}-large.jpg", quality=90)
    sized(second, 3000, 2000).save(folder / f"{other}-large.png", compress_level=1)
    sized(first, 6000, 600).save(folder / f"{name}-panorama.jpg", quality=95)
    sized(second, 400, 1600).save(folder / f"{other}-tall.png")
    first.resize((24, 30)).save(folder / f"{name}-tiny.png")
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    sized(second, 1200, 900).save(folder / f"{other}-turned.jpg", exif=turned)
    transparent = sized(first, 900, 600)
    transparent.putalpha(Image.linear_gradient("L").resize(transparent.size))
    transparent.save(folder / f"{name}-transparent.png")
    frames = [Image.new("RGB", sized(first, 640, 420).size, "white"), sized(first, 640, 420)]
    frames += [sized(second, 640, 420), sized(second.rotate(90), 640, 420)]
    frames[0].save(
        folder / "moving.gif", save_all=True, append_images=frames[1:], duration=300, loop=0
    )


def command_scores(run: Run, folder: Path, out: Path) -> dict[str, Scores]:
    """Score the photos of a folder by the four commands; return P(nsfw) by way and file name."""
    files = sorted(folder.iterdir())
    run("score", folder, "--out", out / "scores.csv")
    run("explain", *files, "--out", out / "explained", *ONE_WINDOW)
    run("deconv", *files, "--out", out / "deconvolved")
    manifest = out / "labels.csv"
    # No label is right: it is the scores that are compared.
    labels = [("sfw", "nsfw")[number % 2] for number in range(len(files))]
    pd.DataFrame({"uri": [str(file) for file in files], "label": labels}).to_csv(
        manifest, index=False
    )
    run("evaluate", manifest, "--split", "all", "--out", out / "evaluated")
    squares = _reports(out / "deconvolved")
    return {
        "score": _table_scores(out / "scores.csv"),
        "explain": {name: one["score"] for name, one in _reports(out / "explained").items()},
        "deconv": {name: one["score"] for name, one in squares.items()},
        "evaluate": _table_scores(out / "evaluated" / "scores.csv"),
        SQUARE: {name: one["square_score"] for name, one in squares.items()},
        WARNED: {
            name: float(any(note.startswith("Warning") for note in one["notes"]))
            for name, one in squares.items()
        },
    }


def service_scores(port: int, folder: Path) -> dict[str, Scores]:
    """Ask the service on this port in three ways; it has to allow private addresses."""
    client, files = Connection(port), sorted(folder.iterdir())

    def ask(image: dict[str, str]) -> float:
        body = json.dumps({"inputs": [{"data": {"image": image}}]}).encode()
        (output,) = client.request("POST", OUTPUTS, body)["outputs"]
        return next(one["value"] for one in output["data"]["concepts"] if one["name"] == "nsfw")

    def stored_at(data: str) -> str:
        body = json.dumps({"inputs": [{"data": {"image": {"base64": data}}}]}).encode()
        (stored,) = client.request("POST", "/v2/inputs", body)["inputs"]
        url: str = stored["data"]["image"]["url"]
        return url

    in_base64 = {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}
    with contextlib.closing(client), _served_files(folder) as address:
        return {
            "bytes": {name: ask({"base64": data}) for name, data in in_base64.items()},
            "URL": {file.name: ask({"url": f"{address}/{file.name}"}) for file in files},
            "stored": {name: ask({"url": stored_at(data)}) for name, data in in_base64.items()},
        }


def compared(scores: Mapping[str, Scores]) -> pd.DataFrame:
    """Return a row a photo: its score by each way, their range, and what the square scores."""
    table = pd.DataFrame(scores)
    ways = [way for way in table if way not in (SQUARE, WARNED)]
    if table.isna().any(axis=None):
        raise RuntimeError(f"a way gave no score for a photo:\n{table}")
    range_ = table[ways].max(axis=1) - table[ways].min(axis=1)
    is_far = (table[SQUARE] - table["score"]).abs() > LARGEST_SQUARE_DIFFERENCE
    warned = table[WARNED].astype(bool)
    return table[ways].assign(
        range=range_, square=table[SQUARE], warned=warned, explained=is_far == warned
    )


def show(table: pd.DataFrame) -> bool:
    """Print the table and what follows from it; return whether all is as it should be."""
    shown = table.drop(columns="explained").astype({"warned": str})
    shown["range"] = [f"{one:.1e}" for one in table["range"]]
    print(shown.to_string(float_format="{:.6f}".format))
    largest, n_other = table["range"].max(), int(table.warned.sum())
    square = (table.square - table["score"]).abs().max()
    print(
        f"{len(table)} photos, largest difference {largest:.1e}, allowed {TOLERANCE:.0e}; squares "
        f"differ by up to {square:.3f}, and {n_other} by more than {LARGEST_SQUARE_DIFFERENCE:g}"
    )
    unexplained = table.index[~table.explained].tolist()
    if unexplained:
        print(f"without the right warning: {', '.join(unexplained)}")
    return bool(largest <= TOLERANCE) and not unexplained


def _table_scores(path: Path) -> Scores:
    table = pd.read_csv(path)
    return {Path(uri).name: score for uri, score in zip(table.uri, table.score, strict=True)}


def _reports(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in folder.glob("*/report.json")]
    # That of the sheet is about no single image.
    return {Path(report["image"]).name: report for report in found if "image" in report}


@contextlib.contextmanager
def _served_files(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on loopback; gives the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tessera(*arguments: object) -> str:
    """Run a command in this process; return its output, which is shown if the command fails."""
    from orchestration.cli.main import cli

    output, messages = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(messages):
            cli.main([str(one) for one in arguments], prog_name="tessera", standalone_mode=False)
    except (Exception, SystemExit):
        print(output.getvalue(), messages.getvalue(), sep="", file=sys.stderr)
        raise
    return output.getvalue()


def main() -> int:
    from sklearn.datasets import load_sample_images

    folder, at_most = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".png"))
    spread = np.unique(np.linspace(0, len(files) - 1, min(at_most, len(files))).astype(int))
    samples = load_sample_images()
    photographs = {
        Path(name).stem: Image.fromarray(pixels)
        for name, pixels in zip(samples.filenames, samples.images, strict=True)
    }
    with tempfile.TemporaryDirectory() as temporary:
        photos, out = Path(temporary, "photos"), Path(temporary, "out")
        photos.mkdir()
        out.mkdir()
        for place in spread:
            shutil.copy(files[place], photos)
        make_photos(photos, photographs)
        os.environ["TESSERA_HOME"] = str(Path(temporary, "home"))
        scores = command_scores(tessera, photos, out)
        with running_service(Path(temporary, "home"), "--allow-private-addresses") as port:
            scores |= service_scores(port, photos)
    return 0 if show(compared(scores)) else 1


if __name__ == "__main__":
    sys.exit(main())
