"""What a search asks for: what inputs look like, and what they have."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assets.resources.input_store import StoredInput
from orchestration.api.contract import (
    ApiError,
    Code,
    Condition,
    Crop,
    FilterInput,
    ImageData,
    Query,
    SearchedInput,
)
from orchestration.api.inputs.images import check_sources

# An input has a concept if its value is above this, as in the labels of maps.
_HAS_ABOVE = 0.5


@dataclass(frozen=True)
class InputFilter:
    """What inputs have to have; an empty filter holds for all.

    Attributes:
        ids: with more than one, no input is found.
        urls: the URL that an input was posted with.
        concepts: whether an input has to have a concept, by its name.
        metadata: what the metadata of an input have to contain.
    """

    ids: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    concepts: frozenset[tuple[str, bool]] = frozenset()
    metadata: tuple[dict[str, Any], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it holds for all inputs."""
        return not (self.ids or self.urls or self.concepts or self.metadata)

    def matches(self, stored: StoredInput) -> bool:
        """Return whether an input has all of it."""
        held = {name for name, value in stored.concepts if value > _HAS_ABOVE}
        return (
            self.ids <= {stored.id}
            and self.urls <= {stored.url}
            and all((name in held) == has for name, has in self.concepts)
            and all(contains(stored.metadata, wanted) for wanted in self.metadata)
        )


@dataclass(frozen=True)
class LikeInput:
    """Inputs have to look like the one with this id, or like the part of it that is cropped."""

    id: str
    crop: Crop | None


@dataclass(frozen=True)
class SearchQuery:
    """The images and the inputs that hits look like, and what they have."""

    images: Sequence[ImageData] = ()
    inputs: Sequence[LikeInput] = ()
    filter: InputFilter = field(default_factory=InputFilter)


def read_query(query: Query) -> SearchQuery:
    """Return what a query asks for.

    Raises ApiError: a condition asks for nothing or is not clear, or an image has no source or two.
    """
    looks = [one.output.input for one in query.ands if one.output and one.output.input]
    named = [LikeInput(one.id, _image(one).crop) for one in looks if one.id]
    images = [_image(one) for one in looks if not one.id]
    check_sources(images, Code.INVALID_SEARCH)
    filters = [_filter(one.input) for one in query.ands if one.input]
    for number, condition in enumerate(query.ands, start=1):
        _check_condition(condition, number)
    return SearchQuery(
        images,
        named,
        InputFilter(
            frozenset().union(*(one.ids for one in filters)),
            frozenset().union(*(one.urls for one in filters)),
            frozenset().union(*(one.concepts for one in filters)),
            tuple(wanted for one in filters for wanted in one.metadata),
        ),
    )


def contains(stored: Any, wanted: Any) -> bool:
    """Return whether a value of JSON contains another one.

    An object contains the keys of the other with values that contain the other's. A list contains
    each value of the other somewhere. Everything else is equal.
    """
    if isinstance(wanted, dict):
        return isinstance(stored, dict) and all(
            key in stored and contains(stored[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(stored, list) and all(
            any(contains(one, value) for one in stored) for value in wanted
        )
    # For Python, 1 is the same as true.
    return bool(stored == wanted) and isinstance(stored, bool) == isinstance(wanted, bool)


def _image(searched: SearchedInput) -> ImageData:
    return (searched.data and searched.data.image) or ImageData()


def _filter(wanted: FilterInput) -> InputFilter:
    data, image = wanted.data, wanted.data and wanted.data.image
    concepts = (data and data.concepts) or ()
    return InputFilter(
        frozenset({wanted.id} if wanted.id else ()),
        frozenset({image.url} if image and image.url else ()),
        # A concept of this service has its id as its name.
        frozenset((one.id or one.name or "", one.value > _HAS_ABOVE) for one in concepts),
        (data.metadata,) if data and data.metadata else (),
    )


def _check_condition(condition: Condition, number: int) -> None:
    """Raise ApiError if a condition asks for nothing, or if it is not clear for what."""
    looks, wanted = condition.output and condition.output.input, condition.input
    if looks and looks.id and (_image(looks).url or _image(looks).base64):
        raise ApiError(
            Code.INVALID_SEARCH,
            f"Condition {number} has both an id and an image in output.input. Send one of them.",
        )
    if not looks and (wanted is None or _filter(wanted).is_empty):
        raise ApiError(
            Code.INVALID_SEARCH,
            f"Condition {number} needs output.input with an image or an id, or input with an id, "
            "or with a url, concepts or metadata in data.",
        )
    image = wanted and wanted.data and wanted.data.image
    if image and image.base64:
        raise ApiError(
            Code.INVALID_SEARCH,
            f"Condition {number} has an image in base64. In output.input it finds what looks like "
            "it; input finds an image by its url.",
        )
