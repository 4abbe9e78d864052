"""The diagrams of lessons 05 to 09: how to measure it. Each returns title, alt text, height, parts."""

from drawing import arrow, box, dot, flow, labelled, line, pin, text, texts, tiles


def evaluation():
    alt = (
        "Evaluation: photographs times degradations give degraded pictures; the network restores each; PSNR and "
        "SSIM against the clean photograph give one row of the table; means are over photographs, with an "
        "interval."
    )
    parts = flow(
        24,
        [
            (150, ["photographs", "clean"]),
            (130, ["degraded", "same seed"]),
            (120, ["restored"]),
            (120, ["scores", "a row each"]),
        ],
        gap=40,
    )
    parts += [
        line((90, 86), (90, 128), (580, 128)),
        arrow((580, 128), (580, 90)),
        text(335, 150, "compared with the clean photograph"),
    ]
    parts += [arrow((620, 86), (620, 170)), *labelled(430, 174, 230, ["mean and interval", "over photographs"])]
    return "From photographs to a score", alt, 254, parts


def bootstrap():
    alt = (
        "The bootstrap: of nine photographs nine are drawn again, with repetition, so that some come twice and "
        "some not at all; the mean of each draw is one mark. After 2000 draws the middle 95 % of the means are "
        "the interval."
    )
    rows = ["1 2 3 4 5 6 7 8 9", "2 2 3 5 5 6 8 8 9", "1 1 3 4 4 4 7 9 9", "1 2 5 6 6 7 7 7 8"]
    parts = [text(20, 43, "photographs", "left")]
    for n, numbers in enumerate(rows):
        y = 22 + 40 * n + (16 if n else 0)
        for k, number in enumerate(numbers.split()):
            twice = n and numbers.split().count(number) > 1
            parts += [
                box(160 + 38 * k, y, 32, 30, "chosen" if twice else "expert"),
                text(176 + 38 * k, y + 21, number, "on" if twice else ""),
            ]
        parts += [text(20, y + 21, f"draw {n}", "left")] if n else []
        parts += [arrow((510, y + 15), (548, y + 15)), text(600, y + 21, "a mean")] if n else []
    parts += [text(340, 222, "... 2000 draws: the means, sorted"), line((60, 262), (620, 262))]
    parts += [dot(340 + 11 * n * abs(n) / 6, 262 - 0, "embedding", 4) for n in range(-11, 12)]
    parts += [
        line((150, 240), (150, 284), kind="near"),
        line((530, 240), (530, 284), kind="near"),
        text(340, 298, "the middle 95 %: the interval", "title"),
    ]
    return "The bootstrap", alt, 316, parts


def flattening():
    alt = (
        "A map tears a sphere: five points on the sphere, a to e, are drawn in the plane. b and c stay "
        "neighbours; d and e, neighbours on the sphere, land far apart; a and e, far apart on the sphere, land "
        "side by side."
    )
    parts = [
        '<circle class="box" cx="150" cy="130" r="104"/>',
        '<path class="line skip" d="M46 130 A104 32 0 0 0 254 130"/>',
    ]
    ball = {"a": (86, 80), "b": (150, 60), "c": (176, 84), "d": (202, 170), "e": (170, 196)}
    flat = {"a": (420, 176), "b": (470, 70), "c": (510, 90), "d": (610, 130), "e": (448, 190)}
    for places in (ball, flat):
        for name, (x, y) in places.items():
            parts += [dot(x, y, "embedding", 7), text(x + 16, y - 6, name)]
    parts += [box(370, 26, 290, 208, "still"), arrow((270, 130), (360, 130)), text(315, 118, "map")]
    parts += [line(ball["b"], ball["c"], kind="near"), line(flat["b"], flat["c"], kind="near")]
    parts += [line(ball["d"], ball["e"], kind="wrong"), line(flat["d"], flat["e"], kind="wrong")]
    parts += [text(150, 262, "sphere"), text(515, 262, "map: d and e are torn apart")]
    return "What a map keeps and what it tears", alt, 282, parts


def voting():
    alt = (
        "A point guesses its degradation from its nearest neighbours. Pictures of its own photograph may not "
        "vote, since they share the scene. Of the five nearest others four show rain and one haze: the guess is "
        "rain."
    )
    parts = [
        '<circle class="still" cx="190" cy="140" r="116"/>',
        dot(190, 140, "embedding", 10),
        text(190, 172, "?", "title"),
    ]
    parts += [pin(x, y) for x, y in ((130, 100), (240, 90), (120, 180), (250, 190), (40, 40), (380, 52))]
    parts += [dot(x, y, "guide", 8) for x, y in ((196, 70), (320, 40), (380, 86))]
    for x, y in ((216, 128), (380, 122)):
        parts += [dot(x, y, "expert", 9), line((x - 10, y - 10), (x + 10, y + 10), kind="wrong")]
    parts += [text(400, 56, "rain, other photographs", "left"), text(400, 92, "haze, other photographs", "left")]
    parts += texts(400, 128, ["the same photograph:", "it may not vote"], "left")
    parts += texts(380, 200, ["Of the five nearest others four", "are rain: the guess is rain."], "left")
    return "Neighbours vote", alt, 280, parts


def counting():
    alt = (
        "An example of the use of experts at one layer: every picture adds one to the cell of its degradation and "
        "its expert. Rain: 7 of 9 pictures take expert 1. Rows that differ mean that the expert reveals something "
        "about the degradation."
    )
    parts = [
        *labelled(20, 60, 170, ["a rainy picture", "takes expert 1"]),
        arrow((190, 91), (340, 91)),
        text(254, 80, "+ 1"),
    ]
    rows = [("rain", (1, 7, 1)), ("haze", (0, 2, 7)), ("noise50", (9, 0, 0))]
    for n, (name, numbers) in enumerate(rows):
        y = 66 + 44 * n
        parts += [text(400, y + 25, name, "right")]
        for k, number in enumerate(numbers):
            on = (n, k) == (0, 1)
            parts += [
                box(416 + 80 * k, y, 74, 38, "chosen" if on else "expert"),
                text(453 + 80 * k, y + 25, str(number), "on" if on else ""),
            ]
    parts += [text(453 + 80 * k, 54, f"expert {k}") for k in range(3)] + [
        text(533, 26, "one layer, an example", "title")
    ]
    return "Counting who uses which expert", alt, 216, parts


def knockout():
    alt = (
        "Knock-out: expert 1 is forbidden at one layer. The picture goes to the expert with the next nearest pin, "
        "here 0; all other layers stay as they were. The loss in dB shows what the expert was worth to this "
        "picture."
    )
    parts = []
    for n, chosen in enumerate((0, 2, 1, 1, 0)):
        x = 40 + 124 * n
        parts += [box(x, 40, 84, 146, "layer"), text(x + 42, 30, f"layer {n}")]
        for e in range(3):
            on = e == chosen
            parts += [
                box(x + 10, 52 + 44 * e, 64, 36, "chosen" if on else "expert"),
                text(x + 42, 76 + 44 * e, str(e), "on" if on else ""),
            ]
    points = [(40 + 124 * n + 42, 70 + 44 * e) for n, e in enumerate((0, 2, 1, 1, 0))]
    parts += [
        line(*points, kind="path"),
        line((302, 100), (358, 128), kind="wrong"),
        line((358, 100), (302, 128), kind="wrong"),
    ]
    parts += [
        box(296, 50, 68, 40, "wrong"),
        *texts(330, 216, ["expert 1 is forbidden here:", "the next nearest pin is that of expert 0"]),
    ]
    return "An expert is taken away", alt, 258, parts


def removal():
    alt = (
        "Two ways to ask what a part is worth. Above: train the whole network, then take the part out and measure "
        "the loss; the rest never learned to do without. Below: train a network without the part from the start, "
        "with equal minutes, and compare both."
    )
    parts = [text(20, 36, "taken out afterwards", "left title")]
    parts += flow(50, [(150, ["train all"]), (180, ["take it out"]), (210, ["measure the loss"])], gap=38)
    parts += [text(20, 116, "how much this network relies on it", "left")]
    parts += [text(20, 166, "trained without", "left title")]
    parts += [
        *labelled(20, 180, 190, ["train all"]),
        *labelled(20, 232, 190, ["train without"]),
        arrow((210, 199), (320, 218)),
        arrow((210, 251), (320, 232)),
    ]
    parts += [
        *labelled(324, 196, 210, ["compare the two", "at equal minutes"]),
        text(20, 296, "what the part is worth", "left"),
    ]
    return "What is a part worth?", alt, 316, parts


def seeds():
    alt = (
        "An example of two variants trained with three seeds each. With the same seed both see the same "
        "photographs in the same order. So the difference is taken for each seed; the luck that both share "
        "disappears, and three differences are left."
    )
    parts = [text(150, 34, "seed 0", "title"), text(330, 34, "seed 1", "title"), text(510, 34, "seed 2", "title")]
    for n, (a, b, gap) in enumerate((("27.1", "26.9", "+0.2"), ("26.2", "25.9", "+0.3"), ("27.8", "27.7", "+0.1"))):
        x = 90 + 180 * n
        parts += [
            *labelled(x, 48, 120, [f"{a} dB"]),
            *labelled(x, 106, 120, [f"{b} dB"]),
            arrow((x + 60, 145), (x + 60, 176)),
            text(x + 60, 200, f"{gap} dB", "title"),
        ]
    parts += [text(80, 73, "all", "right"), text(80, 131, "without", "right"), text(80, 200, "gap", "right")]
    parts += [*texts(340, 236, ["Example: the scores differ by 1.9 dB, the gaps by 0.2 dB."])]
    return "Seeds in pairs", alt, 258, parts


def processes():
    alt = (
        "Two processes train one network. Of a batch of five samples the first takes two and the second three; "
        "each computes its gradient, weighs it by its share, 2/5 and 3/5; the sum over processes is the gradient "
        "of the whole batch, and both make the same step."
    )
    parts = [text(60, 92, "a batch", "title"), *tiles(14, 108, ["oo###"])]
    parts += [arrow((60, 70), (60, 50), (126, 50)), arrow((60, 134), (60, 184), (126, 184))]
    parts += flow(20, [(150, ["process 0", "samples 0, 1"]), (110, ["gradient", "times 2/5"])], left=130, gap=32)
    parts += flow(154, [(150, ["process 1", "samples 2, 3, 4"]), (110, ["gradient", "times 3/5"])], left=130, gap=32)
    parts += [
        arrow((422, 51), (480, 51), (480, 94)),
        arrow((422, 185), (480, 185), (480, 144)),
        *labelled(430, 98, 100, ["sum"]),
    ]
    parts += [arrow((530, 119), (560, 119)), *labelled(564, 76, 104, ["one step", "the same", "in both"])]
    return "Two processes share a batch", alt, 262, parts


def unused():
    alt = (
        "Gradients of four weights in two processes. Weight 0 has a gradient in both: they are added. Weights 1 "
        "and 2 have one in a single process: it is taken. Weight 3 has none in either: it stays None, so that the "
        "optimiser leaves it alone."
    )
    parts = [text(250 + 110 * n, 36, f"weight {n}", "title") for n in range(4)]
    rows = [
        ("process 0", ("g", "g", "None", "None")),
        ("process 1", ("h", "None", "h", "None")),
        ("the sum", ("g + h", "g", "h", "None")),
    ]
    for n, (name, entries) in enumerate(rows):
        y = 52 + 50 * n + (14 if n == 2 else 0)
        parts += [text(176, y + 26, name, "right title" if n == 2 else "right")]
        for k, entry in enumerate(entries):
            kind = "expert" if entry == "None" else "chosen" if n == 2 else "box"
            parts += [
                box(200 + 110 * k, y, 100, 40, kind),
                text(250 + 110 * k, y + 26, entry, "on" if kind == "chosen" else ""),
            ]
    parts += [text(420, 230, "None is not 0: a weight with the gradient 0 still decays")]
    return "Gradients that nobody has", alt, 250, parts


DIAGRAMS = (evaluation, bootstrap, flattening, voting, counting, knockout, removal, seeds, processes, unused)
