"""The variants of SLER-IR that are trained, and the budget that all of them get."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .. import config

REFERENCE = "sler"  # what the others are compared with


@dataclass(frozen=True)
class Variant:
    """What differs from the reference, SLER-IR with one path for a picture."""

    meaning: str
    encoder: tuple[str, ...] = ()  # KEY=VALUE that change stage A: encoder, fusion, embedding loss
    rest: tuple[str, ...] = ()  # KEY=VALUE that change what follows it
    equal: str = "minutes"  # minutes | steps: what is equal to SLER-IR in stages B and C
    of: str = ""  # another variant: the same training, scored in another way
    scored: tuple[tuple[str, str], ...] = ()  # that way, as arguments of `evaluate`


PLAIN = ("model.glgf=off", "model.inject=none")

VARIANTS = {
    REFERENCE: Variant("SLER-IR, one path for each picture"),
    "modal_paths": Variant("SLER-IR, each class forced onto the path most of its scored images take", of=REFERENCE),
    "passes": Variant("SLER-IR, again until the result looks clean", of=REFERENCE, scored=(("passes", "auto"),)),
    "place": Variant("a path for every place", rest=("model.route_by=place",)),
    "place_passes": Variant("the same, again until the result looks clean", of="place", scored=(("passes", "auto"),)),
    "place_image": Variant("the same training, scored with one path", of="place", scored=(("route", "image"),)),
    "oracle": Variant("labels as routes, in training and in the test", rest=("model.router=oracle",)),
    "dense": Variant("one expert, same encoder and guide map", rest=("model.experts=1",)),
    "dense_steps": Variant("the same at equal steps", rest=("model.experts=1",), equal="steps"),
    "dense_wide": Variant("one expert with as many parameters as three", rest=("model.experts=1", "model.width=26")),
    "random": Variant("a random path for each image", rest=("model.router=random",)),
    # from a dense network to SLER-IR, one mechanism at a time
    "plain_dense": Variant("one expert, no guide map", encoder=PLAIN, rest=("model.experts=1",)),
    "plain_linear": Variant(
        "+ experts at every layer behind a learned linear gate; the encoder is a plain classifier",
        encoder=(*PLAIN, "model.sude=ce"),
        rest=("model.router=linear",),
    ),
    "plain_sphere": Variant("+ the sphere with its nearest pin (SLER-IR without its guide map)", encoder=PLAIN),
    # the router
    "linear_gate": Variant("a learned linear gate instead of the nearest pin", rest=("model.router=linear",)),
    "single": Variant("one decision for all layers", rest=("model.router=single",)),
    "sphere_stage": Variant("each layer also looks at its own features", rest=("model.router=sphere_stage",)),
    "soft": Variant("all experts run, weighted by their probability", rest=("model.router=dense",)),
    "experts_2": Variant("two experts at each layer", rest=("model.experts=2",)),
    "experts_4": Variant("four experts at each layer", rest=("model.experts=4",)),
    "random_pins": Variant("pins anywhere instead of between groups of anchors", rest=("model.pin_init=random",)),
    "learned_pins": Variant("stage C moves the pins", rest=("train.learn_pins=true",)),
    # the embedding
    "emergent": Variant("anchors that emerge: contrastive, triplet and uniformity", encoder=("model.sude=emergent",)),
    "contrastive": Variant(
        "the contrastive term alone",
        encoder=("model.sude=emergent", "train.triplet_weight=0", "train.uniformity_weight=0"),
    ),
    "no_triplet": Variant(
        "contrastive and uniformity", encoder=("model.sude=emergent", "train.triplet_weight=0")
    ),
    "linear_space": Variant("Euclidean space instead of the sphere", encoder=("model.sude=linear",)),
    "classifier": Variant("a plain classifier's features on the sphere", encoder=("model.sude=ce",)),
    # the guide
    "cls_only": Variant("the guide sees the global token alone", encoder=("model.glgf=cls_only",)),
    "patch_only": Variant("the guide sees local tokens alone", encoder=("model.glgf=patch_only",)),
    "guide_decoder": Variant("the guide acts in the decoder alone", rest=("model.inject=decoder",)),
    # the training
    "no_upcycling": Variant("three experts from the first step of stage B", rest=("train.upcycle=0",)),
    "no_exploration": Variant("no random experts in stage B", rest=("train.exploration=0",)),
    "no_fourier": Variant("L1 alone, without its Fourier term", rest=("train.fft_weight=0",)),
    "composites": Variant(
        "a fifth of the samples with two or three degradations at once", encoder=("data.composite_share=0.2",)
    ),
}  # fmt: skip


#: What `Budget.damage` makes of every training. Every variant but `place` has one path for each picture, as published.
#: uniform: one damage all over, with the shares of data/ablations/tiny.csv and small.csv. mixed: as pictures have it.
DAMAGE = {
    "uniform": (
        "model.route_by=image", "data.severity=0.3,1", "data.clean_share=0.05", "data.real_share=0.5",
        "data.local_share=0", "data.composite_share=0", "data.class_repeats=", "train.place_weight=0",
        "train.colour_weight=0", "train.sude_weight=0.1",
    ),
    "mixed": (
        "model.route_by=image", "data.severity=0.15,1", "data.clean_share=0.05", "data.real_share=0.35",
        "data.local_share=0.35", "data.composite_share=0.2", "data.class_repeats=",
        "train.colour_weight=8", "train.sude_weight=0.3",
    ),
}  # fmt: skip
#: The encoder of `tiny` and `small` in data/ablations/tiny.csv and small.csv.
FIRST_ENCODER = ("model.stem_blocks=0", "model.encoder_blocks=2", "model.encoder_kernel=0")
#: What the weights of an encoder fix.
_ENCODER = ("classes", "strides", "stem_blocks", "token_width", "encoder_blocks", "encoder_heads", "encoder_kernel",
            "context", "glgf", "guide_channels", "sude", "embedding")  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What every training gets. Steps of stages B and C are those of SLER-IR.

    damage: "uniform", or "mixed": in soft masks and several at once, scored so too. encoder: a checkpoint whose
    encoder, fusion and anchors all trainings have in place of a stage A; stage_a must be 0 then.
    """

    recipe: str = "tiny"
    stage_a: int = 600
    steps: int = 1000
    lr: float = 4e-3
    images: int = 0  # of the validation folder, 0 = all
    pairs: int = 10  # steps by which the times of two networks are compared
    damage: str = "uniform"
    encoder: str = ""
    overrides: str = ""  # KEY=VALUE ... that change the recipe of all variants

    def made_with(self) -> dict[str, object]:
        """What the rows of a table have in common. What is as usual is left out: older tables do not have it."""
        values, usual = asdict(self), asdict(Budget())
        later = ("damage", "encoder", "overrides")
        return {name: value for name, value in values.items() if name not in later or value != usual[name]}

    def configured(self, seed: int, overrides: tuple[str, ...], steps: int) -> config.RunConfig:
        total = self.stage_a + steps
        first = FIRST_ENCODER if self.damage == "uniform" and self.recipe in ("tiny", "small") else ()
        common = [*DAMAGE[self.damage], *first, *self._encoder(), *self.overrides.split()]
        common += [f"train.steps={total}", f"train.stage_a={self.stage_a / total}", f"train.lr={self.lr}"]
        last = min(0.2, 1 - self.stage_a / total)  # a slow variant may have few steps left
        common += [f"train.stage_c={last}", f"train.seed={seed}", "train.save_every=250"]
        cfg = config.with_overrides(config.recipe(self.recipe), [*common, *overrides])
        if self.damage == "mixed" and cfg.model.sude == "anchored" and "train.place_weight" not in self.overrides:
            cfg = config.with_overrides(cfg, ["train.place_weight=1"])  # which needs fixed anchors
        return cfg

    def _encoder(self) -> list[str]:
        if not self.encoder:
            return []
        from .. import checkpoint

        theirs = config.to_dict(checkpoint.load_net(self.encoder)[0].cfg)
        values = ((key, theirs[key]) for key in _ENCODER)
        return [f"model.{k}={','.join(map(str, v)) if isinstance(v, (list, tuple)) else v}" for k, v in values]
