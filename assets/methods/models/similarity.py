"""The most similar of many vectors: exactly for up to 100,000, by a graph above.

The graph is Malkov and Yashunin's, "Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs", IEEE TPAMI 42(4), 2020.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import faiss

EXACT_LIMIT = 100_000  # vectors

# How far two float32 products of unit vectors of 1,280 numbers may differ by rounding.
_ROUNDING = 1e-4
_FIRST_ROWS = 1024
_FEW_DEAD = 1024
_RANKED_AT_ONCE = 1024
# Links of a node, and how many nodes are looked at to link one and to find one.
_LINKS = 32
_LINKING_BREADTH = 64
_SEARCH_BREADTH = 256
# Searches wait while these are linked, which takes a millisecond or two each.
_LINKED_AT_ONCE = 16


class SimilarityIndex:
    """Vectors of unit length by their ids, which may come and go.

    One thread may change it while any number search; a search that overlaps with a change may or
    may not see it.

    Up to ``EXACT_LIMIT`` vectors each one is compared; above, the graph finds most of the nearest,
    unless more are asked for than it looks at.
    """

    def __init__(self, dimensions: int) -> None:
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        # Rows are only ever added; those beyond the number of ids are room for more.
        self._vectors = np.empty((_FIRST_ROWS, dimensions), dtype=np.float32)
        self._alive = np.zeros(_FIRST_ROWS, dtype=bool)
        self._graph: faiss.IndexHNSWFlat | None = None

    def __len__(self) -> int:
        return len(self._row_of)

    def add(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add n vectors, (n, d) float32; an id that is there already gets the new one."""
        self.remove(ids)
        with self._lock:
            self._append(ids, vectors)
        self._link()

    def remove(self, ids: Iterable[str]) -> None:
        """Take vectors out; ids that are not there are passed over."""
        with self._lock:
            for one in ids:
                row = self._row_of.pop(one, None)
                if row is not None:
                    self._alive[row] = False
            if len(self._ids) - len(self) > max(_FEW_DEAD, len(self)):
                self._drop_dead()

    def search(
        self, vector: np.ndarray, k: int, among: Collection[str] | None = None
    ) -> tuple[list[str], np.ndarray]:
        """Return the ids of the k most similar vectors and their cosines, the highest first.

        Among equal cosines the ids are in their order. Fewer are returned where there are fewer.

        Args:
            vector: (d,) float32 of unit length.
            k: how many, at least 1.
            among: the ids to compare, by default all; ids that are not there are passed over.

        Returns:
            The ids, and (k,) float64 in [-1, 1].
        """
        with self._lock:
            n, k = len(self._ids), min(k, len(self))
            if not k:
                return [], np.empty(0)
            ids, vectors, alive = self._ids, self._vectors, self._alive[:n].copy()
            if among is None:
                rows = self._linked(vector, k, alive)
            else:
                rows = np.array([self._row_of[one] for one in among if one in self._row_of], int)
        if rows is None:
            rows = _nearest(vectors[:n], vector, k, alive)
        cosines = _cosines(vectors, rows, vector)
        order = sorted(range(len(rows)), key=lambda place: (-cosines[place], ids[rows[place]]))[:k]
        return [ids[rows[place]] for place in order], cosines[order].clip(-1, 1)

    def _append(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        begin, end = len(self._ids), len(self._ids) + len(ids)
        if end > len(self._vectors):
            self._make_room(2 * end)
        self._vectors[begin:end] = vectors
        self._alive[begin:end] = True
        self._row_of.update(zip(ids, range(begin, end), strict=True))
        self._ids.extend(ids)

    def _make_room(self, rows: int) -> None:
        # New arrays, as searches go on in the old ones.
        n = len(self._ids)
        vectors = np.empty((rows, self._vectors.shape[1]), dtype=np.float32)
        alive = np.zeros(rows, dtype=bool)
        vectors[:n], alive[:n] = self._vectors[:n], self._alive[:n]
        self._vectors, self._alive = vectors, alive

    def _drop_dead(self) -> None:
        rows = np.flatnonzero(self._alive)
        self._ids = [self._ids[row] for row in rows]
        self._row_of = {one: row for row, one in enumerate(self._ids)}
        self._vectors = self._vectors[rows]
        self._alive = np.ones(len(rows), dtype=bool)
        self._graph = None

    def _link(self) -> None:
        """Make the graph if it pays and there is none, and add to it what is new."""
        if self._graph is None:
            if len(self) <= EXACT_LIMIT:
                return
            graph = _new_graph(self._vectors[: len(self._ids)])
            with self._lock:
                self._graph = graph
        for begin in range(self._graph.ntotal, len(self._ids), _LINKED_AT_ONCE):
            with self._lock:
                end = min(begin + _LINKED_AT_ONCE, len(self._ids))
                self._graph.add(self._vectors[begin:end])

    def _linked(self, vector: np.ndarray, k: int, alive: np.ndarray) -> np.ndarray | None:
        """Return the rows that the graph finds; None if every vector has to be compared."""
        if self._graph is None or self._graph.ntotal < len(alive) or k > _SEARCH_BREADTH // 2:
            return None
        import faiss

        # The types that faiss comes with know neither its classes nor what Python adds to them.
        selector = faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))  # type: ignore[call-arg, arg-type]
        how = faiss.SearchParametersHNSW(sel=selector, efSearch=_SEARCH_BREADTH)  # type: ignore[attr-defined]
        # Once torchdr was imported, `search` takes no such parameters any more.
        search = getattr(self._graph, "search_numpy", self._graph.search)
        _, rows = search(vector[None], k, params=how)
        found = rows[0][rows[0] >= 0]
        return found if len(found) == k else None


def _nearest(vectors: np.ndarray, vector: np.ndarray, k: int, alive: np.ndarray) -> np.ndarray:
    """Return the rows of the k nearest, and of those that may be as near but for rounding."""
    cosines = vectors @ vector
    cosines[~alive] = -np.inf
    least = np.partition(cosines, len(cosines) - k)[len(cosines) - k]
    return np.flatnonzero(cosines >= least - _ROUNDING)


def _cosines(vectors: np.ndarray, rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    # Row by row in float64: a matrix product gives equal vectors different last bits.
    query = vector.astype(np.float64)
    parts = [
        (vectors[rows[begin : begin + _RANKED_AT_ONCE]] * query).sum(axis=1)
        for begin in range(0, len(rows), _RANKED_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _new_graph(vectors: np.ndarray) -> "faiss.IndexHNSWFlat":
    import faiss

    # Several threads would link them in an order that changes, and other work needs the cores.
    faiss.omp_set_num_threads(1)
    graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = _LINKING_BREADTH
    graph.add(vectors)
    return graph
