import pytest

from embedtrain.mining.kernel_caches import VARIABLES
from embedtrain.pipelines import memory
from embedtrain.pipelines.memory import lean_memory


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_a_cpu_is_told_how_to_keep_memory(device, monkeypatch):
    entered, bounded = [], []

    class Kept:
        def __enter__(self):
            entered.append(device)

        def __exit__(self, *_):
            entered.append("left")

    monkeypatch.setattr(memory, "memory_kept_mapped", Kept)
    monkeypatch.setattr(memory, "bound_kernel_caches", lambda: bounded.append(VARIABLES))
    with pytest.raises(RuntimeError), lean_memory(device):
        raise RuntimeError
    assert entered == (["cpu", "left"] if device == "cpu" else [])
    assert bool(bounded) == (device == "cpu")
