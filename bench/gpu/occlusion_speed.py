"""The step that measures the windows a second of both occlusion experiments."""

from assets.config import OcclusionMapsConfig
from assets.methods.attribution.occlusion import EXPERIMENTS, OcclusionSettings
from assets.methods.attribution.occlusion_maps import occlusion_maps
from assets.methods.attribution.target import Target
from assets.methods.attribution.window_images import WindowedImage
from assets.methods.attribution.window_store import WindowScoreStore
from assets.methods.common.devices import ComputeSettings, plan_compute
from assets.methods.models.classifier_file import OPEN_NSFW, convert_open_nsfw, load_classifier
from assets.methods.models.torch_classifier import CPU_BATCH_SIZE
from assets.results.occlusion import run_occlusion
from bench.gpu.photos import astronaut
from bench.gpu.step import Context, peak_mebibytes, precisions, seconds

BOX = 64
CLASS_NAME = "nsfw"


def measure(context: Context) -> None:
    """Time `seen` and `hidden` with OpenNSFW, and draw the figure of both in float32."""
    device, image = context.device, astronaut()
    weights = convert_open_nsfw(context.folder / "models")
    for precision in precisions(device):
        settings = ComputeSettings(device, precision=precision, threads=context.cores)  # type: ignore[arg-type]
        classifier = load_classifier(weights, plan_compute(settings, CPU_BATCH_SIZE))
        store = WindowScoreStore(context.folder / f"windows-{precision}")
        first = WindowedImage(image, OcclusionSettings(BOX, BOX))
        occlusion_maps(first, classifier, CLASS_NAME, store)
        windowed = WindowedImage(image, OcclusionSettings(BOX, context.sizes.stride))
        for experiment in EXPERIMENTS:
            elapsed = 0.0

            def run() -> None:
                nonlocal elapsed
                arguments = (windowed, classifier, CLASS_NAME, store, [experiment])  # noqa: B023
                elapsed = seconds(device, lambda: occlusion_maps(*arguments))  # noqa: B023

            peak = peak_mebibytes(device, run)
            context.findings.row(
                f"Occlusion of 512 x 512 px, windows of {BOX} px every {context.sizes.stride} px",
                experiment=experiment,
                precision=precision,
                batch=classifier.batch_size,
                windows=windowed.windows.count,
                seconds=round(elapsed, 2),
                windows_a_second=round(windowed.windows.count / elapsed, 1),
                peak_MiB=peak,
            )
        if precision == "float32":
            target = Target(classifier, OPEN_NSFW, CLASS_NAME)
            config = OcclusionMapsConfig(stride=context.sizes.stride, box=BOX)
            figure = run_occlusion(image, "astronaut", target, config, store).files["figure.png"]
            (context.out / "occlusion.png").write_bytes(figure)
