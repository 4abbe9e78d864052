"""The command line of `slerlib`: what each command takes, and its help. commands.py has what the commands do."""

from __future__ import annotations

import argparse
import math
from contextlib import suppress
from pathlib import Path

from .. import __version__
from ..ablation.variants import DAMAGE
from ..config import RECIPES
from ..evaluation.options import ALL_SETTINGS, CROPS, NOISES, ROUTES


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of a command. Folders of `report` may follow an option, where argparse does not look for them."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    while args.command == "report" and rest and not rest[0].startswith("-"):
        args.folders.append(Path(rest.pop(0)))
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. It returns `command`, the name of the chosen one, and `refuse`, which ends the
    program with a message on wrong usage and exit code 2."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of errors")
    parser = argparse.ArgumentParser(
        prog="slerlib",
        description="All-in-one image restoration with SLER-IR: experts on a hypersphere, routed by angle.",
        epilog="Each command explains itself: slerlib restore --help",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"slerlib {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name, short, description, example, to=commands):
        sub = to.add_parser(
            name,
            help=short,
            description=description,
            epilog=f"example:\n  {example}",
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=name, refuse=sub.error)
        return sub

    for command in (_restore, _explain, _eval, _compare, _report, _data, _train, _ablate, _doctor):
        command(add)
    return parser


def _doctor(add) -> None:
    sub = add(
        "doctor", "check what runs here, and why",
        "Print what slerlib uses on this machine and the reason (device, number format, threads), check the packages\n"
        "and the shipped checkpoint, and restore one bundled photograph. Exit code 1 names the fix.",
        "slerlib doctor",
    )  # fmt: skip
    sub.add_argument("--checkpoint", default="tiny", help="name of a shipped checkpoint, or a path (default: tiny)")


def _restore(add) -> None:
    sub = add(
        "restore", "restore an image or a folder of images",
        "Restore IN and write the result to OUT, in the same size. For a folder, sub-folders included, OUT is one too\n"
        "and takes the same names. A picture keeps its format where Pillow writes that without loss to the eye, else\n"
        "it becomes a PNG. A picture that cannot be read is named at the end and the rest is done.\n"
        "A result that exists is left as it is, so that the same command goes on where it stopped.",
        "slerlib restore rainy.png clear.png --trace how.json",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", type=Path, help="image file or folder")
    sub.add_argument("output", metavar="OUT", type=Path, help="file or folder to write; never IN itself")
    sub.add_argument("--overwrite", action="store_true", help="replace files in OUT that exist")
    sub.add_argument("--checkpoint", default="tiny", help="name of a shipped checkpoint, or a path (default: tiny)")
    sub.add_argument("--tile", type=int, metavar="PIXELS",
                     help="side of the tiles, 0 = whole image (default: 768 above 1.5 million pixels)")  # fmt: skip
    one = sub.add_mutually_exclusive_group()
    one.add_argument("--path", metavar="DIGITS", help="experts for every picture, such as 01201120 (default: routed)")
    one.add_argument("--one-path", action="store_true",
                     help="one path for all, that of most pictures: for the frames of a film")  # fmt: skip
    sub.add_argument("--passes", choices=("1", "2", "3", "auto"), default="1",
                     help="restore the result again, for several degradations; auto: until it looks clean")  # fmt: skip
    sub.add_argument("--route", choices=ROUTES,
                     help="one path for the picture, or one for each place (default: as trained)")  # fmt: skip
    sub.add_argument("--threads", type=_threads, metavar="N",
                     help="processor threads; auto: measured for some seconds (default: torch's choice)")  # fmt: skip
    sub.add_argument(
        "--trace", type=Path, metavar="T.json", help="write how each image was routed, and reasons for doubt"
    )


def _explain(add) -> None:
    sub = add(
        "explain", "one page about one photograph",
        "Restore a photograph and write one page about it that opens without a network: before and after, what is\n"
        "wrong where, its place among the degradations, its path and what each choice changed, what other paths would\n"
        "have made of it, and whether to trust it.",
        "slerlib explain rainy.jpg --out rainy.html",
    )  # fmt: skip
    sub.add_argument("photo", metavar="PHOTO", type=Path, help="image file")
    sub.add_argument("--out", type=Path, metavar="PAGE.html", help="the page (default: PHOTO's name, here)")
    sub.add_argument("--overwrite", action="store_true", help="replace a page that exists")
    sub.add_argument("--checkpoint", default="tiny", help="name of a shipped checkpoint, or a path (default: tiny)")
    sub.add_argument("--passes", choices=("1", "2", "3", "auto"), default="1", help="as for restore (default: 1)")
    sub.add_argument("--route", choices=("image", "place"), help="as for restore (default: as trained)")


def _train(add) -> None:
    sub = add(
        "train", "train a network",
        "Train a recipe on a folder of photographs or of real pairs in any known layout, or on the bundled\n"
        "photographs. The folder of the training takes weights (*.safetensors), card.json and the state to resume\n"
        "from (*.pt). Several GPUs or machines: torchrun --nproc_per_node 8 -m slerlib train ...",
        "slerlib train tiny --out runs/first --set train.steps=200 --set train.seed=1",
    )  # fmt: skip
    sub.add_argument("recipe", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    sub.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder, or list, of photographs or pairs (default: bundled photographs)",
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the training (default: runs/RECIPE)")
    sub.add_argument("--resume", action="store_true", help="go on where the training in --out stopped")
    sub.add_argument("--overwrite", action="store_true", help="begin anew, in place of the training in --out")
    sub.add_argument("--init", metavar="WEIGHTS", help="start from these weights: a checkpoint's name, folder or file")
    sub.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                     help="change one value of the recipe, such as train.steps=200; may be repeated")  # fmt: skip
    sub.add_argument("--allow", action="append", default=[], metavar="NAME",
                     help="train in spite of an error of the data: its kind, or a file, folder or set")  # fmt: skip
    sub.add_argument("--device", help="cuda, mps or cpu (default: cuda where there is one, else cpu)")
    sub.add_argument("--threads", type=_at_least(1), metavar="N", help="processor threads (default: torch's choice)")
    sub.add_argument("--workers", type=_at_least(0), default=0, metavar="N",
                     help="processes that make batches; the batches are the same for any N (default: 0)")  # fmt: skip
    sub.add_argument("--cache", type=_at_least(0, float), default=2.0, metavar="GIB",
                     help="memory for decoded images (default: 2)")  # fmt: skip


def _ablate(add) -> None:
    sub = add(
        "ablate", "train variants that differ in one mechanism, at equal minutes",
        "Train variants of a recipe that differ from SLER-IR in one mechanism, at equal minutes, with several seeds.\n"
        "Score them on clean photographs and print SLER-IR minus each, with its interval over seeds, and the claims\n"
        "of the paper that follow. Trainings that the table in --out holds are not repeated.",
        "slerlib ablate sler dense oracle --data DIR --val DIR --seeds 0 1 2\n"
        "  slerlib ablate --grid variant=sler,dense seed=0,1,2 --data DIR --val DIR --workers 3",
    )  # fmt: skip
    sub.add_argument("names", metavar="VARIANT", nargs="*", help="which (default: all); an unknown name lists them")
    sub.add_argument("--data", type=Path, metavar="DIR", help="training data (default: the bundled photographs)")
    sub.add_argument("--val", default="demo", metavar="DIR|demo", help="clean photographs to score (default: demo)")
    sub.add_argument("--out", type=Path, default=Path("runs/ablations"), metavar="DIR",
                     help="folder of the table and the trainings (default: runs/ablations)")  # fmt: skip
    sub.add_argument("--show", nargs="?", const="tiny", metavar="TABLE",
                     help="train nothing, print a table: tiny, tiny-mixed, small, a path (default: tiny)")  # fmt: skip
    sub.add_argument("--seeds", type=_at_least(0), nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    sub.add_argument("--recipe", default="tiny", choices=RECIPES, metavar="RECIPE", help="default: tiny")
    sub.add_argument("--damage", default="uniform", choices=DAMAGE,
                     help="uniform: one all over (default); mixed: several at once and in a part, too")  # fmt: skip
    sub.add_argument("--encoder", metavar="CHECKPOINT",
                     help="take encoder and anchors from a checkpoint in place of a stage A")  # fmt: skip
    sub.add_argument("--stage-a", type=_at_least(0), metavar="STEPS", help="default: 600; 0 with --encoder")
    sub.add_argument("--steps", type=_at_least(1), default=1000, metavar="STEPS",
                     help="of stages B and C of SLER-IR (default: 1000)")  # fmt: skip
    sub.add_argument("--lr", type=_above_zero, default=4e-3, help="of stages B and C (default: 4e-3)")
    sub.add_argument("--images", type=_at_least(0), default=0, metavar="N", help="the first N photographs; 0 = all")
    sub.add_argument("--threads", type=_at_least(1), default=1, metavar="N", help="processor threads (default: 1)")
    sub.usage = "slerlib ablate [VARIANT ...] [options]"
    _add_grid(sub, "variant and seed", "variant=sler,dense")


def _eval(add) -> None:
    sub = add(
        "eval", "score a checkpoint, or images that another program restored",
        "Restore every image of a setting and score it: PSNR (dB) and SSIM of the input and of the result. Prints the\n"
        "means and, with --out, writes the scores of every image. torchrun shares the images among several processes:\n"
        "torchrun --nproc_per_node 2 -m slerlib eval ...",
        "slerlib eval tiny --data demo --images 2 --out results.json",
    )  # fmt: skip
    sub.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?",
                     help="name of a shipped checkpoint, or a path; not needed with --restored")  # fmt: skip
    sub.add_argument("--data", required=True, metavar="DIR|demo", help="folder, or `demo`: the bundled photographs")
    sub.add_argument("--setting", choices=ALL_SETTINGS, metavar="SETTING",
                     help="3, 5, cdd11: published test sets in DIR; pairs: all test sets and pairs of folders there; "
                          "demo, mixed, local: clean images, damaged here (with `--data demo`: demo)")  # fmt: skip
    sub.add_argument("--restored", type=Path, metavar="DIR", help="score the images in this folder, restore nothing")
    sub.add_argument("--out", type=Path, metavar="results.json", help="write rows, means, definition and versions")
    sub.add_argument("--images", type=_at_least(0), default=0, metavar="N", help="the first N of each set; 0 = all")
    sub.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="of the degradations (default: 0)")
    sub.add_argument("--classes", metavar="NAMES",
                     help="other tasks for demo, mixed, local: rain,haze+snow; for local also rain@disc")  # fmt: skip
    sub.add_argument("--passes", choices=("1", "2", "3", "auto"), metavar="N",
                     help="restore so often, 1 to 3; auto: until it is clean")  # fmt: skip
    sub.add_argument("--route", choices=ROUTES, help="as in slerlib restore")
    sub.add_argument("--crop", choices=CROPS, default="center16", help="center16 is that of the published scores")
    sub.add_argument("--noise", choices=NOISES, default="slerlib", help="promptir: drawn as PromptIR and AdaIR draw it")
    sub.add_argument("--published", action="store_true", help="also show what the papers report for the setting")


def _data(add) -> None:
    sub = add(
        "data", "check a folder of data sets, or list the known ones",
        "check DIR: recognise the data sets below DIR, open every image and name every problem with its path.\n"
        "list: the data sets that slerlib knows: task, usual counts, source, licence and citation.",
        "slerlib data check DIR --json > check.json",
    )  # fmt: skip
    actions = sub.add_subparsers(title="actions", dest="action", metavar="check|list", required=True)
    check = add(
        "check", "name every problem of a folder of data sets",
        "Recognise the data sets below DIR, open every image and name every problem with its path. Exit code 1:\n"
        "training should not start (errors; warnings do not count).",
        "slerlib data check DIR --allow duplicate-train-test", actions,
    )  # fmt: skip
    check.add_argument("root", type=Path, metavar="DIR", help="folder of the data sets")
    check.add_argument("--allow", action="append", default=[], metavar="NAME",
                       help="an error to count as a warning: its kind, or a file or folder; repeatable")  # fmt: skip
    listed = add(
        "list", "the data sets that slerlib knows",
        "Print the data sets that slerlib knows: task, usual counts, source, licence and citation.",
        "slerlib data list --json", actions,
    )  # fmt: skip
    for action in (check, listed):
        action.add_argument("--json", action="store_true", help="print JSON instead of a table")
        action.set_defaults(command="data")


def _report(add) -> None:
    sub = add(
        "report", "run a report notebook and write its page; check or compare runs",
        "Run a report notebook and write a page that opens without a network. A finished run with the same\n"
        "parameters, code, data and checkpoint is not repeated. `all` runs every report.\n"
        "`verify DIR` compares the files of runs, or of folders of runs, with the manifest of each, and the\n"
        "environment with this one; exit code 1 if something differs. `diff A B` prints which inputs of two runs\n"
        "differ. `--grid` runs every combination of some values, several at a time.",
        "slerlib report evaluation -p checkpoint tiny -p images 2\n  slerlib report verify reports/runs\n"
        "  slerlib report evaluation --grid checkpoint=tiny,small seed=0,1,2 --workers 3",
    )  # fmt: skip
    sub.add_argument("name", metavar="NAME|all|verify|diff", help="a report's name, `all`, the path of a notebook, "
                     "or what to do with the folders that follow")  # fmt: skip
    sub.add_argument("folders", metavar="DIR", type=Path, nargs="*", help="of verify: one or more; of diff: two")
    sub.add_argument("-p", dest="parameters", nargs="+", action="append", default=[], metavar="KEY VALUE",
                     help="value of a notebook parameter; may be repeated")  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (default: reports/runs)")
    sub.add_argument("--resume", action="store_true", help="go on in the folder of an interrupted run")
    sub.add_argument("--files", action="store_true", help="verify: the files alone, not the environment")
    _add_grid(sub, "parameters", "checkpoint=tiny,small")


def _add_grid(sub, keys: str, example: str) -> None:
    sub.add_argument("--grid", nargs="+", metavar="KEY=A,B", default=[],
                     help=f"every combination of {keys}: {example} seed=0,1")  # fmt: skip
    sub.add_argument("--workers", type=_at_least(1), metavar="N", help="so many at a time (default: 1)")
    sub.add_argument("--cluster", nargs="?", const="", metavar="ADDRESS",
                     help="workers of a Dask scheduler; without ADDRESS a cluster of N on this machine")  # fmt: skip


def _compare(add) -> None:
    sub = add(
        "compare", "is one run better than another? Picture by picture",
        "Is run B better than run A? B is the newer or the larger one. Compares what both scored on the same degraded\n"
        "pictures: PSNR of B minus A with its interval over photographs, the largest gains and losses, what the runs\n"
        "were made with, and how alike they route. A run is a results.json of `slerlib eval --out`, or a folder that\n"
        "holds one, such as that of `slerlib report evaluation`.",
        "slerlib compare before.json after.json --page",
    )  # fmt: skip
    sub.add_argument("run_a", metavar="RUN_A", help="results.json or folder of the run to measure against")
    sub.add_argument("run_b", metavar="RUN_B", help="likewise of the run in question; differences are B minus A")
    way = sub.add_mutually_exclusive_group()
    way.add_argument("--json", action="store_true", help="print one JSON object, with every picture, instead of a text")
    way.add_argument("--page", action="store_true", help="also write a page, with pictures side by side")
    sub.add_argument("--checkpoints", nargs=2, metavar=("A", "B"),
                     help="weights, for --page (default: where the runs name them, or the shipped ones)")  # fmt: skip
    sub.add_argument("--data", metavar="DIR", help="where the images are, for --page (default: as the runs name it)")
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder for --page (default: reports/runs)")


def _threads(text: str) -> int | str:
    """`auto`, or a number of threads that argparse refuses below 1."""
    if text == "auto":
        return text
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"must be auto, or a number of at least 1, got {text}")


def _above_zero(text: str) -> float:
    """A number that argparse refuses unless it is above zero and finite."""
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")


def _at_least(least: int, kind: type = int):
    """A number that argparse refuses below `least`."""

    def number(text: str):
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return value

    return number
