import subprocess
import sys


def test_losses_import_torch_and_nothing_heavy():
    code = "import sys, embedtrain.losses; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert {"torch", "embedtrain"} <= loaded
    assert not loaded & {"transformers", "datasets", "sentence_transformers", "pandas", "scipy"}
