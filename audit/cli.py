"""The command ``atm``. Bad input ends in one line on standard error and exit code 2."""

from __future__ import annotations

import json
import math
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from atm.errors import AtmError
from audit.ending import DEBUG, ended
from audit.options import (
    Classes,
    Force,
    Head,
    ImageSize,
    Json,
    Mean,
    Resume,
    Seed,
    Std,
    Victim,
    Weights,
    console,
    out,
)  # fmt: skip
from audit.progress import Progress
from audit.selfcheck_cli import selfcheck
from audit.training_cli import convert, train

app = typer.Typer(
    name="atm",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"atm {version('atm-privacy')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Print the trace of an error; stands anywhere.")] = False,
) -> None:
    """How much do the tokens of a split vision transformer give away? Attacks, verdicts, and a search for policies."""


@app.command(epilog="Example: `atm demo`")
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Attack three merging policies of the embedded victim with every attack there is, and write a report.

    A first look: about 100 seconds for each policy, more where the machine is busy.
    """
    from audit.setting import AttackConfig

    _attack(AttackConfig(quick=True, budget=100.0), out_folder, resume, force, as_json)


@app.command(
    epilog="Examples: `atm attack --policy none --policy uniform-0.8 --out runs/first`, "
    "`atm attack --policy mine.yaml --attack ridge --threat eavesdropper:awgn:0 --out runs/eve`, "
    "`atm attack --victim vit_cifar10 --data cifar10_test.tar --images 256 --out runs/cifar`"
)
def attack(
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Attack to run; repeatable; default: standard, all permitted ones.")
    ] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[
        str, typer.Option(help="auto, jscc, uncoded, digital:SNR or a .safetensors file; auto:16 for another rate.")
    ] = "auto",
    data: Annotated[
        str, typer.Option(help="photos, a folder or tar of class folders, torch/cifar10, hfds/...")
    ] = "photos",
    auxiliary_data: Annotated[str | None, typer.Option(help="The adversary's own pictures; default: --data.")] = None,
    channel: Annotated[str, typer.Option(help="Such as awgn:10 or rayleigh:10; see atm list channels.")] = "awgn:10",
    defense: Annotated[
        str | None, typer.Option(help="What the device does to its tokens, such as drop:0.5+gaussian:0.2.")
    ] = None,
    threat: Annotated[str, typer.Option(help="server, eavesdropper, eavesdropper:CHANNEL or a YAML file.")] = "server",
    images: Annotated[int, typer.Option(help="Pictures to attack; no verdict of privacy below 100.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 4000,
    repeats: Annotated[
        int, typer.Option(help="Fits and sendings of everything, each with other seeds and channel draws.")
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few steps for every attack: a first look.")] = False,
    budget: Annotated[
        float,
        typer.Option(help="Seconds per policy, shared by the attacks; a report says what it cut; 0 sets no limit."),
    ] = 600.0,
    replay: Annotated[
        str | None, typer.Option(help="Run whose numbers of steps are taken again, whatever the machine and --budget.")
    ] = None,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/attack"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run inversion attacks on merging policies, and write a run folder with its report."""
    from audit.setting import AttackConfig

    config = AttackConfig(
        policies=tuple(policy or AttackConfig.policies),
        attacks=tuple(attack or ()),
        victim=victim, weights=weights, image_size=image_size,
        mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codec=codec, data=data, auxiliary_data=auxiliary_data, channel=channel, defense=defense, threat=threat,
        images=images, auxiliary=auxiliary, quick=quick, seed=seed, repeats=repeats,
        budget=budget or None, replay=replay,
    )  # fmt: skip
    _attack(config, out_folder, resume, force, as_json)


@app.command(epilog="Example: `atm compare --policy moderate --defense shuffle --out runs/compare`")
def compare(
    policy: Annotated[list[str] | None, typer.Option(help="Merging policy; repeatable.")] = None,
    defense: Annotated[
        list[str] | None, typer.Option(help="Further defence of unmerged tokens, such as quantize:4; repeatable.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Attack to run; default: ridge and decoder.")] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[str, typer.Option(help="auto, uncoded or a .safetensors file.")] = "auto",
    data: Annotated[str, typer.Option(help="See atm list data.")] = "photos",
    channel: Annotated[str, typer.Option(help="See atm list channels.")] = "awgn:10",
    threat: Annotated[str, typer.Option(help="See atm list threats.")] = "server",
    images: Annotated[int, typer.Option(help="Pictures to attack; no claim below 100.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 2000,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/compare"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare merging with other defences, with dropping of its bandwidth and with noise of its accuracy."""
    from audit.compare import CompareConfig
    from audit.compare import compare as run_compare

    config = CompareConfig(
        policies=tuple(policy or CompareConfig.policies), defenses=tuple(defense or ()),
        attacks=tuple(attack or CompareConfig.attacks), victim=victim, weights=weights,
        image_size=image_size, mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codec=codec, data=data, channel=channel, threat=threat, images=images, auxiliary=auxiliary, seed=seed,
    )  # fmt: skip
    with Progress() as say:
        made = run_compare(config, out_folder, resume=resume, force=force, say=say)
    table = made.table()
    if as_json:
        pairs = [{"merging": p.policy, "other": p.other, "sentence": p.sentence} for p in made.pairs()]
        print(json.dumps({"points": json.loads(table.to_json(orient="records")), "pairs": pairs}))
        return
    shown = Table(title="Price of privacy")
    for heading in ("system", "defence", str(made.about["task"]), "GFLOPs", "tokens", "symbols", "leakage (SSIM)"):
        shown.add_column(heading)
    for _, row in table.iterrows():
        shown.add_row(
            escape(str(row["name"])), escape(row.defence or "–"), f"{row.correct:.1%}", f"{row.gflops:.3f}",
            f"{row.tokens:.1f}", f"{row.symbols:.0f}",
            f"{row.leakage:.3f} [{row.leakage_low:.3f}, {row.leakage_high:.3f}]",
        )  # fmt: skip
    out.print(shown)
    for pair in made.pairs():
        out.print(escape(pair.sentence))
    out.print(f"page: {out_folder / 'compare.html'}", soft_wrap=True)


def _attack(config: Any, folder: Path, resume: bool, force: bool, as_json: bool) -> None:
    from audit.evaluate import attack as run_attack

    with Progress("loading", lambda line: line.startswith(("skipped", "pictures:"))) as say:
        run = run_attack(config, folder, resume=resume, force=force, say=say)
    _show(run, folder / "report.html", as_json)


@app.command(epilog="Example: `atm report runs/demo`")
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Run to hold it against: another adversary, SNR, seed or budget; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a run anew, and print its summary."""
    from reports.html import write_report
    from reports.run import Run

    others = tuple(Run.read(other) for other in against or ())
    path = write_report(run, others)
    _show(Run.read(run), path, as_json, others)


@app.command(
    epilog="Examples: `atm search --objectives accuracy flops tokens leakage --evals 64 --out runs/front`, "
    "`atm search --at-least accuracy=0.9 --at-most tokens=30`, `atm search --ray local`",
    context_settings={"allow_extra_args": True},
)
def search(
    context: typer.Context,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[str, typer.Option(help="auto, uncoded or a .safetensors file.")] = "auto",
    data: Annotated[str, typer.Option(help="See atm list data.")] = "photos",
    channel: Annotated[str, typer.Option(help="Such as awgn:10 or rayleigh:10; see atm list channels.")] = "awgn:10",
    threat: Annotated[str, typer.Option(help="See atm list threats.")] = "server",
    evals: Annotated[int, typer.Option(help="Policies to evaluate.")] = 64,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            help="Several names: accuracy, flops, tokens, leakage, symbols, latency, memory.  "
            "[default: accuracy flops tokens leakage]"
        ),
    ] = None,
    at_least: Annotated[list[str] | None, typer.Option(help="Constraint such as accuracy=0.9; repeatable.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Constraint such as tokens=30; repeatable.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="Reference of the hypervolume, such as accuracy=0.5; repeatable.")
    ] = None,
    score: Annotated[str, typer.Option(help="How leakage is scored during the search: ridge.")] = "ridge",
    images: Annotated[int, typer.Option(help="Pictures to evaluate each policy on.")] = 200,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures for the full suite, at most.")] = 4000,
    lowest: Annotated[float, typer.Option(help="Lowest threshold of any layer.")] = 0.3,
    rescore: Annotated[
        bool, typer.Option("--rescore/--no-rescore", help="Attack the front with the full suite at the end.")
    ] = True,
    rescored_policies: Annotated[int, typer.Option(help="Policies of the front for the full suite, at most.")] = 5,
    budget: Annotated[
        float, typer.Option(help="Seconds of the full suite for each of them, shared by its attacks; 0 sets no limit.")
    ] = 100.0,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that shares the work, auto, or local.")
    ] = None,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/search"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search policies that are good in several objectives at once, leakage among them."""
    from audit.pareto import SearchConfig
    from audit.pareto import search as run_search
    from audit.pareto.objectives import DEFAULT

    if context.args and not objectives:
        raise AtmError(f"unexpected {' '.join(context.args)!r}; names of objectives follow --objectives")
    names = " ".join([*(objectives or ()), *context.args]).replace(",", " ").split()
    config = SearchConfig(
        victim=victim, weights=weights, image_size=image_size,
        mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codec=codec, data=data, channel=channel, threat=threat, evals=evals,
        objectives=tuple(names or DEFAULT), at_least=tuple(at_least or ()), at_most=tuple(at_most or ()),
        reference=tuple(reference or ()), score=score, images=images, auxiliary=auxiliary, lowest=lowest, seed=seed,
    )  # fmt: skip
    with Progress("loading", lambda line: line.startswith("note") or "failed" in line) as say:
        found = run_search(
            config,
            out_folder,
            resume=resume,
            force=force,
            rescore=rescored_policies if rescore else 0,
            budget=budget or None,
            ray=ray,
            say=say,
        )
    _show_search(found, as_json)
    if found.stopped:
        console.print("stopped; go on with --resume")
        raise typer.Exit(130)


@app.command("pick", epilog="Example: `atm pick runs/search --at-least accuracy=0.9 --minimize leakage`")
def pick_(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    at_least: Annotated[list[str] | None, typer.Option(help="Constraint such as accuracy=0.9; repeatable.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Constraint such as tokens=30; repeatable.")] = None,
    minimize: Annotated[str | None, typer.Option(help="What is to be least.")] = None,
    maximize: Annotated[str | None, typer.Option(help="What is to be most.")] = None,
    as_json: Json = False,
) -> None:
    """The policy of a search that is best for one's own constraints, as a file for atm attack --policy."""
    from audit.pareto.pick import pick_policy

    trial, path = pick_policy(run, at_least or (), at_most or (), minimize, maximize)
    if as_json:
        print(json.dumps({"policy": str(path), "thresholds": list(trial.thresholds), **trial.values}))
        return
    shown = ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
    out.print(f"{trial.name}: {shown}", soft_wrap=True)
    out.print(f"thresholds: {' '.join(f'{t:.3f}' for t in trial.thresholds)}", soft_wrap=True)
    out.print(f"policy: {path}", soft_wrap=True)


def _show_search(found: Any, as_json: bool) -> None:
    if as_json:
        front = [{"policy": trial.name, "thresholds": list(trial.thresholds), **trial.values} for trial in found.front]
        full = {name: dict(zip(("estimate", "low", "high"), v, strict=True)) for name, v in found.full.items()}
        recommended = {r.title: r.trial.name for r in found.recommended()}
        summary = {"out": str(found.folder), "front": front, "recommended": recommended, "full_suite": full}
        print(json.dumps({**summary, "hypervolume": found.volumes[-1:], "notes": found.warnings}))
        return
    table = Table(title=f"Pareto front: {len(found.front)} of {len(found.trials)} policies")
    headings = [o.heading for o in found.measured] + (["leakage, full suite"] if found.full else [])
    for heading in ("policy", *headings, "thresholds"):
        table.add_column(heading)
    for trial in found.front:
        numbers = [f"{trial.values[o.name]:.4g}" for o in found.measured]
        if found.full:
            numbers.append(
                "{:.3f} \\[{:.3f}, {:.3f}]".format(*found.full[trial.name]) if trial.name in found.full else ""
            )
        table.add_row(trial.name, *numbers, " ".join(f"{t:.2f}" for t in trial.thresholds))
    out.print(table)
    for r in found.recommended():
        out.print(f"[bold]{r.title}[/]: {r.trial.name}, {r.reason}", soft_wrap=True)
    for line in found.warnings:
        out.print(f"[yellow]note[/]: {escape(line)}", soft_wrap=True)
    out.print(f"front: {found.folder / 'front.csv'}", soft_wrap=True)
    out.print(f"report: {found.folder / 'report.html'}", soft_wrap=True)


@app.command(
    epilog="Example: `atm sweep --snr 0:20:4 --channel awgn --channel rayleigh --channel rician,k=3 "
    "--eavesdropper-snr=-5:15:5 --out runs/air`"
)
def sweep(
    snr: Annotated[str, typer.Option(help="SNRs of the link in dB: FIRST:LAST:STEP or a list 0,5,10.")] = "0:20:5",
    channel: Annotated[
        list[str] | None, typer.Option(help="Channel without its SNR, such as awgn or rician,k=3; repeatable.")
    ] = None,
    eavesdropper_snr: Annotated[
        str | None, typer.Option(help="Her SNRs in dB, written as --snr; default: the link's at every point.")
    ] = None,
    eavesdropper_channel: Annotated[
        str | None, typer.Option(help="Her channel without its SNR; default: the link's kind.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Trained anew at each point; repeatable.")] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[
        list[str] | None, typer.Option(help="auto, uncoded, digital:SNR or a .safetensors file; repeatable.")
    ] = None,
    data: Annotated[str, typer.Option(help="See atm list data.")] = "photos",
    auxiliary_data: Annotated[str | None, typer.Option(help="The adversary's own pictures; default: --data.")] = None,
    threat: Annotated[str, typer.Option(help="What both adversaries know; stranger: not the codec.")] = "eavesdropper",
    images: Annotated[int, typer.Option(help="Pictures to send and attack.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 1000,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/sweep"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy and leakage to server and eavesdropper over channels and SNRs, and draw them."""
    from audit.sweep import SweepConfig, grid
    from audit.sweep import sweep as run_sweep
    from reports.sweep import Sweep, sentences

    config = SweepConfig(
        snr=grid(snr),
        channels=tuple(channel or SweepConfig.channels),
        eavesdropper_snr=grid(eavesdropper_snr) if eavesdropper_snr is not None else (),
        eavesdropper_channel=eavesdropper_channel,
        policies=tuple(policy or SweepConfig.policies),
        attacks=tuple(attack or SweepConfig.attacks),
        victim=victim, weights=weights, image_size=image_size,
        mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codecs=tuple(codec or SweepConfig.codecs),
        data=data, auxiliary_data=auxiliary_data, threat=threat,
        images=images, auxiliary=auxiliary, seed=seed,
    )  # fmt: skip
    with Progress() as say:
        page = run_sweep(config, out_folder, resume=resume, force=force, say=say)
    done = Sweep.read(out_folder)
    if as_json:
        points = json.loads(done.table.to_json(orient="records"))
        print(json.dumps({"report": str(page), "points": points, "findings": sentences(done)}, allow_nan=False))
        return
    table = Table(title=f"{done.about['victim']['name']} on {done.about['data']['name']}")
    for heading in ("channel", "SNR", "policy", "accuracy", "leakage to server", "her SNR", "to eavesdropper", "gap"):
        table.add_column(heading)
    for row in done.summary():
        table.add_row(*[escape(word) for word in row])
    out.print(table)
    for line in sentences(done):
        out.print(escape(line))
    out.print(f"report: {page}", soft_wrap=True)


def _show(run: Any, report: Path, as_json: bool, against: tuple[Any, ...] = ()) -> None:
    from reports.html import show
    from reports.verdict import verdicts

    judged = verdicts(run, against)
    if as_json:
        print(json.dumps({"report": str(report), "policies": [_summary(run, v) for v in judged]}, allow_nan=False))
        return
    table = Table(title=f"Leakage of {run.about['victim']['name']} on {run.about['data']['name']}")
    for heading in (
        "policy",
        run.about["task"] or "no task",
        "GFLOPs",
        "tokens",
        "leakage (SSIM)",
        "recognisable",
        "verdict",
    ):
        table.add_column(heading)
    for v in judged:
        mean = {c: float(run.per_image(v.policy, c).mean()) for c in ("correct", "gflops", "tokens")}
        table.add_row(
            escape(v.policy), f"{mean['correct']:.1%}" if run.about["task"] else "–",
            f"{mean['gflops']:.3f}", f"{mean['tokens']:.1f}",
            show(v.leakage, 3), show(v.recognisable, 0, True), v.level,
        )  # fmt: skip
    out.print(table)
    for v in judged:
        out.print(f"[bold]{escape(v.policy)}[/]: {v.level}")
        for finding in v.findings:
            out.print(f"  {finding.about}, {finding.level}: {escape(finding.sentence)}")
        for flag in v.flags:
            out.print(f"  [yellow]flag[/] {escape(str(flag))}")
    for note in run.about["notes"]:
        out.print(f"[yellow]note[/]: {escape(note)}")
    out.print(f"report: {report}", soft_wrap=True)


def _seconds(run: Any, policy: str) -> Any:
    table = run.seconds[run.seconds.policy == policy]
    return (table["fit"] + table["reconstruct"]).groupby(table["attack"])


def _summary(run: Any, verdict: Any) -> dict[str, Any]:
    def plain(interval: Any) -> dict[str, float | None]:
        values = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
        return {k: v if math.isfinite(v) else None for k, v in values.items()}

    return {
        "policy": verdict.policy,
        "verdict": verdict.level,
        "findings": [
            {"about": f.about, "level": f.level, "sentence": f.sentence, "chance": f.chance, **plain(f.rate)}
            for f in verdict.findings
        ],
        "flags": [{"name": flag.name, "found": flag.found} for flag in verdict.flags],
        "leakage": plain(verdict.leakage),
        "percentile_95": plain(verdict.tail),
        "maximum": plain(verdict.highest),
        "recognisable": plain(verdict.recognisable),
        **{
            c: None if c == "correct" and run.about["task"] is None else float(run.per_image(verdict.policy, c).mean())
            for c in ("correct", "gflops", "tokens", "symbols")
        },
        "bandwidth_ratio": run.bandwidth_ratio(verdict.policy),
        "ssim": {a: float(run.values(verdict.policy, a, "ssim").mean()) for a in run.attacks},
        "seconds": {a: round(float(s.sum()), 1) for a, s in _seconds(run, verdict.policy)},
    }


@app.command("list", epilog="Example: `atm list attacks`")
def list_(
    what: Annotated[
        str, typer.Argument(help="attacks, defenses, channels, victims, data, policies, threats or metrics.")
    ],
    as_json: Json = False,
) -> None:
    """What there is by name."""
    from audit.listing import listing

    rows = listing(what)
    if as_json:
        print(json.dumps([{"name": name, "about": about} for name, about in rows]))
        return
    table = Table(box=None, show_header=False)
    for name, about in rows:
        table.add_row(f"[bold]{escape(name)}[/]", escape(about))
    out.print(table if rows else f"no {what} yet")


app.add_typer(train, name="train")
app.command(epilog="Example: `atm convert checkpoint.pth weights.safetensors`")(convert)
app.command(epilog="Example: `atm selfcheck --json`")(selfcheck)


def main() -> None:
    """Entry point of ``atm``."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # of the libraries' own calls
    words = sys.argv[1:]
    sys.argv[1:] = [word for word in words if word != DEBUG]  # wherever it stands
    sys.exit(ended(lambda: app(standalone_mode=False), words))


if __name__ == "__main__":
    main()
