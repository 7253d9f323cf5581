"""What tests of any page look at."""

import html
import re


def text_of(page):
    """What a reader sees: no style, no script, no tags, white space folded."""
    page = re.sub(r"<(style|script|title)>.*?</\1>", "", page, flags=re.DOTALL)
    page = re.sub(r"</(td|th|dt|dd|li|p|h\d)>", " ", page)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


def drawn_in(page):
    return "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))


def scores_listed(page):
    return [float(score) for score in re.findall(r'class="score"><span class="value">([\d.]+)', page)]
