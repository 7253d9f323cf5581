"""``python -m embedtrain``, which is also what torchrun starts."""

import sys

from embedtrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
