"""Run folders: a stage is whole or absent, is kept while its inputs stay, and says why it runs again."""

import json
import logging

import pytest

from embedtrain.errors import UserError, describe_change
from embedtrain.pipelines.run import Run


def write(text, calls=None):
    def work(folder):
        if calls is not None:
            calls.append(text)
        (folder / "out.txt").write_text(text)

    return work


def test_a_stage_runs_once_and_is_kept_by_the_next_process(tmp_path):
    calls = []
    for _ in range(2):
        run = Run(tmp_path, config={"seed": 1})
        folder = run.stage("first", inputs={"a": 1}, work=write("x", calls))
        run.close()
    assert calls == ["x"]
    assert (folder / "out.txt").read_text() == "x"


def test_a_changed_input_runs_the_stage_again_and_is_named(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="embedtrain")
    run = Run(tmp_path, config={})
    run.stage("first", inputs={"top_k": 3, "teacher": {"epochs": 1, "seed": 2}}, work=write("x"))
    run.stage("first", inputs={"top_k": 5, "teacher": {"epochs": 4, "seed": 2}}, work=write("y"))
    assert "first: run again, teacher.epochs changed from 1 to 4; top_k changed from 3 to 5" in caplog.text
    assert run.path("first", "out.txt").read_text() == "y"


def test_a_stage_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path):
    run = Run(tmp_path, config={})
    run.stage("first", inputs={"a": 1}, work=write("old"))

    def broken(folder):
        (folder / "out.txt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.stage("first", inputs={"a": 2}, work=broken)
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["first"]
    assert run.path("first", "out.txt").read_text() == "old"


def test_what_a_killed_process_was_writing_is_cleared(tmp_path):
    leftover = tmp_path / "stages" / ".teacher.0123abcd.part"
    leftover.mkdir(parents=True)
    (leftover / "weights").write_text("half")
    (tmp_path / ".manifest.json.0123abcd.part").write_text("{")
    Run(tmp_path, config={})
    assert not leftover.exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_damaged_stage_record_runs_the_stage_again(tmp_path):
    calls = []
    run = Run(tmp_path, config={})
    run.stage("first", inputs={"a": 1}, work=write("x", calls))
    run.path("first", "stage.json").write_text('{"key": ')
    run.stage("first", inputs={"a": 1}, work=write("x", calls))
    assert len(calls) == 2


def test_two_processes_do_not_share_a_run_folder(tmp_path):
    run = Run(tmp_path, config={})
    with pytest.raises(UserError, match="another process is working"):
        Run(tmp_path, config={})
    run.close()
    Run(tmp_path, config={})


def test_a_folder_that_cannot_be_written_to_is_one_message(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match=r"--output .*file/run: cannot write there"):
        Run(file / "run", config={})


def test_the_manifest_holds_stages_versions_and_choices(tmp_path):
    run = Run(tmp_path, config={"seed": 1})
    run.note(device={"name": "cpu", "reason": "asked for"})
    run.stage("first", inputs={"a": 1}, work=write("x"))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["device"]["reason"] == "asked for"
    assert manifest["packages"]["torch"]
    assert set(manifest["stages"]["first"]) == {"key", "seconds", "finished", "inputs"}
    assert (tmp_path / "config.yaml").read_text() == "seed: 1\n"


def test_a_change_of_a_long_value_is_named_without_the_value():
    assert describe_change({"gold": "a" * 64, "seed": 1}, {"gold": "b" * 64, "seed": 1}) == "gold changed"


def test_a_change_inside_a_group_names_what_came_and_what_went():
    before = {"teacher": {"one": "a" * 64, "runs.1/two": "b" * 64}, "options": {"seed": 1}}
    after = {"teacher": {"runs.1/two": "c" * 64, "three": "d" * 64}, "options": {"seed": 2}}
    expected = "options.seed changed from 1 to 2; teacher.one removed; teacher runs.1/two changed; teacher.three added"
    assert set(describe_change(before, after).split("; ")) == set(expected.split("; "))
    assert describe_change(before, before) == ""
