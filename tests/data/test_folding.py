"""The normal form in which two texts count as the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedtrain.data import fold_text


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  A  Man\tWalks.\n", "a man walks."),
        ("Straße", "strasse"),
        ("ΜΆΪΟΣ", "μάϊοσ"),
        ("ＡＢＣ１２３", "abc123"),
        ("忘记密码？", "忘记密码?"),
        ("全角\u3000空格", "全角 空格"),
        ("ﬁne", "fine"),
        ("№ 5™", "no 5tm"),
        ("cafe\u0301", "café"),
        ("non\u00a0breaking", "non breaking"),
        ("", ""),
        (" \u3000\n", ""),
    ],
)
def test_case_width_composition_and_white_space_are_folded(text, folded):
    assert fold_text(text) == folded


@pytest.mark.parametrize(("one", "other"), [("resume", "résumé"), ("密码", "密碼"), ("a.b", "a b"), ("1", "l")])
def test_accents_scripts_and_punctuation_are_kept_apart(one, other):
    assert fold_text(one) != fold_text(other)


@given(st.text(max_size=40))
def test_folding_again_changes_nothing(text):
    assert fold_text(fold_text(text)) == fold_text(text)


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=40))
def test_the_fast_path_for_ascii_agrees_with_the_general_one(text):
    assert fold_text(text) == fold_text(text + " é").removesuffix("é").strip()
