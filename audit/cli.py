"""The command ``atm``. Bad input ends in one line on standard error and exit code 2."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from atm.errors import AtmError, StorageError
from audit.commands import attack, compare, listing, report, search, selfcheck, sweep, training
from audit.options import console, out

app = typer.Typer(
    name="atm",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="How much do the tokens of a split vision transformer give away?",
)
app.command(epilog="Example: `atm demo`")(attack.demo)
app.command(
    epilog="Examples: `atm attack --policy none --policy uniform-0.8 --out runs/first`, "
    "`atm attack --policy mine.yaml --attack ridge --threat eavesdropper:awgn:0 --out runs/eve`, "
    "`atm attack --victim vit_cifar10 --data cifar10_test.tar --images 256 --out runs/cifar`"
)(attack.attack)
app.command(epilog="Example: `atm compare --policy moderate --defense shuffle --out runs/compare`")(compare.compare)
app.command(epilog="Example: `atm report runs/demo`")(report.report)
app.command(
    epilog="Examples: `atm search --objectives accuracy flops tokens leakage --evals 64 --out runs/front`, "
    "`atm search --at-least accuracy=0.9 --at-most tokens=30`, `atm search --ray local`",
    context_settings={"allow_extra_args": True},
)(search.search)
app.command(epilog="Example: `atm pick runs/search --at-least accuracy=0.9 --minimize leakage`")(search.pick)
app.command(
    epilog="Example: `atm sweep --snr 0:20:4 --channel awgn --channel rayleigh --channel rician,k=3 "
    "--eavesdropper-snr=-5:15:5 --out runs/air`"
)(sweep.sweep)
app.command("list", epilog="Example: `atm list attacks`")(listing.list_)
app.command(epilog="Example: `atm selfcheck --json`")(selfcheck.selfcheck)
app.command(epilog="Example: `atm convert checkpoint.pth weights.safetensors`")(training.convert)
app.add_typer(training.train, name="train")


def _version(asked: bool) -> None:
    if asked:
        out.print(f"atm {version('atm-privacy')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Say which version this is.")
    ] = False,
) -> None:
    """What holds for all commands; the help of the program is given above."""


def main() -> None:
    """Entry point of ``atm``."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")  # of the libraries' own calls
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        line = " ".join(error.format_message().split()) or "give a command; see atm --help"
        console.print(f"[red]error:[/] {escape(line)}", soft_wrap=True)
        sys.exit(2)
    except typer.Abort:
        console.print("stopped; go on with --resume")
        sys.exit(130)
    except AtmError as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(3 if isinstance(error, StorageError) else 2)
    except KeyboardInterrupt:
        console.print("stopped; go on with --resume")
        sys.exit(130)
    sys.exit(code)  # of a `typer.Exit`, which does not end the program here; else None


if __name__ == "__main__":
    main()
