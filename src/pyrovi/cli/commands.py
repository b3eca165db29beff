"""The commands and their options; what they do is in `pyrovi.cli.stages`."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import pyrovi as vi
from pyrovi.cli import folder as folders, stages
from pyrovi.cli.folder import POSTERIOR, PREDICTIONS, REPORT, VERDICT
from pyrovi.cli.names import REPEATED, Request, spelled, what_there_is

app = typer.Typer(
    name="pyrovi",
    help="Fit any Pyro model by variational inference, and say how far to trust the answer.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model of the zoo, or my_model.py:model.")
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="A data set of the zoo entry, or a .csv or .nc file."),
]
Out = Annotated[Path, typer.Option("--out", help="The run's folder.")]
Variant = Annotated[str | None, typer.Option(help="A variant of the zoo entry.")]
EngineName = Annotated[str, typer.Option(help="auto, or an engine's name.")]
Guide = Annotated[str | None, typer.Option(help="The family of SVI's guide.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of model or engine; repeatable."),
]
Priors = Annotated[
    list[str] | None,
    typer.Option(
        "--prior",
        metavar="SITE=DIST",
        help="Another prior, such as 'tau=HalfNormal(2.0)'; repeatable.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Drawn and recorded if not given.")]
Restarts = Annotated[int, typer.Option(min=1, help="Independent fits.")]
Seconds = Annotated[
    float | None, typer.Option(min=0, help="Wall time of each stage at the most, in seconds.")
]
Draws = Annotated[int, typer.Option(min=1, help="Draws from each kept fit.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what pyrovi wrote to the folder.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `pyrovi fit` wrote.")]
More = Annotated[
    list[str] | None,
    typer.Argument(metavar="--OPTION VALUE", help="Options of the entry for a table."),
]
OfFile = Annotated[
    str | None, typer.Option(help="my_model.py:model again, if the fit was of such a file.")
]
Where = Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder, or a .nc file.")]


class Informed(TyperCommand):
    """A command whose help names what the registries hold; only that help waits for torch."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the names in it."""
        named = what_there_is()
        for each in self.params:
            option: Any = each
            option.help = named.get(each.name or "", option.help)
        super().format_help(ctx, formatter)


# An entry of the zoo may take options of its own for a person's table, which it alone knows.
TAKE_MORE = {"ignore_unknown_options": True}
TABLES = (
    "A table with columns of your own takes the entry's own options: "
    "pyrovi run multitask_regression --data marks.csv --task subject --outcome mark --out marks"
)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback.")] = False,
) -> None:
    del debug  # `main` takes it wherever it stands; here it is for --help
    if version:
        typer.echo(f"pyrovi {vi.__version__}")
        raise typer.Exit


@app.command(cls=Informed, context_settings=TAKE_MORE, epilog=TABLES)
def run(
    name: Name,
    out: Out,
    data: Data = None,
    variant: Variant = None,
    engine: EngineName = "auto",
    guide: Guide = None,
    settings: Settings = None,
    priors: Priors = None,
    seed: Seed = None,
    restarts: Restarts = 1,
    max_seconds: Seconds = None,
    draws: Draws = 2000,
    force: Force = False,
    more: More = None,
) -> None:
    """Fit, draw, check and report, all into one folder."""
    with folders.new_folder(out, force=force) as folder:
        stages.draw(folder, stages.fit(folder, _request(locals())), draws, max_seconds)
        text = stages.check(folder / POSTERIOR, folder / VERDICT, max_seconds)
        stages.report(folder / POSTERIOR, folder / REPORT, max_seconds)
    typer.echo(text)
    typer.echo(f"\nReport: {out / REPORT}")


@app.command(cls=Informed, context_settings=TAKE_MORE, epilog=TABLES)
def fit(
    name: Name,
    out: Out,
    data: Data = None,
    variant: Variant = None,
    engine: EngineName = "auto",
    guide: Guide = None,
    settings: Settings = None,
    priors: Priors = None,
    seed: Seed = None,
    restarts: Restarts = 1,
    max_seconds: Seconds = None,
    force: Force = False,
    more: More = None,
) -> None:
    """Fit a model to data: writes the fit and the data."""
    with folders.new_folder(out, force=force) as folder:
        fitted = stages.fit(folder, _request(locals()))
    typer.echo(repr(fitted))


@app.command()
def draw(
    folder: Folder,
    draws: Draws = 2000,
    max_seconds: Seconds = None,
    model: OfFile = None,
) -> None:
    """Draw from a fit: writes posterior.nc."""
    folders.check_writable(folder)
    stages.draw(folder, stages.reopen(folder, model), draws, max_seconds)
    typer.echo(str(folder / POSTERIOR))


@app.command()
def predict(
    folder: Folder,
    data: Annotated[str, typer.Option("--data", help="A .csv or .nc file of the new data.")],
    draws: Draws = 2000,
    new_levels: Annotated[
        str, typer.Option(help="For groups that were not fitted: refuse, or draw.")
    ] = "refuse",
    model: OfFile = None,
) -> None:
    """Predict at new data: writes predictions.nc."""
    folders.check_writable(folder)
    stages.predict(folder, model, data, draws, new_levels)
    typer.echo(str(folder / PREDICTIONS))


@app.command()
def check(where: Where, max_seconds: Seconds = None) -> None:
    """Check a posterior: prints the verdict, and keeps it in the tree."""
    path = folders.tree_path(where)
    table = path.with_name(VERDICT) if where.is_dir() else None
    typer.echo(stages.check(path, table, max_seconds))


@app.command()
def report(
    where: Where,
    out: Annotated[Path | None, typer.Option("--out", help="The page to write.")] = None,
    max_seconds: Seconds = None,
) -> None:
    """Write the report of a posterior: one HTML page."""
    path = folders.tree_path(where)
    page = out or (where / REPORT if where.is_dir() else path.with_suffix(".html"))
    typer.echo(str(stages.report(path, page, max_seconds)))


@app.command(cls=Informed, context_settings=TAKE_MORE, epilog=TABLES)
def compare(
    name: Name,
    data: Data = None,
    variant: Variant = None,
    engines: Annotated[
        str | None, typer.Option(help="Names with commas between: auto,dadvi,svi:full_rank.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="A reference.json, or a .nc file with a posterior.")
    ] = None,
    settings: Settings = None,
    priors: Priors = None,
    seed: Seed = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws for the moments.")] = 10_000,
    max_seconds: Annotated[float, typer.Option(min=0, help="Stop each fit after this long.")] = 60,
    out: Annotated[Path | None, typer.Option("--out", help="A .csv file for the table.")] = None,
    more: More = None,
) -> None:
    """Fit by several engines: how far each is off, and whether its verdict says so."""
    request = _request(locals(), "compare")
    typer.echo(stages.compare(request, engines, reference, draws=draws, out=out))


def _request(given: Mapping[str, Any], command: str = "run") -> Request:
    """What a command was given, as a request; the options of `run` are also `fit`'s."""
    commands: Any = typer.main.get_command(app)
    options = tuple(opt for each in commands.commands[command].params for opt in each.opts)
    asked = {each.name: given[each.name] for each in fields(Request) if each.name in given}
    repeated = {name: tuple(asked[name] or ()) for name in REPEATED}
    return Request(**{**asked, **repeated}, options=options)


@app.command(name="list")
def list_models() -> None:
    """Show the zoo."""
    entries = vi.models.available()
    width = max(map(len, entries), default=0)
    for name, entry in sorted(entries.items()):
        lines = [entry.title, f"data: {', '.join(entry.datasets) or 'simulated only'}"]
        if len(entry.variants) > 1:
            lines.append(f"variants: {', '.join(entry.variants)}")
        if entry.options:
            lines.append(f"for a table: {', '.join(spelled(entry.options))}")
        for i, line in enumerate(lines):
            typer.echo(f"{'' if i else name:<{width}}  {line}")
