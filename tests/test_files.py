"""Files and folders appear whole or not at all; hashes follow content and names."""

import pytest

from embedtrain.errors import Problems, UserError, did_you_mean
from embedtrain.files import sha256_of_folder, whole_file, whole_folder, write_json, write_text


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_part(tmp_path):
    target = tmp_path / "out.txt"
    write_text(target, "old")
    with pytest.raises(ZeroDivisionError), whole_file(target) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    target = tmp_path / "stage"
    for name in ("old", "new"):
        with whole_folder(target) as beside:
            (beside / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_that_fails_keeps_the_old_one(tmp_path):
    target = tmp_path / "stage"
    with whole_folder(target) as beside:
        (beside / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_folder(target) as beside:
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
    assert (target / "old").exists()


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_the_hash_of_a_folder_follows_names_and_content(tmp_path):
    for name, file, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        write_text(tmp_path / name / file, text)
    hashes = [sha256_of_folder(tmp_path / name) for name in "abcd"]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_problems_are_collected_and_raised_together():
    problems = Problems()
    problems.raise_if_any()
    problems.add("one")
    problems.extend(UserError("two", "one"))
    with pytest.raises(UserError) as caught:
        problems.raise_if_any()
    assert caught.value.problems == ("one", "two")


def test_the_nearest_spelling_is_offered_and_a_far_one_is_not():
    assert did_you_mean("topk", ["top_k", "seed"]) == "; did you mean 'top_k'?"
    assert did_you_mean("zzz", ["top_k", "seed"]) == ""
