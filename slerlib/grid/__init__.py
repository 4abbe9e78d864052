"""Many runs of one command, with every combination of some values, on local processes or on a cluster.

Read in this order:

    values.py    checkpoint=tiny,small seed=0,1,2 -> the combinations
    cells.py     one run of many, and how it ended
    run.py       run(...): each cell once, after those it needs, again where a worker was lost
    workers.py   who does the work: processes of this machine, or a cluster through Dask
    work.py      what a worker does with a cell: a process of its own
    board.py     the table of what runs, with the time left
"""

from .cells import Cell, Result
from .run import run
from .values import combinations
from .workers import Cluster, Local

__all__ = ["Cell", "Cluster", "Local", "Result", "combinations", "run"]
