"""Options: shared by several commands, setting a field of a config, and checks of `--out`."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce, update_wrapper
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from assets.config import ASSETS, LabelledImagesConfig, NsfwScoresConfig, RawImagesConfig
from assets.methods.common.devices import choose_device
from assets.methods.common.errors import UserError
from assets.methods.common.tables import TABLE_ENDINGS
from assets.resources.compute import Compute
from assets.resources.tracking import Tracking

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
AnyModel = TypeVar("AnyModel", bound=BaseModel)
_GIVEN = "tessera.given"
# Endings of files that are written into folders, by which somebody may name one of them.
_ENDINGS_IN_FOLDERS = {*TABLE_ENDINGS, ".html", ".jpeg", ".jpg", ".npy", ".png"}


@dataclass(frozen=True)
class Options:
    """The fields of configs and resources that were given on the command line, and `--debug`."""

    given: dict[type[BaseModel], dict[str, Any]]
    debug: bool

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The fields of configs that were given, by asset, as a collection remembers them."""
        return {ASSETS[kind]: fields for kind, fields in self.given.items() if kind in ASSETS}

    def config(self, kind: type[AnyModel]) -> AnyModel:
        """Return a config or resource; what was not given has its default."""
        return kind(**self.given.get(kind, {}))

    def compute(self) -> Compute:
        """Return where to compute; raises UserError for a device that is not there."""
        compute = self.config(Compute)
        if compute.device != "auto":
            choose_device(compute.device)
        return compute

    def with_field(self, kind: type[BaseModel], name: str, value: Any) -> "Options":
        """Return the options with one more field of a config as given."""
        given = {**self.given, kind: {**self.given.get(kind, {}), name: value}}
        return replace(self, given=given)

    @property
    def strict_tracking(self) -> bool:
        """Whether a tracking server that is down is an error."""
        return bool(self.given.get(Tracking))


def pass_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Call ``command`` with ``Options`` as first argument."""

    @click.pass_context
    def call(context: click.Context, /, **arguments: Any) -> Any:
        return command(Options(context.meta.get(_GIVEN, {}), bool(context.obj)), **arguments)

    return update_wrapper(call, command)


def setting(flag: str, *kinds: type[BaseModel], field: str = "", **attributes: Any) -> Decorator:
    """Return an option for a field of one or several configs.

    Help, type and default are those of the field in the first of ``kinds``; the field has the
    option's name unless ``field`` names it. The value reaches ``Options.given`` only if somebody
    gave it: a collection remembers no defaults.
    """
    name = field or flag.partition("/")[0].strip("-").replace("-", "_")
    described = kinds[0].model_fields[name]

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            given = context.meta.setdefault(_GIVEN, {})
            for kind in kinds:
                given.setdefault(kind, {})[name] = list(value) if type(value) is tuple else value

    attributes = {
        "help": described.description,
        "default": described.default,
        **_type_of(described),
        **attributes,
    }
    return click.option(flag, name, expose_value=False, callback=keep, **attributes)


def all_of(*options: Decorator) -> Decorator:
    """Return one decorator that adds all ``options``, in this order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


def path_or_name(value: str) -> str:
    """Return the absolute path of a file, as Dagster works elsewhere; a name stays as it is."""
    return str(Path(value).absolute()) if Path(value).is_file() else value


def path_or_url(source: str) -> str:
    """Return a local path as absolute path, as Dagster works elsewhere; a URL stays as it is."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def out_option(help_text: str, **attributes: Any) -> Decorator:
    """Return `--out`, which is required unless ``attributes`` say something else."""
    attributes = {"required": True, "help": help_text, **attributes}
    return click.option("--out", type=click.Path(path_type=Path), **attributes)


def check_output_folder(out: Path, source: str | None = None, flag: str = "--out") -> None:
    """Refuse a folder that could not be written, or whose images would be taken for photos.

    A name that ends like a file's is refused, too, unless there is a folder of that name.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{flag} {out} is a file: name a folder.")
    if not out.exists() and out.suffix.lower() in _ENDINGS_IN_FOLDERS:
        raise UserError(
            f"{flag} {out} is named like a file, but several files are written, into a folder: "
            f"name a folder, such as {out.with_suffix('')}."
        )
    photos = Path(source) if source is not None else None
    if photos and photos.is_dir() and out.resolve().is_relative_to(photos.resolve()):
        raise UserError(
            f"{flag} {out} lies inside {source}, where the next run would take its images for "
            "photos: name a folder outside."
        )
    _check_writable(out, out, flag)


def check_table_name(out: Path) -> None:
    """Refuse a file whose ending is not that of a table that can be written."""
    if out.suffix.lower() not in TABLE_ENDINGS and not out.is_dir():
        *others, last = TABLE_ENDINGS
        raise UserError(
            f"--out {out} has to end in {', '.join(others)} or {last}: its ending says in which "
            "format the table is written."
        )


def check_output_file(out: Path, sources: Sequence[str], flag: str = "--out") -> None:
    """Refuse a file that could not be written, or that would replace or join one of the sources."""
    if out.is_dir():
        raise UserError(f"{flag} {out} is a folder: name a file.")
    for source in sources:
        if Path(source).exists() and out.resolve().is_relative_to(Path(source).resolve()):
            raise UserError(
                f"{flag} {out} is part of {source}, which is read only: name another file."
            )
    _check_writable(out, out.absolute().parent, flag)


def _several(flag: str, field: str, name: str, hint: str, **attributes: Any) -> Decorator:
    """Return an option that can be given several times, for a field of NsfwScoresConfig."""
    described = NsfwScoresConfig.model_fields[field]
    return click.option(
        flag,
        name,
        multiple=True,
        default=[described.default],
        help=f"{described.description}{hint}",
        **attributes,
    )


def _type_of(field: FieldInfo) -> dict[str, Any]:
    kinds = get_args(field.annotation)
    if get_origin(field.annotation) is Literal:
        return {"type": click.Choice(kinds)}
    kind = next((kind for kind in kinds if kind is not NoneType), field.annotation)
    if kind is bool:
        return {"is_flag": True}
    limits = {name: value for limit in field.metadata for name, value in asdict(limit).items()}
    if "ge" not in limits:
        return {"type": kind}
    range_type = _NumberRange if kind is float else click.IntRange
    return {"type": range_type(limits["ge"], limits.get("le"))}


class _NumberRange(click.FloatRange):
    """A range of numbers, which `nan` is not in; click would let it pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


def _check_writable(out: Path, folder: Path, flag: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{flag} {out} cannot be written to: {error.strerror}.") from error


name_option = click.option(
    "--name", help="Name of the collection.", show_default="made from the path or URL"
)
# Kept with the collection: no photo may drop out of its map when a later call leaves it out.
follow_links_option = click.option(
    "--follow-links/--no-follow-links",
    default=None,
    help="Follow symbolic links that lead out of a folder. Each that is not followed is a reject.",
    show_default="as before; off for a new collection",
)
classifier_options = all_of(
    setting("--model", NsfwScoresConfig, type=path_or_name, metavar="MODEL"),
    setting("--class", NsfwScoresConfig, field="class_name"),
)
# Of commands that ask several models about the same images.
several_classifiers_options = all_of(
    _several(
        "--model",
        "model",
        "models",
        " Give it several times to see the answers of several classifiers side by side.",
        type=path_or_name,
        metavar="MODEL",
    ),
    _several(
        "--class",
        "class_name",
        "class_names",
        " Give it as often as --model where classifiers have other names for the class.",
    ),
)
label_options = all_of(
    name_option,
    setting("--negative", LabelledImagesConfig),
    setting("--positive", LabelledImagesConfig),
    setting(
        "--labels",
        LabelledImagesConfig,
        field="corrections",
        multiple=True,
        type=path_or_name,
        metavar="SELECTION",
        show_default="the labels of SOURCE",
    ),
)
device_options = all_of(
    setting("--device", Compute),
    setting("--precision", Compute),
    setting("--threads", Compute, type=click.IntRange(1)),
)
compute_options = all_of(device_options, setting("--batch-size", Compute, type=click.IntRange(1)))
allow_private_addresses = setting("--allow-private-addresses", RawImagesConfig)
frames_option = setting("--frames", RawImagesConfig, metavar="NUMBER|all")
strict_tracking = setting("--strict-tracking", Tracking, field="strict")
max_megapixels = setting(
    "--max-megapixels", RawImagesConfig, type=click.FloatRange(0, min_open=True)
)
run_options = all_of(max_megapixels, allow_private_addresses, compute_options, strict_tracking)
