"""The study of a planted shortcut: metrics do not show it, maps do, and other data correct it.

A network is trained on dolls whose lips give their label away. Its metrics are excellent on a test
set with the same flaw, and bad on one without it. Maps of what it looks at show why. Then the
training data alone are redesigned, and a second network is trained like the first.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.methods.attribution.deconvnet_maps import deconvnet_map
from assets.methods.attribution.occlusion import OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.share import attribution_shares, score_drop
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.common.errors import UserError
from assets.methods.common.progress import Progress, silent
from assets.methods.evaluation.evaluate import LEAST_OF_EACH_CLASS, Evaluation, evaluate_scores
from assets.methods.evaluation.intervals import Estimate
from assets.methods.models.classifier import Classifier, classify_arrays
from assets.methods.models.classifier_file import load_classifier
from assets.methods.models.scoring import score_unseen
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.methods.models.vector_store import VectorStore
from assets.methods.study.doll_sets import CLASS_NAMES, Design, DollSet, draw_doll_set
from assets.methods.study.paper_dolls import REGIONS, Doll, Region
from assets.methods.training.loop import EpochMetrics
from assets.methods.training.settings import TrainingSettings
from assets.methods.training.train import save_trained, train_classifier

POSITIVE = CLASS_NAMES[1]

# Seeds of the sets, so that no doll is in two of them.
_TRAIN, _VALIDATION, _FLAWED_TEST, _UNFLAWED_TEST = range(4)


@dataclass(frozen=True)
class StudySettings:
    """How large the study is.

    Attributes:
        n_train, n_validation, n_test: dolls in each set.
        n_explained: bare dolls with red lips whose maps are made, at most.
        training: of both networks.
        occlusion: box and stride in px of a doll of 112 px; the box is about as large as lips.
        seed: of the drawings.

    Raises:
        UserError: there are too few dolls for a metric, or the seed is negative.
    """

    n_train: int = 1200
    n_validation: int = 200
    n_test: int = 400
    n_explained: int = 24
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            base="plain_convnet",
            pretrained=False,
            trained="all",
            epochs=10,
            learning_rate=2e-3,
            augmentation="none",
            patience=0,
        )
    )
    occlusion: OcclusionSettings = field(
        default_factory=lambda: OcclusionSettings(box=8, stride=4, fill="mean")
    )
    seed: int = 0

    def __post_init__(self) -> None:
        # An error here comes before minutes of training. Dolls of both classes alternate.
        for name, least in (
            ("n_train", 2),
            ("n_validation", 2),
            ("n_test", 2 * LEAST_OF_EACH_CLASS),
            ("n_explained", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}: it has to be at least {least}.")


@dataclass(frozen=True)
class ExplainedDoll:
    """A doll, its P(nsfw), and what both methods attribute to its pixels.

    ``occlusion`` and ``deconvnet`` are (rows, columns) float32.
    """

    doll: Doll
    score: float
    occlusion: NDArray[np.float32]
    deconvnet: NDArray[np.float32]


@dataclass(frozen=True)
class StudiedNetwork:
    """A network, its evaluations, and what it looks at.

    Attributes:
        design: of its training data.
        weights: its file.
        flawed: its evaluation on the test set that shares the flaw.
        unflawed: its evaluation on the other test set, with slices of red lips and of plain ones.
        explained: bare dolls with red lips.
        occlusion: mean share of occlusion's attribution on each region.
        deconvnet: the same of the deconvnet.
    """

    design: Design
    weights: Path
    flawed: Evaluation
    unflawed: Evaluation
    explained: tuple[ExplainedDoll, ...]
    occlusion: dict[Region, float]
    deconvnet: dict[Region, float]

    @property
    def red_lips_rate(self) -> Estimate:
        """The false-positive rate on clothed dolls with red lips."""
        slices = self.unflawed.slices
        row = slices[(slices["slice"] == "lips") & (slices["value"] == "red")].iloc[0]
        return Estimate(
            row.false_positive_rate, row.false_positive_rate_low, row.false_positive_rate_high
        )


@dataclass(frozen=True)
class Study:
    """Both networks, and the sets that they were tested on."""

    before: StudiedNetwork
    after: StudiedNetwork
    flawed_test: DollSet
    unflawed_test: DollSet

    def summary(self) -> str:
        """Return the result in one line."""
        before, after = self.before, self.after
        return (
            f"share on the lips {before.occlusion['lips']:.2f} -> {after.occlusion['lips']:.2f}, "
            "false-positive rate on clothed dolls with red lips "
            f"{before.red_lips_rate.value:.2f} -> {after.red_lips_rate.value:.2f}, "
            f"AUC without the flaw {before.unflawed.metrics['auc'].value:.3f} -> "
            f"{after.unflawed.metrics['auc'].value:.3f} "
            f"(with the flaw {before.flawed.metrics['auc'].value:.3f} before)"
        )

    def metrics(self) -> dict[str, float]:
        """Return the compared metrics by name, which begins with ``before.`` or ``after.``."""
        found: dict[str, float] = {}
        for name, network in (("before", self.before), ("after", self.after)):
            for method in ("occlusion", "deconvnet"):
                shares = getattr(network, method)
                found |= {f"{name}.{method}_share_{key}": share for key, share in shares.items()}
            for key, estimate in (
                ("auc_flawed", network.flawed.metrics["auc"]),
                ("auc_unflawed", network.unflawed.metrics["auc"]),
                ("false_positive_rate_red_lips", network.red_lips_rate),
            ):
                found |= estimate.named(f"{name}.{key}")
        return found


def run_study(
    settings: StudySettings,
    folder: Path,
    compute: ComputeSettings,
    progress: Callable[[str, str], Progress],
    on_epoch: Callable[[str, EpochMetrics], None],
) -> Study:
    """Run the study; after an interruption the same call goes on from what is done.

    Args:
        settings: how large it is.
        folder: where checkpoints, scores and the networks' files are kept.
        compute: where the networks run.
        progress: returns a listener for a step and the unit that it counts.
        on_epoch: is called for each epoch of a network, "before" or "after", and first for those
            that an earlier run had done.

    Raises:
        UserError: a network cannot be trained with these settings, or none of its maps attributes
            anything.
    """
    flawed = draw_doll_set("flawed", settings.n_test, _seed(settings, _FLAWED_TEST))
    unflawed = draw_doll_set("unflawed", settings.n_test, _seed(settings, _UNFLAWED_TEST))

    def studied(name: str, design: Design) -> StudiedNetwork:
        weights = _train(
            design,
            settings,
            folder / name,
            compute,
            progress(f"training {name}", "images"),
            partial(on_epoch, name),
        )
        listener = progress(f"maps {name}", "dolls")
        return _study_network(
            design, weights, (flawed, unflawed), settings, folder, compute, listener
        )

    return Study(studied("before", "flawed"), studied("after", "redesigned"), flawed, unflawed)


def evaluate_dolls(
    dolls: DollSet, classifier: Classifier, store: VectorStore, progress: Progress = silent
) -> Evaluation:
    """Evaluate a classifier that knows the class nsfw on dolls."""
    found = score_unseen(dolls.image_ids, dolls.loader(), classifier, POSITIVE, store, progress)
    return evaluate_scores(dolls.is_positive, found.scores.astype(np.float64), slices=dolls.slices)


def _seed(settings: StudySettings, number: int) -> int:
    return 4 * settings.seed + number


def _train(
    design: Design,
    settings: StudySettings,
    folder: Path,
    compute: ComputeSettings,
    progress: Progress,
    on_epoch: Callable[[EpochMetrics], None],
) -> Path:
    train = draw_doll_set(design, settings.n_train, _seed(settings, _TRAIN))
    validation = draw_doll_set(design, settings.n_validation, _seed(settings, _VALIDATION))
    load_image = DollSet((*train.dolls, *validation.dolls)).loader()
    trained = train_classifier(
        train.labelled,
        validation.labelled,
        CLASS_NAMES,
        load_image,
        settings.training,
        folder,
        plan_compute(compute),
        progress,
        on_epoch,
    )
    weights = folder / f"{design}.safetensors"
    save_trained(trained, weights)
    return weights


def _study_network(
    design: Design,
    weights: Path,
    tests: tuple[DollSet, DollSet],
    settings: StudySettings,
    folder: Path,
    compute: ComputeSettings,
    progress: Progress,
) -> StudiedNetwork:
    classifier = load_classifier(weights, plan_compute(compute, CPU_BATCH_SIZE))
    store = VectorStore(folder / "probabilities")
    flawed, unflawed = (evaluate_dolls(dolls, classifier, store) for dolls in tests)
    chosen = [doll for doll in tests[0].dolls if doll.kind.bare][: settings.n_explained]
    explained = []
    for done, doll in enumerate(chosen, 1):
        explained.append(_explain(doll, classifier, settings, folder))
        progress(done, len(chosen))
    return StudiedNetwork(
        design,
        weights,
        flawed,
        unflawed,
        tuple(explained),
        _mean_shares([one.occlusion for one in explained], chosen),
        _mean_shares([one.deconvnet for one in explained], chosen),
    )


def _explain(
    doll: Doll, classifier: Classifier, settings: StudySettings, folder: Path
) -> ExplainedDoll:
    store = WindowScoreStore(folder / "windows")
    windowed = WindowedImage(doll.image, settings.occlusion)
    maps = occlusion_maps(windowed, classifier, POSITIVE, store, experiments=["hidden"])
    score = float(classify_arrays(classifier, [np.array(doll.image)])[POSITIVE][0])
    relevance = deconvnet_map(doll.image, classifier, POSITIVE).relevance
    return ExplainedDoll(doll, score, score_drop(maps["hidden"].values, score), relevance)


def _mean_shares(maps: list[NDArray[np.float32]], dolls: list[Doll]) -> dict[Region, float]:
    """Return the mean share on each region, over the dolls whose map attributes anything."""
    shares = [
        attribution_shares(relevance, {region: doll.mask(region) for region in REGIONS})
        for relevance, doll in zip(maps, dolls, strict=True)
    ]
    known = [share for share in shares if share is not None]
    if not known:
        raise UserError("No map attributes anything to a pixel: train for more epochs.")
    return {region: float(np.mean([share[region] for share in known])) for region in REGIONS}
