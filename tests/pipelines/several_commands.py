"""Several commands one after the other in processes that torchrun started, which takes longer to start than they do.

torchrun --nproc_per_node 2 several_commands.py '[[29501, ["evaluate", "sts", ...]], ...]'

Before each command stands a free port, where its processes find each other anew.
"""

import json
import os
import sys

from embedtrain.cli import main

codes = []
os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
for port, command in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    codes.append(main(command))
sys.stdout.write(f"codes {codes}\n")
