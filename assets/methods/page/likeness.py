"""The photos that are most like each one, and codes from which a page tells how like others are.

The codes are those of a product quantisation (Jégou, Douze and Schmid, "Product quantization for
nearest neighbor search", IEEE TPAMI 33(1), 2011) of the vectors' strongest directions, each of
whose parts is quantised in stages (Chen, Guan and Wang, "Approximate nearest neighbor search by
residual vector quantization", Sensors 10(12), 2010): each stage has what is left by the one before.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

N_NEIGHBOURS = 10
CODE_BYTES = 32

# Raise it whenever other neighbours or codes are found for the same vectors.
_VERSION = 2
# A code has 32 bytes: four stages for each of eight parts of 24 directions. With fewer directions
# more of the vectors is lost, with more of them the bytes are too few. More stages find a little
# more, and their levels take more room than the codes of thousands of photos.
_STAGES = 4
_PARTS = CODE_BYTES // _STAGES
_DIRECTIONS = 24 * _PARTS
_LEVELS = 256
_SAMPLES_A_LEVEL = 64
_MOST_SAMPLES = 2 * _SAMPLES_A_LEVEL * _LEVELS
_STEPS = 127  # of a level's coordinates, to each side
_BLOCK_ROWS = 2048
# More vectors are first compared by these directions alone, and so many of the nearest as they are.
_COMPARED_EXACTLY = 8192
_FIRST_DIRECTIONS = 64
_FIRST_FOUND = 64
# The number of lists by the root of that of the vectors, and how many lists are looked through.
_LISTS = 4
_LOOKED_THROUGH = 48
_QUERIES, _QUERIES_AT_ONCE = 500, 50  # by which the recall is estimated


@dataclass(frozen=True)
class Codes:
    """Codes of n vectors, uint8 (n, 32), and what their bytes stand for.

    The bytes of a code are those of its parts, and in them those of their ``stages``. ``levels``,
    int8 (32, 256, d), times ``steps``, float32 (32,), has for each byte and each of its values what
    it stands for: added up over the stages, that is a part of a vector whose products with others
    are near those of the vectors. ``recall`` is the share of the ten nearest vectors that are among
    the ten nearest by the codes, over ``_QUERIES`` of the vectors.
    """

    codes: NDArray[np.uint8]
    levels: NDArray[np.int8]
    steps: NDArray[np.float32]
    stages: int
    recall: float


def likeness_source(vectors: NDArray[np.float32]) -> str:
    """Return a digest of what neighbours and codes depend on."""
    digest = hashlib.sha256(repr((_VERSION, vectors.shape)).encode())
    digest.update(np.ascontiguousarray(vectors).data.cast("B"))
    return digest.hexdigest()


def encode_vectors(vectors: NDArray[np.float32]) -> Codes:
    """Encode vectors of unit length, (n, d); the same bytes whatever the number of threads."""
    import faiss

    parts = _strongest(vectors, _DIRECTIONS)
    padded = np.zeros((len(parts), _DIRECTIONS), np.float32)
    padded[:, : parts.shape[1]] = parts
    # Each part gets strong and weak directions.
    order = np.arange(_DIRECTIONS).reshape(-1, _PARTS).T.ravel()
    padded = np.ascontiguousarray(padded[:, order])
    # The types that faiss comes with do not know all of it.
    library: Any = faiss
    quantizer = library.ProductResidualQuantizer(_DIRECTIONS, _PARTS, _STAGES, 8)
    for part in range(_PARTS):
        of_part = library.downcast_AdditiveQuantizer(quantizer.subquantizer(part))
        of_part.train_type = of_part.Train_default
        # Wider beams take long, and find less.
        of_part.max_beam_size = 1
        of_part.cp.min_points_per_centroid = 1
        of_part.cp.max_points_per_centroid = _SAMPLES_A_LEVEL
    with _one_thread():
        quantizer.train(_some(padded, _LEVELS, _MOST_SAMPLES))
        codes = quantizer.compute_codes(padded)
        exact = faiss.vector_to_array(quantizer.codebooks).reshape(CODE_BYTES, -1)
        steps = np.maximum(np.abs(exact).max(axis=1), np.finfo(np.float32).tiny) / _STEPS
        rounded = np.rint(exact / steps[:, np.newaxis]).reshape(CODE_BYTES, _LEVELS, -1)
        found = Codes(codes, rounded.astype(np.int8), steps.astype(np.float32), _STAGES, 0)
        return replace(found, recall=_recall(vectors, decoded(found)))


def decoded(found: Codes) -> NDArray[np.float32]:
    """Return the vectors, (n, d) float32, that codes stand for, as a page computes them."""
    levels = found.levels * found.steps[:, np.newaxis, np.newaxis]
    parts = [
        sum(levels[byte][found.codes[:, byte]] for byte in range(first, first + found.stages))
        for first in range(0, CODE_BYTES, found.stages)
    ]
    return np.concatenate(parts, axis=1)


def _some(vectors: NDArray[np.float32], least: int, most: int) -> NDArray[np.float32]:
    """Return some of the vectors, evenly chosen, or repeat them if they are fewer than wanted."""
    if len(vectors) < least:
        return np.resize(vectors, (least, vectors.shape[1]))
    return np.ascontiguousarray(vectors[:: ceil(len(vectors) / most)])


def nearest_photos(vectors: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Return for each vector of unit length the rows of the nearest others, the nearest first.

    Args:
        vectors: (n, d), of which some may be equal.
        most: how many to return.

    Returns:
        (n, min(most, n - 1)). Beyond ``_COMPARED_EXACTLY`` vectors a few may be missed.
    """
    n = len(vectors)
    most = min(most, n - 1)
    found = np.empty((n, most), np.int64)
    find = _finder(_strongest(vectors, _FIRST_DIRECTIONS)) if n > _COMPARED_EXACTLY else None
    for begin in range(0, n, _BLOCK_ROWS):
        rows = np.arange(begin, min(begin + _BLOCK_ROWS, n))
        if find is None:
            cosines = vectors[rows] @ vectors.T
            cosines[np.arange(len(rows)), rows] = -np.inf
            candidates = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        else:
            candidates = find(rows)
        found[rows] = _ranked(vectors, rows, candidates, most)
    return found


def _finder(
    first: NDArray[np.float32],
) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Return what finds vectors near those of some rows, -1 where there are no more.

    The vectors are divided into lists of near ones, of which the nearest lists are looked through.
    """
    import faiss

    n_lists = int(_LISTS * np.sqrt(len(first)))
    index: Any = faiss.index_factory(
        first.shape[1], f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT
    )
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _SAMPLES_A_LEVEL
    with _one_thread():
        index.train(first)
        index.add(first)
    index.nprobe = _LOOKED_THROUGH
    # Once torchdr was imported, `search` wants other arguments.
    search = getattr(index, "search_numpy", index.search)
    wanted = min(_FIRST_FOUND + 1, len(first))
    return lambda rows: np.asarray(search(first[rows], wanted)[1])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss work in one thread, so that its results do not depend on how many there are."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        faiss.omp_set_num_threads(before)


def _ranked(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    candidates: NDArray[np.int64],
    most: int,
) -> NDArray[np.int64]:
    """Sort candidates by their cosine, the highest first, and equal ones by their row."""
    ranked = np.empty((len(rows), most), np.int64)
    for place, (row, others) in enumerate(zip(rows, candidates, strict=True)):
        others = others[(others != row) & (others >= 0)]
        cosines = (vectors[others].astype(np.float64) * vectors[row]).sum(axis=1).round(6)
        found = others[np.lexsort((others, -cosines))][:most]
        # Lists may hold fewer than wanted: then the last one stands for the rest.
        ranked[place] = np.pad(found, (0, most - len(found)), mode="edge")
    return ranked


def _strongest(vectors: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return the coordinates (n, min(most, d)) of vectors along their strongest directions.

    The products of these rows are as near to the products of the vectors as so few coordinates can
    make them.
    """
    # SciPy has to be loaded before its BLAS can be limited.
    from scipy.linalg import eigh

    dimensions = vectors.shape[1]
    kept = min(most, dimensions)
    blocks = [vectors[begin : begin + _BLOCK_ROWS] for begin in range(0, len(vectors), _BLOCK_ROWS)]
    with threadpool_limits(limits=1):
        scatter = np.zeros((dimensions, dimensions))
        for block in blocks:
            scatter += block.T.astype(np.float64) @ block
        _, directions = eigh(scatter, subset_by_index=(dimensions - kept, dimensions - 1))
        signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(kept)])
        directions = directions[:, ::-1] * signs[::-1]
        return np.concatenate([(block @ directions).astype(np.float32) for block in blocks])


def _recall(vectors: NDArray[np.float32], estimated: NDArray[np.float32]) -> float:
    most = min(N_NEIGHBOURS, len(vectors) - 1)
    chosen = np.random.default_rng(0).permutation(len(vectors))[:_QUERIES]
    lengths = np.linalg.norm(estimated, axis=1, keepdims=True)
    estimated = estimated / np.maximum(lengths, np.finfo(np.float32).tiny)
    shared = []
    # A few at a time: their products with 100,000 vectors take a gigabyte.
    for begin in range(0, len(chosen), _QUERIES_AT_ONCE):
        some = chosen[begin : begin + _QUERIES_AT_ONCE]
        found = []
        for places in (vectors, estimated):
            cosines = places[some] @ places.T
            cosines[np.arange(len(some)), some] = -np.inf
            found.append(np.argpartition(-cosines, most - 1, axis=1)[:, :most])
        shared += [len(np.intersect1d(*both)) for both in zip(*found, strict=True)]
    return round(float(np.mean(shared)) / most, 3)
