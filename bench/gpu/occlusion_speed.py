"""The step that measures the windows a second of both occlusion experiments."""

from functools import partial

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import OPEN_NSFW, convert_open_nsfw, load_classifier
from assets.methods.models.identity import ModelIdentity
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE, TorchClassifier
from assets.results.occlusion import run_occlusion
from bench.gpu.photos import astronaut
from bench.gpu.step import Context, measured, precisions

BOX = 64
CLASS_NAME = "nsfw"


def measure(context: Context) -> None:
    """Time `seen` and `hidden` with OpenNSFW, and draw the figure of both in float32."""
    weights = convert_open_nsfw(context.shared / "models")
    for precision in precisions(context.device):
        settings = ComputeSettings(
            context.device,
            precision=precision,
            threads=context.cores,
            batch_sizes=context.folder / "batch_sizes.json",
        )
        classifier = load_classifier(weights, plan_compute(settings, CPU_BATCH_SIZE))
        store = WindowScoreStore(context.folder / f"windows-{precision}")
        _time(classifier, precision, store, context)
        if precision == "float32" and context.draws:
            _draw(classifier, store, context)


def _time(
    classifier: TorchClassifier, precision: str, store: WindowScoreStore, context: Context
) -> None:
    sizes = context.sizes
    stride = sizes.stride if precision == "float32" else sizes.stride_of_others
    # A few windows first, for what is set up once.
    few = WindowedImage(astronaut(), OcclusionSettings(BOX, BOX))
    elsewhere = WindowScoreStore(context.folder / f"few-{precision}")
    occlusion_maps(few, classifier, CLASS_NAME, elsewhere)
    windowed = WindowedImage(astronaut(), OcclusionSettings(BOX, stride))
    for experiment in EXPERIMENTS:
        found = measured(
            context.device,
            partial(occlusion_maps, windowed, classifier, CLASS_NAME, store, [experiment]),
        )
        context.findings.row(
            f"One map of 512 x 512 px by windows of {BOX} px",
            experiment=experiment,
            precision=precision,
            stride=stride,
            batch=classifier.batch_size,
            windows=windowed.windows.count,
            seconds=found.seconds,
            windows_a_second=windowed.windows.count / found.seconds,
            peak_MiB=found.peak_mebibytes,
        )


def _draw(classifier: TorchClassifier, store: WindowScoreStore, context: Context) -> None:
    target = Target(classifier, ModelIdentity(OPEN_NSFW, "", classifier.fingerprint), CLASS_NAME)
    config = OcclusionMapsConfig(box=BOX, stride=context.sizes.stride)
    result = run_occlusion(astronaut(), "astronaut", target, config, store)
    (context.out / "occlusion.png").write_bytes(result.files["figure.png"])
