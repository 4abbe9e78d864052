"""The training: stage A the sphere, stage B the experts, stage C everything.

Read in this order:

    loop.py           train(...): evaluate, save, one step, log
    run.py            the state of a training and its one step
    stages.py         what each stage trains, its loss terms and rates
    losses.py         the restoration loss, and the terms that shape the sphere
    held_out.py       photographs kept out of training: anchors, validation
    resuming.py       save and go on, bit by bit the same
    precision.py      float32, bfloat16, float16
    distributed.py    many processes
    parts.py          a batch in parts
    background.py     a training that a notebook starts and looks at
"""
