"""The command ``atm``. Bad input ends in one line on standard error and exit code 2."""

from __future__ import annotations

import inspect
import json
import shlex
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from atm.store import BEGUN
from audit import export_cli, live_cli
from audit.ending import DEBUG, ended
from audit.files_cli import calibrate, convert
from audit.options import Accept, Budget, Experiment, Force, Json, Quick, Ray, Resume, configured, of_system, out
from audit.progress import Progress, loading
from audit.report_cli import leaderboard, report
from audit.search_cli import pick, search
from audit.selfcheck_cli import selfcheck
from audit.training_cli import train

app = typer.Typer(
    name="atm",
    epilog="`ATM_CACHE` is the folder of what runs keep beside memory (default `~/.cache/atm-privacy`, of at most "
    "`ATM_CACHE_LIMIT` gigabytes, 20), `TORCH_HOME` that of the weights of LPIPS and DISTS.",
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
    """What do tokens of a split transformer give away of pictures, text and sound? Attacks, verdicts and searches."""


@app.command(epilog="Example: `atm demo`")
def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Attack three merging policies of the embedded victim with the whole suite, and write a report.

    A first look: about 15 seconds for each policy, more where the machine is busy.
    """
    from audit.attack_config import AttackConfig

    _attack(AttackConfig(quick=True, budget=13.0, auxiliary=2000), out_folder, resume, force, as_json)


@app.command(
    epilog="Examples: `atm attack --policy none --policy uniform-0.8 --out runs/first`, "
    "`atm attack --policy mine.yaml --attack ridge --threat eavesdropper:awgn:0 --out runs/eve`, "
    "`atm attack --victim vit_cifar10 --data cifar10_test.tar --images 256 --out runs/cifar`"
)
@of_system(before="images")
def attack(
    context: typer.Context,
    experiment: Experiment = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Attack to run; repeatable; default: standard, all permitted ones.")
    ] = None,
    images: Annotated[
        int, typer.Option(help="Pictures, sounds or sentences to attack; no verdict of privacy below 100.")
    ] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own, at most.")] = 4000,
    prior: Annotated[
        str | None, typer.Option(help="Folder of a language model with which attacks on sentences weigh words.")
    ] = None,
    placer: Annotated[
        str | None, typer.Option(help="File of atm train placer, from which attacks on hidden order go on.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Fits and sendings of everything, each with other seeds and channel draws.")
    ] = 1,
    quick: Quick = False,
    budget: Budget = 600.0,
    replay: Annotated[
        str | None, typer.Option(help="Run whose numbers of steps are taken again, whatever the machine and --budget.")
    ] = None,
    accept: Accept = None,
    recogniser: Annotated[
        str | None,
        typer.Option(help="Pretrained model that looks at what is rebuilt; names as of --victim."),
    ] = None,
    recogniser_weights: Annotated[str | None, typer.Option(help="Safetensors file with its weights.")] = None,
    ray: Ray = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/attack"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run inversion attacks on merging policies, and write a run folder with its report."""
    from audit.attack_config import AttackConfig

    config = configured(context, AttackConfig, experiment, budget=budget or None)
    _attack(config, out_folder, resume, force, as_json, ray)


@app.command(epilog="Example: `atm compare --policy moderate --defense shuffle --out runs/compare`")
@of_system(before="images")
def compare(
    context: typer.Context,
    experiment: Experiment = None,
    policy: Annotated[list[str] | None, typer.Option(help="Merging policy; repeatable.")] = None,
    defense: Annotated[
        list[str] | None, typer.Option(help="Further defence of unmerged tokens, such as quantize:4; repeatable.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Attack to run; default: closed-form and learned.")] = None,
    images: Annotated[int, typer.Option(help="Pictures, sounds or sentences to attack; no claim below 100.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own, at most.")] = 2000,
    quick: Quick = False,
    budget: Budget = 0.0,
    ray: Ray = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/compare"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare merging with other defences, with dropping of its bandwidth and with noise of its accuracy."""
    with loading():
        from audit.compare import CompareConfig
        from audit.compare import compare as run_compare
        from audit.showing import show
        from reports.export import of_comparison

    config = configured(context, CompareConfig, experiment, budget=budget or None)
    with Progress() as say:
        made = run_compare(config, out_folder, resume=resume, force=force, ray=ray, say=say)
    show(of_comparison(made), as_json, {"page": out_folder / "compare.html"})


def _attack(config: Any, folder: Path, resume: bool, force: bool, as_json: bool, ray: str | None = None) -> None:
    with loading():
        from atm.signals import SIGNALS
        from audit.evaluate import attack as run_attack
        from audit.summary import show_judged
        from reports.judged import Judged

    told = ("skipped", "--prior", *(f"{kind.noun}s:" for kind in SIGNALS.values()))
    with Progress(kept=lambda line: line.startswith(told)) as say:
        run = run_attack(config, folder, resume=resume, force=force, ray=ray, say=say)
    show_judged(Judged.of(run), folder / "report.html", as_json)


app.command(
    epilog="Examples: `atm search --objectives accuracy flops tokens leakage --evals 64 --out runs/front`, "
    "`atm search --at-least accuracy=0.9 --at-most tokens=30`, `atm search --ray local`",
    context_settings={"allow_extra_args": True},
)(search)
app.command(epilog="Example: `atm pick runs/search --at-least accuracy=0.9 --minimize leakage`")(pick)


@app.command(
    epilog="Example: `atm sweep --snr 0:20:4 --channel awgn --channel rayleigh --channel rician,k=3 "
    "--eavesdropper-snr=-5:15:5 --out runs/air`"
)
@of_system(before="images")
def sweep(
    context: typer.Context,
    experiment: Experiment = None,
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
    attack: Annotated[list[str] | None, typer.Option(help="Trained anew at each point; default: closed-form.")] = None,
    codec: Annotated[
        list[str] | None, typer.Option(help="auto, uncoded, digital:SNR or a .safetensors file; repeatable.")
    ] = None,
    threat: Annotated[str, typer.Option(help="What both adversaries know; stranger: not the codec.")] = "eavesdropper",
    images: Annotated[int, typer.Option(help="Pictures, sounds or sentences to send and attack.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own, at most.")] = 1000,
    ray: Ray = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/sweep"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy and leakage to server and eavesdropper over channels and SNRs, and draw them."""
    with loading():
        from audit.showing import show
        from audit.sweep import SweepConfig, grid
        from audit.sweep import sweep as run_sweep
        from reports.export import of_sweep
        from reports.sweep import Sweep

    read = {"snr": snr, "eavesdropper_snr": eavesdropper_snr}
    ranges = {field: grid(text) for field, text in read.items() if text is not None}
    config = configured(context, SweepConfig, experiment, **ranges)
    with Progress() as say:
        page = run_sweep(config, out_folder, resume=resume, force=force, ray=ray, say=say)
    show(of_sweep(Sweep.read(out_folder)), as_json, {"report": page})


@app.command("list", epilog="Example: `atm list attacks`")
def list_(
    what: Annotated[
        str, typer.Argument(help="attacks, defenses, channels, victims, data, policies, threats or metrics.")
    ],
    as_json: Json = False,
) -> None:
    """What there is by name."""
    with loading():
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
app.command(epilog="Example: `atm calibrate 0.3 --victim vit_photos --out saves-30.yaml`")(calibrate)
app.command(epilog="Example: `atm convert checkpoint.pth weights.safetensors`")(convert)
app.command(epilog="Example: `atm selfcheck --json`")(selfcheck)
app.command(epilog="Examples: `atm report runs/demo`, `atm report runs/demo --format md --out demo.md`")(report)
app.command(epilog="Example: `atm leaderboard runs/ their-card.json --out leaderboard.html`")(leaderboard)


app.command(epilog="Example: `atm serve --victim vit_photos --policy moderate`")(live_cli.serve)
app.command(epilog="Examples: `atm device --fps 5 --passes 0`, `atm device --frames camera --key link.key`")(
    live_cli.device
)
app.command(epilog="Example: `atm channel --channel rayleigh:10 --bandwidth 100000 --ears 127.0.0.1:5557`")(
    live_cli.channel
)
app.command(epilog="Example: `atm listen --attack ridge --threat eavesdropper:awgn:5 --originals --out runs/heard`")(
    live_cli.listen
)
app.command(epilog="Example: `atm profile --policy moderate --threads 1 --json`")(live_cli.profile)
app.command(epilog="Example: `atm key --out link.key`")(live_cli.key)
app.command(epilog="Example: `atm export --policy moderate --out device.onnx`")(export_cli.export)


def main() -> None:
    """Entry point of ``atm``."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # of the libraries' own calls
    words = sys.argv[1:]
    sys.argv[1:] = [word for word in words if word != DEBUG]  # wherever it stands
    sys.exit(ended(lambda: app(standalone_mode=False), words, lambda: gone_on_with(sys.argv[1:])))


def _resumable(group: typer.Typer) -> frozenset[str]:
    """Names of the commands of a group that have ``--resume``."""
    return frozenset(
        command.name or command.callback.__name__
        for command in group.registered_commands
        if command.callback is not None and "resume" in inspect.signature(command.callback).parameters
    )


RESUMABLE, TRAINED = _resumable(app), _resumable(train)


def gone_on_with(words: list[str]) -> str:
    """The command line that goes on with what one began; empty where its command has no ``--resume``.

    Before a folder that ``--force`` replaces is begun anew, what is there to go on with is the old: the same is asked
    for again.

    Args:
        words: of the command line, behind ``atm``.
    """
    able, named = (TRAINED, words[1:]) if words[:1] == ["train"] else (RESUMABLE, words)
    if not named or named[0] not in able:
        return ""
    if "--force" in words and not BEGUN:
        return shlex.join(["atm", *words])
    return shlex.join(["atm", *(word for word in words if word not in ("--force", "--resume")), "--resume"])


if __name__ == "__main__":
    main()
