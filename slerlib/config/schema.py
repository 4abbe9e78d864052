"""The choices of a run: frozen dataclasses that refuse values outside their rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UserError
from .checks import check

#: The degradation classes of the shipped checkpoints, in anchor order (K = 8). Snow and JPEG stay unseen.
CLASSES = ("noise15", "noise25", "noise50", "rain", "haze", "blur", "lowlight", "clean")

LAYERS = 8  # enc1, enc2, enc3, latent, dec3, dec2, dec1, refine [inferred: the 8 stages of a Restormer-shaped U-Net]
STAGE_NAMES = ("enc1", "enc2", "enc3", "latent", "dec3", "dec2", "dec1", "refine")

OPTIONS = {
    "block": ("naf", "restormer"),
    "glgf": ("full", "cls_only", "patch_only", "off"),
    "inject": ("all", "decoder", "none"),
    "router": ("sphere", "sphere_stage", "linear", "oracle", "random", "single", "dense"),
    "route_by": ("image", "place"),
    "pin_init": ("partition", "simplex", "random"),
    "sude": ("emergent", "anchored", "linear", "ce"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "protocol": ("slerlib", "promptir"),
    "dark": ("wide", "lol"),
}
#: Interval -> the keys whose numbers lie in it (of a tuple, each number). The upper ends are far above any use.
_MODEL = {
    "[1, 4096]": "width heads encoder_heads",
    "[1, 1000]": "stages encoder_blocks",
    "[1, 10]": "experts",  # one digit of a path for each layer
    "[0, 9]": "own_classes",
    "[0, 63]": "encoder_kernel",
    "[0, 100]": "stem_blocks",
    "[2, 64]": "strides",
    "[1, 16384]": "token_width guide_channels embedding",
    "[2, 8192]": "context",
    "(0, inf)": "temperature",
    "[0, 8184]": "tlc_window",
}
_DATA = {
    "[16, 8192]": "crop",
    "[0, 1]": "severity real_share local_share real_composites depth_share kernel_share night_share",
    "[0, 1)": "clean_share composite_share",
    "[0, inf)": "anchor_scenes",
}
_TRAIN = {
    "[1, inf)": "steps save_every batch accumulate",
    "[2, inf)": "grid_scenes",  # a positive pair needs two scenes
    f"[0, {2**63})": "seed",
    "(0, inf)": "lr_encoder lr clip tau",
    "[0, inf)": "lr_min warmup weight_decay margin fft_weight triplet_weight uniformity_weight consistency_weight "
    "composite_weight place_weight colour_weight balance_weight sude_weight",
    "[0, 1]": "stage_a stage_c upcycle exploration context_share counterfactual triplet_start ema",
}
#: Keys that data.protocol=promptir has no use for, and why.
PROMPTIR = {
    "class_repeats": "draws by data.repeats",
    **dict.fromkeys(("composite_share", "real_composites"), "has no composites"),
    **dict.fromkeys(("depth_share", "kernel_share"), "makes no haze and no blur"),
    "night_share": "takes photographs as they are",
}
RANGES = {
    section: {key: interval for interval, keys in groups.items() for key in keys.split()}
    for section, groups in (("model", _MODEL), ("data", _DATA), ("train", _TRAIN))
}


@dataclass(frozen=True)
class ModelConfig:
    """The network. Widths in channels, strides and windows in pixels."""

    block: str = "naf"  # naf | restormer
    width: int = 16  # channels at full resolution
    stages: tuple[int, ...] = (1, 1, 1, 2, 1, 1, 1, 1)  # blocks in enc1-3, latent, dec3-1, refine
    experts: int = 3  # per stage; 1 = dense network
    heads: tuple[int, ...] = (1, 2, 4, 8)  # attention heads per level, restormer only
    classes: tuple[str, ...] = CLASSES  # one anchor each
    own_classes: int = 0  # the last so many classes joined a trained network: each has a gate and an expert of its own
    # token encoder
    strides: tuple[int, ...] = (2, 2, 2)  # of the convolution stem; the product is the token pitch
    stem_blocks: int = 0  # residual blocks after each convolution of the stem but the last
    token_width: int = 48
    encoder_blocks: int = 2
    encoder_heads: int = 3
    encoder_kernel: int = 0  # side, in tokens, of the depthwise convolution in each block; odd, 0 = without
    context: int = 128  # side of the training context view; attention windows never see more
    # global-local granularity fusion
    glgf: str = "full"  # full | cls_only | patch_only | off
    inject: str = "all"  # all | decoder | none
    guide_channels: int = 48
    # sphere and router
    sude: str = "emergent"  # emergent | anchored | linear | ce
    embedding: int = 64  # dimension of z
    router: str = "sphere"  # sphere | sphere_stage | linear | oracle | random | single | dense
    pin_init: str = "partition"  # partition | simplex | random
    route_by: str = "image"  # image: one path | place: a path for every token of the guide map
    temperature: float = 0.2  # of the softmax over pin similarities
    # test-time local statistics (TLC): side of the window, 0 = global pools at every size
    tlc_window: int = 96

    def __post_init__(self):
        check(self, "model", OPTIONS, RANGES["model"])
        if len(self.stages) != LAYERS:
            raise UserError(
                f"model.stages needs {LAYERS} block counts ({', '.join(STAGE_NAMES)}); got {_commas(self.stages)}."
            )
        names = self.classes
        if not names or len(set(names)) != len(names) or any(not n.strip() or "+" in n or "," in n for n in names):
            raise UserError(
                f"model.classes needs distinct names without '+' and ',', which join names; got {_commas(names)!r}."
            )
        if self.experts > len(names):
            raise UserError(
                f"The number of degradation classes K must be at least the number of experts E, or a pin would have no "
                f"anchor; got K = {len(names)}, E = {self.experts}. Lower model.experts or add classes."
            )
        if self.embedding < len(names) - 1:
            raise UserError(
                f"model.embedding must be at least the number of classes minus one for a simplex; "
                f"got {self.embedding} for {len(names)} classes."
            )
        self._check_tokens()
        if self.block == "restormer":
            self._check_heads()
        if self.route_by == "place" and (self.router != "sphere" or self.sude == "linear"):
            raise UserError(
                "model.route_by=place looks for the nearest pin of each place, which needs model.router=sphere and a "
                f"sphere; got model.router={self.router} and model.sude={self.sude}. Set model.route_by=image."
            )
        if self.tlc_window % 24:
            raise UserError(
                f"model.tlc_window must be 0 or a multiple of 24 (3 cells, a multiple of 8 pixels each); "
                f"got {self.tlc_window}."
            )

    def _check_tokens(self) -> None:
        if not self.strides or any(stride % 2 for stride in self.strides):
            raise UserError(
                f"model.strides needs at least one stride, and even ones, so that tokens and pixels line up; "
                f"got {_commas(self.strides)!r}. Try 2,2,2."
            )
        if self.token_width % self.encoder_heads:
            raise UserError(
                f"model.token_width must be divisible by model.encoder_heads; "
                f"got {self.token_width} and {self.encoder_heads}."
            )
        if self.token_width >> (len(self.strides) - 1) < 1:
            raise UserError(
                f"model.token_width is halved before each of the strides but the last, and must leave a channel; "
                f"got {self.token_width} for {len(self.strides)} strides. Raise it, or use fewer strides."
            )
        if self.encoder_kernel and self.encoder_kernel % 2 == 0:
            raise UserError(
                f"model.encoder_kernel must be odd, so that each token is the middle of its neighbours, or 0 for no "
                f"convolution; got {self.encoder_kernel}. Try 7."
            )
        if self.context % self.stride:
            raise UserError(
                f"model.context must be a multiple of the token pitch of {self.stride} pixels (product of "
                f"model.strides); got {self.context}."
            )

    def _check_heads(self) -> None:
        widths = [self.width << level for level in range(4)]
        if self.width % 2:
            raise UserError(f"model.block=restormer halves its channels on the way down; got model.width={self.width}.")
        if len(self.heads) != 4 or any(w % n for n, w in zip(self.heads, widths, strict=True)):
            raise UserError(
                f"model.heads needs 4 numbers, each of which divides the channels of its level "
                f"({', '.join(map(str, widths))}); got {_commas(self.heads)}."
            )

    @property
    def stride(self) -> int:
        """Pixels per token, side."""
        return math.prod(self.strides)


def require(cfg: ModelConfig, who: str, **allowed: Sequence) -> None:
    """Raise UserError unless each choice named here is one of those `allowed`; who: what needs it, "This lesson".

    >>> require(ModelConfig(), "This lesson", experts=range(2, 9), block=("naf",))
    """
    wrong = [name for name, values in allowed.items() if getattr(cfg, name) not in values]
    if wrong:
        need = [f"{name} {' or '.join(map(str, allowed[name]))}" for name in wrong]
        have = [f"{name} {getattr(cfg, name)}" for name in wrong]
        raise UserError(
            f"{who} needs a network with {', '.join(need)}; this one has {', '.join(have)}. "
            "Name another checkpoint, such as 'tiny'."
        )


@dataclass(frozen=True)
class DataConfig:
    """Crops and their degradation in training. Sizes in pixels, severities in 0..1."""

    crop: int = 64  # side of the training crop
    severity: tuple[float, float] = (0.3, 1.0)  # drawn uniformly; noise classes have a fixed sigma instead
    clean_share: float = 0.05  # share of samples whose input is clean already; the rest by class_repeats
    anchor_scenes: int = 24  # held-out photographs for the anchors
    real_share: float = 0.5  # of the samples of a class that has real pairs (promptir: in stage A); 0 = synthesis alone
    local_share: float = 0.0  # of all samples but clean ones: in a soft mask alone (promptir: in stage A) [ours]
    composite_share: float = 0.0  # of all samples: two or three degradations at once [ours]
    real_composites: float = 0.0  # of the composites: noise or low light on top of a real pair [ours]
    depth_share: float = 0.0  # of the synthetic haze: on measured depth, its own photograph's or another's [ours]
    kernel_share: float = 0.0  # of the synthetic blur: by measured kernels, turned and scaled to the severity [ours]
    night_share: float = 0.0  # of the photographs, but for low light: dark by nature, so that dark tells less [ours]
    dark: str = "wide"  # what low light draws: wide ranges, or those of LOL pairs [ours]
    repeats: tuple[str, ...] = ()  # "NAME=N": how often a set, or every set of a task, counts; 1 without an entry
    class_repeats: tuple[str, ...] = ()  # "CLASS=N": samples of a class for each one of a class without an entry [ours]
    protocol: str = "slerlib"  # slerlib: balanced over degradations | promptir: by repeats, cut as PromptIR cuts

    def __post_init__(self):
        check(self, "data", OPTIONS, RANGES["data"])
        self.repeat_counts()
        if "clean" in self.class_repeat_counts():
            raise UserError("data.class_repeats does not name clean, whose samples are data.clean_share; set that.")
        for key, rule in PROMPTIR.items() if self.protocol == "promptir" else ():
            if value := getattr(self, key):
                got = _commas(value) if isinstance(value, tuple) else value
                raise UserError(
                    f"data.protocol=promptir {rule}; got data.{key}={got}. Leave it out, or use data.protocol=slerlib."
                )
        if len(self.severity) != 2 or self.severity[0] > self.severity[1]:
            raise UserError(
                f"data.severity is a range low,high within [0, 1], such as 0.5,0.5; got {_commas(self.severity)}."
            )
        if self.crop % 8:
            raise UserError(f"data.crop must be a multiple of 8; got {self.crop}.")

    @property
    def extras(self) -> dict[str, bool]:
        """Which images beside photographs and pairs a training takes: the options of `Sources.of`."""
        return {"depth": self.depth_share > 0, "kernels": self.kernel_share > 0}

    def repeat_counts(self) -> dict[str, int]:
        """`repeats` by name."""
        return _counts("repeats", self.repeats, "rain=120,noise=3")

    def class_repeat_counts(self) -> dict[str, int]:
        """`class_repeats` by class."""
        return _counts("class_repeats", self.class_repeats, "haze=3,rain=2")


def _counts(key: str, texts: tuple[str, ...], example: str) -> dict[str, int]:
    parts = [text.rpartition("=") for text in texts]
    for name, _, count in parts:
        if not name or not count.isdecimal() or len(count) > 9 or int(count) < 1:
            raise UserError(f"data.{key} takes NAME=COUNT, separated by commas, such as {example}; got {texts!s:.200}.")
    return {name.strip(): int(count) for name, _, count in parts}


@dataclass(frozen=True)
class TrainConfig:
    """The schedule. `steps` counts all three stages together."""

    steps: int = 9000
    stage_a: float = 0.12  # share of steps: encoder + SUDE, then anchors and pins
    stage_c: float = 0.2  # share of steps at the end: everything moves, encoder and pins at lr x 0.1
    seed: int = 0
    save_every: int = 500
    batch: int = 8  # samples of a step, over all processes and pieces: what a step is does not depend on the machine
    accumulate: int = 1  # pieces of a batch of stages B and C that a process works on one after the other
    grid_scenes: int = 5  # stage A batch = grid_scenes x classes
    lr_encoder: float = 1e-3
    lr: float = 2e-3
    lr_min: float = 1e-5
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    fft_weight: float = 0.1
    tau: float = 0.2
    triplet_weight: float = 1.0
    triplet_start: float = 0.5  # share of stage A without the triplet term, which then ramps up over another quarter
    margin: float = 0.5
    uniformity_weight: float = 0.1
    consistency_weight: float = 0.1
    composite_weight: float = 1.0  # pull of composites to the middle of their anchors; stage C: times sude_weight
    context_share: float = 1.0  # of the samples of stages B and C: routed by their context view; below 1 no place loss
    exploration: float = 0.1  # random expert, falling to 0 over the first 20 % of stage B, heard once upcycling is over
    upcycle: float = 0.15  # share of stage B with one expert, copied to all afterwards
    place_weight: float = 0.0  # what each guide token says of its place; stage C: times sude_weight
    colour_weight: float = 0.0  # what the guide map says of the clean colour of each place; stage C: times sude_weight
    balance_weight: float = 0.01  # stage C
    sude_weight: float = 0.1  # stage C
    counterfactual: float = 0.0  # share of stage C samples that also try the second expert of one layer
    new_anchors: bool = False  # --init: anchors at the corners of a simplex instead of those of the weights
    learn_pins: bool = False  # stage C moves the pins too
    own_only: bool = True  # with model.own_classes: their experts alone train, so that nothing old can be lost
    precision: str = "auto"  # auto | fp32 | bf16 | fp16; weights and routing stay in float32
    compile: bool = False  # torch.compile for experts and encoder

    def __post_init__(self):
        check(self, "train", OPTIONS, RANGES["train"])
        if self.accumulate > 1 and self.learn_pins:
            raise UserError(
                f"train.learn_pins balances the experts over the whole batch, which must then be one piece; "
                f"got train.accumulate={self.accumulate}. Use more processes instead, or a smaller train.batch."
            )
        if self.stage_a + self.stage_c > 1:
            raise UserError(
                f"train.stage_a and train.stage_c are shares of train.steps with a sum of at most 1; "
                f"got {self.stage_a} and {self.stage_c}."
            )

    def stage_steps(self) -> tuple[int, int, int]:
        """Steps of stages A, B and C; their sum is `steps`."""
        a = round(self.steps * self.stage_a)
        c = min(round(self.steps * self.stage_c), self.steps - a)  # two halves of an odd number may both round up
        return a, self.steps - a - c, c


@dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self):
        check(self, "", {}, {})
        crop, context, pitch = self.data.crop, self.model.context, self.model.stride
        if crop > context or crop % pitch:
            raise UserError(
                f"data.crop must not exceed model.context, and must be a multiple of the token pitch of {pitch} pixels "
                f"(product of model.strides); got crop {crop} and context {context}."
            )
        for name in self.data.class_repeat_counts():
            if name not in self.model.classes:
                raise UserError(
                    f"data.class_repeats names classes of the network ({', '.join(self.model.classes)}); got {name!r}."
                )


def _commas(values: Sequence) -> str:
    return ",".join(map(str, values))
