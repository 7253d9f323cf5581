"""Reading every kind of source, and what a reader does to values."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from embedtrain.data import (
    LABELLED_PAIRS,
    POSITIVE_PAIRS,
    SCORED_PAIRS,
    SENTENCES,
    TRIPLETS,
    read_scored_pairs,
    read_sentences,
    read_table,
)

PAIRS = [("A cat sleeps.", "A cat is asleep.", 0.9), ("怎么重置密码？", "如何更改密码？", 0.75)]
TSV = "sentence1\tsentence2\tscore\n" + "".join(f"{a}\t{b}\t{score}\n" for a, b, score in PAIRS)


def frame():
    return pd.DataFrame(PAIRS, columns=["sentence1", "sentence2", "score"])


def write(path, text, *, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def values(table):
    return list(table.itertuples(index=False, name=None))


def save_csv(folder):
    return write(folder / "pairs.csv", TSV.replace("\t", ","))


def save_tsv(folder):
    return write(folder / "pairs.tsv", TSV)


def save_json(folder):
    return write(folder / "pairs.json", json.dumps(frame().to_dict("records"), ensure_ascii=False, indent=1))


def save_jsonl(folder):
    lines = [json.dumps(record, ensure_ascii=False) for record in frame().to_dict("records")]
    return write(folder / "pairs.jsonl", "\n".join(lines) + "\n")


def save_parquet(folder):
    frame().to_parquet(folder / "pairs.parquet")
    return folder / "pairs.parquet"


def save_dataset(folder):
    import datasets

    datasets.Dataset.from_pandas(frame()).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def in_memory(folder):
    return frame()


def dataset_in_memory(folder):
    import datasets

    return datasets.Dataset.from_pandas(frame())


@pytest.mark.parametrize(
    ("save", "rows"),
    [
        (save_csv, [2, 3]),
        (save_tsv, [2, 3]),
        (save_json, [1, 2]),
        (save_jsonl, [1, 2]),
        (save_parquet, [1, 2]),
        (save_dataset, [1, 2]),
        (in_memory, [1, 2]),
        (dataset_in_memory, [1, 2]),
    ],
)
def test_every_source_gives_the_same_table_with_its_own_row_numbers(tmp_path, save, rows):
    table = read_scored_pairs(save(tmp_path))
    assert values(table) == PAIRS
    assert table.index.name == "row"
    assert table.index.tolist() == rows
    assert table["score"].dtype == "float64"


def test_a_path_may_be_a_string_and_its_ending_in_capitals(tmp_path):
    path = write(tmp_path / "PAIRS.TSV", TSV)
    assert values(read_scored_pairs(str(path))) == PAIRS


def test_a_byte_order_mark_is_left_out(tmp_path):
    assert values(read_scored_pairs(write(tmp_path / "a.tsv", TSV, encoding="utf-8-sig"))) == PAIRS


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_other_line_ends_do_not_reach_the_text(tmp_path, line_end, ending):
    text = TSV.replace("\n", line_end)
    path = write(tmp_path / f"a.{ending}", text.replace("\t", ",") if ending == "csv" else text)
    table = read_scored_pairs(path)
    assert values(table) == PAIRS
    assert table.index.tolist() == [2, 3]


def test_txt_is_one_sentence_a_line_and_a_blank_line_an_empty_text(tmp_path):
    table = read_sentences(write(tmp_path / "a.txt", "One, two.\n\n第三句。\n"))
    assert table["text"].tolist() == ["One, two.", "", "第三句。"]
    assert table.index.tolist() == [1, 2, 3]


def test_a_last_line_without_line_end_counts(tmp_path):
    assert read_sentences(write(tmp_path / "a.txt", "one\ntwo"))["text"].tolist() == ["one", "two"]


def test_only_line_ends_end_a_line(tmp_path):
    odd = "page one\x0cpage two\u2028still the same line\x85and on"
    assert read_sentences(write(tmp_path / "a.txt", odd + "\n"))["text"].tolist() == [odd]


def test_a_quote_in_tsv_is_a_character_of_the_text(tmp_path):
    path = write(tmp_path / "a.tsv", 'sentence1\tsentence2\tscore\n"Go\tHe said "go".\t1\n')
    assert values(read_scored_pairs(path)) == [('"Go', 'He said "go".', 1.0)]


def test_csv_follows_the_usual_quoting(tmp_path):
    path = write(tmp_path / "a.csv", 'sentence1,sentence2,score\n"Yes, he said ""go"".",Leave.,0.5\n')
    assert values(read_scored_pairs(path)) == [('Yes, he said "go".', "Leave.", 0.5)]


def test_a_csv_row_over_several_lines_is_named_by_its_first(tmp_path):
    path = write(tmp_path / "a.csv", 'text\n"first\nline"\nsecond\n')
    table = read_sentences(path)
    assert table["text"].tolist() == ["first\nline", "second"]
    assert table.index.tolist() == [2, 4]


def test_a_text_longer_than_the_csv_modules_limit_is_read(tmp_path):
    long = "word " * 40_000
    assert read_sentences(write(tmp_path / "a.csv", f"text\n{long}\n"))["text"].tolist() == [long]


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "N/A", "true", "007", "1e5", "-"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_words_that_look_like_missing_values_or_numbers_stay_text(tmp_path, word, ending):
    assert read_sentences(write(tmp_path / f"a.{ending}", f"text\n{word}\n"))["text"].tolist() == [word]


def test_text_keeps_its_white_space(tmp_path):
    path = write(tmp_path / "a.tsv", "sentence1\tsentence2\tscore\n  two  spaces \t\u3000全角\u3000\t1\n")
    assert values(read_scored_pairs(path)) == [("  two  spaces ", "\u3000全角\u3000", 1.0)]


def test_missing_texts_become_empty_ones_in_every_format(tmp_path):
    tsv = write(tmp_path / "a.tsv", "sentence1\tsentence2\tscore\n\tb\t1\n")
    jsonl = write(tmp_path / "a.jsonl", '{"sentence1": null, "sentence2": "b", "score": 1}\n')
    in_memory = pd.DataFrame({"sentence1": [None], "sentence2": ["b"], "score": [1]})
    for source in (tsv, jsonl, in_memory):
        assert values(read_scored_pairs(source)) == [("", "b", 1.0)]


def test_blank_lines_between_rows_are_no_rows(tmp_path):
    table = read_scored_pairs(write(tmp_path / "a.tsv", TSV.replace("\n", "\n\n")))
    assert values(table) == PAIRS
    assert table.index.tolist() == [3, 5]


def test_further_columns_are_ignored_and_order_does_not_matter(tmp_path):
    path = write(tmp_path / "a.csv", "id,score,sentence2,genre,sentence1\n7,0.5,b,news,a\n")
    table = read_scored_pairs(path)
    assert list(table.columns) == ["sentence1", "sentence2", "score"]
    assert values(table) == [("a", "b", 0.5)]


def test_a_mapping_renames(tmp_path):
    path = write(tmp_path / "a.csv", "question1,question2,score\na,b,1\n")
    table = read_scored_pairs(path, columns={"sentence1": "question1", "sentence2": "question2"})
    assert values(table) == [("a", "b", 1.0)]


def test_a_mapping_can_swap_two_columns(tmp_path):
    columns = {"sentence1": "sentence2", "sentence2": "sentence1"}
    path = write(tmp_path / "a.csv", "sentence1,sentence2,score\na,b,1\n")
    assert values(read_scored_pairs(path, columns=columns)) == [("b", "a", 1.0)]


def test_positions_read_a_file_without_a_header_from_its_first_line(tmp_path):
    path = write(tmp_path / "a.csv", "0.5,a,b\n1,c,d\n")
    table = read_scored_pairs(path, columns={"sentence1": "1", "sentence2": "2", "score": "0"})
    assert values(table) == [("a", "b", 0.5), ("c", "d", 1.0)]
    assert table.index.tolist() == [1, 2]


def test_positions_on_a_file_that_seems_to_have_a_header_are_warned_about(tmp_path, caplog):
    table = read_sentences(write(tmp_path / "a.csv", "text\nb\n"), columns={"text": "0"})
    assert table["text"].tolist() == ["text", "b"]
    assert "looks like a header" in caplog.text


def test_a_mapping_has_no_effect_on_txt_and_says_so(tmp_path, caplog):
    assert read_sentences(write(tmp_path / "a.txt", "a\n"), columns={"text": "0"})["text"].tolist() == ["a"]
    assert "no effect" in caplog.text


def test_scores_are_scaled_from_their_range_once(tmp_path):
    path = write(tmp_path / "a.tsv", "sentence1\tsentence2\tscore\na\tb\t5.0\nc\td\t0\ne\tf\t2.5\n")
    assert read_scored_pairs(path, score_range=(0, 5))["score"].tolist() == [1.0, 0.0, 0.5]


def test_a_range_may_be_negative():
    table = pd.DataFrame({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [-1, 0]})
    assert read_scored_pairs(table, score_range=(-1, 1))["score"].tolist() == [0.0, 0.5]


def test_scores_that_seem_scaled_already_are_warned_about(caplog):
    read_scored_pairs(frame(), score_range=(0, 5))
    assert "no score is above 1" in caplog.text


def test_labels_become_integers(tmp_path):
    path = write(tmp_path / "a.tsv", "sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t0.0\n")
    table = read_table(path, kind=LABELLED_PAIRS)
    assert table["label"].tolist() == [1, 0]
    assert table["label"].dtype == "int64"


def test_json_labels_may_be_true_and_false(tmp_path):
    path = write(tmp_path / "a.json", '[{"sentence1": "a", "sentence2": "b", "label": true}]')
    assert read_table(path, kind=LABELLED_PAIRS)["label"].tolist() == [1]


def test_positive_pairs(tmp_path):
    path = write(tmp_path / "a.tsv", "anchor\tpositive\na\tb\n")
    assert values(read_table(path, kind=POSITIVE_PAIRS)) == [("a", "b")]


@pytest.mark.parametrize("negatives", [["negative"], ["negative_1"], ["negative_1", "negative_2", "negative_3"]])
def test_triplets_take_one_negative_or_numbered_ones(tmp_path, negatives):
    header = "\t".join(["anchor", "positive", *negatives])
    path = write(tmp_path / "a.tsv", f"{header}\na\tb{''.join(f'{chr(9)}n{i}' for i in range(len(negatives)))}\n")
    table = read_table(path, kind=TRIPLETS)
    assert list(table.columns) == ["anchor", "positive", *negatives]


def test_numbered_negatives_can_be_mapped(tmp_path):
    path = write(tmp_path / "a.csv", "q,p,n1,n2\na,b,c,d\n")
    columns = {"anchor": "q", "positive": "p", "negative_1": "n1", "negative_2": "n2"}
    assert values(read_table(path, kind=TRIPLETS, columns=columns)) == [("a", "b", "c", "d")]


def test_jsonl_rows_are_line_numbers_across_blank_lines(tmp_path):
    table = read_sentences(write(tmp_path / "a.jsonl", '{"text": "a"}\n\n{"text": "b"}\n'))
    assert table.index.tolist() == [1, 3]


def test_a_parquet_file_keeps_a_column_that_was_a_frames_index(tmp_path):
    pd.DataFrame({"text": ["a", "b"], "id": [7, 8]}).set_index("text").to_parquet(tmp_path / "a.parquet")
    assert read_sentences(tmp_path / "a.parquet")["text"].tolist() == ["a", "b"]


def test_reading_a_table_again_keeps_its_row_numbers(tmp_path):
    table = read_scored_pairs(save_tsv(tmp_path))
    again = read_scored_pairs(table.iloc[1:])
    assert again.index.tolist() == [3]


def test_a_frame_is_not_changed():
    source = frame()
    read_scored_pairs(source, columns={"sentence1": "sentence2", "sentence2": "sentence1"})
    pd.testing.assert_frame_equal(source, frame())


def test_a_frame_with_numbers_for_names_is_mapped_by_them():
    source = pd.DataFrame([["a", "b", 1.0]])
    assert values(read_scored_pairs(source, columns={"sentence1": "0", "sentence2": "1", "score": "2"})) == [
        ("a", "b", 1.0)
    ]


def test_a_split_of_a_saved_dataset_is_chosen_behind_a_colon(tmp_path):
    import datasets

    splits = {"train": datasets.Dataset.from_dict({"text": ["a"]}), "test": datasets.Dataset.from_dict({"text": ["b"]})}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert read_sentences(f"{tmp_path / 'saved'}:test")["text"].tolist() == ["b"]


def test_the_only_split_needs_no_choice(tmp_path):
    import datasets

    stored = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})})
    stored.save_to_disk(str(tmp_path / "saved"))
    assert read_sentences(tmp_path / "saved")["text"].tolist() == ["a"]
    assert read_sentences(stored)["text"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("source", "asked", "text"),
    [
        ("owner/name", ("owner/name", None), "only"),
        ("owner/name:test", ("owner/name", None), "of test"),
        ("owner/name:pairs:test", ("owner/name", "pairs"), "of test"),
    ],
)
def test_a_hub_name_says_data_set_configuration_and_split(monkeypatch, source, asked, text):
    import datasets

    def load(path, name=None):
        assert (path, name) == asked
        both = {"train": datasets.Dataset.from_dict({"text": ["only"]})}
        return datasets.DatasetDict(
            both | ({"test": datasets.Dataset.from_dict({"text": ["of test"]})} if ":" in source else {})
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_sentences(source)["text"].tolist() == [text]


def test_reading_files_does_not_import_datasets(tmp_path):
    path = save_tsv(tmp_path)
    code = (
        "import sys; from embedtrain.data import read_scored_pairs; "
        f"read_scored_pairs({str(path)!r}); print('datasets' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("kind", [SENTENCES, SCORED_PAIRS, LABELLED_PAIRS, POSITIVE_PAIRS, TRIPLETS])
def test_every_kind_reads_a_table_of_just_its_columns(kind):
    row = {name: 1 if name == kind.number_column else f"the {name}" for name in kind.columns}
    table = read_table(pd.DataFrame([row]), kind=kind)
    assert values(table) == [tuple(row.values())]


def test_a_tsv_written_with_quoting_is_read_as_it_stands_and_warned_about(tmp_path, caplog):
    path = tmp_path / "quoted.tsv"
    path.write_text('sentence1\tsentence2\tscore\nplain\tit is "big"\t1\n"he said ""go""."\tb\t0\n', encoding="utf-8")
    table = read_scored_pairs(str(path))
    assert table["sentence1"].tolist() == ["plain", '"he said ""go""."']
    assert "1 rows (the first is 3) look as if they were written with quoting" in caplog.text


def test_a_scale_from_1_that_is_read_as_one_from_0_is_wondered_at(caplog):
    table = pd.DataFrame({"sentence1": ["a"] * 60, "sentence2": ["b"] * 60, "score": [1.0, 2.5, 5.0] * 20})
    read_scored_pairs(table, score_range=(1, 5))
    read_scored_pairs(table.assign(score=table["score"] - 1), score_range=(0, 5))
    read_scored_pairs(table.head(30), score_range=(0, 5))
    assert not caplog.text
    read_scored_pairs(table, score_range=(0, 5))
    assert "no score is below 1, though the stated range is 0 to 5" in caplog.text
