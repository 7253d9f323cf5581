import os
import subprocess
import sys

import pytest
import torch

from embedtrain.mining.kernel_caches import KERNELS_KEPT, VARIABLES, bound_kernel_caches

# Peak memory of products in bf16 of as many shapes as are given, in kB.
SHAPES = """
import sys
import torch
from embedtrain.mining.kernel_caches import bound_kernel_caches

if sys.argv[1] == "bounded":
    bound_kernel_caches()
torch.set_num_threads(1)
layer = torch.nn.Linear(256, 1024).bfloat16()
with torch.inference_mode():
    for rows in range(1, 700):
        layer(torch.zeros(rows, 256, dtype=torch.bfloat16))
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")))
"""


def test_does_not_overrule_what_the_user_says(monkeypatch):
    monkeypatch.setenv(VARIABLES[0], "7")
    monkeypatch.delenv(VARIABLES[1], raising=False)
    bound_kernel_caches()
    assert [os.environ[variable] for variable in VARIABLES] == ["7", str(KERNELS_KEPT)]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not torch.cpu._is_avx512_bf16_supported(), reason="no bf16 instructions"
)
def test_memory_of_many_shapes_is_bounded(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    used = [
        int(subprocess.run([sys.executable, "-c", SHAPES, how], capture_output=True, text=True, check=True).stdout)
        for how in ("bounded", "free")
    ]
    # In one case 250 MB, in the other 620.
    assert used[0] < 0.7 * used[1]
