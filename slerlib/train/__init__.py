"""The training: stage A the sphere, stage B the experts, stage C everything.

Read in this order:

    loop.py           train(...): evaluate, save, one step, log
    run.py            the state of a training, and its one step
    stages.py         what each stage trains, its rates and its random draws
    objectives.py     which losses each stage adds up
    losses.py         the losses themselves: the sphere, the restoration
    transitions.py    between stages: anchors after stage A, copies of the first expert
    held_out.py       photographs kept out of training: anchors, validation
    batches.py        the batches of each stage
    parts.py          a batch in parts
    resuming.py       save, and go on with the same bits
    lock.py           one training at a time in a folder
    precision.py      float32, bfloat16, float16
    distributed.py    several processes
    background.py     a training that a notebook starts and looks at

Each file imports only from files further down in this list.
"""
