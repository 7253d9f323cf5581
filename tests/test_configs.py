"""Configuration files: every command's template is taken by the command, and ``check`` tells all mistakes at once."""

import dataclasses
import re

import pytest
import yaml
from conftest import SAMPLES

import embedtrain.cli_evaluate
from embedtrain.arguments import parse
from embedtrain.cli import COMMANDS as ALL_COMMANDS
from embedtrain.cli import main
from embedtrain.configs.commands import COMMANDS
from embedtrain.configs.describing import documented, every_option, options_of, type_in_words
from embedtrain.errors import UserError
from embedtrain.models.loading import without_weights

TRAIN = {"data": [str(SAMPLES / "en_gold.tsv")], "score_range": [0, 5], "output": "run"}


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run a command in an empty folder; no model may be loaded."""

    def must_not_load(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer.__init__", must_not_load)
    monkeypatch.setattr("sentence_transformers.CrossEncoder.__init__", must_not_load)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out + captured.err

    return call


@pytest.fixture
def checked(run, tmp_path):
    """Check a file with the given content."""

    def call(content, *words):
        text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=True)
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        return run("check", "mine.yaml", *words)

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_the_template_holds_every_option_and_is_taken_once_it_is_filled_in(name, run, tmp_path):
    code, shown = run("init", *name.split())
    assert code == 0, shown
    file = tmp_path / f"{name.replace(' ', '-')}.yaml"
    text = file.read_text(encoding="utf-8")
    kind = COMMANDS[name].options
    options = options_of(kind)
    content = yaml.safe_load(text)
    assert content.pop("command") == name
    assert set(content) == {option.name for option in options}
    assert max(map(len, text.splitlines())) < 150
    required = {}
    for option in options:
        if option.required:
            assert content[option.name] is None
            required[option.name] = ["x", "y"] if type_in_words(option.hint).startswith("a list") else "x"
            written = f"{option.name}: {yaml.safe_dump(required[option.name], default_flow_style=True).splitlines()[0]}"
            text = re.sub(rf"^{option.name}:$", written, text, flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")
    read = parse(kind, ["--config", str(file)], command=name, summary="")
    assert read == kind(**required)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name):
    for option in every_option(options_of(COMMANDS[name].options)):
        assert len(option.help) > 10, option.name
        assert option.help.endswith("."), option.name


@pytest.mark.parametrize("name", COMMANDS)
def test_options_that_cost_say_so(name):
    costs = re.compile("memory|time|fast|slow|at a time|seconds|disk", re.IGNORECASE)
    costly = {"epochs", "evaluations", "gradient_checkpointing", "compile", "effective_batch", "silver_limit", "search"}
    for option in every_option(options_of(COMMANDS[name].options)):
        if option.key in costly and name != "evaluate glue":
            assert costs.search(option.help), f"{option.name}: {option.help}"


def test_every_command_that_takes_a_file_is_known():
    without = {"evaluate", "mteb", "doctor", "init", "check", "audit", "completion", "export", "report"}
    kinds = {f"evaluate {kind}" for kind in embedtrain.cli_evaluate.SUBCOMMANDS}
    assert {name for name in ALL_COMMANDS if name in COMMANDS or name not in without} | kinds == set(COMMANDS)


def test_evaluate_alone_is_its_first_kind_and_names_the_others(run, tmp_path):
    code, shown = run("init", "evaluate")
    assert code == 0
    assert (tmp_path / "evaluate-sts.yaml").is_file()
    assert "embedtrain init evaluate retrieval" in shown


def test_a_file_that_is_there_is_kept_unless_forced(run, tmp_path):
    assert run("init", "train", "--output", "mine.yaml")[0] == 0
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    code, shown = run("init", "train", "--output", "mine.yaml")
    assert code == 2
    assert "--force" in shown
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"
    assert run("init", "train", "--output", "mine.yaml", "--force")[0] == 0
    assert "command: train" in (tmp_path / "mine.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "did you mean 'train'"),
        (["--force"], "no command named"),
        (["train", "--outptu", "x"], "did you mean '--output'"),
        (["train", "--output", "."], "this is a folder"),
    ],
)
def test_init_says_what_is_wrong(run, words, expected):
    code, shown = run("init", *words)
    assert code == 2
    assert expected in shown


def test_a_right_file_passes_and_nothing_is_written(checked, tiny_model, tmp_path):
    code, shown = checked({"command": "train", "base": str(tiny_model), **TRAIN})
    assert code == 0, shown
    assert "no problem found" in shown
    assert "embedtrain train --config mine.yaml" in shown
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.yaml"]


def test_all_mistakes_are_told_together_with_their_lines(checked, tiny_model):
    code, shown = checked(
        f"""\
command: augsbert
gold: {SAMPLES / "en_gold.tsv"}
test: nowhere.tsv
score_rnge: [0, 5]
base: {tiny_model}
teacher: ensembel
silver_weight: [1]
silver_limit: -3
columns: {{sentence1: 0}}
student:
  batch_size: 0
  epoch: 3
top_k: 3
top_k: 4
loss: mnrl
""",
    )
    assert code == 2
    for expected in (
        "'output' is required",
        "nowhere.tsv: no such file",
        "line 4: unknown key 'score_rnge'; did you mean 'score_range'?",
        "line 6: 'teacher' is 'ensembel'",
        "did you mean 'ensemble'?",
        "line 7: 'silver_weight' is [1], expected a number",
        "--silver-limit is -3",
        'write sentence1: "0"',
        "--student.batch-size is 0",
        "line 12: unknown key 'student.epoch'",
        "line 14: 'top_k' stands in the file more than once",
        "--positive-threshold is not set",
        # The range was misspelt, so that the scores do not fit either.
        "such as 0 5",
    ):
        assert expected in shown, shown
    assert "not filled in" not in shown


def test_tables_too_small_to_measure_on_are_told_with_the_rest(checked, tiny_model, tmp_path):
    rows = "sentence1\tsentence2\tscore\na\tb\t1\n"
    (tmp_path / "few.tsv").write_text(rows, encoding="utf-8")
    code, shown = checked(
        {"command": "train", **TRAIN, "base": str(tiny_model), "dev": "few.tsv", "matryoshka": [64], "seed": -1}
    )
    assert code == 2
    for expected in ("few.tsv: 1 scored pair", "--matryoshka 64", "--seed is -1"):
        assert expected in shown, shown


def test_the_command_is_asked_for_and_guessed(checked):
    code, shown = checked(TRAIN)
    assert code == 2
    assert "its keys fit train" in shown
    assert "--command" in shown
    code, shown = checked({"command": "train", **TRAIN}, "--command", "mine")
    assert code == 2
    assert "this file is for `embedtrain train`" in shown
    code, shown = checked({"command": "trian", **TRAIN})
    assert code == 2
    assert "did you mean 'train'" in shown
    code, shown = checked({**TRAIN, "base": "no/such/model"}, "--command", "train")
    assert code == 2
    assert "no/such/model" in shown


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "sets no option"),
        ("- a", "expected a mapping"),
        ("a: [", "not readable as YAML"),
        ("command: compare\nmodel: [one]\n", "the only model"),
        ("command: evaluate sts\nmodel: one\ndata: [x.tsv]\n", "put it in brackets, ['one']"),
        ("command: label\npairs: [p.parquet]\nteacher: [t]\noutput: 5\n", 'put it in quotes, "5"'),
    ],
)
def test_other_mistakes(checked, content, expected):
    code, shown = checked(content)
    assert code == 2
    assert expected in shown


def test_a_missing_file_is_answered_with_the_nearest_name(run, tmp_path):
    (tmp_path / "train.yaml").write_text("command: train", encoding="utf-8")
    code, shown = run("check", "trian.yaml")
    assert code == 2
    assert "did you mean 'train.yaml'" in shown


def test_an_output_that_cannot_be_made_is_told(checked, tiny_model, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, shown = checked({"command": "train", "base": str(tiny_model), **TRAIN, "output": "file/run"})
    assert code == 2
    assert "cannot write" in shown


def test_a_file_for_another_command_is_refused_by_the_command(run, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"command": "mine", **TRAIN}), encoding="utf-8")
    code, shown = run("train", "--config", "mine.yaml")
    assert code == 2
    assert "this file is for `embedtrain mine`" in shown


def test_a_required_key_without_value_is_told_by_the_command(run, tmp_path):
    run("init", "train")
    code, shown = run("train", "--config", "train.yaml", "--output", "x")
    assert code == 2
    assert "'data' is required and has no value" in shown
    assert "'output' is required and has no value; remove the line" in shown


def test_help_does_not_depend_on_another_package(run, monkeypatch):
    monkeypatch.setattr("jsonargparse._optionals.docstring_parser_support", False)
    code, shown = run("train", "--help")
    assert code == 0
    assert "Rows in a batch." in " ".join(shown.split())


def test_help_comes_from_the_whole_family_of_dataclasses():
    @dataclasses.dataclass
    class Base:
        """Base.

        Args:
            first: What comes first,
                on two lines.
            second: Replaced below.

        Raises:
            third: no option.
        """

        first: int = 1
        second: int = 2

    @dataclasses.dataclass
    class Derived(Base):
        """Derived.

        Args:
            second: The second.
        """

    assert documented(Derived) == {"first": "What comes first, on two lines.", "second": "The second."}


def test_no_weights_are_fetched_while_checking(monkeypatch, tmp_path):
    from embedtrain.models.loading import resolve_model

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.model_info", lambda *args, **options: type("Info", (), {"siblings": []}))
    asked = []

    def download(repository, **options):
        if options.get("local_files_only"):
            raise FileNotFoundError
        asked.append(options)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with without_weights():
        resolve_model("owner/model")
    resolve_model("owner/model")
    assert "*.safetensors" not in asked[0]["allow_patterns"]
    assert "allow_patterns" not in asked[1]


def test_an_unknown_command_lists_those_there_are():
    from embedtrain.configs.commands import configured

    with pytest.raises(UserError, match="evaluate sts"):
        configured("evaluate")
