"""What ``embedtrain doctor`` says of a machine and an installation, and that it never waits for a network."""

import json
import socket
import subprocess
import sys
import time

import pytest

from embedtrain.cli import main
from embedtrain.pipelines.doctor import computing, installed
from embedtrain.pipelines.doctor.finding import Fact, Report
from embedtrain.pipelines.doctor.wording import report_text


@pytest.fixture
def doctor(capsys):
    def call(*words):
        code = main(["doctor", *words])
        return code, capsys.readouterr().out

    return call


def test_choices_come_with_reasons_and_the_exit_code_says_usable(doctor):
    code, shown = doctor()
    assert code == 0
    for expected in (
        "device",
        "precision",
        "attention",
        "matrix products",
        "threads",
        "memory",
        "HF_HUB_OFFLINE is set",
    ):
        assert expected in shown, shown
    for package in ("torch", "transformers", "sentence-transformers", "safetensors"):
        assert package in shown
    assert shown.rstrip().endswith("Ready to use.")


def test_json_holds_the_same(doctor):
    code, shown = doctor("--json")
    found = json.loads(shown)
    assert code == 0
    assert found["usable"] is True
    assert {"computing", "machine", "models", "network", "extras", "packages"} == set(found["sections"])
    device = found["sections"]["computing"][0]
    assert device["name"] == "device"
    assert device["state"] == "ok"


def test_a_missing_library_is_told_and_not_a_traceback():
    code = "import sys; sys.modules['torch'] = None; from embedtrain.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "torch" in done.stdout
    assert "Not usable as it is" in done.stdout


def test_a_package_that_is_missing_or_too_old_is_a_problem_with_a_command(monkeypatch):
    asked = ["numpy>=99", "no-such-package>=1", 'peft>=99; extra == "lora"', 'ruff>=99; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: asked)
    facts = {fact.name: fact for fact in installed.package_facts()}
    assert facts["numpy"].state == "problem"
    assert "asked for is >=99" in facts["numpy"].found
    assert facts["numpy"].remedy == "pip install 'numpy>=99'"
    assert "not installed" in facts["no-such-package"].found
    assert "peft" not in facts
    (lora,) = installed.extra_facts()
    # What is left out on purpose is no problem.
    assert (lora.name, lora.state) == ("lora", "note")
    assert "pip install 'embedtrain[lora]'" in lora.remedy


def test_every_extra_for_users_is_explained():
    import tomllib
    from pathlib import Path

    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(installed.EXTRAS) <= set(extras)
    assert set(extras) - set(installed.EXTRAS) <= {"dev", "docs"}


def test_a_blocked_socket_is_an_answer(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    (fact,) = installed.network_facts(try_it=True)  # tests may not connect
    assert fact.state == "note"
    assert "cannot be reached" in fact.found
    assert "HF_HUB_OFFLINE=1" in fact.remedy
    (fact,) = installed.network_facts(try_it=False)
    assert fact.found == "not tried"


def test_a_name_server_that_hangs_does_not_hold_it_up(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *args, **options: time.sleep(30))
    started = time.perf_counter()
    assert "no answer" in installed.unreachable("https://example.org", seconds=0.2)
    assert time.perf_counter() - started < 5


def test_a_host_that_answers_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert installed.unreachable(f"http://127.0.0.1:{port}") is None


def test_a_damaged_bundled_model_is_a_problem(monkeypatch, tmp_path):
    from embedtrain.models import loading

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"broken")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: spec)
    fact = installed.model_facts()[0]
    assert fact.state == "problem"
    assert "--force-reinstall" in fact.remedy
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    fact = installed.model_facts()[0]
    assert fact.state == "note"
    assert "bundled-model" in fact.remedy


def test_models_in_the_hub_cache_are_listed(monkeypatch, tmp_path):
    from huggingface_hub import constants

    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert "owner/name" in installed.model_facts()[1].found


def test_threads_that_do_not_fit_the_cores(monkeypatch):
    monkeypatch.setattr(computing, "available_cores", lambda: 8.0)
    monkeypatch.setattr(computing.torch, "get_num_threads", lambda: 1)
    fact = next(fact for fact in computing.machine_facts() if fact.name == "threads")
    assert fact.state == "note"
    assert "OMP_NUM_THREADS=8" in fact.remedy
    monkeypatch.setattr(computing.torch, "get_num_threads", lambda: 32)
    fact = next(fact for fact in computing.machine_facts() if fact.name == "threads")
    assert "slow each other down" in fact.remedy


def test_a_containers_share_of_the_cores_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(computing, "_CGROUP", tmp_path)
    whole = computing.available_cores()
    (tmp_path / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    assert computing.available_cores() == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="ascii")
    assert computing.available_cores() == whole


def test_little_memory_and_a_gpu_that_is_not_used_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(computing, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(str(2**30), encoding="ascii")
    (tmp_path / "memory.current").write_text(str(2**29), encoding="ascii")
    fact = next(fact for fact in computing.machine_facts() if fact.name == "memory")
    assert fact.found == "0.5 GiB free of 1.0"
    assert fact.state == "note"
    if not computing.torch.cuda.is_available():
        monkeypatch.setattr(computing, "_nvidia_driver", lambda: "550.1")
        monkeypatch.setattr(computing.torch.version, "cuda", None)
        (fact,) = computing._gpu_facts("cpu")
        assert "built for CPUs" in fact.remedy


def test_problems_come_before_notes_and_are_counted():
    text = report_text(
        Report(
            {"a": [Fact("one", "x", "note", "do this"), Fact("two", "y", "problem", "do that")], "b": [Fact("3", "z")]}
        )
    )
    assert text.index("do that") < text.index("do this")
    assert text.endswith("Not usable as it is: 1 problem.")
