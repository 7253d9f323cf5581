"""What all plots share: colours by role, the style of axes, and the way from a figure to SVG inside the page."""

import io
import re
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

# Each role is drawn in a colour that no plot uses otherwise and that is replaced by a variable of the page afterwards,
# so that one SVG serves light, dark and print. Data colours follow Okabe and Ito's colour-blind safe palette.
ROLES = ("ink", "muted", "rule", "paper", "zero_shot", "teacher", "gold_only", "augmented", "simcse")
COLOR = {role: f"#0a0b{number:02x}" for number, role in enumerate(ROLES)}
MARKER = {"zero_shot": "D", "teacher": "^", "gold_only": "s", "augmented": "o", "simcse": "v"}
MAX_POINTS = 2000

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "embedtrain",
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": COLOR["ink"],
    "axes.labelcolor": COLOR["muted"],
    "axes.edgecolor": COLOR["muted"],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": COLOR["muted"],
    "ytick.color": COLOR["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": COLOR["rule"],
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def style() -> Any:
    """The context in which every plot is drawn and inlined."""
    return matplotlib.rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many CSS pixels."""
    # 72 units an inch: a figure of 5 inches is 360 CSS pixels, a phone's width, where its text keeps its size.
    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def inlined(figure: Figure, *, name: str, alt: str) -> Markup:
    """A figure as SVG to stand inside a page: colours are the page's variables, text is text, it loads nothing.

    Args:
        figure: Drawn under :func:`style`.
        name: Begins every id of the SVG; each plot of a page needs one of its own.
        alt: What a reader is told who does not see the plot.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"\s(xmlns(:xlink)?|version)=\"[^\"]*\"", "", svg).replace("xlink:href", "href")
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", tag[0]), svg)
    svg = re.sub(r"(\bid=\"|href=\"#|url\(#)", rf"\1{name}-", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    for role, color in COLOR.items():
        svg = svg.replace(color, f"var(--{role.replace('_', '-')})")
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return Markup(
        re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf'<svg \1 role="img" aria-label="{escape(alt)}">', svg)
    )
