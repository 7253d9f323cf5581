"""Agreement of a student with its teacher, against a plain loop."""

import itertools

import numpy as np
import pytest

from embedtrain.evaluation.agreement import TEXTS_AT_MOST, Agreement

RANDOM = np.random.default_rng(0)
TEXTS = ["回路漏水", "It leaks.", "How warm is it?", "Turn it off.", "暖气不热"]


class Student:
    """Knows an embedding of each text."""

    def __init__(self, embeddings):
        self.of = dict(zip(TEXTS, embeddings, strict=True))

    def encode(self, texts, **_):
        return np.array([self.of[text] for text in texts], dtype=np.float32)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_it_is_the_correlation_of_all_cosines():
    teacher, student = RANDOM.normal(size=(5, 7)), RANDOM.normal(size=(5, 3))
    pairs = list(itertools.combinations(range(5), 2))
    expected = np.corrcoef(
        [cosine(teacher[a], teacher[b]) for a, b in pairs], [cosine(student[a], student[b]) for a, b in pairs]
    )[0, 1]
    assert Agreement(TEXTS, teacher)(Student(student)) == pytest.approx(expected, abs=1e-6)


def test_a_student_of_another_size_agrees_where_its_geometry_is_the_same():
    teacher = RANDOM.normal(size=(5, 4))
    turned = np.linalg.qr(RANDOM.normal(size=(6, 6)))[0][:4]
    agreement = Agreement(TEXTS, teacher)
    assert agreement(Student(3 * teacher @ turned)) == pytest.approx(1, abs=1e-6)
    assert agreement(Student(np.ones((5, 2)))) == 0


def test_of_many_texts_some_are_drawn_by_the_seed():
    texts = [f"text {row}" for row in range(2 * TEXTS_AT_MOST)]
    teacher = RANDOM.normal(size=(len(texts), 2))
    drawn = Agreement(texts, teacher, seed=1)
    assert len(set(drawn.texts)) == TEXTS_AT_MOST
    assert drawn.texts == Agreement(texts, teacher, seed=1).texts != Agreement(texts, teacher, seed=2).texts
    rows = [texts.index(text) for text in drawn.texts]
    np.testing.assert_array_equal(drawn.expected, Agreement(drawn.texts, teacher[rows]).expected)


@pytest.mark.parametrize(("texts", "rows", "message"), [(TEXTS, 4, "5 and 4"), (TEXTS[:2], 2, "3 at least")])
def test_what_cannot_be_measured_is_refused(texts, rows, message):
    with pytest.raises(ValueError, match=message):
        Agreement(texts, np.ones((rows, 2)))
