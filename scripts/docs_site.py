"""What mkdocs needs besides its configuration: files of the project that pages link to become files of the site.

In the repository a page links to ``../benchmarks/results/mining.csv``, which a reader of the repository can follow. The
site has that file at ``benchmarks/results/mining.csv``. A link to a file that does not exist is left as it is, so that
the strict build fails on it.
"""

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# A link or an image whose target lies above the folder of the page.
UPWARDS = re.compile(r"\]\((?P<target>(?:\.\./)+[^)\s#]+)")
# A page that stands in the navigation and lies elsewhere.
LOG = "benchmarks/LOG.md"


def outside(page: str, target: str) -> str | None:
    """Where a link of a page leads to, from the project's folder; None where that is a page or nothing.

    Args:
        page: The page's path inside ``docs/``.
        target: The link as it is written.
    """
    found = (ROOT / "docs" / page).parent.joinpath(target).resolve()
    if not found.is_file() or not found.is_relative_to(ROOT) or found.is_relative_to(ROOT / "docs"):
        return None
    return found.relative_to(ROOT).as_posix()


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what pages link to."""
    links = [
        outside(page.src_uri, match["target"])
        for page in files.documentation_pages()
        for match in UPWARDS.finditer(page.content_string)
    ]
    for path in sorted({LOG, *filter(None, links)}):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the project lead to their copies in the site."""

    def moved(match: re.Match[str]) -> str:
        path = outside(page.file.src_uri, match["target"])
        if path is None:
            return match[0]
        up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)
        return f"]({up}{path}"

    return UPWARDS.sub(moved, markdown)
