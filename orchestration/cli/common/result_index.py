"""The index of a folder of results: a table and a page of what was found in each image.

It is made from the reports in the folder, so it has the results of earlier calls, too.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import pandas as pd

from assets.methods.common.errors import UserError
from assets.methods.common.files import write_whole
from assets.methods.common.shown_text import printable
from assets.methods.common.tables import csv_bytes
from assets.methods.plotting.text import format_values
from assets.results.originals import file_name
from orchestration.cli.common.result_folders import REPORT, SHEET, read_report

TABLE, PAGE = "index.csv", "index.html"
COMMANDS = ("explain", "deconv")
COLUMNS = (
    *("file", "score", "class", "model", "model_version", "model_fingerprint"),
    *("seen_score", "seen_window", "hidden_score", "hidden_window", "estimated_error"),
    *("frame", "made_at"),
    *("command", "folder", "figure", "report", "uri", "image_id"),
)
_EDGES = ("left", "upper", "right", "lower")
_FIGURE = "figure.png"

# How both files begin: one that begins otherwise is somebody else's.
_TABLE_HEAD = ",".join(COLUMNS[:6])
_PAGE_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="tessera index">
"""
_STYLE = """
body { margin: 2rem; font: 16px/1.45 system-ui, sans-serif; color: #222; background: #fff; }
p { max-width: 60rem; color: #555; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
th { border-bottom-color: #888; vertical-align: bottom; }
td { vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; white-space: nowrap; }
small { display: block; color: #666; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# A browser loads nothing, and applies this style alone.
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'"
_REST = Template("""\
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
<p>The highest score comes first. The strongest windows are those of which the part alone has the
highest score, and without which the rest of the image has the lowest; their edges are left, upper,
right and lower in pixels of the image.</p>
$sheets
<table>
<thead><tr><th>Image</th><th>Score</th><th>Class</th><th>Model</th>
<th>Strongest window<br>alone</th><th>Strongest window<br>covered</th><th>Files</th></tr></thead>
<tbody>
$rows
</tbody>
</table>
</body>
</html>
""")


def check_index(out: Path) -> None:
    """Raise UserError if an index would replace a file that is none."""
    for name, head in ((TABLE, _TABLE_HEAD), (PAGE, _PAGE_HEAD)):
        file = out / name
        if os.path.lexists(file) and not _begins(file, head.encode()):
            raise UserError(
                f"--out {out} holds a file {name} that Tessera did not write and would replace: "
                "name another folder, or move the file."
            )


def write_index(out: Path) -> list[Path]:
    """Write a table and a page of all results of images in a folder; return their paths.

    A result lies in a folder of its own, or, where several models were asked, in a folder of its
    model's. Nothing is written if there are none.
    """
    table = results_in(out)
    if table.empty:
        return []
    files = {TABLE: csv_bytes(table), PAGE: _page(table, list(_sheet_pages(out))).encode()}
    for name, data in files.items():
        write_whole(out / name, data)
    return [out / name for name in files]


def results_in(out: Path) -> pd.DataFrame:
    """Return a row for each result in a folder, the image with the highest score first.

    All results of an image lie together. Folders are relative to ``out``.
    """
    rows = [_row(out, folder, report) for folder, report in _results(out)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["score"] = pd.to_numeric(table["score"])
    highest = table.groupby("image_id")["score"].transform("max")
    order = ["highest", "image_id", "folder"]
    table = table.assign(highest=highest).sort_values(order, ascending=[False, True, True])
    return table.drop(columns="highest").reset_index(drop=True)


def _results(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in _folders(out):
        inside = [folder] if (folder / REPORT).exists() else _folders(folder)
        for one in inside:
            report = read_report(one)
            names = [report.get(key) for key in ("image", "image_id")]
            if report.get("command") in COMMANDS and all(isinstance(name, str) for name in names):
                yield one, report


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder; links are left alone, as they may lead anywhere."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(one.path) for one in entries if one.is_dir(follow_symlinks=False))
    except OSError:
        # A folder that may not be read holds no result of ours.
        return []


def _row(out: Path, folder: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    name = folder.relative_to(out).as_posix()
    files = report.get("files")
    has_figure = isinstance(files, dict) and _FIGURE in files
    row: dict[str, Any] = {
        "file": file_name(report["image"]),
        "score": _number(report.get("score")),
        "model_fingerprint": report.get("model_fingerprint", report.get("fingerprint")),
        "folder": name,
        "figure": f"{name}/{_FIGURE}" if has_figure else None,
        "report": f"{name}/{REPORT}",
        "uri": report["image"],
    }
    for experiment in ("seen", "hidden"):
        window = _part(_part(report, "strongest_windows"), experiment)
        row[f"{experiment}_score"] = _number(window.get("score"))
        edges = [_number(_part(window, "image_px").get(edge)) for edge in _EDGES]
        known = [f"{edge:g}" for edge in edges if edge is not None]
        row[f"{experiment}_window"] = " ".join(known) if len(known) == len(_EDGES) else None
    estimates = [_part(_part(report, "estimates"), one) for one in ("seen", "hidden")]
    errors = [_number(one.get("error")) for one in estimates]
    row["estimated_error"] = max((error for error in errors if error is not None), default=None)
    texts = {name: report.get(name) for name in COLUMNS if name not in row}
    return row | {name: None if text is None else str(text) for name, text in texts.items()}


def _sheet_pages(out: Path) -> Iterator[str]:
    for folder in _folders(out):
        report = read_report(folder)
        if report.get("kind") == SHEET and report.get("command") in COMMANDS:
            yield from (f"{folder.name}/{name}" for name in sorted(_part(report, "files")))


def _page(table: pd.DataFrame, sheets: list[str]) -> str:
    images, rows = table.image_id.nunique(), table.astype(object).where(table.notna(), None)
    title = f"What was found in {images:,} image{'' if images == 1 else 's'}"
    links = ", ".join(_link(page, page) for page in sheets)
    texts = {
        "policy": _POLICY,
        "title": title,
        "style": _STYLE,
        "sheets": f"<p>Side by side: {links}</p>" if sheets else "",
        "rows": "\n".join(_html_row(row) for row in rows.to_dict("records")),
    }
    return _PAGE_HEAD + _REST.substitute(texts)


def _html_row(row: Mapping[Any, Any]) -> str:
    version = f", version {row['model_version']}" if row["model_version"] else ""
    frame = f", frame {row['frame']}" if row["frame"] else ""
    estimate = ", estimate" if row["estimated_error"] is not None else ""
    links = [("figure", row["figure"]), ("report", row["report"]), ("folder", f"{row['folder']}/")]
    cells = [
        f"<td>{_text(row['file'])}<small>{_text(row['image_id'])[:8]}{_text(frame)}</small></td>",
        _number_cell(row["score"]),
        f"<td>{_text(row['class'])}</td>",
        f"<td>{_text(row['model'])}{_text(version)}"
        f"<small>{_text(row['model_fingerprint'])[:16]}</small></td>",
        *(_number_cell(row[f"{one}_score"], row[f"{one}_window"]) for one in ("seen", "hidden")),
        f"<td>{', '.join(_link(path, name) for name, path in links if path)}"
        f"<small>{_text(row['command'])} {_text(row['made_at'])}{estimate}</small></td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number_cell(number: float | None, about: str | None = None) -> str:
    if number is None:
        return "<td></td>"
    return f'<td class="number">{format_values([number])[0]}<small>{_text(about)}</small></td>'


def _link(path: str, text: str) -> str:
    # A name may hold bytes that are not UTF-8, which links take as they are.
    return f'<a href="{quote(os.fsencode(path))}">{_text(text)}</a>'


def _text(text: str | None) -> str:
    return escape(printable(text)) if text else ""


def _part(report: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a part of a report, which a person may have edited; empty if it is not what it was."""
    part = report.get(key)
    return part if isinstance(part, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _begins(file: Path, head: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(head)) == head
    except OSError:
        return False
