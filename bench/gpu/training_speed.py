"""The step that measures the two trainings of the study of a planted shortcut."""

from dataclasses import replace
from functools import partial
from statistics import median

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.study.doll_sets import CLASS_NAMES, Design, DollSet, draw_doll_set
from assets.methods.study.study import StudySettings
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.train import TrainedClassifier, train_classifier
from bench.gpu.sizes import Sizes
from bench.gpu.step import Context, Measured, measured

DESIGNS: tuple[Design, ...] = ("flawed", "redesigned")


def measure(context: Context) -> None:
    """Train on the flawed and on the redesigned data, as `tessera study` does."""
    # Two dozen dolls first, for what is set up once.
    _train("flawed", replace(context.sizes, n_dolls=24, epochs=1), context, "first")
    for design in DESIGNS:
        epochs, found = _train(design, context.sizes, context, design)
        context.findings.row(
            "Trainings of the study",
            data=design,
            images=context.sizes.n_dolls,
            epochs=len(epochs),
            seconds=found.seconds,
            seconds_an_epoch=median(epoch.seconds for epoch in epochs),
            first_validation_loss=epochs[0].validation_loss,
            last_validation_loss=epochs[-1].validation_loss,
            last_validation_AUC=epochs[-1].validation_auc,
            peak_MiB=found.peak_mebibytes,
        )
    planned = StudySettings().training.epochs
    if context.sizes.epochs != planned:
        context.findings.note(f"The study trains for {planned} epochs; here it is fewer.")


def _train(
    design: Design, sizes: Sizes, context: Context, name: str
) -> tuple[list[EpochMetrics], Measured[TrainedClassifier]]:
    settings = replace(StudySettings().training, epochs=sizes.epochs)
    train = draw_doll_set(design, sizes.n_dolls, 0)
    validation = draw_doll_set(design, max(8, sizes.n_dolls // 6), 1)
    epochs: list[EpochMetrics] = []
    fit = partial(
        train_classifier,
        train.labelled,
        validation.labelled,
        CLASS_NAMES,
        DollSet((*train.dolls, *validation.dolls)).loader(),
        settings,
        context.folder / name,
        plan_compute(ComputeSettings(context.device, threads=context.cores)),
        on_epoch=epochs.append,
    )
    return epochs, measured(context.device, fit)
