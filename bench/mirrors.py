"""Does a vector know a photo in its mirror image? By pixels and by the network, for 200 photos.

For each of 200 photos, its own mirror image is ranked among all other photos by the distance from
the photo: rank 1 is the nearest. With labels, the share of the eight nearest photos that have the
same label is given, too.

Run: python -m bench.mirrors [--folder PHOTOS] [--figure FILE.jpg]
"""

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from assets.methods.layout.layout import lay_out
from assets.methods.layout.mosaic import MosaicSettings, draw_mosaic, plan_mosaic
from assets.methods.layout.projection.projection import ProjectionSettings, project
from assets.methods.models.backbones import DEFAULT_BACKBONE, PIXELS
from bench.photo_vectors import Photos, asked_photos, vectors_of

N_ASKED = 200
N_NEAREST = 8
BACKBONES = (PIXELS, DEFAULT_BACKBONE)
NAMES = {PIXELS: "by pixels", DEFAULT_BACKBONE: "by the network"}
# Of the figure.
N_ROWS = 7
SIDE = 76
COLOURS = {PIXELS: "#c2452d", DEFAULT_BACKBONE: "#1f6f8b"}


def chosen_photos(n: int, seed: int = 0) -> np.ndarray:
    """Return the numbers of the photos that are asked about, of ``n``."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:N_ASKED])


def mirror_ranks(vectors: np.ndarray, asked: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Return the rank of each mirror image among the other photos, 1 being the nearest.

    Args:
        vectors: (n, d), of unit length.
        asked: (k,), the numbers of the photos that are asked about.
        mirrored: (k, d), the vectors of their mirror images.
    """
    similarity = vectors[asked] @ vectors.T
    similarity[np.arange(len(asked)), asked] = -np.inf
    own = (vectors[asked] * mirrored).sum(axis=1)
    return 1 + (similarity > own[:, np.newaxis]).sum(axis=1)


def nearest(vectors: np.ndarray, asked: np.ndarray, n: int) -> np.ndarray:
    """Return the numbers of the ``n`` photos nearest each that is asked about, (k, n)."""
    similarity = vectors[asked] @ vectors.T
    similarity[np.arange(len(asked)), asked] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :n]


def report(name: str, ranks: np.ndarray, same_label: float | None) -> None:
    label = "" if same_label is None else f"{same_label:>12.0%}"
    print(
        f"{name:<20} {np.median(ranks):>7.0f} {ranks.mean():>7.0f} {ranks.max():>7} "
        f"{(ranks == 1).mean():>8.0%} {(ranks <= 10).mean():>8.0%} {label}",
        flush=True,
    )


def strip(images: list[Image.Image]) -> Image.Image:
    """Draw photos in a row."""
    row = Image.new("RGB", ((SIDE + 4) * len(images) - 4, SIDE), "white")
    for place, image in enumerate(images):
        row.paste(ImageOps.fit(image, (SIDE, SIDE)), (place * (SIDE + 4), 0))
    return row


def map_of(photos: Photos, vectors: np.ndarray) -> tuple[Image.Image, float | None]:
    """Return the mosaic of the photos, and the share of neighbours in it with the same label."""
    layout = lay_out(project(vectors, ProjectionSettings()), vectors, photos.labels)
    names = [str(number) for number in range(len(vectors))]
    table = pd.DataFrame({"image_id": names, "row": layout.row, "col": layout.col})
    plan = plan_mosaic(layout.grid.columns, layout.grid.rows, MosaicSettings(tile=22, gap=1))
    mosaic = draw_mosaic(lambda name: photos.images[int(name)], table, plan)
    return mosaic, layout.quality.neighbourhood_purity


def draw(
    photos: Photos, vectors: dict[str, np.ndarray], ranks: dict[str, np.ndarray], asked: np.ndarray
) -> Image.Image:
    """Draw photos with their nearest ones, the maps, and how many mirror images are found."""
    from matplotlib.figure import Figure

    from assets.methods.plotting.sheet import rasterised

    figure = Figure(figsize=(15, 18.6), dpi=100)
    rows = figure.add_gridspec(3, 2, height_ratios=[6.1, 7, 4], hspace=0.12, wspace=0.04)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.965, bottom=0.045)
    shown = _shown(ranks, asked)
    for column, name in enumerate(BACKBONES):
        axes = figure.add_subplot(rows[0, column])
        sheet = Image.new("RGB", ((SIDE + 4) * 8 + 20, (SIDE + 22) * N_ROWS), "white")
        axes.axis("off")
        for line, place in enumerate(shown):
            photo = photos.images[asked[place]]
            found = nearest(vectors[name], asked[[place]], 6)[0]
            pair = strip([photo, ImageOps.mirror(photo)])
            top = line * (SIDE + 22)
            sheet.paste(pair, (0, top))
            sheet.paste(strip([photos.images[one] for one in found]), (pair.width + 24, top))
            rank = f"its mirror image: rank {ranks[name][place]:,} of {len(photos.images):,}"
            axes.text(0, top + SIDE + 15, rank, size=9, color="#444")
        axes.imshow(np.asarray(sheet))
        axes.set_title(
            f"Photo and mirror image, and its six nearest {NAMES[name]}", loc="left", size=13
        )
        axes = figure.add_subplot(rows[1, column])
        mosaic, purity = map_of(photos, vectors[name])
        axes.imshow(np.asarray(mosaic))
        axes.axis("off")
        share = "" if purity is None else f": {purity:.0%} of neighbours of the same photograph"
        axes.set_title(f"The map {NAMES[name]}{share}", loc="left", size=13)
    axes = figure.add_subplot(rows[2, :])
    for name in BACKBONES:
        steps = np.arange(1, len(photos.images) + 1)
        found = [(ranks[name] <= step).mean() for step in steps]
        axes.plot(steps, found, color=COLOURS[name], linewidth=2.5, label=NAMES[name])
    axes.set_xscale("log")
    axes.set_xlim(1, len(photos.images))
    axes.set_ylim(0, 1.02)
    axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"so many of the nearest of {len(photos.images):,} images")
    axes.grid(color="#ddd")
    axes.legend(frameon=False, loc="lower right", fontsize=12)
    axes.set_title(
        f"Share of {len(asked)} photos whose mirror image is among the nearest",
        loc="left",
        size=13,
    )
    return rasterised(figure)


def _shown(ranks: dict[str, np.ndarray], asked: np.ndarray) -> np.ndarray:
    """Choose the photos to draw evenly over the ranks by pixels, so that good cases are shown."""
    order = np.argsort(ranks[PIXELS], kind="stable")
    return order[np.linspace(0, len(asked) - 1, N_ROWS).round().astype(int)]


def main() -> None:
    photos, figure = asked_photos(__doc__)
    asked = chosen_photos(len(photos.images))
    mirrored = [ImageOps.mirror(photos.images[one]) for one in asked]
    print(f"{len(photos.images):,} photos; rank of the mirror image of {len(asked)} of them")
    print(f"{'':<20} {'median':>7} {'mean':>7} {'last':>7} {'first':>8} {'1 to 10':>8} ", end="")
    print("  same label" if photos.labels is not None else "")
    vectors, ranks = {}, {}
    for name in BACKBONES:
        vectors[name] = vectors_of(photos.images, name)
        ranks[name] = mirror_ranks(vectors[name], asked, vectors_of(mirrored, name))
        same = None
        if photos.labels is not None:
            everyone = np.arange(len(photos.images))
            found = nearest(vectors[name], everyone, N_NEAREST)
            same = float((photos.labels[found] == photos.labels[:, np.newaxis]).mean())
        report(name, ranks[name], same)
    if figure:
        draw(photos, vectors, ranks, asked).save(figure, quality=85, optimize=True)


if __name__ == "__main__":
    main()
