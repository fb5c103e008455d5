"""How ``PATCH /v2/inputs`` changes the concepts and the metadata of inputs.

The rules are those of the original API, whose documentation calls them patching.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assets.resources.input_store import InputEditor, InputStore, StoredInput
from orchestration.api.contract import (
    MOST_CONCEPTS,
    PatchedData,
    PatchedInput,
    metadata_can_be_sent_back,
)

Action = Literal["merge", "remove", "overwrite"]
Concepts = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Patched:
    """What became of a patch.

    ``stored`` is the input as it is now, or None if there is none with this id. If ``refusal``
    says why it could not be patched, it is as it was.
    """

    id: str
    stored: StoredInput | None
    refusal: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether there is no such input, or it could not be patched."""
        return self.stored is None or self.refusal is not None


def patch_inputs(
    store: InputStore, patches: Sequence[PatchedInput], action: Action
) -> list[Patched]:
    """Patch inputs one after another; return what became of each, in the order of the patches."""
    with store.editing() as editor:
        return [_patch(editor, patch, action) for patch in patches]


def patch_concepts(stored: Concepts, sent: Concepts | None, action: Action) -> Concepts:
    """Return the concepts of an input after a patch, those that it had before the new ones.

    An input has a concept once; ``merge`` gives those that it has the values that were sent.
    """
    if action == "overwrite":
        return tuple(dict(sent or ()).items())
    concepts = dict(stored)
    for name, value in sent or ():
        if action == "merge":
            concepts[name] = value
        else:
            concepts.pop(name, None)
    return tuple(concepts.items())


def patch_metadata(
    stored: dict[str, Any], sent: dict[str, Any] | None, action: Action
) -> dict[str, Any]:
    """Return the metadata of an input after a patch.

    ``merge`` and ``remove`` go into objects that both have. In lists that both have, objects are
    the same if their ``id`` is the same, and everything without an id is appended. A null changes
    nothing.
    """
    if action == "overwrite":
        return sent or {}
    change = _merged if action == "merge" else _without
    return change(stored, sent or {})


def _patch(editor: InputEditor, patch: PatchedInput, action: Action) -> Patched:
    stored = editor.find(patch.id)
    if stored is None:
        return Patched(patch.id, None)
    concepts = patch_concepts(stored.concepts, _concepts(patch.data), action)
    metadata = patch_metadata(stored.metadata, patch.data.metadata, action)
    refusal = _refusal(concepts, metadata)
    if refusal is not None:
        return Patched(patch.id, stored, refusal)
    return Patched(patch.id, editor.write(stored.number, concepts, metadata))


def _concepts(data: PatchedData) -> Concepts | None:
    if data.concepts is None:
        return None
    return tuple((concept.id, concept.value) for concept in data.concepts)


def _refusal(concepts: Concepts, metadata: dict[str, Any]) -> str | None:
    """Return why an input cannot have these after a patch, or None if it can."""
    if len(concepts) > MOST_CONCEPTS:
        return f"The input would have {len(concepts)} concepts, and {MOST_CONCEPTS} are allowed."
    try:
        metadata_can_be_sent_back(metadata)
    except ValueError as error:
        return f"The input could not be changed: {error}."
    return None


def _merged(stored: Any, sent: Any) -> Any:
    if isinstance(stored, dict) and isinstance(sent, dict):
        changed = {
            key: _merged(stored[key], value) if key in stored else value
            for key, value in sent.items()
            if value is not None
        }
        return stored | changed
    if isinstance(stored, list) and isinstance(sent, list):
        return _merged_lists(stored, sent)
    return sent


def _merged_lists(stored: list[Any], sent: list[Any]) -> list[Any]:
    merged, place_of = list(stored), _places(stored)
    for one in sent:
        identity = _identity(one)
        place = None if identity is None else place_of.setdefault(identity, len(merged))
        if place is None or place == len(merged):
            merged.append(one)
        else:
            merged[place] = _merged(merged[place], one)
    return merged


def _without(stored: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    left = dict(stored)
    for key, value in sent.items():
        if key not in left or value is None:
            continue
        if value is True:
            del left[key]
        else:
            left[key] = _reduced(left[key], value)
    return left


def _reduced(stored: Any, sent: Any) -> Any:
    if isinstance(sent, dict):
        return _without(stored, sent) if isinstance(stored, dict) else stored
    if not isinstance(sent, list):
        # In the original API, too, a removal overwrites every value that is not `true`.
        return sent
    if not isinstance(stored, list):
        return stored
    gone = _places(sent)
    kept = [one for one in stored if _identity(one) not in gone]
    return kept + [one for one in sent if _identity(one) is None]


def _places(values: list[Any]) -> dict[Any, int]:
    """Return the place of each object with an id, by that id."""
    return {
        identity: place
        for place, one in enumerate(values)
        if (identity := _identity(one)) is not None
    }


def _identity(value: Any) -> tuple[type, Any] | None:
    """Return the id of an object in a list, or None if it has none."""
    identity = value.get("id") if isinstance(value, dict) else None
    # For Python, 1 is the same as true.
    return (type(identity), identity) if isinstance(identity, str | int | float) else None
