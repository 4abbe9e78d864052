"""The `slerlib` command: doctor, restore, train, ablate, eval, data, report.

Exit codes: 0 done; 1 the input was wrong or a part failed (named); 2 the command line was wrong; 130 Ctrl-C.
Errors are one paragraph on standard error, without a traceback unless --debug is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .errors import ProcessLost, UserError


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A process of several that torchrun started ends here instead."""
    code = _main(argv)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # gloo may abort while Python shuts down, after all is done
    return code


def _main(argv: list[str] | None) -> int:
    args = build_parser().parse_args(argv)
    debug = getattr(args, "debug", False)
    try:
        return args.command(args) or 0
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `slerlib ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        print(f"slerlib: {_paragraph(error)}", file=sys.stderr)
        return 1


def _paragraph(error: Exception) -> str:
    """What went wrong and what to do next, on one paragraph."""
    # a training that diverged, or lost one of its processes, says what to do
    if isinstance(error, (UserError, FloatingPointError, ProcessLost)):
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if "OutOfMemory" in text or isinstance(error, MemoryError):
        return f"{text} Restore with a smaller --tile, train with a smaller train.batch, or train with --device cpu."
    return f"{text} This was not foreseen. --debug shows the traceback; `slerlib doctor` checks the set-up."


def build_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    parser = argparse.ArgumentParser(
        prog="slerlib",
        description="All-in-one image restoration with SLER-IR: experts on a hypersphere, routed by angle.",
        epilog="Each command explains itself: slerlib restore --help",
        parents=[common],
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name, command, short, description, example):
        sub = commands.add_parser(
            name,
            help=short,
            description=description,
            epilog=f"example:\n  {example}",
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=command)
        return sub

    sub = add(
        "doctor", _doctor, "check what runs here, and why",
        "Print what slerlib uses on this machine and the reason (device, number format, threads), check the packages\n"
        "and the shipped checkpoint, and restore one bundled photograph. Exit code 1 names the fix.",
        "slerlib doctor",
    )  # fmt: skip
    sub.add_argument("--checkpoint", default="tiny", help="name of a shipped checkpoint, or a path (default: tiny)")

    sub = add(
        "restore", _restore, "restore an image or a folder of images",
        "Restore IN and write the result to OUT, in the same size. For a folder, sub-folders included, OUT is one too\n"
        "and takes the same names; a file that cannot be read is named at the end and the rest is done.",
        "slerlib restore rainy.png clear.png --trace how.json",
    )  # fmt: skip
    sub.add_argument("input", metavar="IN", type=Path, help="image file or folder")
    sub.add_argument("output", metavar="OUT", type=Path, help="file or folder to write; never IN itself")
    sub.add_argument("--checkpoint", default="tiny", help="name of a shipped checkpoint, or a path (default: tiny)")
    sub.add_argument("--tile", type=int, metavar="PIXELS",
                     help="side of the tiles, 0 = whole image (default: 512 above 1.5 million pixels)")  # fmt: skip
    sub.add_argument(
        "--trace", type=Path, metavar="T.json", help="write how each image was routed, and reasons for doubt"
    )

    sub = add(
        "train", _train, "train a network",
        "Train a recipe on a folder of photographs or of real pairs in any known layout, or on the bundled\n"
        "photographs. The folder of the training takes weights (*.safetensors), card.json and the state to resume\n"
        "from (*.pt). Several GPUs or machines: torchrun --nproc_per_node 8 -m slerlib train ...",
        "slerlib train tiny --out runs/first --set train.steps=200 --set train.seed=1",
    )  # fmt: skip
    sub.add_argument("recipe", metavar="RECIPE", help="tiny, small, base, paper, paper3 or paper5")
    sub.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of photographs or pairs (default: the bundled photographs)"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the training (default: runs/RECIPE)")
    sub.add_argument("--resume", action="store_true", help="go on where the training in --out stopped")
    sub.add_argument("--init", metavar="WEIGHTS", help="start from these weights: a checkpoint's name, folder or file")
    sub.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                     help="change one value of the recipe, such as train.steps=200; may be repeated")  # fmt: skip
    sub.add_argument("--device", help="cuda, mps or cpu (default: cuda where there is one, else cpu)")
    sub.add_argument("--threads", type=_at_least(1), metavar="N", help="processor threads (default: torch's choice)")
    sub.add_argument("--workers", type=_at_least(0), default=0, metavar="N",
                     help="processes that make batches; the batches are the same for any N (default: 0)")  # fmt: skip
    sub.add_argument("--cache", type=_at_least(0, float), default=2.0, metavar="GIB",
                     help="memory for decoded images (default: 2)")  # fmt: skip

    sub = add(
        "ablate", _ablate, "train variants that differ in one mechanism, at equal minutes",
        "Train variants of a recipe that differ from SLER-IR in one mechanism, at equal minutes, with several seeds;\n"
        "score them on clean photographs and print SLER-IR minus each, with its interval over seeds, and\n"
        "what that says about the paper's claims. What the table in --out holds is not trained again.",
        "slerlib ablate sler dense oracle --data DIR --val DIR --seeds 0 1 2",
    )  # fmt: skip
    sub.add_argument("names", metavar="VARIANT", nargs="*", help="which (default: all); an unknown name lists them")
    sub.add_argument("--data", type=Path, metavar="DIR", help="training data (default: the bundled photographs)")
    sub.add_argument("--val", default="demo", metavar="DIR|demo", help="clean photographs to score (default: demo)")
    sub.add_argument("--out", type=Path, default=Path("runs/ablations"), metavar="DIR",
                     help="folder of the table and the trainings (default: runs/ablations)")  # fmt: skip
    sub.add_argument("--show", nargs="?", const="shipped", metavar="TABLE",
                     help="train nothing: print what a table says (default: the shipped one)")  # fmt: skip
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    sub.add_argument("--recipe", default="tiny", help="default: tiny")
    sub.add_argument("--stage-a", type=_at_least(1), default=600, metavar="STEPS", help="default: 600")
    sub.add_argument("--steps", type=_at_least(1), default=1000, help="of stages B and C of SLER-IR (default: 1000)")
    sub.add_argument("--lr", type=float, default=4e-3, help="of stages B and C (default: 4e-3)")
    sub.add_argument(
        "--images", type=_at_least(0), default=0, metavar="N", help="only the first N photographs; 0 = all"
    )
    sub.add_argument("--threads", type=_at_least(1), default=1, metavar="N", help="processor threads (default: 1)")

    sub = add(
        "eval", _eval, "score a checkpoint",
        "Restore every image of a setting and score it: PSNR (dB) and SSIM of the input and of the result. Prints the\n"
        "means and, with --out, writes every image's scores. torchrun shares the images among several processes:\n"
        "torchrun --nproc_per_node 2 -m slerlib eval ...",
        "slerlib eval tiny --data demo --setting demo --images 2 --out results.json",
    )  # fmt: skip
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help="name of a shipped checkpoint, or a path")
    sub.add_argument(
        "--data", required=True, metavar="DIR|demo", help="folder of the data, or `demo`: the bundled photographs"
    )
    sub.add_argument("--setting", required=True, help="which sets: demo, 3, 5, cdd11 or pairs")
    sub.add_argument(
        "--restored", type=Path, metavar="DIR", help="score the images in this folder instead of restoring"
    )
    sub.add_argument("--out", type=Path, metavar="results.json", help="write rows, means, definition and versions")
    sub.add_argument(
        "--images", type=_at_least(0), default=0, metavar="N", help="only the first N images of each set; 0 = all"
    )
    sub.add_argument("--seed", type=int, default=0, help="of the degradations (default: 0)")
    sub.add_argument("--crop", default="center16", help="center16, as the published scores (default), or none")
    sub.add_argument("--noise", default="slerlib", help="slerlib (default), or promptir: drawn as the peers draw it")
    sub.add_argument("--published", action="store_true", help="show what the papers report for the setting below")

    sub = add(
        "data", _data, "check a folder of data sets, or list the known ones",
        "check DIR: recognise the data sets below DIR, open every image and name every problem with its path. Exit\n"
        "code 1: training should not start (errors; warnings do not count).\n"
        "list: the data sets that slerlib knows: task, usual counts, source, licence and citation.",
        "slerlib data check DIR --json > check.json",
    )  # fmt: skip
    sub.add_argument("action", choices=("check", "list"), help="check DIR, or list")
    sub.add_argument("root", nargs="?", type=Path, metavar="DIR", help="folder of the data sets, for check")
    sub.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    sub.add_argument("--allow", action="append", default=[], metavar="KIND",
                     help="an error to count as a warning, such as duplicate-train-test; repeatable")  # fmt: skip

    sub = add(
        "report", _report, "run a report notebook and write its page",
        "Run a report notebook and write a page that opens without a network. A finished run with the same\n"
        "parameters, code, data and checkpoint is not repeated. `all` runs every report.",
        "slerlib report evaluation -p checkpoint tiny -p images 2",
    )  # fmt: skip
    sub.add_argument("name", metavar="NAME|all", help="a report's name, `all`, or the path of a notebook")
    sub.add_argument("-p", dest="parameters", nargs="+", action="append", default=[], metavar="KEY VALUE",
                     help="value of a notebook parameter; may be repeated")  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="DIR", help="folder of the runs (default: reports/runs)")
    sub.add_argument(
        "--resume", action="store_true", help="go on in the folder of an interrupted run, keeping its files"
    )
    return parser


def _at_least(least: int, kind: type = int):
    """A number that argparse refuses below `least`."""

    def number(text: str):
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return value

    return number


def _doctor(args) -> int:
    from .doctor import examine

    return examine(args.checkpoint)


def _restore(args) -> int:
    from .restore_files import restore_files

    return restore_files(args.input, args.output, args.checkpoint, args.tile, args.trace)


def _train(args) -> int:
    import torch

    from .config import recipe, with_overrides
    from .sharding import place
    from .train.loop import train

    cfg = with_overrides(recipe(args.recipe), args.set)
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or Path("runs") / args.recipe
    options = {"resume": args.resume, "init": args.init, "device": args.device}
    folder = train(cfg, data=args.data, out=out, workers=args.workers, cache=args.cache, **options)
    if place()[0] == 0:
        print(f"Trained {args.recipe}: {folder}. Try it: slerlib restore IN OUT --checkpoint {folder}")
    return 0


def _ablate(args) -> int:
    import torch

    from .analysis import ablations
    from .train.ablation import Budget, ablate

    if args.show:
        rows = ablations.read(None if args.show == "shipped" else args.show)
    else:
        torch.set_num_threads(args.threads)
        budget = Budget(args.recipe, args.stage_a, args.steps, args.lr, args.images)
        rows = ablate(args.data, args.val, args.out, args.names, tuple(args.seeds), budget)
    for table in (ablations.compared(rows), ablations.claims(rows)):
        print(table.round(3).to_string(index=False, na_rep=""))
        print()
    return 0


def _eval(args) -> int:
    from .evaluate import evaluate, save_results, summary
    from .published import beside, notes, published
    from .restore import load
    from .sharding import take_own_gpu

    if args.out and not args.out.absolute().parent.is_dir():
        raise UserError(f"--out is a file in an existing folder; {args.out.parent} does not exist. Create it first.")
    if args.published:
        published(args.setting)  # refuses a setting without figures before the work, not after
    take_own_gpu()
    model = None if args.restored else load(args.checkpoint)
    options = {name: getattr(args, name) for name in ("images", "seed", "restored", "crop", "noise")}
    table = evaluate(model, args.data, args.setting, progress=sys.stderr.isatty(), sharded=True, **options)
    if table is None:  # process 0 of several has the rows
        return 0
    means = summary(table)
    print(means.round(4).to_string(index=False, na_rep=""))
    if means.attrs["no_interval"]:
        print(means.attrs["no_interval"])
    if table.attrs["missing"]:
        print(f"no average: {', '.join(table.attrs['missing'])} missing")
    if args.published:
        print(f"\n{beside(table).to_string()}\n{notes(table)}")
    if args.out:
        save_results(table, args.out)
        print(f"Scores of {len(table)} images: {args.out}")
    return 0


def _data(args) -> int:
    import json

    from .data import check

    if args.action == "list":
        rows = check.list_sets()
        for row in [] if args.json else rows:
            counts = ", ".join(f"{split} {count}" for split, count in row["counts"].items())
            print(f"{row['name']:14} {row['task']:9} {counts:24} {row['title']}\n    {row['source']}; {row['licence']}")
        print(json.dumps(rows, indent=2)) if args.json else None
        return 0
    if args.root is None:
        raise UserError("`slerlib data check` needs a folder; none was given. Example: slerlib data check DIR")
    report = check.check(args.root, allow=args.allow, progress=sys.stderr.isatty())
    print(json.dumps(check.as_json(report), indent=2) if args.json else check.as_text(report))
    return 0 if report.ok else 1


def _report(args) -> int:
    from .report import run

    values = {}
    for pair in args.parameters:
        if len(pair) % 2:
            raise UserError(f"-p takes pairs of a name and a value; got {' '.join(pair)!r}. Example: -p images 2")
        values |= dict(zip(pair[::2], pair[1::2], strict=True))
    records = run(args.name, values, args.out, args.resume, say=lambda line: print(line, flush=True))
    for record in records:
        print(record["page"])
    bad = [record for record in records if record["state"] != "done"]
    for record in bad:
        error = record["error"]
        print(f"slerlib: report {record['name']} {record['state']}: {error['kind']}: {error['message']} "
              f"See {record['page']}; go on with: {record['resume']}", file=sys.stderr)  # fmt: skip
    return 1 if bad else 0
