"""Train variants of SLER-IR, one mechanism changed at a time, and measure what each mechanism is worth.

Read in this order:

    variants.py  the variants, and the budget that all of them get
    tables.py    the table of results, and what it shows about each claim of the paper
    run.py       training and scoring
    grid.py      several at a time, on local processes or a cluster
    cell.py      what one of those processes does
    cost.py      how long a suite takes on so many machines
"""
