"""What is said and where: more and less of it, bars on a terminal and lines in a file, nothing of the libraries."""

import logging
import os
import pty
import subprocess
import sys
import warnings

import pytest

from embedtrain import progress
from embedtrain.cli import COMMANDS, main
from embedtrain.console import configure_logging, take_verbosity
from embedtrain.errors import UserError
from embedtrain.libraries import quiet_libraries

SHORT_TABLE = "sentence1\tsentence2\tscore\n" + "".join(f"text {i}\tother {i}\t{i / 20}\n" for i in range(20))


def test_verbosity_may_stand_anywhere():
    assert take_verbosity(["--quiet", "train", "--seed", "1"]) == ("quiet", ["train", "--seed", "1"])
    assert take_verbosity(["train", "--seed", "1", "-v"]) == ("verbose", ["train", "--seed", "1"])
    assert take_verbosity(["train"]) == ("normal", ["train"])
    with pytest.raises(UserError, match="contradict"):
        take_verbosity(["train", "-q", "--verbose"])


def test_a_contradiction_is_a_mistake_and_a_misspelt_word_gets_the_nearest(capsys):
    assert main(["train", "--quiet", "--verbose"]) == 2
    assert main(["train", "--quiett"]) == 2
    told = capsys.readouterr().err
    assert "contradict" in told
    assert "'--quiet'" in told


@pytest.mark.parametrize("words", [["train", "--help"], ["--help"]])
def test_helps_tell_of_it(words, capsys):
    assert main(words) == 0
    assert "--quiet tells results" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def evaluation(tmp_path, tiny_model):
    table = tmp_path / "pairs.tsv"
    table.write_text(SHORT_TABLE, encoding="utf-8")
    words = ["evaluate", "sts", "--model", str(tiny_model), "--data", str(table), "--bootstrap-samples", "100"]
    return [*words, "--number-types", "int8"]


@pytest.mark.parametrize(
    ("word", "says_device", "is_timed"), [("--quiet", False, False), (None, True, False), ("--verbose", True, True)]
)
def test_results_are_on_stdout_and_messages_on_stderr(evaluation, word, says_device, is_timed, capfd):
    assert main([*evaluation, *([word] if word else [])]) == 0
    out, err = capfd.readouterr()
    assert "Spearman" in out
    assert ("device: cpu" in err) == says_device
    assert (err[2:3] == ":") == is_timed
    assert "\r" not in out + err
    assert "\x1b" not in out + err
    assert "Loading weights" not in out + err


def drawn_on_a_terminal(program):
    """What a program writes to a terminal of 80 columns."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    running = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
    assert running.wait() == 0
    os.close(ours)
    return shown.decode()


COUNTING = """
import logging
from embedtrain.console import configure_logging
from embedtrain.progress import Progress
configure_logging({verbosity!r})
with Progress(4, what="counting", unit="step", delay=0) as counted:
    for step in range(4):
        logging.getLogger("embedtrain.x").info("a line of its own")
        counted.update()
"""


def test_a_terminal_gets_a_bar_with_whole_lines_above_it():
    shown = drawn_on_a_terminal(COUNTING.format(verbosity="normal"))
    assert "counting:" in shown
    assert "4/4" in shown
    lines = [line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").split("\n")]
    assert sum(line == "a line of its own" for line in lines) == 4


def test_quiet_draws_nothing():
    assert drawn_on_a_terminal(COUNTING.format(verbosity="quiet")) == ""


def test_a_file_gets_a_line_now_and_then(monkeypatch, capfd):
    configure_logging()
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    with progress.Progress(10, what="counting", unit="step") as counted:
        counted.say("all well")
        for _ in range(10):
            counted.update()
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        f"counting: {done} of 10 steps, {10 * done} %, {left}, all well"
        for done, left in ((3, "1 min 10 s left"), (6, "40 s left"), (9, "10 s left"))
    ]


def test_other_processes_and_quiet_ones_keep_silent(monkeypatch, capfd):
    clock = iter(range(0, 10000, 100))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    configure_logging("quiet")
    list(progress.progress([1, 2, 3], what="counting", unit="step"))
    configure_logging()
    with progress.Progress(3, what="counting", unit="step", is_shown=False) as counted:
        counted.update()
    assert capfd.readouterr() == ("", "")


def test_items_come_through_in_order():
    assert list(progress.progress("abc", what="counting", unit="letter")) == ["a", "b", "c"]


def test_libraries_are_quiet_and_left_as_they_were(caplog):
    from transformers.utils import logging as transformers_logging

    transformers_logging.enable_progress_bar()
    before = transformers_logging.get_verbosity(), logging.getLogger("sentence_transformers").level
    with quiet_libraries():
        assert not transformers_logging.is_progress_bar_enabled()
        assert logging.getLogger("sentence_transformers").level == logging.ERROR
        with warnings.catch_warnings(record=True) as heard:
            warnings.warn_explicit("of theirs", UserWarning, "x.py", 1, module="torch.nn")
            warnings.warn_explicit("of ours", UserWarning, "x.py", 2, module="embedtrain.losses.distances")
        assert [str(one.message) for one in heard] == ["of ours"]
    assert transformers_logging.is_progress_bar_enabled()
    assert before == (transformers_logging.get_verbosity(), logging.getLogger("sentence_transformers").level)


def test_verbose_lets_them_speak_but_draw_no_bars():
    from transformers.utils import logging as transformers_logging

    configure_logging("verbose")
    verbosity = transformers_logging.get_verbosity()
    with quiet_libraries():
        assert transformers_logging.get_verbosity() == verbosity
        assert not transformers_logging.is_progress_bar_enabled()


def completed(script, *words):
    """What bash offers behind these words."""
    program = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _embedtrain; echo "${COMPREPLY[*]}"'
    done = subprocess.run(["bash", "-c", program, script, *words], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


def test_bash_completes_commands_options_and_values(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    assert set(COMMANDS) <= set(completed(script, "embedtrain", ""))
    assert completed(script, "embedtrain", "augs") == ["augsbert"]
    assert "retrieval" in completed(script, "embedtrain", "evaluate", "")
    assert completed(script, "embedtrain", "evaluate", "sts", "--number") == ["--number-types"]
    assert completed(script, "embedtrain", "evaluate", "sts", "--number-types", "b") == ["binary"]
    assert completed(script, "embedtrain", "augsbert", "--student.ep") == ["--student.epochs"]
    assert completed(script, "embedtrain", "train", "--device", "cp") == ["cpu"]
    assert completed(script, "embedtrain", "train", "--qu") == ["--quiet"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    for part in (*COMMANDS, "student.epochs", "number-types", "int8 binary"):
        assert part in shown


def test_an_unknown_shell_gets_the_known_ones(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "did you mean 'bash'" in capsys.readouterr().err
    assert main(["completion"]) == 0
    assert "bash-completion" in capsys.readouterr().out
