"""The code of README.md and of the pages of docs/ runs as it stands (see page.py for what of it runs)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .page import PageError, read_page, run_page

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = [
    path
    for path in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
    if "```python" in path.read_text() or "<!-- run -->" in path.read_text()
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_the_page_runs(path: Path, tmp_path: Path) -> None:
    run_page(read_page(path), tmp_path)


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some-page.md"
    path.write_text(text)
    return path


def test_blocks_are_one_module_in_order(tmp_path: Path) -> None:
    text = "# A\n```python\nx = 1\n```\n```text\nno code\n```\n```python\n# not run\nraise SystemExit(3)\n```\n"
    text += "```python\nassert x == 1\nopen('ran', 'w').close()\n```\n"
    run_page(read_page(page(tmp_path, text)), tmp_path)
    assert (tmp_path / "ran").exists()


def test_what_fails_is_named_by_page_and_line(tmp_path: Path) -> None:
    broken = read_page(page(tmp_path, "# A\n\n```python\nx = 1\n\nassert x == 2\n```\n"))
    with pytest.raises(PageError, match=r"some-page\.md:6"):
        run_page(broken, tmp_path)


def test_marked_commands_run_and_others_do_not(tmp_path: Path) -> None:
    text = "```sh\nodradek nonsense\n```\n\n<!-- run -->\n```sh\n# a remark\nodradek --help\nkcat -L\n```\n"
    marked = read_page(page(tmp_path, text))
    assert marked.commands == [(8, "odradek --help")]
    run_page(marked, tmp_path)
    with pytest.raises(PageError, match=r"some-page\.md:3 fails"):
        run_page(read_page(page(tmp_path, "<!-- run -->\n```sh\nodradek nonsense\n```\n")), tmp_path)


def test_a_block_without_an_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"some-page\.md:2"):
        read_page(page(tmp_path, "\n```python\nx = 1\n"))
