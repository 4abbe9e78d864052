"""The network SLER-IR: a U-Net whose 8 stages have several experts each, and a router that chooses one at each stage.

Read in this order:

    encoder.py    image -> CLS token and patch tokens
    windows.py    the same for an image larger than the training context
    fusion.py     tokens -> point on the sphere and guide map (GLGF)
    pins.py       anchors of the classes -> points of the experts
    router.py     point -> expert of each layer, and the trace of that choice
    doubt.py      when the choice is doubtful, for each class
    places.py     the same for every place of the image
    blocks.py     the two kinds of block: NAF and Restormer
    pointwise.py  their layers that work at each pixel alone
    experts.py    a stage: three experts, each image through one
    network.py    SLERIR: all of it
    own.py        the gates of own classes: a class of own pairs joins a trained network

    paths.py      paths in any form -> expert numbers, and as digits
    wrappers.py   the network behind torch.compile, DataParallel, ...
    export.py     a network along one path outside slerlib: torch.export and ONNX
"""
