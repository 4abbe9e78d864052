"""Data: degradations made from a seed, and the sets of photographs and pairs that a training or a test reads.

Read in this order:

    degrade.py     degrade(...): one or several degradations of a photograph; arguments.py checks its arguments
    weather.py     rain, snow, haze                        camera.py      noise, blur, low light, JPEG
    masks.py       soft masks: where a degradation acts    damage.py      what is done to a patch in training
    depth.py       synthetic depth for haze                scenes.py      the nine bundled photographs
    measured.py    measured depth for haze in training
    registry.py    the known sets (data/registry.toml)     layouts.py     folders -> sets of items
    search.py      the search behind it                    words.py       what a name states: side, task, split, class
    pairing.py     which input belongs to which target     listing.py     pairs that a list names, pairs.csv
    problems.py    which problems stop a training          twins.py       photographs that look paired
    check.py       `slerlib data check`                    probe.py       one look at a file
    likeness.py    the same picture in two files           decode.py      files decoded within a memory budget
    sources.py     what there is to train on               loader.py      batches: crop, context view, labels
    folder.py      those below a folder                    beside.py      its depth maps and blur kernels
    plan.py        what a training will see                promptir.py    the sample pipeline of PromptIR

Submodules are imported by name (`from slerlib.data.degrade import degrade`), so that nothing heavy loads here.
"""
