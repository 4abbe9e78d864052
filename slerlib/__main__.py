"""`python -m slerlib` is the `slerlib` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
