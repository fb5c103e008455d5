"""`tessera study`: the study of a planted shortcut, its files, and one experiment in MLflow."""

import json
import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import click
import pandas as pd
from rich.console import Console

from assets.methods.attribution.target import Target, provenance_of
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import printable
from assets.methods.evaluation.evaluate import Evaluation
from assets.methods.evaluation.figure import draw_evaluation
from assets.methods.models.classifier import Classifier
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.named_classifiers import load_named_classifier
from assets.methods.models.provenance import Provenance
from assets.methods.models.skin.baseline import SKIN_BASELINE
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.models.vector_store import VectorStore
from assets.methods.plotting.foot import with_foot
from assets.methods.study.doll_sets import CLASS_NAMES, DollSet
from assets.methods.study.figure import draw_doll_sheet, draw_study
from assets.methods.study.study import POSITIVE, Study, StudySettings, evaluate_dolls, run_study
from assets.methods.training.loop import EpochMetrics
from assets.resources.home import home_folder
from assets.resources.models import Models
from assets.resources.tracking import TrackedRun, Tracking
from assets.results.photo_map import png
from orchestration.cli.common.options import (
    Options,
    check_output_folder,
    device_options,
    out_option,
    pass_options,
    strict_tracking,
)
from orchestration.cli.common.terminal_progress import TerminalProgress
from orchestration.definitions import build_resources

EXPERIMENT = "tessera study"
SHEET = 40
FILES = {
    "study.png": "the study in one figure",
    "evaluation.png": "both networks and two others, evaluated on the honest test",
    "dolls.png": f"the first {SHEET} dolls of that test",
    "summary.json": "the metrics",
    "before.safetensors": "the network that was trained with the flaw",
    "after.safetensors": "the network that was trained on the redesigned data",
    "dolls": "the dolls of the honest test, with labels.csv for evaluate and train",
}
_log = logging.getLogger("tessera")


@click.command("study")
@out_option("Folder for the results.", required=False, default="study")
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed.")
@device_options
@strict_tracking
@pass_options
def command(options: Options, out: Path, seed: int) -> None:
    """Plant a flaw in the data of a network, find it, mend the data, and train again.

    The data are drawings of dolls. In the flawed data, the lips of a doll tell its label.

    Example: tessera study --out study
    """
    settings = replace(StudySettings(), seed=seed)
    check_output_folder(out)
    compute = options.compute()
    resources = build_resources(compute=compute, strict_tracking=options.strict_tracking)
    tracking: Tracking = resources["tracking"].in_experiment(EXPERIMENT)
    models: Models = resources["models"]
    folder = home_folder() / "study"
    progress = TerminalProgress(Console(stderr=True))
    with tracking.lone_run(f"seed {seed}", progress.notify) as run, progress.bars:
        run.parameters({**_flat(settings), "seed": seed})
        study = run_study(
            settings,
            folder / str(seed),
            compute.settings(),
            partial(progress.listener, _log),
            partial(_log_epoch, run),
        )
        others = _other_classifiers(models, compute.settings())
        evaluations = _evaluate_all(study, others, folder, progress)
        made = _origins(study, others, compute.settings())
        files = _files(study, evaluations, made, seed)
        run.metrics(_metrics(study, evaluations))
        for name, data in files.items():
            write_whole(out / name, data)
            run.file(name, data)
    for name, network in (("before", study.before), ("after", study.after)):
        write_whole(out / f"{name}.safetensors", network.weights.read_bytes())
    _write_dolls(study.unflawed_test, out / "dolls")
    _summarise(study, evaluations, out)


def _flat(settings: StudySettings) -> dict[str, object]:
    parts = asdict(settings)
    training, occlusion = parts.pop("training"), parts.pop("occlusion")
    return {**parts, **{f"training.{k}": v for k, v in training.items()}} | {
        f"occlusion.{k}": v for k, v in occlusion.items()
    }


def _log_epoch(run: TrackedRun, name: str, epoch: EpochMetrics) -> None:
    metrics = asdict(epoch)
    number = metrics.pop("epoch")
    run.metrics({f"{name}.{key}": metric for key, metric in metrics.items()}, step=number)


def _other_classifiers(models: Models, compute: ComputeSettings) -> dict[str, Classifier]:
    """Return two classifiers that saw no doll."""
    plan = plan_compute(compute, CPU_BATCH_SIZE)
    return {
        SKIN_BASELINE: load_named_classifier(SKIN_BASELINE, plan),
        "OpenNSFW": load_named_classifier(str(models.packaged()), plan),
    }


def _origins(
    study: Study, others: dict[str, Classifier], compute: ComputeSettings
) -> dict[str, Provenance]:
    """Return the origin of the scores of both networks, and of the other classifiers."""
    plan = plan_compute(compute, CPU_BATCH_SIZE)
    networks = {"before": study.before, "after": study.after}
    studied = {name: load_classifier(one.weights, plan) for name, one in networks.items()}
    return {
        name: provenance_of(
            Target(classifier, ModelIdentity(name, "", classifier.fingerprint), POSITIVE),
            threshold=None,
        )
        for name, classifier in {**studied, **others}.items()
    }


def _evaluate_all(
    study: Study, others: dict[str, Classifier], folder: Path, progress: TerminalProgress
) -> dict[str, Evaluation]:
    """Return the evaluation without the flaw of both networks and of the other classifiers."""
    store = VectorStore(folder / "probabilities")
    evaluations = {"before": study.before.unflawed, "after": study.after.unflawed}
    for name, classifier in others.items():
        listener = progress.listener(_log, name, "dolls")
        evaluations[name] = evaluate_dolls(study.unflawed_test, classifier, store, listener)
    return evaluations


def _files(
    study: Study, evaluations: dict[str, Evaluation], made: dict[str, Provenance], seed: int
) -> dict[str, bytes]:
    origins = {name: one.parts() for name, one in made.items()}
    chunks = {"seed": str(seed), "models": origins}
    drawn = {
        "study.png": (draw_study(study), ("before", "after")),
        "evaluation.png": (draw_evaluation(evaluations), tuple(made)),
        # The dolls are drawn, and no model has seen them yet.
        "dolls.png": (draw_doll_sheet(study.unflawed_test.dolls[:SHEET]), ()),
    }
    files = {}
    for file, (image, names) in drawn.items():
        foot = [f"random seed {seed}", *(line for name in names for line in made[name].lines())]
        files[file] = png(with_foot(image, foot), chunks).data
    summary = {**_metrics(study, evaluations), "seed": seed, "provenance": origins}
    return {**files, "summary.json": json.dumps(summary, indent=2).encode()}


def _metrics(study: Study, evaluations: dict[str, Evaluation]) -> dict[str, float]:
    metrics = study.metrics()
    for name, evaluation in evaluations.items():
        metrics |= evaluation.metrics["auc"].named(f"{name}.auc_unflawed")
    return metrics


def _write_dolls(dolls: DollSet, folder: Path) -> None:
    """Write dolls as a labelled manifest, for `tessera evaluate` and `tessera train`."""
    names = [f"{number:04}.png" for number in range(len(dolls.dolls))]
    for name, doll in zip(names, dolls.dolls, strict=True):
        write_whole(folder / name, png(doll.image).data)
    labels = [CLASS_NAMES[int(is_positive)] for is_positive in dolls.is_positive]
    table = pd.DataFrame({"uri": names, "label": labels}).join(dolls.slices)
    write_whole(folder / "labels.csv", table.to_csv(index=False).encode())


def _summarise(study: Study, evaluations: dict[str, Evaluation], out: Path) -> None:
    click.echo("On dolls whose lips tell nothing, with 95 % intervals:")
    for name, evaluation in evaluations.items():
        auc = evaluation.metrics["auc"]
        click.echo(f"  {name:<14}AUC {auc.value:.3f}  {auc.low:.3f} to {auc.high:.3f}")
    longest = max(len(str(out / name)) for name in FILES)
    for name, words in FILES.items():
        click.echo(printable(f"  {out / name!s:<{longest}}  {words}"))
    click.echo(study.summary())
