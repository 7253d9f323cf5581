"""The finished pages in a real browser: nothing of the user's runs, nothing is loaded or sticks out, tables sort."""

import html
import re

import pytest
from browser import EXECUTABLE, HOW_TO_GET_ONE, Browser
from hostile_runs import COLUMNS, NAME, PAYLOADS, build_hostile_runs
from test_every_page import PAGES

from embedtrain.pipelines.report.options import ReportOptions
from embedtrain.pipelines.report.pipeline import report

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=HOW_TO_GET_ONE)
RUNS = ("augsbert", "train", "tsdae", "adapt", "evaluate-sts", "compare", "label")
COMMANDS = (*RUNS, "runs", "audit", "audit-labels")
POLICY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")
# What the browser made of a page's bytes.
FOUND = """({
  ran: whatRan,
  scripts: document.scripts.length,
  foreign: [...document.querySelectorAll("img, iframe, object, embed, form, textarea, base, svg script, a[href^='j']")]
    .map((one) => one.outerHTML),
  handlers: [...document.querySelectorAll("*")].flatMap((one) => one.getAttributeNames())
    .filter((name) => name.startsWith("on")),
  text: document.body.textContent,
  title: document.title,
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tiny_model):
    """The page of each command, from real runs over hostile data, and that over all the runs."""
    folder = tmp_path_factory.mktemp("hostile")
    found = build_hostile_runs(folder, tiny_model)
    return found | {"runs": report(ReportOptions(runs=[str(folder / "runs" / "*")])).page}


@pytest.fixture(scope="module", params=[*COMMANDS, *(f"full {name}" for name in PAGES)])
def page(request, tmp_path_factory):
    """A page of a real run, or of a made-up one in which every section has something to show."""
    if request.param in COMMANDS:
        return request.getfixturevalue("pages")[request.param]
    build, write, _ = PAGES[request.param.removeprefix("full ")]
    return write(build(tmp_path_factory.mktemp("made") / "run"))


def without_policy(page, folder):
    text, count = POLICY.subn("", page.read_text(encoding="utf-8"))
    assert count == 1
    copy = folder / "without_policy.html"
    copy.write_text(text, encoding="utf-8")
    return copy


def check_that_nothing_ran(browser, page):
    with browser.open(page) as shown:
        found = shown.evaluate(FOUND)
        assert found["ran"] == []
        assert found["scripts"] == 1
        assert found["foreign"] == []
        assert found["handlers"] == []
        assert shown.thrown() == []
        assert [url for url in shown.requested() if not url.startswith("data:")] == [page.as_uri()]
        return found


def test_nothing_of_the_users_runs_and_the_policy_has_nothing_to_refuse(browser, page):
    check_that_nothing_ran(browser, page)
    with browser.open(page) as shown:
        assert shown.evaluate("refused") == []


def test_nothing_of_the_users_runs_without_the_policy_either(browser, page, tmp_path):
    check_that_nothing_ran(browser, without_policy(page, tmp_path))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_hostile_text_is_there_for_people_to_read(browser, pages, name):
    with browser.open(pages[name]) as shown:
        found = shown.evaluate(FOUND)
    assert NAME in found["text"]
    if name != "runs":
        assert NAME in found["title"]
    if name in ("augsbert", "tsdae", "adapt", "label", "audit", "audit-labels"):
        assert any(payload in found["text"] for payload in PAYLOADS)
    if name not in ("tsdae", "runs", "audit-labels"):
        assert COLUMNS["sentence1"] in found["text"]


@pytest.mark.parametrize("name", COMMANDS)
def test_unescaped_it_would_run_and_the_policy_would_stop_it(browser, pages, name, tmp_path):
    # So that the tests above are known to see what they look for.
    head, _, body = pages[name].read_text(encoding="utf-8").partition("<body>")
    broken = tmp_path / "broken.html"
    broken.write_text(f"{head}<body>{html.unescape(body)}", encoding="utf-8")
    with browser.open(broken) as shown:
        assert shown.evaluate("whatRan") == []
        assert any(refused.startswith("script-src") for refused in shown.evaluate("refused"))
    with browser.open(without_policy(broken, tmp_path)) as shown:
        assert "name" in shown.evaluate("whatRan")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out(browser, page, width):
    wide = """[...document.querySelectorAll("main *")]
      .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, pre, svg"))
      .map((one) => one.outerHTML.slice(0, 200))"""
    with browser.open(page, width=width) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, shown.evaluate(wide)
        assert shown.evaluate(wide) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser, page, scheme):
    # Contrast as WCAG 2 defines it, of every element that has text of its own.
    low = """(() => {
      const channels = (color) => color.match(/[\\d.]+/g).map(Number);
      const light = (color) => channels(color).slice(0, 3).map((value) => value / 255)
        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const poor = [];
      for (const one of document.querySelectorAll("main *:not(svg *)")) {
        if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
        const ink = light(getComputedStyle(one).color);
        const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (ratio < 4.5) poor.push(`${one.tagName} ${ratio.toFixed(2)}`);
      }
      return [paper > 0.5, poor];
    })()"""
    with browser.open(page, scheme=scheme) as shown:
        assert shown.evaluate(low) == [scheme == "light", []]


def test_the_table_of_runs_sorts_by_a_click_under_the_pages_own_policy(browser, pages):
    assert POLICY.search(pages["runs"].read_text(encoding="utf-8"))
    column = "[...document.querySelector('table.runs').tBodies[0].rows].map((row) => row.cells[{}].{})"
    click = "document.querySelectorAll('table.runs th button.sort')[{}].click()"
    direction = "document.querySelectorAll('table.runs thead th')[{}].getAttribute('aria-sort')"
    with browser.open(pages["runs"]) as shown:
        assert shown.evaluate(column.format(0, "textContent")) == [str(one + 1) for one in range(len(RUNS))]
        shown.evaluate(click.format(5))
        seconds = list(map(float, shown.evaluate(column.format(5, "dataset.value"))))
        assert len(seconds) == len(RUNS)
        assert seconds == sorted(seconds) != sorted(seconds, reverse=True)
        assert shown.evaluate(direction.format(5)) == "ascending"
        shown.evaluate(click.format(5))
        assert list(map(float, shown.evaluate(column.format(5, "dataset.value")))) == sorted(seconds, reverse=True)
        assert shown.evaluate(direction.format(5)) == "descending"
        shown.evaluate(click.format(6))
        commands = shown.evaluate(column.format(6, "textContent"))
        assert commands == sorted(commands)
        assert shown.evaluate(direction.format(5)) is None
        # What has no score stands last, whichever way.
        for _ in range(2):
            shown.evaluate(click.format(2))
            scores = shown.evaluate(column.format(2, "dataset.value"))
            known = [score for score in scores if score]
            assert scores[len(known) :] == [""] * (len(scores) - len(known))
        assert shown.evaluate("refused") == []
