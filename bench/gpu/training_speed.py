"""The step that measures the two trainings of the study of a planted shortcut."""

from dataclasses import replace
from statistics import median

from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.study.doll_sets import CLASS_NAMES, Design, DollSet, draw_doll_set
from assets.methods.study.study import StudySettings
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.train import train_classifier
from bench.gpu.step import Context, peak_mebibytes, seconds

DESIGNS: tuple[Design, ...] = ("flawed", "redesigned")


def measure(context: Context) -> None:
    """Train on the flawed and on the redesigned data, as `tessera study` does."""
    for design in DESIGNS:
        _train(design, context)
    planned = StudySettings().training.epochs
    if context.sizes.epochs != planned:
        context.findings.note(f"The study trains for {planned} epochs; here it is fewer.")


def _train(design: Design, context: Context) -> None:
    study, sizes = StudySettings(), context.sizes
    settings = replace(study.training, epochs=sizes.epochs)
    train = draw_doll_set(design, sizes.n_dolls, 0)
    validation = draw_doll_set(design, max(8, sizes.n_dolls // 6), 1)
    load_image = DollSet((*train.dolls, *validation.dolls)).loader()
    plan = plan_compute(ComputeSettings(context.device, threads=context.cores))  # type: ignore[arg-type]
    epochs: list[EpochMetrics] = []
    elapsed = 0.0

    def fit() -> None:
        train_classifier(
            train.labelled,
            validation.labelled,
            CLASS_NAMES,
            load_image,
            settings,
            context.folder / design,
            plan,
            on_epoch=epochs.append,
        )

    def timed() -> None:
        nonlocal elapsed
        elapsed = seconds(context.device, fit)

    peak = peak_mebibytes(context.device, timed)
    context.findings.row(
        "Trainings of the study",
        data=design,
        images=sizes.n_dolls,
        epochs=len(epochs),
        seconds=round(elapsed, 2),
        seconds_an_epoch=round(median(epoch.seconds for epoch in epochs), 2),
        first_validation_loss=epochs[0].validation_loss,
        last_validation_loss=epochs[-1].validation_loss,
        last_validation_AUC=epochs[-1].validation_auc,
        peak_MiB=peak,
    )
