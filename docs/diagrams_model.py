"""The diagrams of lessons 00 to 04: the network and its training. Each returns title, alt text, height, parts."""

from math import cos, pi, sin

from drawing import arrow, box, dot, flow, labelled, line, pin, text, texts

from slerlib.config import STAGE_NAMES, recipe

CFG = recipe("tiny")
M = CFG.model


def journey():
    alt = (
        "From left to right: a clean photograph is degraded; the network sees the degraded one alone and returns "
        "the restored one. PSNR compares degraded and restored with the clean photograph, which the network never "
        "sees."
    )
    parts = flow(
        24,
        [(108, ["clean", "photograph"]), (118, ["degraded", "rain, noise"]), (112, ["network", "sees only", "this"])],
    )
    parts += flow(24 + 11.5, [(118, ["restored", "same size"])], left=540)
    parts += [arrow((430, 66), (536, 66)), line((74, 100), (74, 168), (300, 168))]
    parts += [
        line((221, 100), (221, 132), (330, 132)),
        arrow((330, 132), (330, 142)),
        arrow((600, 98), (600, 168), (440, 168)),
    ]
    parts += labelled(302, 146, 136, ["PSNR", "in dB"])
    return "One picture on its way", alt, 226, parts


def light():
    alt = (
        "The order of the light: the scene in low light, then haze, rain or snow in the air, then blur in the "
        "lens and the moving hand, then noise in the sensor, then the losses of a JPEG file. Damage is always "
        "added in this order."
    )
    steps = [
        ("scene", "low light"),
        ("air", "haze, rain,", "snow"),
        ("lens", "blur"),
        ("sensor", "noise"),
        ("file", "JPEG"),
    ]
    parts = flow(24, [(108, list(lines)) for lines in steps], gap=25)
    return "The order of the light", alt, 132, parts


def haze():
    alt = (
        "Light on its way to the camera: of the light I of an object at the distance d the share t = exp(-beta d) "
        "arrives; the haze adds its own light A (1 - t). The camera sees O = I t + A (1 - t)."
    )
    parts = [*labelled(20, 60, 120, ["object", "light I"]), *labelled(540, 60, 120, ["camera", "sees O"])]
    parts += ['<rect class="cell0" x="176" y="40" width="328" height="100" rx="30"/>', arrow((140, 91), (536, 91))]
    parts += [text(340, 80, "haze over the distance d"), text(340, 118, "I t arrives, t = exp(−β d)")]
    parts += [arrow((340, 184), (340, 150)), text(340, 206, "air light A from all sides adds A (1 − t)")]
    parts += [arrow((176, 32), (504, 32)), text(340, 24, "d")]
    return "What haze does to light", alt, 226, parts


def mixing():
    alt = (
        "Damage in one place: the degraded picture times the mask M plus the clean picture times 1 - M. Where M "
        "is 1 the picture is degraded, where it is 0 clean, in between a mixture."
    )
    shades = "".join(
        f'<rect class="guide" x="{250 + 20 * n}" y="54" width="20" height="60" opacity="{n / 8:.2f}"/>'
        for n in range(9)
    )
    parts = [*labelled(20, 54, 180, ["degraded", "times M"]), shades, text(340, 40, "mask M, from 0 to 1", "title")]
    parts += [*labelled(480, 54, 180, ["clean", "times (1 − M)"]), *labelled(250, 160, 180, ["mixture"])]
    parts += [
        arrow((110, 118), (110, 180), (246, 180)),
        arrow((570, 118), (570, 180), (434, 180)),
        text(340, 142, "+", "title"),
    ]
    return "Damage in one place", alt, 224, parts


def arc():
    alt = (
        "Two points a and b on a circle of radius 1. The straight line between them runs inside the circle; slerp "
        "walks along the arc. At t = 1/4 slerp has gone a quarter of the angle; the point of the line, pushed "
        "out, has not yet."
    )
    x, y, r = 216, 236, 180
    places = [(x + r * cos(a * pi / 180), y - r * sin(a * pi / 180)) for a in (20, 160, 55)]
    (bx, by), (ax, ay), _ = places
    quarter = (x + r * cos(125 * pi / 180), y - r * sin(125 * pi / 180))
    lx, ly = ax + 0.25 * (bx - ax), ay + 0.25 * (by - ay)
    long = ((lx - x) ** 2 + (ly - y) ** 2) ** 0.5
    pushed = (x + (lx - x) * r / long, y + (ly - y) * r / long)
    parts = [
        f'<path class="path" d="M{ax:.0f} {ay:.0f} A{r} {r} 0 0 1 {bx:.0f} {by:.0f}"/>',
        line((ax, ay), (bx, by), kind="still"),
    ]
    parts += [line((x, y), (ax, ay)), line((x, y), (bx, by)), line((x, y), pushed, kind="still")]
    parts += [
        dot(ax, ay, "embedding", 8),
        dot(bx, by, "embedding", 8),
        dot(*quarter, "guide", 8),
        dot(*pushed, "pin", 8),
    ]
    parts += [
        dot(lx, ly, "pin", 5),
        text(ax - 18, ay, "a", "title"),
        text(bx + 18, by, "b", "title"),
        text(x, y + 22, "angle ω"),
    ]
    parts += [dot(430, 60, "guide", 8), *texts(450, 66, ["slerp at t = 1/4:", "a quarter of the angle"], "left")]
    parts += [
        dot(430, 136, "pin", 8),
        *texts(450, 142, ["a quarter of the line,", "pushed out to length 1:", "less of the angle"], "left"),
    ]
    return "Along the sphere and straight through it", alt, 276, parts


def _sphere(x, y, r, pins):
    """Three cells of a layer, seen from outside: sectors of the disc with a pin each."""
    angles = (90, 210, 330)
    ends = [(x + r * cos((a + 60) * pi / 180), y - r * sin((a + 60) * pi / 180)) for a in angles]
    parts = []
    for n in range(3):
        (x1, y1), (x2, y2) = ends[n - 1], ends[n]
        parts += [f'<path class="cell{n}" d="M{x} {y} L{x1:.0f} {y1:.0f} A{r} {r} 0 0 0 {x2:.0f} {y2:.0f} Z"/>']
        parts += [line((x, y), (x1, y1), kind="still")]
    parts += [f'<circle class="line" cx="{x}" cy="{y}" r="{r}"/>']
    return parts + [pin(x + dx, y + dy) for dx, dy in pins]


def cells():
    alt = (
        "The sphere of one layer, drawn as a disc: three pins, one for each expert, cut it into three cells. A "
        "picture takes the expert in whose cell its point lies; on a border two pins are equally near. The next "
        "layer has other pins."
    )
    pins = ((0, -62), (-54, 31), (54, 31))
    parts = _sphere(150, 150, 110, pins)
    parts += [text(150, 68, "0", "title"), text(74, 196, "1", "title"), text(226, 196, "2", "title")]
    parts += [
        dot(112, 112, "embedding", 8),
        line((112, 112), (150, 88), kind="near"),
        *[dot(x, y) for x, y in ((190, 100), (70, 150), (180, 220))],
    ]
    parts += [
        dot(316, 62, "embedding", 8),
        *texts(336, 68, ["the point z of a picture: its nearest", "pin is that of expert 0"], "left"),
    ]
    parts += [pin(316, 126), *texts(336, 130, ["pins, one for each expert"], "left")]
    parts += [dot(316, 158), *texts(336, 164, ["anchors, one for each degradation"], "left")]
    parts += [line((306, 192), (326, 192), kind="still"), *texts(336, 198, ["border: two pins equally near"], "left")]
    parts += texts(336, 238, ["Every layer has pins of its own,", "and so other cells."], "left")
    return "Pins and cells of one layer", alt, 290, parts


def choice():
    alt = (
        "A layer at work, an example: the point z is compared with the three pins of the layer, cosines 0.31, "
        "0.74 and -0.20. Expert 1 has the nearest pin, so it alone runs on the features; 0.74 - 0.31 = 0.43 is "
        "the margin."
    )
    parts = [
        *labelled(20, 30, 110, ["point z"]),
        *labelled(20, 190, 110, ["features"]),
        arrow((75, 69), (75, 108), (166, 108)),
    ]
    for n, (cosine, kind) in enumerate((("0.31", "expert"), ("0.74", "chosen"), ("−0.20", "expert"))):
        y = 30 + 60 * n
        parts += [
            pin(190, y + 24),
            text(204, y + 30, f"pin {n}", "left"),
            text(284, y + 30, f"cosine {cosine}", "left"),
        ]
        parts += labelled(446, y, 114, [f"expert {n}"], kind)
    parts += [arrow((394, 102), (442, 102)), text(410, 88, "largest", "title")]
    parts += [
        arrow((130, 209), (424, 209), (424, 118), (442, 118)),
        text(292, 236, "go through the chosen expert alone"),
    ]
    parts += [arrow((560, 110), (605, 110), (605, 190)), *labelled(550, 194, 110, ["features"])]
    parts += [text(340, 268, "example: margin 0.74 − 0.31 = 0.43, how clear the choice was")]
    return "A layer chooses", alt, 290, parts


def naf():
    alt = (
        "A NAF block in two halves. First: normalise, 1 x 1 convolution from C to 2 C channels, 3 x 3 depth-wise "
        "convolution, one half times the other, channel weights, 1 x 1 convolution, added to the input. Second: "
        "normalise, 1 x 1 convolution to 2 C, one half times the other, 1 x 1 convolution, added again."
    )
    widths = [
        (74, ["norm"]),
        (92, ["1×1", "C → 2C"]),
        (112, ["3×3", "depth-wise"]),
        (96, ["gate", "2C → C"]),
        (96, ["channel", "weights"]),
        (64, ["1×1"]),
    ]
    parts = flow(52, widths, left=30, gap=15)
    parts += [arrow((14, 84), (26, 84)), arrow((634, 84), (652, 84)), dot(660, 84, "guide", 8)]
    parts += [line((18, 84), (18, 28), (660, 28)), arrow((660, 28), (660, 72)), text(340, 22, "+ the input itself")]
    parts += [line((660, 92), (660, 140), (18, 140), (18, 210)), arrow((18, 210), (56, 210))]
    parts += flow(
        178, [(90, ["norm"]), (110, ["1×1", "C → 2C"]), (130, ["gate", "2C → C"]), (90, ["1×1"])], left=60, gap=30
    )
    parts += [
        arrow((570, 210), (610, 210)),
        dot(620, 210, "guide", 8),
        line((40, 210), (40, 162), (620, 162)),
        arrow((620, 162), (620, 198)),
    ]
    parts += [text(340, 276, "gate: one half of the channels times the other; no other activation")]
    return "A NAF block", alt, 294, parts


def fusion():
    d, p, z, c = M.token_width, M.stride, M.embedding, M.guide_channels
    alt = (
        f"Encoder and fusion with shapes. The image and its high-pass, 6 x H x W, become H/{p} x W/{p} patch "
        f"tokens and one CLS token of {d} numbers. A gate a mixes them at each place: m = a g + (1 - a) p. Pooled, "
        f"m gives the point z of {z} numbers; as a map, it gives the guide map of {c} channels."
    )
    parts = flow(
        20,
        [
            (130, ["image and", "high-pass", "6 × H × W"]),
            (150, ["convolutions", f"strides {', '.join(map(str, M.strides))}"]),
            (170, ["attention", f"{M.encoder_blocks} blocks"]),
        ],
    )
    parts += [arrow((538, 62), (566, 62)), *texts(618, 56, [f"{d} numbers", "a token"])]
    parts += [arrow((455, 98), (455, 122), (140, 122), (140, 138)), arrow((455, 98), (455, 138))]
    parts += [
        *labelled(60, 142, 160, ["CLS token", "g, one vector"]),
        *labelled(365, 142, 180, ["patch tokens", f"p, H/{p} × W/{p}"]),
    ]
    parts += [*labelled(180, 240, 320, ["gate at every place", "m = a g + (1 − a) p"])]
    parts += [arrow((140, 204), (140, 271), (176, 271)), arrow((455, 204), (455, 236))]
    parts += [arrow((260, 302), (260, 336)), arrow((420, 302), (420, 336))]
    parts += [
        *labelled(130, 340, 200, ["pooled: z", f"{z} numbers, length 1"]),
        *labelled(360, 340, 220, ["as a map: guide", f"{c} × H/{p} × W/{p}"]),
    ]
    parts += [text(110, 326, "what is wrong"), text(560, 326, "where")]
    return "Encoder and fusion, with shapes", alt, 420, parts


def stages():
    a, b, c = (n / sum(CFG.train.stage_steps()) for n in CFG.train.stage_steps())
    alt = (
        f"Three stages of the recipe tiny. A, {a:.0%} of the steps: the encoder learns. Then anchors and pins get "
        f"their places. B, {b:.0%}: experts and guide map learn, the encoder stands still. C, {c:.0%}: both learn, "
        "the encoder at a tenth of the rate, the pins stay."
    )
    lanes = [
        ("encoder", "#", ".", "o"),
        ("pins", ".", ".", "."),
        ("experts", ".", "#", "#"),
        ("guide map", ".", "#", "#"),
    ]
    words = {"#": ("chosen", "learns"), ".": ("expert", "still"), "o": ("guide", "rate × 0.1")}
    parts = []
    for n, (stage, share) in enumerate((("A", a), ("B", b), ("C", c))):
        x = 150 + 178 * n
        parts += [text(x + 76, 34, f"stage {stage}", "title"), text(x + 76, 58, f"{share:.0%} of the steps")]
        for row, (name, *moves) in enumerate(lanes):
            y = 74 + 44 * row
            kind, word = words[moves[n]]
            parts += [box(x, y, 152, 34, kind), text(x + 76, y + 23, word, "" if kind == "expert" else "on")]
            parts += [text(136, y + 23, name, "right title")] if n == 0 else []
    parts += [arrow((314, 276), (314, 252)), text(316, 296, "anchors and pins get their places here")]
    return "What learns in which stage", alt, 314, parts


def crop():
    view, side = M.context, CFG.data.crop
    alt = (
        f"From a photograph to a training sample: a part is degraded; a context view of {view} x {view} pixels and "
        f"inside it a crop of {side} x {side} are cut from the same degraded picture. The view tells the encoder "
        "what is wrong, the crop is restored and compared with the clean crop."
    )
    parts = [
        box(20, 30, 190, 190, "box"),
        text(115, 254, "photograph, degraded"),
        box(60, 60, 120, 120, "layer"),
        box(100, 92, 60, 60, "chosen"),
    ]
    parts += [
        *labelled(270, 24, 160, ["context view", f"{view} × {view}"]),
        *labelled(270, 150, 160, ["crop", f"{side} × {side}"], "chosen"),
    ]
    parts += [
        arrow((180, 70), (266, 55)),
        arrow((160, 130), (266, 180)),
        arrow((430, 55), (476, 55)),
        arrow((430, 181), (476, 181)),
    ]
    parts += [
        *labelled(480, 24, 180, ["encoder", "point and guide"]),
        *labelled(480, 150, 180, ["experts", "restore the crop"]),
    ]
    parts += [
        arrow((570, 86), (570, 146)),
        arrow((570, 212), (570, 234)),
        text(660, 256, "loss: distance to the clean crop", "right"),
    ]
    return "The loader's crop and its view", alt, 276, parts


DIAGRAMS = (journey, light, haze, mixing, arc, cells, choice, naf, fusion, stages, crop)
assert len(STAGE_NAMES) == 8, "the texts speak of eight layers"
