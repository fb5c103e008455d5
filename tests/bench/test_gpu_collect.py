"""What a machine without a network lacks, divided into parts, and installed beside the rest."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from zipfile import ZipFile

import pytest

from bench.gpu import collect
from bench.gpu.collect import Closure, Target, closure, describe, in_parts, listed
from bench.gpu.install import install, versions

METADATA = {
    "tessera": ["web[fast]>=1", "numpy>=2", "torch", "tables; python_version < '3.12'"],
    "web": ["loop>=3; extra == 'fast'", "docs; extra == 'docs'", "Sock_Ets"],
    "loop": ["winloop; sys_platform == 'win32'", "web"],
    "sock-ets": ["arm; platform_machine == 'aarch64'"],
    "tables": [],
    "arm": [],
    "torch": ["nvidia-cublas"],
    "nvidia-cublas": [],
}


def read(name):
    return "1.0", METADATA[name]


def names(**target):
    left_out = frozenset({"numpy", "torch"})
    return set(closure(["tessera"], Target(**target), left_out, read).versions)


def test_all_that_is_needed_is_found_through_extras_and_circles():
    assert names() == {"tessera", "web", "loop", "sock-ets"}


def test_requirements_are_those_of_the_other_machine():
    assert "tables" in names(python="3.11")
    assert "arm" in names(processor="aarch64")


def test_what_only_a_left_out_package_needs_is_left_out():
    found = closure(["tessera"], Target(), frozenset({"numpy", "web"}), read)
    assert set(found.versions) == {"tessera", "torch"}
    assert found.left_out == {"numpy", "web", "nvidia-cublas"}


def test_an_extra_counts_also_where_the_package_was_met_without_it():
    found = closure(["web", "web[fast]"], Target(), frozenset(), read)
    assert set(found.versions) == {"web", "loop", "sock-ets"}


def files(folder, *sizes):
    made = []
    for number, size in enumerate(sizes):
        made.append(folder / f"package{number}-1.0-py3-none-any.whl")
        made[-1].write_bytes(bytes(size))
    return made


def test_parts_keep_within_their_limit_and_small_files_fill_them(tmp_path):
    a, b, c, d = files(tmp_path, 6, 5, 4, 5)
    assert in_parts([a, b, c, d], 10) == [[a, c], [b, d]]


def test_no_part_is_made_of_no_file():
    assert in_parts([], 10) == []


def test_a_file_larger_than_a_part_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"package0-1.0-py3-none-any.whl has 0.0 MB"):
        in_parts(files(tmp_path, 11), 10)


def test_lists_hold_names_with_reasons_and_comments(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("# why\n\nNumPy\nfaiss_cpu: 19 MB; a: b\n")
    assert listed(file) == {"numpy": "", "faiss-cpu": "19 MB; a: b"}


def test_a_package_is_left_out_for_one_reason_and_each_that_is_unneeded_has_one():
    present, unneeded = listed(collect.PRESENT), listed(collect.UNNEEDED)
    assert not present.keys() & unneeded.keys()
    assert all(unneeded.values())
    assert {"torch", "torchvision", "timm", "numpy"} <= present.keys()


def test_what_tessera_needs_is_known_for_the_default_machine():
    left_out = frozenset(listed(collect.PRESENT) | listed(collect.UNNEEDED))
    found = closure([collect.OURS, *collect.FOR_TESTS], Target(), left_out, collect._installed)
    assert {*collect.FOR_TESTS, collect.OURS, "dagster", "mlflow", "lapjv"} <= found.versions.keys()
    assert not left_out & found.versions.keys()
    assert left_out & {"torch", "faiss-cpu"} <= found.left_out


def test_a_package_that_is_not_installed_here_is_named():
    with pytest.raises(PackageNotFoundError, match="no-such-package, which the other machine"):
        collect._installed("no-such-package")


def fake_pip(monkeypatch):
    """Let pip only note its arguments, and put a small file where a package would come."""
    asked = []

    def pip(*arguments, interpreter=sys.executable):
        asked.append((interpreter, arguments))
        where = next(one for one in arguments if one.startswith(("--dest=", "--wheel-dir=")))
        folder = collect.Path(where.partition("=")[2])
        for wanted in (one for one in arguments if not one.startswith("--") and "==" in one):
            name, _, version = wanted.partition("==")
            (folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").write_bytes(b"w" * 9)
        if arguments[-1] == str(collect.CHECKOUT):
            (folder / "tessera_photo_map-0.2.0-py3-none-any.whl").write_bytes(b"w" * 9)

    monkeypatch.setattr(collect, "_pip", pip)
    return asked


def test_the_folder_holds_what_is_needed_with_the_methods_first(tmp_path, monkeypatch):
    asked = fake_pip(monkeypatch)
    folder = tmp_path / "parts"
    (folder / "part-9").mkdir(parents=True)
    found = collect.collect(folder, Target(), "/usr/bin/python3.12", 20 * 9)
    placed = {
        collect.package_of(file): part.name for part in folder.iterdir() for file in part.iterdir()
    }
    assert placed.keys() == found.versions.keys()
    assert {placed[collect.canonicalize_name(one)] for one in collect.FOR_METHODS} == {"part-1"}
    assert placed[collect.OURS] == "part-1"
    assert "part-9" not in placed.values()
    built = [interpreter for interpreter, arguments in asked if arguments[0] == "wheel"]
    assert built == [sys.executable, "/usr/bin/python3.12"]


def test_without_an_interpreter_the_source_of_lapjv_is_carried(tmp_path, monkeypatch, capsys):
    asked = fake_pip(monkeypatch)
    collect.collect(tmp_path / "parts", Target(python="3.99"), None, 10_000)
    assert [arguments for _, arguments in asked if "--no-binary=lapjv" in arguments]
    assert "lapjv==" in capsys.readouterr().out


def test_what_was_left_out_is_said(tmp_path):
    (tmp_path / "part-1").mkdir()
    files(tmp_path / "part-1", 2_000_000, 500_000)
    said = describe(tmp_path, Closure({}, frozenset({"torch", "numpy", "faiss-cpu"})))
    assert "part-1: 2.5 MB in 2 packages" in said
    assert "Left out, because such a machine has them: numpy, torch" in said
    assert "Left out: faiss-cpu, 19 MB; only searches of the HTTP service use it" in said


def write_wheel(part, name, module):
    part.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with ZipFile(part / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(module, "VALUE = 1\n")
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: numpy==0.1\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.mark.process
def test_all_parts_are_installed_beside_the_rest_whatever_they_ask_for(tmp_path):
    parts, site = tmp_path / "parts", tmp_path / "site"
    parts.mkdir()
    write_wheel(parts / "part-1", "one", "shared_folder/one.py")
    write_wheel(parts / "part-2", "two", "shared_folder/two.py")
    install(parts, site)
    # Over what stands there already, as after a run that was ended.
    install(parts, site)
    assert versions(site) == {"one": "1.0", "two": "1.0"}
    script = "import numpy; from shared_folder import one, two; print(one.VALUE + two.VALUE)"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert answer.stdout == "2\n", answer.stderr
