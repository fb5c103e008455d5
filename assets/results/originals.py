"""The images of a collection that are looked into: chosen, and read again from their source."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from urllib.parse import urlsplit

import pandas as pd
from PIL import Image

from assets.config import ExaminedImagesConfig
from assets.methods.common.errors import UserError
from assets.methods.photos.catalogue import CatalogueSettings
from assets.methods.photos.listing import WEB, protocol_of
from assets.methods.photos.local import local_path
from assets.methods.photos.originals import read_original
from assets.methods.photos.rejects import Reject, Rejected
from assets.steps import Step


@dataclass(frozen=True)
class Original:
    """An image that was read: its number from 1 among those chosen, and the folder for results."""

    number: int
    image_id: str
    uri: str
    score: float
    name: str
    folder: str
    picture: Image.Image


def choose_images(
    images: pd.DataFrame, scores: pd.DataFrame, config: ExaminedImagesConfig
) -> pd.DataFrame:
    """Return the images to look into, the highest score first: image_id, uri and score.

    They are those that the configuration lists by image_id or uri, or else the highest scores.
    Raises UserError when an image of the list is not in the catalogue, or when images have no
    score: then the scores are older than the catalogue.
    """
    unique = images.drop_duplicates("image_id")
    ranked = unique[["image_id", "uri"]].merge(scores, on="image_id", how="left")
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
    unknown = [name for name in config.images if name not in by_name]
    if unknown:
        raise UserError(
            f"{unknown[0]} is not an image of this collection: name images by their image_id or "
            "their uri in raw_images."
        )
    wanted = {by_name[name] for name in config.images}
    return ranked[ranked.image_id.isin(wanted)].reset_index(drop=True)


def read_chosen(
    chosen: pd.DataFrame, reading: CatalogueSettings, rejects: list[Reject], log: Step
) -> Iterator[Original]:
    """Yield the images of ``chosen`` (image_id, uri, score) one at a time, at their own size.

    A file that cannot be read any more is appended to ``rejects`` and told of in the log.
    """
    folders = folder_names(list(chosen.uri))
    columns = (chosen.image_id, chosen.uri, chosen.score, folders)
    for number, (image_id, uri, score, folder) in enumerate(zip(*columns, strict=True), 1):
        name = file_name(uri)
        try:
            picture = read_original(uri, reading, image_id)
        except Rejected as rejected:
            rejects.append(Reject(uri, rejected.reason, rejected.detail))
            log.context.log.warning(f"{name} was left out: {rejected.detail}")
            continue
        yield Original(number, image_id, uri, float(score), name, folder, picture)


def check_any_read(n_read: int, rejects: Sequence[Reject]) -> None:
    """Raise UserError when none of the images could be read."""
    if n_read == 0:
        raise UserError(
            f"None of the {len(rejects)} images could be read again, the first because: "
            f"{rejects[0].detail}"
        )


def file_name(uri: str) -> str:
    """Return the file's own name, as text that can be shown; of a web address without its query."""
    path = urlsplit(uri).path if protocol_of(uri) in WEB else local_path(uri)
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return os.fsencode(name).decode("utf-8", "replace")


def folder_names(uris: Sequence[str]) -> list[str]:
    """Return a folder's name for each uri: the file's own, made safe and, if need be, unique."""
    names: list[str] = []
    for uri in uris:
        stem = PurePath(file_name(uri)).stem
        safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in stem).strip(".")
        base = name = safe[:80] or "image"
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def rejects_table(rejects: Iterable[Reject]) -> pd.DataFrame:
    """Return rejects as assets hold them: uri, reason, detail."""
    rows = [{**asdict(reject), "reason": reject.reason.value} for reject in rejects]
    return pd.DataFrame(rows, columns=["uri", "reason", "detail"], dtype="string")
