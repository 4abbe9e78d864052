"""The command `slerlib`.

Read in this order:

    commands.py    main(...), and one function per command
    grids.py       many runs at a time
    parser.py      commands, options and their help
    plain.py       output without control characters
    doctor.py      `slerlib doctor`: what runs here, and why
"""

from .commands import main

__all__ = ["main"]
