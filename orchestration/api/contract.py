"""The HTTP contract: the status codes, and the shape of each request and reply.

An app is a collection; the key of a request decides which. Times are RFC 3339, UTC, microseconds.
"""

import json
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal

import fastapi
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

LARGEST_BATCH = 128
MOST_CONCEPTS = 128
LARGEST_METADATA = 65_536
# Each value that is searched for may be compared with every value of an input.
LARGEST_SEARCHED_METADATA = 100
# Pydantic cannot write more than 255 levels.
DEEPEST_METADATA = 64
LARGEST_PAGE = 1_000
LAST_PAGE = 1_000_000
PAGE_SIZE = 20


class Code(Enum):
    """The status codes, each with its number, its description and its HTTP status."""

    OK = 10000, "Ok", 200
    MIXED = 10010, "Mixed status", 200
    FAILURE = 10020, "Failure", 400
    KEY_REFUSED = 11001, "API key not found or not valid", 401
    THROTTLED = 11005, "Too many requests", 429
    NOT_JSON = 11100, "Request is not JSON", 400
    NO_SUCH_ROUTE = 11101, "No such route", 404
    INVALID_REQUEST = 11102, "Invalid request", 400
    NO_SUCH_METHOD = 11103, "Method not allowed", 405
    MODEL_READY = 21100, "Model is trained and ready", 200
    NO_SUCH_MODEL = 21200, "Model does not exist", 404
    INPUT_DONE = 30000, "Download complete", 200
    INPUT_PENDING = 30001, "Download pending", 200
    INPUT_DOWNLOAD_FAILED = 30002, "Download failed", 400
    INPUT_DUPLICATE = 30100, "Duplicate input", 400
    INPUT_UNSUPPORTED = 30101, "Not an image that can be read", 400
    NO_SUCH_INPUT = 30102, "Input does not exist", 404
    INVALID_PREDICTION = 40001, "Invalid predict request", 400
    INVALID_SEARCH = 40002, "Invalid search request", 400
    VISUALIZATION_READY = 42000, "ready", 200
    VISUALIZATION_PENDING = 42001, "pending", 202
    VISUALIZATION_FAILED = 42002, "failed", 200
    INVALID_VISUALIZATION = 42003, "Invalid visualization request", 400
    NO_SUCH_VISUALIZATION = 42004, "Visualization does not exist", 404

    def __init__(self, number: int, description: str, http_status: int) -> None:
        self.number = number
        self.description = description
        self.http_status = http_status

    @classmethod
    def of(cls, number: int) -> "Code":
        """Return the code with this number."""
        return next(code for code in cls if code.number == number)


class ApiError(Exception):
    """A request is refused; ``details`` is a sentence for the client."""

    def __init__(
        self,
        code: Code,
        details: str,
        headers: dict[str, str] | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.headers = headers or {}
        self.http_status = http_status or code.http_status


def no_such_input(*ids: str) -> ApiError:
    """Return the error for requests that name inputs which the app does not have."""
    names = ", ".join(ids)
    details = f"There is no input {names}." if len(ids) == 1 else f"There are no inputs {names}."
    return ApiError(Code.NO_SUCH_INPUT, details)


def throttled(details: str, seconds: int) -> ApiError:
    """Return the error for a request that may be sent again after some ``seconds``."""
    return ApiError(Code.THROTTLED, details, {"Retry-After": str(seconds)})


# ---- requests: unknown fields are ignored, because clients of the original API send more ----


def _text_can_be_written(text: str) -> str:
    if "\x00" in text:
        # In SQLite's functions it ends the text.
        raise ValueError("the text contains a null character")
    # JSON can express half of a surrogate pair, and UTF-8 cannot.
    try:
        return text if text.isascii() else text.encode().decode()
    except UnicodeEncodeError:
        raise ValueError("the text contains half of a surrogate pair") from None


def _crop_is_a_box(crop: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    top, left, bottom, right = crop
    if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
        raise ValueError(
            "crop is [top, left, bottom, right], from 0 to 1, with top < bottom and left < right"
        )
    return crop


def metadata_can_be_sent_back(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata; ValueError if it is too large or deep, or not JSON."""
    # Python reads NaN and half of a surrogate pair, which JSON and UTF-8 cannot express.
    try:
        written = json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("metadata contains what JSON cannot express") from None
    if len(written) > LARGEST_METADATA:
        raise ValueError(f"metadata is larger than {LARGEST_METADATA} bytes")
    if _depth(metadata) > DEEPEST_METADATA:
        raise ValueError(f"metadata has more than {DEEPEST_METADATA} levels")
    return metadata


def _depth(value: Any) -> int:
    """Return the number of levels of nested lists and objects."""
    return sum(any(isinstance(one, dict | list) for one in level) for level in _levels(value))


def _levels(value: Any) -> Iterator[list[Any]]:
    """Yield the values on each level of nested lists and objects, the outermost first."""
    level = [value]
    while level:
        yield level
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]


def _metadata_can_be_searched_for(metadata: dict[str, Any]) -> dict[str, Any]:
    if sum(map(len, _levels(metadata))) - 1 > LARGEST_SEARCHED_METADATA:
        raise ValueError(f"metadata has more than {LARGEST_SEARCHED_METADATA} values")
    return metadata


def _concepts_are_not_predicted(data: Any) -> None:
    if data:
        raise ValueError(
            "no concepts are predicted for the inputs; for their own concepts, search by input.data"
        )


def _place_is_not_given(geo: Any) -> None:
    if geo:
        raise ValueError("inputs have no places, so they cannot be searched by place")


Metadata = Annotated[dict[str, Any], AfterValidator(metadata_can_be_sent_back)]
SearchedMetadata = Annotated[Metadata, AfterValidator(_metadata_can_be_searched_for)]
Text = Annotated[str, AfterValidator(_text_can_be_written)]
Crop = Annotated[tuple[float, float, float, float], AfterValidator(_crop_is_a_box)]


def _id_is_not_reserved(input_id: str) -> str:
    if input_id in {".", "..", "status"}:
        raise ValueError("this id is reserved")
    return input_id


Page = Annotated[int, fastapi.Query(ge=1, le=LAST_PAGE)]
PerPage = Annotated[int, fastapi.Query(ge=1, le=LARGEST_PAGE)]
# An id is a part of a URL, so it has no slash, and is not one of the words used there.
InputId = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^/\\\x00-\x20\x7f]+$"),
    AfterValidator(_id_is_not_reserved),
]


# It may be the id of no input, and never of one that could not be posted.
NamedId = Annotated[str, StringConstraints(max_length=128), AfterValidator(_text_can_be_written)]


class ImageData(BaseModel):
    """An image: either its file in base64, or the URL that it is downloaded from.

    ``crop`` is [top, left, bottom, right] in shares of the height and the width.
    """

    base64: Text | None = None
    url: Annotated[Text, StringConstraints(min_length=1, max_length=8192)] | None = None
    allow_duplicate_url: bool = False
    crop: Crop | None = None


ConceptId = Annotated[Text, StringConstraints(min_length=1, max_length=256)]
ConceptValue = Annotated[float, Field(ge=0, le=1)]


class PostedConcept(BaseModel):
    """A label of an input; its value is 1 if it applies, and 0 if it does not."""

    id: ConceptId
    value: ConceptValue = 1.0


class PostedData(BaseModel):
    """The data of an input that is posted."""

    image: ImageData
    concepts: Annotated[list[PostedConcept], Field(max_length=MOST_CONCEPTS)] = []
    metadata: Metadata = {}


class PostedInput(BaseModel):
    """An input of ``POST /v2/inputs``."""

    id: InputId | None = None
    data: PostedData


class PostInputs(BaseModel):
    """``POST /v2/inputs``."""

    inputs: Annotated[list[PostedInput], Field(min_length=1, max_length=LARGEST_BATCH)]


class PatchedData(BaseModel):
    """The part of an input's data that is changed."""

    concepts: Annotated[list[PostedConcept], Field(max_length=MOST_CONCEPTS)] | None = None
    metadata: Metadata | None = None


class PatchedInput(BaseModel):
    """An input of ``PATCH /v2/inputs``."""

    id: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128),
        AfterValidator(_text_can_be_written),
    ]
    data: PatchedData


class PatchInputs(BaseModel):
    """``PATCH /v2/inputs``: ``merge`` adds, ``remove`` takes away, ``overwrite`` replaces."""

    inputs: Annotated[list[PatchedInput], Field(min_length=1, max_length=LARGEST_BATCH)]
    action: Literal["merge", "remove", "overwrite"] = "merge"


class DeleteInputs(BaseModel):
    """``DELETE /v2/inputs``: the inputs with these ids, or all."""

    ids: Annotated[list[NamedId], Field(max_length=LARGEST_PAGE)] | None = None
    delete_all: bool = False


class PredictedImage(ImageData):
    """An image for a model.

    With ``working_copy`` it is a working copy already, or a part of one: it is not scaled down to a
    short side of 256 px and not encoded again. It has at most 4 megapixels. Of an animation, the
    frame that a map shows is used.
    """

    working_copy: bool = False


class PredictData(BaseModel):
    """The data of an input for a model."""

    image: PredictedImage


class PredictInput(BaseModel):
    """An input of ``POST /v2/models/{id}/outputs``, which is not stored."""

    id: InputId | None = None
    data: PredictData


class PostOutputs(BaseModel):
    """``POST /v2/models/{id}/outputs``."""

    inputs: Annotated[list[PredictInput], Field(min_length=1, max_length=LARGEST_BATCH)]


class ModelQuery(BaseModel):
    """Which models to find: by name (``*`` stands for any text) and type."""

    name: Annotated[Text, StringConstraints(max_length=256)] = "*"
    type: Annotated[Text, StringConstraints(max_length=256)] | None = None


class SearchModels(BaseModel):
    """``POST /v2/models/searches``."""

    model_query: ModelQuery = ModelQuery()


class SearchedData(BaseModel):
    """The image that the inputs are compared with."""

    image: ImageData | None = None


class SearchedInput(BaseModel):
    """What the inputs are compared with: an image, or the input with this id."""

    id: NamedId | None = None
    data: SearchedData | None = None


class SearchedOutput(BaseModel):
    """What the inputs are compared with, nested as in the original API."""

    input: SearchedInput | None = None
    # What is not supported is refused, because a search without it would have other hits.
    data: Annotated[Any, AfterValidator(_concepts_are_not_predicted)] = None


class FilterConcept(BaseModel):
    """A concept by its id or its name; the value is 1 if inputs have to have it, and else 0."""

    id: ConceptId | None = None
    name: ConceptId | None = None
    value: ConceptValue = 1.0

    @model_validator(mode="after")
    def _is_named(self) -> "FilterConcept":
        if not (self.id or self.name):
            raise ValueError("a concept needs an id or a name")
        return self


class FilterData(BaseModel):
    """What inputs have to have: the URL that they were posted with, concepts, and metadata."""

    image: ImageData | None = None
    concepts: Annotated[list[FilterConcept], Field(max_length=MOST_CONCEPTS)] | None = None
    metadata: SearchedMetadata | None = None
    geo: Annotated[Any, AfterValidator(_place_is_not_given)] = None


class FilterInput(BaseModel):
    """Which inputs to find: the one with this id, or those that have this data."""

    id: NamedId | None = None
    data: FilterData | None = None


class Condition(BaseModel):
    """A condition of a search: what inputs look like (``output``), or have (``input``)."""

    output: SearchedOutput | None = None
    input: FilterInput | None = None


class Query(BaseModel):
    """The conditions of a search, which all have to hold."""

    ands: Annotated[list[Condition], Field(min_length=1, max_length=LARGEST_BATCH)]


class Pagination(BaseModel):
    """Which page of the hits to return."""

    page: Annotated[int, Field(ge=1, le=LAST_PAGE)] = 1
    per_page: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = PAGE_SIZE


class PostSearch(BaseModel):
    """``POST /v2/searches``."""

    query: Query
    pagination: Pagination = Pagination()


class InputReference(BaseModel):
    """The id of an input."""

    id: Text


class PostVisualization(BaseModel):
    """``POST /v2/visualizations``: of these inputs, by default of all inputs of the app.

    ``type`` is the projection, ``grid`` is COLUMNSxROWS or an aspect ratio, ``tile`` is in pixels.
    """

    # If a misspelt option were ignored, a run over all inputs would follow.
    model_config = ConfigDict(extra="forbid")

    type: Literal["tsne", "largevis", "umap", "pca", "drlim", "triplet"] = "tsne"
    inputs: Annotated[list[InputReference], Field(min_length=1, max_length=100_000)] | None = None
    grid: Annotated[Text, StringConstraints(min_length=1, max_length=32)] | None = None
    tile: Annotated[int, Field(ge=8, le=512)] | None = None


class PostPlacements(BaseModel):
    """``POST /v2/visualizations/{id}/placements``: images, which are not stored."""

    inputs: Annotated[list[PredictInput], Field(min_length=1, max_length=LARGEST_BATCH)]


# ---- replies ----


class Reply(BaseModel):
    """The base of all replies."""

    model_config = ConfigDict(protected_namespaces=())


class Status(Reply):
    """The result of a request, or of a part of it."""

    code: int
    description: str
    details: str | None = None
    req_id: str | None = None
    percent_completed: int | None = None
    time_remaining: float | None = None

    @classmethod
    def of(cls, code: Code, details: str | None = None, req_id: str | None = None) -> "Status":
        """Return the status of this code."""
        return cls(code=code.number, description=code.description, details=details, req_id=req_id)


class StatusReply(Reply):
    """A reply with a status alone; every error is one."""

    status: Status


class ImageReply(Reply):
    """The URL of an image."""

    url: str | None = None
    crop: tuple[float, float, float, float] | None = None


class Concept(Reply):
    """A class of a model, or a label of an input."""

    id: str
    name: str
    app_id: str
    created_at: str | None = None
    value: float | None = None


class Embedding(Reply):
    """A vector."""

    vector: list[float]
    num_dimensions: int


class InputData(Reply):
    """The data of an input."""

    image: ImageReply
    concepts: list[Concept] | None = None
    metadata: dict[str, Any] | None = None


class InputReply(Reply):
    """An input; one that does not exist has its id and its status only, and an empty image."""

    id: str
    data: InputData
    created_at: str | None = None
    modified_at: str | None = None
    status: Status


class InputsReply(StatusReply):
    """Several inputs."""

    inputs: list[InputReply]


class OneInputReply(StatusReply):
    """One input."""

    input: InputReply


class Counts(Reply):
    """The numbers of inputs that are done, are waiting, have failed and are being downloaded."""

    processed: int
    to_process: int
    errors: int
    processing: int


class CountsReply(StatusReply):
    """``GET /v2/inputs/status``."""

    counts: Counts


class OutputInfoData(Reply):
    """The classes of a model."""

    concepts: list[Concept] | None = None


class OutputInfo(Reply):
    """The kind of a model's outputs: concepts, or an embedding."""

    type: Literal["concept", "embed"]
    output_config: dict[str, Any]
    data: OutputInfoData | None = None


class Reads(Reply):
    """What a network reads of an image.

    The image is scaled to a short side of so many pixels (with ``stretch`` both sides are) by this
    filter, and a square of ``crop`` pixels is cut from its centre.
    """

    short_side: int
    crop: int
    stretch: bool
    interpolation: str


class ModelVersion(Reply):
    """A version of a model; two with the same fingerprint give the same outputs.

    ``reads`` tells clients how large an image they have to send.
    """

    id: str
    created_at: str
    status: Status
    fingerprint: str
    reads: Reads | None = None


class ModelReply(Reply):
    """A model."""

    id: str
    name: str
    app_id: str
    created_at: str
    output_info: OutputInfo
    model_version: ModelVersion


class ModelsReply(StatusReply):
    """Several models."""

    models: list[ModelReply]


class OneModelReply(StatusReply):
    """One model."""

    model: ModelReply


class PredictInputReply(Reply):
    """The input of an output."""

    id: str
    data: InputData


class FrameInfo(Reply):
    """A frame of an animation: its number, from 0, and when it is shown, in milliseconds."""

    index: int
    time: int | None = None


class OutputData(Reply):
    """A model's output: the concepts, the highest value first, or a vector.

    Of an animation, the concepts are those of the frame with the highest score.
    """

    concepts: list[Concept] | None = None
    frame_info: FrameInfo | None = None
    embeddings: list[Embedding] | None = None


class OutputProvenance(Reply):
    """The origin of an output, with the names that files of the command line use.

    ``preprocessing`` is what the network reads of an image, in words, and ``made_at`` is to the
    second.
    """

    model: str
    model_version: str
    model_fingerprint: str
    preprocessing: str
    made_at: str
    tessera_version: str


class OutputReply(Reply):
    """A model's output for one input; it has no data if the input could not be read."""

    id: str
    status: Status
    created_at: str
    model: ModelReply
    input: PredictInputReply
    data: OutputData | None = None
    provenance: OutputProvenance


class OutputsReply(StatusReply):
    """``POST /v2/models/{id}/outputs``: an output for each input, in the same order."""

    outputs: list[OutputReply]


class Hit(Reply):
    """An input that was found.

    The score is the cosine similarity to the image of the query, and 1 if the query has no image.
    """

    score: float
    input: InputReply


class HitsReply(StatusReply):
    """``POST /v2/searches``: the most similar first, and the oldest if the query has no image."""

    hits: list[Hit]


class VisualizationData(Reply):
    """The image of a visualization that is ready, and the page in which one zooms and searches."""

    image: ImageReply
    page: ImageReply


class VisualizationOutput(Reply):
    """A visualization: pending, ready or failed."""

    id: str
    app_id: str
    status: Status
    created_at: str
    data: VisualizationData | None = None


class VisualizationReply(StatusReply):
    """A visualization, under both of the names that it has in the original API."""

    output: VisualizationOutput
    visualization_output: VisualizationOutput


class NearPhoto(Reply):
    """An input that the map shows, and its cosine similarity to the image that was placed."""

    id: str
    score: float


class PlacementReply(Reply):
    """Where on a map an image would lie; only its status, if it could not be read.

    ``x`` and ``y`` are in the units of the projection's points. ``row`` and ``col`` name the cell
    of the photo whose point is nearest, counted from the upper left. ``placed_by`` says whether the
    map's network has placed it, or the mean of the points of its nearest ``neighbours``, weighted
    by their similarity. Of the neighbours, those that the app still has are named.
    """

    id: str
    status: Status
    placed_by: Literal["network", "neighbours"] | None = None
    x: float | None = None
    y: float | None = None
    row: int | None = None
    col: int | None = None
    neighbours: list[NearPhoto] | None = None


class PlacementsReply(StatusReply):
    """``POST /v2/visualizations/{id}/placements``: one for each input, in the same order."""

    placements: list[PlacementReply]
