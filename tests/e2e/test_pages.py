"""Every command in the pages that the README links to runs, and every link leads somewhere."""

import re
import socket
from pathlib import Path

import pytest
from PIL import Image

from support.pages import DOCS, README, commands

# The commands of the service's page build on a process in the background. Those of the study's
# page take minutes: test_study.py runs them. The page about GPUs needs a network and a card:
# test_gpu_run.py rehearses it.
APART = {"gpu.md", "http-service.md", "study.md"}


def has_commands_of_its_own(page: Path) -> bool:
    """Whether a page has commands that the README, which test_readme.py runs, does not have."""
    return page.name not in APART and bool(set(commands(page)) - set(commands(README)))


PAGES = list(filter(has_commands_of_its_own, DOCS))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page, checkout):
    checkout.run_page(page)


@pytest.mark.timeout(600)
def test_the_page_about_the_service_runs_from_its_start_to_its_end(checkout, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (page,) = (page for page in DOCS if page.name == "http-service.md")
    script = "\n".join(commands(page)).replace("8000", str(port))
    ran = checkout.run_script("set -e\ntrap 'kill %1' ERR\n" + script)
    log = (tmp_path / "requests.log").read_text()
    assert ran.code == 0, ran.out + ran.err + log
    assert '"code":42000' in (tmp_path / "map.json").read_text()
    with Image.open(tmp_path / "mosaic.jpg") as mosaic:
        assert mosaic.size == (4 * 66 - 2, 3 * 66 - 2)
    assert '"placed_by":"neighbours"' in ran.out
    assert '"hits":[{"score":' in ran.out
    # The second search is for the one input that was patched.
    assert ran.out.count('"metadata":{"album":{"page":3}}') == 3
    assert len(list((tmp_path / "explained").glob("photo-*/figure.png"))) == 1
    assert "is revoked" in ran.out
    assert "traceback" not in log


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_the_pictures_and_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\[[^]]*?\]\((?!http)(.*?)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
