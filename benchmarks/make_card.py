"""Turn a finished training into a shipped checkpoint: score it, write card.json and CARD.md beside the weights.

    python benchmarks/make_card.py runs/tiny data/checkpoints/tiny --val DIR --pairs ROOT --notes NOTES.md [--half]

DIR is a folder of clean photographs and ROOT holds test sets of real pairs; the training saw neither. NOTES.md holds
the facts that no program can know: the source of the training images, the purpose of the checkpoint and its limits.
It becomes part of CARD.md as it is. With --half the weights are rounded to float16 first; the rounded ones are scored.
"""

import argparse
import hashlib
import json
from pathlib import Path

import slerlib
from slerlib import checkpoint
from slerlib.analysis.doubt import limits_for_card
from slerlib.evaluation.local import LOCAL_COLUMNS
from slerlib.evaluation.options import MADE_HERE
from slerlib.files import write_atomic

SCORES = ["n", "psnr_input", "psnr", "psnr_low", "psnr_high", "gain", "ssim_input", "ssim", "ssim_gaussian"]


def scored(table, name: str) -> dict:
    """The part of a table of `slerlib.evaluate` that the card keeps."""
    means, about = slerlib.summary(table), table.attrs
    modal = {of: slerlib.modal_paths(part)[of[1]] for of, part in table.groupby(["dataset", "task"])}
    share = {of: (part.path == modal[of]).mean() for of, part in table.groupby(["dataset", "task"])}
    rows = [(row.dataset, row.task) for row in means.itertuples()]  # that of the average has no path
    means = means.assign(modal_path=[modal.get(of) for of in rows], modal_share=[share.get(of) for of in rows])
    return {
        "data": name,
        "setting": about["setting"],
        "severity": about["severity"] if about["setting"] in MADE_HERE else None,
        "seed": about["seed"],
        "summary": json.loads(means.round(4).to_json(orient="records")),
        "no_interval": means.attrs["no_interval"],
        "versions": about["versions"],
    }


def markdown(card: dict, notes: str) -> str:
    """CARD.md from the card."""
    train, machine, data = card["config"]["train"], card["machine"], card["data"]
    counts, threads = card["parameters"], f"{machine['threads']} thread(s)"
    if machine.get("processes", 1) > 1:
        threads = f"{machine['processes']} processes of {threads}"
    severities = sorted({str(score["severity"]) for score in card["scores"] if score["severity"] is not None})
    lines = [
        f"# Checkpoint `{card['name']}`",
        "",
        f"{counts['active']:,} parameters active of {counts['total']:,} in the backbone, {counts['guidance']:,} in "
        f"encoder, fusion, router. Trained for {card['steps_done']} steps of {train['batch']} (seed {train['seed']}) "
        f"in {card['minutes']:.0f} minutes of steps on {machine['device']}, {threads}, torch {machine['torch']}; "
        f"{data['training']} photographs and pairs, {data['held_out']} more kept for the anchors.",
        "",
        notes.strip(),
        "",
        "## Scores",
        "",
        "The scores cannot be compared with published figures: photographs are damaged by this project, at severity "
        f"{' and '.join(severities)} (noise: the stated sigma), and the real pairs are small parts of their sets. "
        "Intervals are 95 % bootstrap intervals over images; for an average, photographs that several tasks share are "
        "drawn once for all of them.",
    ]
    parts = (
        "| task | damaged part, input | restored | the same, damaged all over | untouched part | places named rightly: "
    )
    parts += "damaged | clean |"
    header = "| set | task | n | input PSNR | restored PSNR (95 %) | gain | input SSIM | restored SSIM "
    header += "| most frequent path (its share) |"
    for score in card["scores"]:
        lines += ["", f"### {score['data']}", "", header, "|---" * 9 + "|"]
        for row in score["summary"]:
            dB = {k: "-" if row[k] is None else f"{row[k]:.2f}" for k in SCORES if k.startswith(("psnr", "gain"))}
            path, several = row["modal_path"] or "", row["n"] > 1  # the share of a single image means nothing
            route = f"{path} ({row['modal_share']:.0%})" if path and several else path
            restored = dB["psnr"] + ("" if row["psnr_low"] is None else f" ({dB['psnr_low']} to {dB['psnr_high']})")
            ssim = f"{row['ssim_input']:.3f} | {row['ssim']:.3f}"
            cells = [row["dataset"], row["task"], row["n"], dB["psnr_input"], restored, dB["gain"], ssim, route]
            lines.append(f"| {' | '.join(map(str, cells))} |")
        lines += ["", f"There is {score['no_interval']}."] if score["no_interval"] else []
        if score["setting"] == "local":
            lines += ["", parts, "|---" * 7 + "|"]
            for row in score["summary"]:
                cells = ["-" if row[name] is None else f"{row[name]:.2f}" for name in LOCAL_COLUMNS]
                lines.append(f"| {' | '.join([row['task'], *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--val", type=Path, help="folder of clean photographs kept from training")
    parser.add_argument("--val-name", help="how the card calls that folder")
    parser.add_argument("--pairs", type=Path, help="root of test sets of real pairs")
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--name", help="of the checkpoint (default: that of its recipe)")
    parser.add_argument("--half", action="store_true", help="ship float16 weights")
    args = parser.parse_args()
    net, card = checkpoint.load_net(args.run)
    if args.half:  # the weights that are scored are the ones that are shipped
        net, card = checkpoint.load_net(checkpoint.save_weights(args.out, net, card, half=True))
    log = (args.run / "log.jsonl").read_bytes()
    records = [json.loads(line) for line in log.splitlines()]
    card["name"] = args.name or card["config"]["name"]
    card["parameters"] = slerlib.parameter_counts(net)
    card["log_sha256"] = hashlib.sha256(log).hexdigest()
    if card["config"]["train"]["stage_a"]:  # without stage A it would describe the weights of the start
        card["anchor_accuracy_after_stage_a"] = next(r["anchor_accuracy"] for r in records if "anchor_accuracy" in r)
    val = args.val and (args.val_name or args.val.name)
    suites = [(args.val, "demo", "center16", val)] if val else []
    suites += [(args.pairs, "pairs", "center16", "test sets")] if args.pairs else []
    suites.append(("demo", "demo", "center16", "bundled photographs"))
    for kind, words in (("mixed", "several damages at once"), ("local", "damage in a part")) if val else ():
        suites.append((args.val, kind, "center256", f"{val}: {words}, the central 256 x 256 pixels"))
    card["scores"] = [
        scored(slerlib.evaluate(net, root, kind, crop=crop, progress=True), name) for root, kind, crop, name in suites
    ]
    card["doubt"] = limits_for_card(net, [str(args.val)] if args.val else [], args.pairs or "")
    checkpoint.save_weights(args.out, net, card, half=args.half)
    write_atomic(args.out / "CARD.md", markdown(card, args.notes.read_text()).encode())
    print((args.out / "CARD.md").read_text())


if __name__ == "__main__":
    main()
