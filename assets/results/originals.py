"""Images to explain: chosen, read from their source, and their results logged."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pandas as pd
from PIL import Image

from assets.config import ExaminedImagesConfig, RawImagesConfig, catalogue_settings, config_of
from assets.methods.attribution.occlusion import MOST_MAP_PIXELS
from assets.methods.attribution.target import Target
from assets.methods.common.errors import UserError
from assets.methods.common.shown_text import printable, shown, without_secrets
from assets.methods.models.one_model import by_one_model
from assets.methods.models.provenance import Provenance
from assets.methods.models.scoring import highest_frame
from assets.methods.photos.animation import Frame
from assets.methods.photos.catalogue import (
    CatalogueSettings,
    find_addresses,
    read_original_file,
)
from assets.methods.photos.decode import decode, decode_image, has_transparent_parts
from assets.methods.photos.decode import image_id as id_of
from assets.methods.photos.listing import WEB, protocol_of
from assets.methods.photos.local import local_path, local_uri
from assets.methods.photos.photo_store import as_stored
from assets.methods.photos.rejects import Reject, Rejected
from assets.methods.plotting.text import printable as font_safe
from assets.resources.collections import Collection
from assets.resources.tracking import TrackedRun
from assets.steps import Step

_log = logging.getLogger(__name__)

Result = TypeVar("Result", bound="ImageResult")
# Beyond it, two scores of one photo are a warning.
LARGEST_DIFFERENCE = 0.02
_LONGEST_CLASS = 40


@dataclass(frozen=True)
class Original:
    """An image that was read, its number from 1 among those named, and its results' folder.

    ``judged`` are the pixels that have the image's score: the working copy, as the photo store
    gives it. ``image`` is the file at its own size, or at ``size_within`` the pixels of the largest
    maps; ``size`` is its own (width, height), upright, in px. Of an animation, ``frame`` is the one
    that was read, ``name`` names it, and ``note`` says if some frames could not be looked at.
    ``is_transparent`` says whether it has pixels that are not opaque.
    """

    number: int
    uri: str
    name: str
    folder: str
    image: Image.Image
    image_id: str
    judged: Image.Image
    size: tuple[int, int]
    frame: Frame | None = None
    note: str | None = None
    is_transparent: bool = False

    @property
    def figure_notes(self) -> tuple[str, ...]:
        """Sentences on how the file became an image, for its figure."""
        if not self.is_transparent:
            return ()
        return ("The file is transparent in parts: these were put on a neutral grey.",)


@dataclass(frozen=True)
class ImageResult:
    """What is logged of an image: metrics and images by their names, and files by theirs.

    ``about`` says what was read of the image, for reports: sizes in px, and where windows lie.
    ``made`` is the origin of the answers. ``notes`` are sentences on it, and on other pixels than
    the judged ones that a method read.
    """

    metrics: dict[str, float]
    images: dict[str, Image.Image]
    files: dict[str, bytes]
    about: dict[str, Any]
    made: Provenance
    notes: tuple[str, ...]


def score_notes(class_name: str, score: float, pixels: str, read_score: float) -> tuple[str, ...]:
    """Return sentences on a method that read other pixels than those that are judged.

    Args:
        class_name: whose probability the scores are.
        score: of the judged pixels.
        pixels: what the method read, for the beginning of a sentence.
        read_score: of these.
    """
    name = font_safe(class_name, _LONGEST_CLASS)
    both = (
        f"{pixels}, of which P({name}) is {read_score:.4f}; the photo's score is {score:.4f}, by "
        "its working copy."
    )
    if abs(score - read_score) <= LARGEST_DIFFERENCE:
        return (both,)
    return (
        both,
        f"Warning: these scores differ by more than {LARGEST_DIFFERENCE:g}. Whether the photo is "
        "flagged goes by its own score, and what is shown here explains the other.",
    )


def addresses_of(
    uris: Iterable[str], collection: Collection
) -> tuple[list[str], CatalogueSettings]:
    """Return where each file of a collection is read from, and how; a uri may hide a secret."""
    reading = catalogue_settings(collection.settings)
    source = config_of(RawImagesConfig, collection.settings).manifest or collection.source
    wanted = list(uris)
    addresses = find_addresses(source, wanted, reading)
    return [addresses.get(uri, uri) for uri in wanted], reading


def choose_images(
    images: pd.DataFrame, scores: pd.DataFrame, config: ExaminedImagesConfig
) -> pd.DataFrame:
    """Return the images to attribute, the highest score first: image_id, uri and score.

    They are those that the configuration lists by image_id or uri, or else the highest scores.
    Raises UserError when an image of the list is not in the catalogue, or when images have no
    score: then the scores are older than the catalogue.
    """
    unique = images.drop_duplicates("image_id")
    ranked = unique[["image_id", "uri"]].merge(
        scores[["image_id", "score"]], on="image_id", how="left"
    )
    n_missing = int(ranked.score.isna().sum())
    if n_missing:
        raise UserError(
            f"{n_missing:,} of {len(ranked):,} images have no score in nsfw_scores yet: "
            "materialise nsfw_scores first."
        )
    ranked = ranked.sort_values(["score", "image_id"], ascending=[False, True], ignore_index=True)
    if not config.images:
        return ranked.head(config.highest)
    by_name = dict(zip(images.uri, images.image_id, strict=True))
    by_name |= {image_id: image_id for image_id in images.image_id}
    names = [_catalogued(name) for name in config.images]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise UserError(
            f"{unknown[0]} is not an image of this collection: name images by their image_id or "
            "their uri in raw_images."
        )
    wanted = {by_name[name] for name in names}
    return ranked[ranked.image_id.isin(wanted)].reset_index(drop=True)


def _catalogued(name: str) -> str:
    """Return the uri that the catalogue has of a file, whose address or shown uri somebody gave."""
    if protocol_of(name) in (None, "file"):
        return local_uri(local_path(name))
    return without_secrets(name)


def chosen_results(
    chosen: pd.DataFrame,
    reading: CatalogueSettings,
    compute: Callable[[Original], Result],
    rejects: list[Reject],
    log: Step,
    target: Target,
) -> Iterator[tuple[dict[str, Any], Result]]:
    """Compute the results of the images of ``chosen`` (image_id, uri, score), and log them.

    A column address, if there is one, says where to read from instead of uri. Yields each result
    with the rank, image_id, uri, score and frame of its image. A file that cannot be read any more
    is appended to ``rejects``. Raises UserError when none could be read.
    """

    def leave_out(number: int, rejected: Rejected) -> None:
        uri = chosen.uri.iloc[number - 1]
        rejects.append(Reject(uri, rejected.reason, rejected.detail))
        log.context.log.warning(f"{file_name(uri)} was left out: {shown(rejected.detail)}")

    locations = list(chosen.get("address", chosen.uri))
    originals = read_originals(locations, reading, leave_out, list(chosen.image_id), target)
    n_read = 0
    for original, result in tracked_results(originals, compute, log.run):
        n_read += 1
        if n_read == 1:
            log.thumbnail("highest", partial(result.images.__getitem__, "figure"))
        for note in result.notes:
            log.context.log.info(f"{original.name}: {note}")
        photo = chosen.iloc[original.number - 1]
        frame = original.frame.number if original.frame is not None else pd.NA
        yield {"rank": n_read, **photo[["image_id", "uri", "score"]], "frame": frame}, result
    if n_read == 0:
        raise UserError(
            f"None of the {len(rejects)} images could be read again, the first because: "
            f"{rejects[0].detail}"
        )
    log.metrics({"images": n_read, "rejected": len(rejects)})


def read_originals(
    uris: Sequence[str],
    reading: CatalogueSettings,
    leave_out: Callable[[int, Rejected], None],
    image_ids: Sequence[str | None] | None = None,
    target: Target | None = None,
) -> Iterator[Original]:
    """Yield images one at a time; of an animation, the frame with the highest score.

    Args:
        uris: of the images, or their addresses, which the results do not hold.
        reading: how they are read.
        leave_out: called with the number, from 1, of an image that cannot be read, and why.
        target: whose probability is the score of a frame; without it, an animation is read at the
            frame that a map shows.
        image_ids: of the images; one whose file has changed cannot be read. None for any content.
    """
    folders, expected = set[str](), image_ids or [None] * len(uris)
    for number, (uri, image_id) in enumerate(zip(uris, expected, strict=True), 1):
        try:
            data = read_original_file(uri, reading, image_id)
            frame, note = _highest_frame(data, reading, target)
            number_of_frame = frame.number if frame else None
            photo = decode(data, reading.decode, number_of_frame)
            image = decode_image(data, reading.decode, number_of_frame, MOST_MAP_PIXELS)
            is_transparent = has_transparent_parts(data, reading.decode, number_of_frame)
        except Rejected as rejected:
            leave_out(number, rejected)
            continue
        name = file_name(uri) + (f", {frame_in_words(frame)}" if frame else "")
        # One that was asked for was compared with the file when it was read.
        shown_uri, image_id = without_secrets(uri), image_id or id_of(data)
        folder = next(one for one in numbered(folder_name(uri, image_id)) if one not in folders)
        folders.add(folder)
        yield Original(
            number=number,
            uri=shown_uri,
            name=name,
            folder=folder,
            image=image,
            image_id=image_id,
            judged=as_stored(photo.working_copy),
            size=(photo.width, photo.height),
            frame=frame,
            note=note,
            is_transparent=is_transparent,
        )


def frame_in_words(frame: Frame) -> str:
    """Return which frame it is, and when it is shown."""
    shown = "" if frame.seconds is None else f" at {frame.seconds:.2f} s"
    return f"frame {frame.number}{shown}"


def _highest_frame(
    data: bytes, reading: CatalogueSettings, target: Target | None
) -> tuple[Frame | None, str | None]:
    """Return the frame of an animation, and a note on those that could not be read."""
    found = None
    if target is not None:
        classifier, class_name = target.classifier, target.class_name
        find = partial(highest_frame, data, reading.decode, reading.frames, classifier, class_name)
        found = by_one_model(classifier, find, _log.warning)
    return (None, None) if found is None else (found[0], found[1].note)


def tracked_results(
    images: Iterable[Original], compute: Callable[[Original], Result], run: TrackedRun
) -> Iterator[tuple[Original, Result]]:
    """Compute and yield the result of each image, and log it as the next step of a series.

    It is logged once the caller has kept it, so that a tracking server that fails costs no result.
    """
    for step, original in enumerate(images, 1):
        result = compute(original)
        yield original, result
        log_result(original, result, run, step)


def log_result(original: Original, result: ImageResult, run: TrackedRun, step: int) -> None:
    """Log the result of an image as a step of a series."""
    run.metrics(result.metrics, step)
    for key, image in result.images.items():
        run.series_image(key, image, step)
    for name, data in result.files.items():
        run.file(f"{original.folder}/{name}", data)


def size_in_px(size: tuple[int, int]) -> dict[str, int]:
    """Return a size as reports name it."""
    return {"width": size[0], "height": size[1]}


def in_px(lengths: Mapping[str, float]) -> str:
    """Return two named lengths, across and down, in words: "64 x 48 px"."""
    across, down = lengths.values()
    return f"{across:,g} x {down:,g} px"


def sizes_in_words(about: Mapping[str, Any]) -> str:
    """Return the sizes of an image and of what was read of it, for the foot of a figure."""
    return f"image {in_px(about['image_size'])}, read as {in_px(about['read_size'])}"


def file_name(uri: str) -> str:
    """Return the file's own name, as text that can be shown; of a web address without its query."""
    return printable(_own_name(uri))


def _own_name(uri: str) -> str:
    path = urlsplit(uri).path if protocol_of(uri) in WEB else local_path(without_secrets(uri))
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return os.fsencode(name).decode("utf-8", "replace")


def folder_name(uri: str, image_id: str) -> str:
    """Return the name of an image's folder: the file's own, made safe, and a short id."""
    return f"{plain_folder_name(uri)}-{short_id(image_id)}"


def plain_folder_name(uri: str) -> str:
    """Return the file's own name without its ending, made safe for a folder."""
    return safe_name(PurePath(_own_name(uri)).stem) or "image"


def short_id(digest: str) -> str:
    """Return the beginning of an image_id or a fingerprint, which tells one from another."""
    return digest[:8]


def safe_name(text: str) -> str:
    """Return a text as a file's name: letters, digits and -_. are kept, and it is not too long."""
    safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in text).strip(".")
    # A name may have 255 bytes, and an id and a number follow.
    return safe[:80].encode()[:200].decode(errors="ignore")


def numbered(base: str) -> Iterator[str]:
    """Yield names that are tried one after the other: base, base-2, base-3, ..."""
    yield base
    yield from (f"{base}-{number}" for number in count(2))
