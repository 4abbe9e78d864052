"""Score restored pictures under one protocol: PSNR and two kinds of SSIM, beside the score of the input.

Read in this order:

    settings.py         the settings: 3 tasks, 5 tasks, CDD-11, own pairs, demo, mixtures, damage in a part
    options.py          what an evaluation is asked for, checked
    local.py            damage in a part of the picture: its tasks and its scores
    cases.py            a case: one clean picture and its degraded input
    crops.py            central parts of images
    promptir_noise.py   test noise as PromptIR and AdaIR draw it
    metrics.py          PSNR, SSIM, bootstrap intervals
    evaluate.py         one row per case
    external.py         pictures that another program restored
    table.py            means per data set and task, with intervals
    results.py          a results file: written, and read again
    published.py        what the papers report (published.toml), and whether a score may stand beside it
"""
