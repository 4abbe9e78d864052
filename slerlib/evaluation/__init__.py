"""Score restored pictures under one protocol: PSNR and two kinds of SSIM, beside the score of the input.

Read in this order:

    settings.py     the settings: 3 tasks, 5 tasks, CDD-11, own pairs, demo
    cases.py        a case: one clean picture and its degraded input
    metrics.py      PSNR, SSIM, bootstrap intervals
    evaluate.py     one row per case, means per data set
    results.py      a results file or a checkpoint's card, read again
    external.py     pictures that another program restored
    published.py    what the papers report (published.toml), and whether a score may stand beside it
"""
