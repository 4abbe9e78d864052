"""Train variants of SLER-IR, one mechanism changed at a time, and say what each mechanism is worth.

Read in this order:

    run.py       the variants, the budget, training and scoring
    tables.py    the claims, and what a table of results says about each
"""
