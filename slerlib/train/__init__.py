"""The training: stage A the sphere, stage B the experts, stage C everything.

Read in this order:

    loop.py           train(...): evaluate, save, one step, log
    background.py     a training that a notebook starts and looks at
    history.py        what a training did so far, read from its folder
    own_classes.py    pairs of an unknown task become a class
    transitions.py    between stages: anchors after stage A, copies of the first expert
    resuming.py       save, and go on with the same bits; the log
    looks.py          what a training notes of its start, its sphere and its memory
    run.py            the state of a training, and its one step
    objectives.py     which losses each stage adds up
    losses.py         the losses themselves: the sphere, the restoration
    held_out.py       held-out photographs: anchors, validation
    stages.py         what each stage trains, its rates and its random draws
    batches.py        the batches of each stage
    parts.py          a batch in parts
    precision.py      float32, bfloat16, float16
    distributed.py    several processes
    lock.py           one training at a time in a folder

Each file imports only from files further down in this list.
"""
