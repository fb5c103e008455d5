"""How much work each step does: on a card, on the CPU beside it, and in a rehearsal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much work each step does.

    Attributes:
        n_tiles: tiles of the demo that the pipeline maps, and for which devices are compared.
        n_files: photos of 1,600 x 1,200 px that are decoded.
        n_embedded: their working copies that are embedded, some under several names.
        n_images: images that a batch size and a precision are timed with.
        batch_sizes: that are timed.
        stride: of the occlusion windows that are timed, px, on an image of 512 x 512 px.
        stride_of_others: the same for other precisions than float32.
        compared_stride: of those that are compared.
        points: numbers of points that t-SNE is timed with.
        iterations: of t-SNE.
        n_dolls: training images of each of the study's networks.
        epochs: of each.
        test_workers: processes that run the tests.
    """

    n_tiles: int
    n_files: int
    n_embedded: int
    n_images: int
    batch_sizes: tuple[int, ...]
    stride: int
    stride_of_others: int
    compared_stride: int
    points: tuple[int, ...]
    iterations: int
    n_dolls: int
    epochs: int
    test_workers: int


ON_CARD = Sizes(
    n_tiles=1024,
    n_files=1024,
    n_embedded=8192,
    n_images=512,
    batch_sizes=(64, 256),
    stride=3,
    stride_of_others=8,
    compared_stride=16,
    points=(10_000, 60_000),
    iterations=750,
    n_dolls=1200,
    epochs=10,
    test_workers=12,
)
# Of what would take minutes, a part: rates are the same.
ON_CPU_BESIDE = Sizes(
    n_tiles=1024,
    n_files=512,
    n_embedded=512,
    n_images=128,
    batch_sizes=(1, 4, 16),
    stride=8,
    stride_of_others=16,
    compared_stride=16,
    points=(10_000,),
    iterations=750,
    n_dolls=1200,
    epochs=2,
    test_workers=4,
)
REHEARSAL = Sizes(
    n_tiles=48,
    n_files=8,
    n_embedded=10,
    n_images=4,
    batch_sizes=(2,),
    stride=64,
    stride_of_others=64,
    compared_stride=64,
    points=(200,),
    iterations=60,
    n_dolls=24,
    epochs=1,
    test_workers=0,
)
BY_NAME = {"on card": ON_CARD, "on CPU beside": ON_CPU_BESIDE, "rehearsal": REHEARSAL}


def sizes_name(of_all: str, of_step: str) -> str:
    """Return the name of the sizes of a step on ``of_step`` in a check of ``of_all``."""
    if of_all == "cpu":
        return "rehearsal"
    return "on card" if of_step == "cuda" else "on CPU beside"
