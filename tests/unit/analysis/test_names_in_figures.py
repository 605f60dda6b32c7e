"""Names of any characters in the figures: drawn literally, without an error or a warning."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.text import Text

from forametric.analysis.plots.downcore import downcore_figure
from forametric.analysis.plots.morphospace_figure import draw_map
from forametric.evaluation.report import _bars_figure, _confusion_figure
from forametric.identification.identifier import UNKNOWN
from forametric.utils.text import literal

NAMES = [
    "a $x_1$ b", "$\\frac{1}{", "100$ of $\\alpha", "_x^2", "back\\slash \\$", "$", "$$", "%s {0}",
    "可可 可", "Ёлка", "Ω mega", "𓀀", "مرجان", "line\nbreak\x1b[31m", "l" * 300,
]  # fmt: skip


def _downcore(depth: str):
    samples = pd.DataFrame({"sample": ["s$1$", "s_2", "可"], "depth $x$": [1.0, 2.0, 3.0]})
    rows = samples[["sample"]].merge(pd.Series([*NAMES, UNKNOWN], name="taxon"), how="cross")
    abundances = rows.assign(count=1, raw=0.1, abundance=0.1, low=0.05, high=0.2)
    return downcore_figure(abundances, samples, depth)


def _map(_depth: str):
    points = np.random.default_rng(0).normal(size=(45, 2)).astype(np.float32)
    taxa = [NAMES[n % len(NAMES)] for n in range(45)]
    return draw_map(None, points, taxa, None, title="t $x$ 可", placed=None, seed=0)


def _bars(_depth: str):
    return _bars_figure(pd.DataFrame({"taxon": NAMES, "f1": 0.5, "test": 3}))


def _confusion(_depth: str):
    return _confusion_figure(np.eye(len(NAMES), dtype=int), NAMES)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
@pytest.mark.parametrize(
    ("draw", "depth"),
    [(_downcore, ""), (_downcore, "depth $x$"), (_map, ""), (_bars, ""), (_confusion, "")],
)
def test_a_name_of_any_characters_is_drawn_literally(draw, depth, kind, tmp_path):
    """Two dollar signs in the name of a sample once ended `assemblage` in a traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(depth)
        figure.savefig(tmp_path / f"figure.{kind}")
    assert (tmp_path / f"figure.{kind}").stat().st_size > 5000
    for text in figure.findobj(Text):
        assert not text.get_parse_math() or not is_math_text(text.get_text())
        assert "\x1b" not in text.get_text()


def test_a_name_stands_as_it_is_but_for_its_length():
    for name in NAMES[:-2]:
        assert literal(name).replace(r"\$", "$") == name
    assert len(literal("l" * 300)) < 60
