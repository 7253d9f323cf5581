import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_teacher import pairs_table
from hypothesis import given, settings
from hypothesis import strategies as st

from embedtrain.errors import UserError
from embedtrain.mining import pair_files
from embedtrain.mining.pair_files import PairFiles

ROWS = 57


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One table in three files of several row groups, and the table."""
    folder = tmp_path_factory.mktemp("pairs")
    table = pairs_table(ROWS)
    for name, (start, stop), group in (("a", (0, 20), 7), ("b", (20, 21), 1), ("c", (21, ROWS), 50)):
        table.iloc[start:stop].to_parquet(folder / f"{name}.parquet", index=False, row_group_size=group)
    return [folder / f"{name}.parquet" for name in "abc"], table


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    monkeypatch.setattr(pair_files, "READ_ROWS", 5)


def same(found, expected):
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        assert found[name].tolist() == expected[name].tolist()


def test_any_stretch_is_what_the_whole_table_has_there(files):
    paths, table = files
    pairs = PairFiles(paths)
    assert pairs.rows == ROWS
    for start in range(ROWS):
        for stop in range(start + 1, ROWS + 1, 9):
            found = pairs.read(start, stop)
            assert found.index.tolist() == list(range(start, stop))
            same(found, table.iloc[start:stop])


@settings(max_examples=20)
@given(stretches=st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 30)), min_size=1, max_size=8))
def test_stretches_in_any_order(files, stretches):
    paths, table = files
    pairs = PairFiles(paths)
    for start, length in stretches:
        stop = min(start + length, ROWS)
        same(pairs.read(start, stop), table.iloc[start:stop])


def test_stretch_after_stretch_reads_each_row_once(files, monkeypatch):
    paths, _ = files
    pairs, seen = PairFiles(paths), []
    named = pairs._named

    def counted(table, number):
        seen.append(len(table))
        return named(table, number)

    monkeypatch.setattr(pairs, "_named", counted)
    for start, stop in pairs.shards(8):
        pairs.read(start, stop)
    # A stretch that ends where a row group does opens the next one anew, without reading any row twice.
    assert sum(seen) == ROWS


def test_shards_cover_all_rows(files):
    shards = PairFiles(files[0]).shards(10)
    assert shards[0] == (0, 10)
    assert shards[-1] == (50, ROWS)
    assert [row for start, stop in shards for row in range(start, stop)] == list(range(ROWS))


def test_lengths_of_texts_by_shard(files):
    paths, table = files
    lengths = (table["sentence1"] + table["sentence2"]).map(lambda text: len(text.encode()))
    expected = [lengths.iloc[start : start + 10].sum() for start in range(0, ROWS, 10)]
    assert PairFiles(paths).text_bytes(10).tolist() == expected


def test_texts_with_nothing_in_them_are_counted_through_all_files(tmp_path):
    full = written(tmp_path, "1.parquet", sentence1=["a", "b"], sentence2=["c", "d"])
    blank = written(
        tmp_path,
        "2.parquet",
        sentence1=["a", "", *["\u3000 \t"] * 5, "b"],
        sentence2=["", "c", *["d"] * 5, "e"],
    )
    pairs = PairFiles([full, blank])
    assert pairs.blanks == (0, [])
    for rows in (3, 100, 3):
        pairs.text_bytes(rows)
        assert pairs.blanks == (7, [3, 4, 5, 6, 7])


def test_other_columns_keep_their_types_and_nulls(tmp_path):
    table = pa.table(
        {
            "id": pa.array([1, None, 3], pa.int64()),
            "q2": ["b", "d", "f"],
            "tags": [["x"], [], ["y", "z"]],
            "q1": pa.array(["a", "c", "e"]).dictionary_encode(),
            "score": pa.array([0.5, None, 1.0], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "pairs.parquet")
    pairs = PairFiles([tmp_path / "pairs.parquet"], {"sentence1": "q1", "sentence2": "q2"})
    assert pairs.schema.names == ["sentence1", "sentence2", "id", "tags", "given_score"]
    back = pa.Table.from_pandas(pairs.read(0, 3), preserve_index=False)
    assert back.column("sentence1").to_pylist() == ["a", "c", "e"]
    assert back.column("id").to_pylist() == [1, None, 3]
    assert back.column("tags").to_pylist() == [["x"], [], ["y", "z"]]
    assert back.column("given_score").type == pa.float32()


def test_a_mapping_for_each_file(tmp_path):
    pd.DataFrame({"a": ["x"], "b": ["y"]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"b": ["v"], "a": ["u"]}).to_parquet(tmp_path / "2.parquet")
    mappings = [{"sentence1": "a", "sentence2": "b"}, {"sentence1": "b", "sentence2": "a"}]
    pairs = PairFiles([tmp_path / "1.parquet", tmp_path / "2.parquet"], mappings)
    assert pairs.read(0, 2)["sentence1"].tolist() == ["x", "v"]


def test_the_fingerprint_follows_content_and_columns(files, tmp_path):
    paths, table = files
    assert PairFiles(paths).fingerprint == PairFiles(paths).fingerprint
    assert PairFiles(paths).fingerprint != PairFiles(paths[::-1]).fingerprint
    swapped = {"sentence1": "sentence2", "sentence2": "sentence1"}
    table[["sentence1", "sentence2"]].to_parquet(tmp_path / "two.parquet", index=False)
    plain, turned = PairFiles([tmp_path / "two.parquet"]), PairFiles([tmp_path / "two.parquet"], swapped)
    assert plain.fingerprint != turned.fingerprint
    assert turned.read(0, 1)["sentence1"].tolist() == table["sentence2"].tolist()[:1]


def test_it_can_be_sent_to_another_process_while_it_is_read(files):
    paths, table = files
    pairs = PairFiles(paths)
    pairs.read(0, 3)
    same(pickle.loads(pickle.dumps(pairs)).read(3, 9), table.iloc[3:9])


def refused(*paths, columns=None):
    with pytest.raises(UserError) as error:
        PairFiles(list(paths), columns)
    return "\n".join(error.value.problems)


def written(folder, name="pairs.parquet", **columns):
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def test_what_is_no_pairs_is_refused_with_the_file_and_the_column(tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_text("sentence1,sentence2\na,b\n")
    assert "broken.parquet: not a readable Parquet file" in refused(broken)
    message = refused(written(tmp_path, sentence1=["a"], sentense2=["b"]))
    assert "no column 'sentence2'" in message
    assert "did you mean 'sentense2'" in message
    empty = written(tmp_path, sentence1=pa.array([], pa.string()), sentence2=pa.array([], pa.string()))
    assert "but no rows" in refused(empty)
    assert "'sentence2' must hold text, found int64" in refused(written(tmp_path, sentence1=["a"], sentence2=[1]))
    both = written(tmp_path, sentence1=["a"], sentence2=["b"], score=[0.1], given_score=[0.2])
    assert "'score' and 'given_score' would both be called 'given_score'" in refused(both)
    mapped = written(tmp_path, q=["a"], sentence1=["x"], sentence2=["b"])
    assert "would both be called 'sentence1'" in refused(mapped, columns={"sentence1": "q"})


def test_every_file_is_checked_and_all_must_be_alike(tmp_path):
    first = written(tmp_path, "1.parquet", sentence1=["a"], sentence2=["b"], row=[1])
    other = written(tmp_path, "2.parquet", sentence1=["a"], sentence2=["b"], row=["1"])
    message = refused(first, other)
    assert "2.parquet" in message
    assert "row string" in message
    assert "row int64" in message
    many = refused(written(tmp_path, "3.parquet", x=["a"]), written(tmp_path, "4.parquet", y=["a"]))
    assert "3.parquet" in many
    assert "4.parquet" in many


def test_a_missing_text_is_named_by_its_row(tmp_path):
    path = written(tmp_path, sentence1=["a", None, "c", "d"], sentence2=["b", "b", "b", None])
    pairs = PairFiles([path])
    with pytest.raises(UserError, match=r"pairs.parquet: row 2, 4 lacks a text"):
        pairs.text_bytes(2)
    with pytest.raises(UserError, match="row 2 lacks a text"):
        pairs.read(0, 2)


def test_a_file_that_breaks_off_is_named_with_the_row(tmp_path):
    path = written(tmp_path, sentence1=[f"text {n}" for n in range(2000)], sentence2=["b"] * 2000)
    pairs = PairFiles([path])
    content = bytearray(path.read_bytes())
    content[200:4000] = bytes(3800)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pairs.parquet: row \d+ and those behind it cannot be read"):
        pairs.text_bytes(10)


def test_memory_for_a_stretch_does_not_grow_with_the_row_group(tmp_path, monkeypatch):
    monkeypatch.undo()
    random, peaks = np.random.default_rng(0), []
    for rows in (100_000, 400_000):
        texts = [f"text {number}" for number in random.integers(0, 2**60, size=rows)]
        path = written(tmp_path, f"{rows}.parquet", sentence1=texts, sentence2=texts[::-1])
        assert pq.read_metadata(path).num_row_groups == 1
        before, pairs, held = pa.total_allocated_bytes(), PairFiles([path]), []
        for start, stop in pairs.shards(20_000):
            pairs.read(start, stop)
            held.append(pa.total_allocated_bytes() - before)
        peaks.append(max(held))
    assert peaks[1] < 1.3 * peaks[0]
