"""Every choice of a run, as frozen dataclasses; recipes are functions that return a full configuration.

    cfg = slerlib.config.recipe("tiny")
    cfg = slerlib.config.with_overrides(cfg, ["train.steps=200", "model.experts=1"])
    cfg == slerlib.config.from_json(slerlib.config.to_json(cfg))

Unknown keys and unknown option values are refused: a flag that is silently off is worse than an error.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field

from .errors import UserError

#: The degradation classes of the shipped checkpoints, in anchor order (K = 8). Snow and JPEG stay unseen.
CLASSES = ("noise15", "noise25", "noise50", "rain", "haze", "blur", "lowlight", "clean")

LAYERS = 8  # enc1, enc2, enc3, latent, dec3, dec2, dec1, refine [inferred: the 8 stages of a Restormer-shaped U-Net]
STAGE_NAMES = ("enc1", "enc2", "enc3", "latent", "dec3", "dec2", "dec1", "refine")

_OPTIONS = {
    "block": ("naf", "restormer"),
    "glgf": ("full", "cls_only", "patch_only", "off"),
    "inject": ("all", "decoder", "none"),
    "router": ("sphere", "sphere_stage", "linear", "oracle", "random", "single", "dense"),
    "pin_init": ("partition", "simplex", "random"),
    "sude": ("emergent", "anchored", "linear", "ce"),
    "precision": ("auto", "fp32", "bf16"),
    "protocol": ("slerlib", "promptir"),
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
    # token encoder
    strides: tuple[int, ...] = (2, 2, 2)  # of the convolution stem; the product is the token pitch
    token_width: int = 48
    encoder_blocks: int = 2
    encoder_heads: int = 3
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
    temperature: float = 0.2  # of the softmax over pin similarities
    # test-time local statistics (TLC): side of the window, 0 = global pools at every size
    tlc_window: int = 96

    def __post_init__(self):
        _check_options(self)
        if len(self.stages) != LAYERS or min(self.stages) < 1:
            raise UserError(
                f"model.stages needs {LAYERS} positive block counts ({', '.join(STAGE_NAMES)}); got {self.stages}."
            )
        if self.experts < 1:
            raise UserError(f"model.experts must be at least 1; got {self.experts}. Use 1 for a dense network.")
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise UserError(f"model.classes must be distinct and not empty; got {self.classes}.")
        if self.experts > len(self.classes):
            raise UserError(
                f"The number of degradation classes K must be at least the number of experts E, or a pin would have no "
                f"anchor; got K = {len(self.classes)}, E = {self.experts}. Lower model.experts or add classes."
            )
        if self.token_width % self.encoder_heads:
            raise UserError(
                f"model.token_width must be divisible by model.encoder_heads; "
                f"got {self.token_width} and {self.encoder_heads}."
            )
        if any(stride < 2 or stride % 2 for stride in self.strides):
            raise UserError(f"model.strides must be even, so that tokens and pixels line up; got {self.strides}.")
        if self.tlc_window % 24:
            raise UserError(
                f"model.tlc_window must be 0 or a multiple of 24 (3 cells, a multiple of 8 pixels each); "
                f"got {self.tlc_window}."
            )

    @property
    def stride(self) -> int:
        """Pixels per token, side."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product


@dataclass(frozen=True)
class DataConfig:
    """What the loader cuts and how it degrades it. Sizes in pixels, severities in 0..1."""

    crop: int = 64  # side of the training crop
    severity: tuple[float, float] = (0.3, 1.0)  # drawn uniformly; noise classes have a fixed sigma instead
    clean_share: float = 0.05  # share of samples whose input is clean already; all other classes are equally frequent
    anchor_contents: int = 24  # photographs kept out of training, for the anchors
    real_share: float = 0.5  # of the samples of a class that has real pairs (promptir: in stage A); 0 = synthesis alone
    repeats: tuple[str, ...] = ()  # "NAME=N": how often a set, or every set of a task, counts; 1 where nothing is said
    protocol: str = "slerlib"  # slerlib: balanced over degradations | promptir: by repeats, cut as the peers cut

    def __post_init__(self):
        _check_options(self)
        self.repeat_counts()
        if not 0 <= self.real_share <= 1:
            raise UserError(f"data.real_share must lie in 0..1; got {self.real_share}.")
        low, high = self.severity
        if not 0 <= low <= high <= 1:
            raise UserError(f"data.severity is a range low,high within 0..1; got {self.severity}.")
        if self.crop < 16 or self.crop % 8:
            raise UserError(f"data.crop must be a multiple of 8, at least 16; got {self.crop}.")
        if not 0 <= self.clean_share < 1:
            raise UserError(f"data.clean_share must lie in 0..1 (1 excluded); got {self.clean_share}.")

    def repeat_counts(self) -> dict[str, int]:
        """`repeats` by name."""
        parts = [text.rpartition("=") for text in self.repeats]
        for name, _, count in parts:
            if not name or not count.isdigit() or int(count) < 1:
                raise UserError(
                    f"data.repeats takes NAME=COUNT, separated by commas, such as rain=120,noise=3; got {self.repeats}."
                )
        return {name.strip(): int(count) for name, _, count in parts}


@dataclass(frozen=True)
class TrainConfig:
    """The schedule. `steps` counts all three stages together."""

    steps: int = 9000
    stage_a: float = 0.12  # share of steps: encoder + SUDE, then anchors and pins
    stage_c: float = 0.2  # share of steps at the end: everything moves, encoder and pins at lr x 0.1
    seed: int = 0
    save_every: int = 500
    batch: int = 8
    grid_contents: int = 5  # stage A batch = grid_contents x classes
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
    context_share: float = 1.0  # of the samples of stages B and C: route and guide map from their context view
    exploration: float = 0.1  # random expert, falling to 0 over the first 20 % of stage B
    upcycle: float = 0.15  # share of stage B with one expert, copied to all afterwards
    balance_weight: float = 0.01  # stage C
    sude_weight: float = 0.1  # stage C
    counterfactual: float = 0.0  # share of stage C samples that also try the second expert of one layer
    learn_pins: bool = False  # stage C moves the pins too
    precision: str = "auto"  # auto | fp32 | bf16

    def __post_init__(self):
        _check_options(self)
        for name in ("steps", "save_every", "batch", "grid_contents"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name} must be at least 1; got {getattr(self, name)}.")
        if min(self.stage_a, self.stage_c) < 0 or self.stage_a + self.stage_c > 1:
            raise UserError(
                f"train.stage_a and train.stage_c are shares of train.steps with a sum of at most 1; "
                f"got {self.stage_a} and {self.stage_c}."
            )
        if self.grid_contents < 2:
            raise UserError(
                f"train.grid_contents must be at least 2, since a positive pair needs two contents; "
                f"got {self.grid_contents}."
            )

    def stage_steps(self) -> tuple[int, int, int]:
        """Steps of stages A, B and C; their sum is `steps`."""
        a, c = round(self.steps * self.stage_a), round(self.steps * self.stage_c)
        return a, self.steps - a - c, c


@dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    name: str
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self):
        crop, context, pitch = self.data.crop, self.model.context, self.model.stride
        if crop > context or crop % pitch or context % pitch:
            raise UserError(
                f"data.crop must not exceed model.context, and both must be multiples of the token pitch of {pitch} "
                f"pixels (product of model.strides); got crop {crop} and context {context}."
            )


def tiny() -> RunConfig:
    """Laptop CPU, course, CI: 0.41 M active parameters in the backbone.

    Fixed simplex anchors: in the few minutes of its stage A they separate the classes better than anchors that have to
    emerge from small batches (docs/LOG.md).
    """
    return RunConfig("tiny", ModelConfig(sude="anchored"))


def small() -> RunConfig:
    """The quality checkpoint: 2.3 M active parameters in the backbone; one GPU."""
    model = ModelConfig(
        width=24,
        stages=(2, 2, 4, 6, 2, 2, 2, 2),
        strides=(2, 2, 2, 2),
        token_width=96,
        encoder_blocks=3,
        encoder_heads=6,
        context=256,
        guide_channels=96,
        tlc_window=192,
    )
    return RunConfig("small", model, DataConfig(crop=128), TrainConfig(steps=60000, batch=16, lr=5e-4, lr_encoder=5e-4))


def base() -> RunConfig:
    """6.9 M active parameters in the backbone; one or more GPUs."""
    small_ = small()
    model = dataclasses.replace(
        small_.model, width=32, stages=(2, 2, 4, 12, 2, 2, 2, 4), token_width=128, encoder_heads=8, guide_channels=128
    )
    return RunConfig("base", model, small_.data, dataclasses.replace(small_.train, steps=300000, batch=32))


def paper() -> RunConfig:
    """Restormer blocks at the paper's likely size [inferred]: 26.1 M active, 70.8 M in all (backbone); many GPUs."""
    base_ = base()
    model = dataclasses.replace(base_.model, block="restormer", width=48, stages=(4, 6, 6, 8, 6, 6, 4, 4))
    return RunConfig(
        "paper", model, base_.data, dataclasses.replace(base_.train, lr=2e-4, lr_encoder=2e-4, lr_min=1e-6)
    )


def paper3() -> RunConfig:
    """`paper` on the published 3-task setting, sampled as the peers do: 142 431 samples an epoch."""
    return _published("paper3", ("noise15", "noise25", "noise50", "rain", "haze"), ("noise=3", "rain=120", "haze=1"))


def paper5() -> RunConfig:
    """`paper` on the published 5-task setting with the repeats of AdaIR: 162 646 samples an epoch."""
    repeats = ("noise=3", "rain=120", "haze=1", "blur=5", "lowlight=20")
    return _published("paper5", tuple(name for name in CLASSES if name != "clean"), repeats)


def _published(name: str, classes: tuple[str, ...], repeats: tuple[str, ...]) -> RunConfig:
    cfg = paper()
    data = dataclasses.replace(cfg.data, protocol="promptir", repeats=repeats)
    return RunConfig(name, dataclasses.replace(cfg.model, classes=classes), data, cfg.train)


RECIPES = {"tiny": tiny, "small": small, "base": base, "paper": paper, "paper3": paper3, "paper5": paper5}


def recipe(name: str) -> RunConfig:
    """The full configuration of a recipe: tiny, small, base, paper, paper3 or paper5.

    Raises UserError for any other name.
    """
    if name not in RECIPES:
        raise UserError(
            f"A recipe is one of {', '.join(RECIPES)}; got {name!r}. Change single values with --set key=value."
        )
    return RECIPES[name]()


def to_dict(cfg) -> dict:
    return dataclasses.asdict(cfg)


def to_json(cfg) -> str:
    return json.dumps(to_dict(cfg), indent=2)


def from_dict(cls, values: dict, where: str = ""):
    """Build the dataclass `cls` from plain values; unknown keys and ill-typed values raise UserError."""
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"Unknown configuration key {where}{unknown[0]}; the keys here are {', '.join(known)}.")
    return cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()})


def from_json(text: str) -> RunConfig:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"A configuration must be JSON; it broke at line {error.lineno}: {error.msg}.") from None
    return from_dict(RunConfig, values)


def with_overrides(cfg: RunConfig, assignments: list[str]) -> RunConfig:
    """Apply `section.key=value` strings, e.g. ["train.steps=200", "model.stages=1,1,1,2,1,1,1,1"]."""
    values = to_dict(cfg)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or section not in ("model", "data", "train"):
            raise UserError(f"--set takes model.KEY=VALUE, data.KEY=VALUE or train.KEY=VALUE; got {assignment!r}.")
        values[section][name] = text.strip()
    return from_dict(RunConfig, values)


def differences(first: RunConfig, second: RunConfig) -> list[str]:
    """Lines "section.key: a != b" for every value that differs."""
    lines = []
    for section in ("model", "data", "train"):
        one, two = to_dict(getattr(first, section)), to_dict(getattr(second, section))
        lines += [f"{section}.{key}: {one[key]} != {two[key]}" for key in one if one[key] != two[key]]
    return lines


def _check_options(cfg) -> None:
    for name, allowed in _OPTIONS.items():
        value = getattr(cfg, name, allowed[0])
        if value not in allowed:
            raise UserError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


def _convert(kind, value, where: str):
    """Turn JSON values and command-line text into the annotated type."""
    try:
        if dataclasses.is_dataclass(kind):
            return value if isinstance(value, kind) else from_dict(kind, value, f"{where}.")
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_convert(item, part, where) for part in parts)
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        if kind is int and not isinstance(value, str) and value != int(value):
            raise ValueError
        return kind(value.strip() if isinstance(value, str) else value)
    except UserError:
        raise  # a section refused one of its own values
    except (ValueError, TypeError, KeyError):
        name = kind.__name__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else str(kind)
        raise UserError(f"Configuration key {where} must be of type {name}; got {value!r}.") from None
