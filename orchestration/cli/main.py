"""The command line: `tessera map`, `score`, `explain`, `deconv`, `train`, `promote`,
`evaluate`, `study`, `add`, `list`, `demo`, `check`, `dev`, `serve`, `key`, `home`.

Errors are one sentence and an exit code: 2 for what the user can mend, 1 for a failed run or check,
130 when interrupted. `--debug` shows the traceback.
"""

import hashlib
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from assets.methods.common.errors import UserError

DEBUG = "--debug"
DEVICES = ("auto", "cuda", "mps", "cpu")


@click.group()
@click.option(DEBUG, is_flag=True, help="Show tracebacks and the run's log.")
@click.version_option(package_name="tessera")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Lay photo collections out by likeness, and see what a moderation model looks at."""
    context.obj = debug


def _with_options(options: list[Callable[..., Any]]) -> Callable[..., Any]:
    def add_options(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add_options


_compute_options = _with_options(
    [
        click.option("--device", type=click.Choice(DEVICES), help="The best there is by default."),
        click.option("--batch-size", type=click.IntRange(1), help="Images per forward pass."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads; all by default."),
    ]
)

_allow_private_addresses = click.option(
    "--allow-private-addresses",
    is_flag=True,
    default=None,
    help="Download from private and loopback addresses, too.",
)

_strict_tracking = click.option("--strict-tracking", is_flag=True, help="Fail when MLflow is down.")

_classifier_options = _with_options(
    [
        click.option(
            "--model",
            help="The classifier: models:/nsfw@champion (default), another of MLflow's, "
            "open_nsfw, skin-baseline, efficientnet-lite0, timm:NAME, torchvision:NAME, "
            "NAME.safetensors, python:MODULE:ATTRIBUTE, or the address of a service (its key in "
            "TESSERA_CLASSIFIER_KEY).",
        ),
        click.option("--class", "class_", help="Whose probability; nsfw by default."),
    ]
)


_label_options = _with_options(
    [
        click.option(
            "--name", help="Of the collection that MANIFEST becomes; made from MANIFEST by default."
        ),
        click.option("--negative", help="The label of the negatives; sfw by default."),
        click.option("--positive", help="The label of the positives; nsfw by default."),
    ]
)

# Each option of a command names an asset's setting; what is not given keeps its default.
_map_options = _with_options(
    [
        click.option(
            "--out", type=click.Path(path_type=Path), help="Results; map-NAME by default."
        ),
        click.option(
            "--backbone",
            help="The network: efficientnet-lite0 (default), timm:NAME, torchvision:NAME, or a "
            "safetensors file.",
        ),
        click.option("--projection", help="tsne (default), largevis, umap or pca."),
        click.option("--perplexity", type=float, help="Neighbours that count; 30 by default."),
        click.option(
            "--grid", help="COLUMNSxROWS (40x25) or an aspect ratio (16:9); else near-square."
        ),
        click.option("--certify", is_flag=True, help="Prove a bound above 10,000 photos too."),
        click.option("--no-refine", is_flag=True, help="Swap no cells after the assignment."),
        click.option("--show-duplicates", is_flag=True, help="Show every copy of a file."),
        click.option("--tile", type=int, help="Side of a tile in pixels; 96 by default."),
        click.option("--gap", type=int, help="Pixels between tiles; 2 by default."),
        click.option("--background", help="A colour, name or #rrggbb; nearly black by default."),
        click.option(
            "--fit",
            type=click.Choice(["fill", "fit"]),
            help="Cut photos to the tile (fill, default) or show them whole (fit).",
        ),
        click.option(
            "--format", type=click.Choice(["jpeg", "png"]), help="Of the mosaic; jpeg by default."
        ),
        click.option("--seed", type=int, help="Of everything random; 0 by default."),
        _allow_private_addresses,
        _compute_options,
        _strict_tracking,
    ]
)


@cli.command("map", short_help="Map the photos of a folder, a URL or a manifest.")
@click.argument("source")
@click.option("--name", help="Of the collection that SOURCE becomes; made from SOURCE by default.")
@_map_options
@click.pass_obj
def map_command(debug: bool, source: str, name: str | None, **options: Any) -> None:
    """Map the photos of SOURCE: a folder, an fsspec URL, or a manifest.

    A manifest is a CSV or Parquet file with a column `uri` of paths or URLs, and `label` if there
    are labels. For example: tessera map photos --out map --grid 16:9
    """
    source = _absolute(source)
    _map(name or _name_for(source), source, options, debug)


@cli.command(short_help="Score the photos of a folder, a URL or a manifest.")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The table, as CSV.")
@click.option("--name", help="Of the collection that SOURCE becomes; made from SOURCE by default.")
@_classifier_options
@_allow_private_addresses
@_compute_options
@_strict_tracking
@click.pass_obj
def score(debug: bool, source: str, out: Path, name: str | None, **options: Any) -> None:
    """Score each photo of SOURCE: the probability that it is not safe for work, or of any class.

    For example: tessera score photos --out scores.csv
    """
    from orchestration.cli.score import score_collection

    source = _absolute(source)
    _exit_for(score_collection(name or _name_for(source), source, out, options, debug))


@cli.command(short_help="Map what a classifier looks at in images.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder; one in it per image."
)
@_classifier_options
@click.option(
    "--preset",
    type=click.Choice(["quick", "figure"]),
    help="Box and stride: 64, 16 (quick, default) or 64, 3 (figure: that of the original work).",
)
@click.option("--box", type=int, help="Side of a window in pixels, instead of the preset's.")
@click.option("--stride", type=int, help="Pixels from window to window, instead of the preset's.")
@click.option(
    "--experiment",
    type=click.Choice(["seen", "hidden"]),
    help="seen: windows cut out; hidden: painted over; both by default.",
)
@click.option(
    "--fill",
    type=click.Choice(["black", "mean", "blur"]),
    help="What hidden windows are painted over with; black by default.",
)
@click.option(
    "--long-side", type=int, help="Larger images are scaled down to it; 1024 px by default."
)
@click.option(
    "--colormap",
    type=click.Choice(["inferno", "viridis", "magma", "plasma", "cividis", "jet"]),
    help="inferno by default; all but jet are perceptually uniform.",
)
@click.option(
    "--scale",
    type=click.Choice(["own", "fixed"]),
    help="Colours over the map's own range (default) or from 0 to 1 (fixed).",
)
@_allow_private_addresses
@_compute_options
@_strict_tracking
def explain(images: tuple[str, ...], out: Path, **options: Any) -> None:
    """Map what a classifier looks at in each IMAGE: its parts alone, and it without them.

    For example: tessera explain photo.jpg --out explained
    """
    from orchestration.cli.explain import explain_files

    if not explain_files(images, out, options):
        sys.exit(2)


@cli.command(short_help="Carry a class back to the pixels of images, by a deconvnet.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder; one in it per image."
)
@_classifier_options
@click.option("--layer", help="Start from this layer's activation, not from the class.")
@click.option(
    "--place",
    type=int,
    nargs=3,
    metavar="CHANNEL ROW COLUMN",
    help="Of the activation; the one that adds most to the class by default.",
)
@_allow_private_addresses
@_compute_options
@_strict_tracking
def deconv(images: tuple[str, ...], out: Path, **options: Any) -> None:
    """Show what in the pixels of each IMAGE makes a network answer so, and what would change it.

    For example: tessera deconv photo.jpg --out deconvolved
    """
    from orchestration.cli.deconv import deconvolve_files

    if not deconvolve_files(images, out, options):
        sys.exit(2)


@cli.command(short_help="Train the NSFW model on a labelled manifest.")
@click.argument("manifest")
@_label_options
@click.option(
    "--base",
    help="The network to start from: open_nsfw (default), efficientnet-lite0, timm:NAME, "
    "torchvision:NAME, plain_convnet or NAME.safetensors.",
)
@click.option("--from-scratch", is_flag=True, help="Start from random weights.")
@click.option(
    "--train",
    "trained",
    type=click.Choice(["head", "all"]),
    help="The last layer alone (default) or the whole network.",
)
@click.option("--input-side", type=int, help="In pixels, if not the network's own.")
@click.option("--epochs", type=int, help="At most; 20 by default.")
@click.option("--patience", type=int, help="Epochs without progress before it stops; 5 by default.")
@click.option("--batch-size", "images_a_step", type=int, help="Images a step; 32 by default.")
@click.option("--learning-rate", type=float, help="The highest of the schedule.")
@click.option(
    "--class-weights", type=click.Choice(["balanced", "none"]), help="balanced by default."
)
@click.option("--augmentation", type=click.Choice(["light", "none"]), help="light by default.")
@click.option("--seed", type=int, help="Of everything random; 0 by default.")
@click.option("--device", type=click.Choice(DEVICES), help="The best there is by default.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all by default.")
@_allow_private_addresses
@_strict_tracking
@click.pass_obj
def train(debug: bool, manifest: str, name: str | None, **options: Any) -> None:
    """Train a new version of the NSFW model on MANIFEST; interrupted, the same call goes on.

    MANIFEST is a CSV or Parquet file with the columns `uri` and `label`, and `split` (train,
    validation or test) if the splits are given. The new version becomes champion if on the split
    test neither its AUC nor the lower bound of it is below the champion's and it is surely better
    than chance; challenger otherwise. For example: tessera train labels.csv
    """
    from orchestration.cli.train import train_on_manifest

    source = _absolute(manifest)
    _exit_for(train_on_manifest(name or _name_for(source), source, options, debug))


@cli.command(short_help="Make a version of the NSFW model the champion.")
@click.argument("version", type=click.IntRange(1))
def promote(version: int) -> None:
    """Make VERSION of the NSFW model the champion, which is also the way back after a training.

    For example: tessera promote 1
    """
    from orchestration.cli.promote import promote_version

    promote_version(version)


@cli.command(short_help="Evaluate models on a labelled manifest.")
@click.argument("manifest")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder.")
@_label_options
@click.option(
    "--model",
    multiple=True,
    help="As for score; several to compare. The champion by default.",
)
@click.option(
    "--split",
    type=click.Choice(["test", "all"]),
    help="test (default) leaves the images for training out.",
)
@click.option("--threshold", type=float, help="Scores as high are flagged; 0.5 by default.")
@click.option("--recall", type=float, help="Find the threshold that reaches it; 0.95 by default.")
@click.option(
    "--prevalence", type=float, help="Share of positives to give precision for; 0.01 by default."
)
@click.option(
    "--worst", type=click.IntRange(1, 50), help="Errors of each kind that are drawn; 20 by default."
)
@click.option("--sharp", is_flag=True, help="Draw the errors as they are, not blurred.")
@_allow_private_addresses
@_compute_options
@_strict_tracking
@click.pass_obj
def evaluate(debug: bool, manifest: str, out: Path, name: str | None, **options: Any) -> None:
    """Evaluate models on MANIFEST: precision, recall, curves, calibration, each with its interval.

    MANIFEST is as for train; its other columns are slices, each with its own false-positive rate.
    For example: tessera evaluate labels.csv --out evaluated
    """
    from orchestration.cli.evaluate import evaluate_manifest

    source = _absolute(manifest)
    _exit_for(evaluate_manifest(name or _name_for(source), source, out, options, debug))


@cli.command(short_help="Find and mend a planted shortcut, on drawn dolls.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="study", show_default=True, help="A folder."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the dolls.")
@click.option("--device", type=click.Choice(DEVICES), help="The best there is by default.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all by default.")
@_strict_tracking
def study(out: Path, seed: int, **options: Any) -> None:
    """Train on dolls whose lips give their label away, look inside, mend the data, train again."""
    from orchestration.cli.study import study_dolls

    study_dolls(out, seed, options)


@cli.command(short_help="Map the photographs that come with the dependencies.")
@_map_options
@click.pass_obj
def demo(debug: bool, **options: Any) -> None:
    """Map 1,024 tiles of the photographs that come inside scikit-image and scikit-learn."""
    from assets.resources.collections import DEMO_SOURCE

    _map("demo", DEMO_SOURCE, options, debug)


@cli.command(short_help="Remember a source as a collection.")
@click.argument("name")
@click.argument("source")
def add(name: str, source: str) -> None:
    """Remember SOURCE as collection NAME: it shows in the UI, and in the nightly run."""
    from assets.methods.photos.source import list_source
    from assets.resources.collections import DEMO_SOURCE, CollectionRegistry, collection_for
    from assets.resources.home import home_folder
    from orchestration.instance import open_instance, register

    source = _absolute(source)
    collection = collection_for(name, source)
    n_files = "the demo's" if source == DEMO_SOURCE else f"{len(list_source(source).files):,}"
    before = CollectionRegistry(home_folder()).find(name)
    with open_instance() as instance:
        register(instance, collection)
    moved = f" (was at {before.source})" if before and before.source != source else ""
    click.echo(f"{name}: {n_files} files at {source}{moved}")


@cli.command("list")
def list_command() -> None:
    """List the collections and their sources."""
    from assets.resources.collections import CollectionRegistry
    from assets.resources.home import home_folder

    for collection in CollectionRegistry(home_folder()).all():
        click.echo(f"{collection.name}\t{collection.source}")


@cli.command(short_help="Map and score a collection, with every asset check.")
@click.argument("name")
@click.pass_obj
def check(debug: bool, name: str) -> None:
    """Map and score collection NAME, with every asset check; exits with 1 if one fails at ERROR."""
    from assets.resources.collections import DEMO_SOURCE, Collection, CollectionRegistry
    from assets.resources.home import home_folder
    from orchestration.cli.collection_runs import run_collection

    registry = CollectionRegistry(home_folder())
    is_new_demo = name == "demo" and registry.find(name) is None
    collection = Collection(name, DEMO_SOURCE) if is_new_demo else registry.get(name)
    _, run = run_collection("everything", collection, {}, debug)
    for evaluation in run.checks:
        verdict = "passed" if evaluation.passed else f"FAILED ({evaluation.severity.value})"
        click.echo(f"{verdict:<16}{evaluation.check_name:<36}{evaluation.description or ''}")
    if not run.checks:
        raise RuntimeError("no asset check was evaluated")
    _exit_for(run)


@cli.command(short_help="Serve Dagster's UI and MLflow's, on loopback.")
@click.option("--port", default=3000, show_default=True, help="Of Dagster's UI.")
@click.option("--mlflow-port", default=5000, show_default=True, help="Of MLflow's UI.")
def dev(port: int, mlflow_port: int) -> None:
    """Serve Dagster's UI and MLflow's together, on loopback, until Ctrl-C."""
    from orchestration.cli.dev import serve
    from orchestration.instance import prepare_home

    with suppress(KeyboardInterrupt):
        serve(prepare_home(), port, mlflow_port)
    click.echo("stopped")


@cli.command("serve", short_help="Serve inputs, models, searches and visualizations over HTTP.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--runs",
    "runs_at_once",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Visualizations carried out at a time; the rest wait.",
)
@click.option(
    "--download-seconds",
    type=click.FloatRange(0, min_open=True),
    default=20,
    show_default=True,
    help="Time limit of one download.",
)
@click.option(
    "--image-megabytes",
    type=click.FloatRange(0, min_open=True),
    default=32,
    show_default=True,
    help="Larger images are refused.",
)
@click.option("--public-url", help="Where clients reach the service, if it is behind a proxy.")
@_allow_private_addresses
@_compute_options
def serve_command(
    allow_private_addresses: bool | None,
    device: str | None,
    batch_size: int | None,
    threads: int | None,
    **settings: Any,
) -> None:
    """Serve the HTTP API and carry its visualizations out, until Ctrl-C.

    Without a key it listens on loopback alone; make one with `tessera key new COLLECTION`.
    """
    from orchestration.api.settings import ServeSettings
    from orchestration.cli.collection_runs import compute_resource
    from orchestration.cli.serve import serve
    from orchestration.instance import prepare_home

    settings |= {
        "allow_private_addresses": bool(allow_private_addresses),
        "compute": compute_resource(
            {"device": device, "batch_size": batch_size, "threads": threads}
        ),
    }
    with suppress(KeyboardInterrupt):
        serve(prepare_home(), ServeSettings(**settings))
    click.echo("stopped")


@cli.group(short_help="Make, list and revoke the keys of the HTTP service.")
def key() -> None:
    """Make, list and revoke the keys of the HTTP service."""


@key.command("new")
@click.argument("collection")
@click.option("--rate", type=click.FloatRange(0.001), help="Requests a second; 200.")
@click.option("--megabytes", type=click.FloatRange(0, min_open=True), help="Of a request; 64.")
@click.option("--inputs", type=click.IntRange(0), help="Stored at most; 100,000.")
def key_new(
    collection: str, rate: float | None, megabytes: float | None, inputs: int | None
) -> None:
    """Make a key of the app COLLECTION and print it: the last line, shown this once."""
    from orchestration.cli.key import new_key

    new_key(collection, rate, megabytes, inputs)


@key.command("list")
def key_list() -> None:
    """List the keys, without the keys themselves."""
    from orchestration.cli.key import list_keys

    list_keys()


@key.command("revoke")
@click.argument("key_id")
def key_revoke(key_id: str) -> None:
    """Revoke the key KEY_ID, at once."""
    from orchestration.cli.key import revoke_key

    revoke_key(key_id)


@cli.command(short_help="Print the folder that holds all state.")
def home() -> None:
    """Print the folder that holds all state; it is DAGSTER_HOME too."""
    from orchestration.instance import prepare_home

    click.echo(prepare_home())


def main() -> None:
    """Run the command line and exit."""
    # --debug belongs to the whole of tessera and may stand anywhere.
    arguments = sorted(sys.argv[1:], key=lambda argument: argument != DEBUG)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli.main(arguments, prog_name="tessera", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tessera: interrupted; the next run goes on from what is done.", err=True)
        sys.exit(130)
    except Exception as error:
        if DEBUG in arguments:
            raise
        _tell(error)


def _map(name: str, source: str, options: dict[str, Any], debug: bool) -> None:
    from orchestration.cli.map import map_collection

    out = options.pop("out") or Path(f"map-{name}")
    _exit_for(map_collection(name, source, out, options, debug))


def _absolute(source: str) -> str:
    """Return a local SOURCE as absolute path: it is remembered, and read from other folders."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _name_for(source: str) -> str:
    """Make a collection's name from its source; the same source always has the same name."""
    last = Path(source.rstrip("/")).stem
    slug = re.sub(r"[^A-Za-z0-9]+", "-", last).strip("-")[:40] or "photos"
    return f"{slug}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def _exit_for(run: Any) -> None:
    for failed in run.failed_checks:
        click.echo(f"tessera: check {failed.check_name} failed: {failed.description}", err=True)
    if run.failed_checks:
        sys.exit(1)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _tell(error: Exception) -> None:
    from orchestration.runs import RunError

    if isinstance(error, UserError):
        click.echo(f"tessera: {error}", err=True)
        sys.exit(2)
    what = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
    click.echo(
        f"tessera: {what.strip().splitlines()[0]} (a fault of tessera or of its surroundings: "
        f"{DEBUG} shows where)",
        err=True,
    )
    sys.exit(1)
