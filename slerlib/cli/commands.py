"""The commands of `slerlib`. Their arguments are in parser.py.

Exit codes: 0 done; 1 the input was wrong or a part failed (named); 2 the command line was wrong; 130 Ctrl-C.
Errors are one paragraph on standard error, without a traceback unless --debug is given.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path

from ..errors import ProcessLost, UserError
from ..files import DISK, check_json_output
from . import grids
from .parser import parse
from .plain import Plain


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A process of several that torchrun started ends here instead."""
    code = _main(argv)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # gloo may abort while Python shuts down
    return code


def _main(argv: list[str] | None) -> int:
    args = parse(argv)
    debug = getattr(args, "debug", False)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names outside its encoding, as on standard error
    with contextlib.redirect_stdout(Plain(sys.stdout)), contextlib.redirect_stderr(Plain(sys.stderr)):
        return _run(args, debug)


def _run(args, debug: bool) -> int:
    try:
        return COMMANDS[args.command](args)
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


NO_MEMORY = ("OutOfMemory", "allocate memory", "not enough memory")  # of CUDA, and of torch on a processor


def _paragraph(error: Exception) -> str:
    """The fault and the next step, in one paragraph."""
    if isinstance(error, (UserError, FloatingPointError, ProcessLost)):  # these messages hold the next step
        return str(error)
    text = f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}."
    if isinstance(error, OSError) and (reason := DISK.get(error.errno, "")):
        return (
            f"The system refused {str(error.filename)[:300]}: {reason} ({error.strerror}). Choose another name or disk."
        )
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return f"{text} Restore with a smaller --tile, train with a smaller train.batch, or train with --device cpu."
    return f"{text} This was not foreseen. --debug shows the traceback; `slerlib doctor` checks the set-up."


def _doctor(args) -> int:
    from .doctor import examine

    return examine(args.checkpoint)


def _restore(args) -> int:
    from ..inference.folders import restore_files

    names = ("tile", "trace", "path", "one_path", "route", "overwrite", "threads")
    options = {name: getattr(args, name) for name in names}
    options["passes"] = args.passes if args.passes == "auto" else int(args.passes)
    return restore_files(args.input, args.output, args.checkpoint, **options)


def _explain(args) -> int:
    from .. import provenance
    from ..explain import explain, write_page
    from ..files import unwritable
    from ..inference.load import load

    if not args.photo.is_file():
        fault = "is a folder" if args.photo.is_dir() else "does not exist"
        raise UserError(f"explain takes the file of one photograph; {args.photo} {fault}. Name a file.")
    page = args.out or Path(f"{args.photo.stem}.html")
    if page.is_dir():
        raise UserError(f"A page is an .html file; --out {page} is a folder. Name {page / args.photo.stem}.html.")
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"A page is an .html file; got --out {page}. Name it {page.with_suffix('.html')}.")
    if not page.absolute().parent.is_dir():
        raise UserError(f"A page goes into an existing folder; {page.parent} does not exist. Create it first.")
    if page.exists() and not args.overwrite:
        raise UserError(f"A page is not replaced unasked; {page} exists. Add --overwrite, or name another --out.")
    model = load(args.checkpoint)
    passes = args.passes if args.passes == "auto" else int(args.passes)
    about = explain(model, args.photo, passes=passes, route=args.route)
    words = ["slerlib", "explain", str(args.photo), "--checkpoint", args.checkpoint, "--passes", args.passes]
    words += (["--route", args.route] if args.route else []) + ["--out", str(page), "--overwrite"]
    try:
        origin = provenance.collect(checkpoint=args.checkpoint, data=args.photo)
        print(write_page(page, about, model, args.photo.name, shlex.join(words), origin))
    except OSError as error:
        raise unwritable("The page is written to a file", page, error, "Choose another --out.") from None
    return 0


def _train(args) -> int:
    import torch

    from ..config import recipe, with_overrides
    from ..sharding import place
    from ..train.loop import train

    cfg = with_overrides(recipe(args.recipe), args.set)
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or Path("runs") / args.recipe
    options = {"resume": args.resume, "overwrite": args.overwrite, "init": args.init, "device": args.device}
    options |= {"workers": args.workers, "cache": args.cache, "allow": args.allow}
    folder = train(cfg, data=args.data, out=out, **options)
    if place()[0] == 0:
        command = f"slerlib restore IN OUT --checkpoint {shlex.quote(str(folder))}"
        print(f"Trained {args.recipe}: {folder}. Try it: {command}")
    return 0


def _ablate(args) -> int:
    import torch

    from ..ablation import tables as ablations
    from ..ablation.grid import ablate_grid
    from ..ablation.run import VARIANTS, Budget, ablate

    grid = grids.of_ablate(args)
    if unknown := [name for name in args.names if name not in VARIANTS]:
        args.refuse(f"VARIANT is one of {', '.join(VARIANTS)}; got {', '.join(unknown)}")
    if args.show and args.names:
        args.refuse(f"--show prints a whole table; got --show {args.show} and {' '.join(args.names)}")
    if args.show:
        rows = ablations.read(args.show)
    else:
        torch.set_num_threads(args.threads)
        stage_a = args.stage_a if args.stage_a is not None else 0 if args.encoder else Budget.stage_a
        asked = {"damage": args.damage, "encoder": args.encoder or ""}
        budget = Budget(args.recipe, stage_a, args.steps, args.lr, args.images, **asked)
        suite = (args.data, args.val, args.out, args.names, tuple(args.seeds), budget)
        rows = ablate_grid(*suite, grids.workers(args), args.threads, _say) if grid else ablate(*suite)
    parts = ablations.kinds(rows)
    for name, part in parts.items():
        if len(parts) > 1:
            print(f"damage: {name}")
        print(ablations.compared(part).round(3).to_string(index=False, na_rep=""), end="\n\n")
    print(ablations.claims(rows).round(3).to_string(index=False, na_rep=""), end="\n\n")
    return 0


def _eval(args) -> int:
    from ..evaluation.evaluate import evaluate
    from ..evaluation.published import beside_published, published, published_notes
    from ..evaluation.results import save_results
    from ..evaluation.table import narrow, summary
    from ..images import SUFFIXES
    from ..inference.load import load
    from ..sharding import take_own_gpu

    if not (args.checkpoint or args.restored):
        args.refuse("needs CHECKPOINT, or --restored with a folder of images that another program restored")
    setting = args.setting or ("demo" if args.data == "demo" else None)
    if setting is None:
        args.refuse("a folder in --data needs --setting: demo, mixed or local for clean images, pairs, 3, 5 or cdd11")
    if args.out:
        check_json_output(args.out, "--out", SUFFIXES)
    if args.published:
        published(setting)  # refuses a setting without published scores before the work
    if args.checkpoint and args.restored:
        print(f"slerlib: images from {args.restored} are scored; {args.checkpoint} is not used.", file=sys.stderr)
    take_own_gpu()
    model = None if args.restored else load(args.checkpoint)
    names = ("images", "seed", "restored", "crop", "noise", "classes", "passes", "route")
    options = {name: getattr(args, name) for name in names}
    table = evaluate(model, args.data, setting, progress=True, sharded=True, **options)
    if table is None:  # process 0 of several has the rows
        return 0
    means = summary(table)
    print(narrow(means).round(4).to_string(index=False, na_rep=""))
    if means.attrs["no_interval"]:
        print(means.attrs["no_interval"])
    if table.attrs["missing"]:
        print(f"no average: {', '.join(table.attrs['missing'])} missing")
    if args.published:
        print(f"\n{beside_published(table).to_string()}\n{published_notes(table)}")
    if args.out:
        save_results(table, args.out)
        print(f"Scores of {len(table)} images: {args.out}")
    return 0


def _data(args) -> int:
    import json

    from ..data import check

    if args.action == "list":
        rows = check.list_sets()
        if args.json:
            print(json.dumps(rows, indent=2))
            return 0
        for row in rows:
            counts = ", ".join(f"{split} {count}" for split, count in row["counts"].items())
            print(f"{row['name']:14} {row['task']:9} {counts:24} {row['title']}\n    {row['source']}; {row['licence']}")
        return 0
    report = check.check(args.root, allow=args.allow, progress=sys.stderr.isatty())
    print(json.dumps(check.as_json(report), indent=2) if args.json else check.as_text(report))
    return 0 if report.ok else 1


def _compare(args) -> int:
    import json

    from ..comparison.compare import compare

    unused = [f"--{name}" for name in ("checkpoints", "data", "out") if getattr(args, name) and not args.page]
    if unused:
        args.refuse(f"{', '.join(unused)} is for the page; add --page")
    comparison = compare(args.run_a, args.run_b)
    if args.json:
        print(json.dumps(comparison.as_dict(), indent=2, allow_nan=False))
        return 0
    print(comparison.text(), flush=True)
    if not args.page:
        print("\nThe same as a page, with pictures side by side: add --page")
        return 0
    values = {"run_a": args.run_a, "run_b": args.run_b, "data": args.data or ""}
    values |= dict(zip(("against", "checkpoint"), args.checkpoints or ("", ""), strict=True))
    print()
    return _pages("compare", values, args.out)


def _report(args) -> int:
    count, least, most = len(args.folders), *{"verify": (1, 10**6), "diff": (2, 2)}.get(args.name, (0, 0))
    if not least <= count <= most:
        listed = " ".join(map(str, args.folders)) or "none"
        wanted = {"verify": "at least one folder", "diff": "2 folders"}.get(args.name, "no folder")
        args.refuse(f"{args.name} takes {wanted}; got {listed}")
    if (args.workers or args.cluster is not None) and not args.grid:
        args.refuse("--workers and --cluster are for --grid")
    asked = {"-p": args.parameters, "--out": args.out, "--resume": args.resume, "--grid": args.grid}
    if least and (unused := [name for name, value in asked.items() if value]):
        args.refuse(f"{', '.join(unused)} is for running a report; {args.name} takes folders")
    if args.files and args.name != "verify":
        args.refuse("--files is for verify")
    if least:
        from ..report import manifest

        if args.name == "verify":
            return 0 if manifest.verify(args.folders, args.files) else 1
        manifest.diff(*args.folders)
        return 0
    values = {}
    for pair in args.parameters:
        if len(pair) % 2:
            args.refuse(f"-p takes pairs of a name and a value; got {' '.join(pair)!r}. Example: -p images 2")
        values |= dict(zip(pair[::2], pair[1::2], strict=True))
    if args.grid:
        from ..report.grid import run_grid

        records, table = run_grid(args.name, values, args.grid, grids.workers(args), args.out, say=_say)
        for record in records:
            cell = ", ".join(f"{key}={value}" for key, value in record["cell"].items())
            answer = record.get("finding") or {}
            print(f"{record['name']} {cell}: {record['state']} {answer.get('headline', '')}".rstrip())
        print(table)
        return _bad(records)
    return _pages(args.name, values, args.out, args.resume)


def _say(line: str) -> None:
    print(line, flush=True)


def _pages(name: str, values: dict, out: Path | None, resume: bool = False) -> int:
    from ..report import run

    records = run(name, values, out, resume, say=_say)
    for record in records:
        print(record["page"])
    return _bad(records)


def _bad(records: list[dict]) -> int:
    """Say which reports are not done, and how to go on; returns the exit code."""
    bad = [record for record in records if record["state"] != "done"]
    for record in bad:
        error = record.get("error") or {"kind": "Running", "message": "It is not done."}
        print(f"slerlib: report {record['name']} {record['state']}: {error['kind']}: {error['message']} "
              f"See {record['page']}; go on with: {record['resume']}", file=sys.stderr)  # fmt: skip
    return 1 if bad else 0


COMMANDS = {
    "doctor": _doctor,
    "restore": _restore,
    "explain": _explain,
    "train": _train,
    "ablate": _ablate,
    "eval": _eval,
    "data": _data,
    "report": _report,
    "compare": _compare,
}
