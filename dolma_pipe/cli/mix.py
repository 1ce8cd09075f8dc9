"""dolma-pipe mix"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options

WIDEST = 90


@options.of_a_run
def command(
    config: options.Config = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Folder for the mix (default: 'to' of the configuration).")
    ] = None,
    settings: options.Set = [],  # noqa: B006
    locked: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="A mix.lock.json: refuse an input, rule or setting that is not that mix's, by its name.",
        ),
    ] = None,
    keep_rejected: Annotated[
        bool,
        typer.Option("--keep-rejected", help="Write what is rejected too, to _rejected/RULE/, and show some of it."),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say from attributes alone what each rule would drop and what would stay.")
    ] = False,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="ATTRIBUTE=FROM:TO:STEP", help="Say what would stay over a threshold, as in langid.en=0.1:0.9:0.1."
        ),
    ] = None,
    limit: options.Limit = None,
    *,
    execution: options.Execution,
) -> None:
    """Keep, deduplicate, edit, split and sample documents of several sources, as a YAML says."""
    from dolma_pipe.config import load
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.stages.mix import Mix, MixConfig

    config = options.of_this_stage(config, "mix")
    if config is None:
        raise ConfigError("mix: give a configuration: dolma-pipe mix -c configs/mix/NAME.yaml")
    if plan or sweep is not None:
        if execution._replace(json=False) != options.Execution() or locked is not None or keep_rejected:
            raise ConfigError("mix: --plan and --sweep run nothing: of the options of a run, only --json")
        _predict(load(config, MixConfig, settings, to=to, limit=limit), config, sweep, execution.json)
        return
    stage = Mix(load(config, MixConfig, settings, to=to, limit=limit, keep_rejected=keep_rejected or None), config)
    lock = _checked(stage, locked) if locked is not None else None
    summary = options.execute(stage, execution)
    if execution.dry_run or execution.part is not None:
        return
    if lock is not None:
        _check_result(stage.home, lock, str(locked))
    if not execution.json:
        from dolma_pipe.cli import funnels

        if stage.config.limit is not None:
            typer.echo(f"a trial: of every shard only the first {stage.config.limit:,} documents (--limit)")
        funnels.show_all(summary.home)
        if stage.config.keep_rejected:
            _print_rejected(summary.home)


def _checked(stage: Any, locked: str) -> Any:
    from dolma_pipe.stages.mix import check_lock, read_lock_file

    lock = read_lock_file(locked)
    check_lock(stage, lock, locked)
    return lock


def _check_result(home: str, lock: Any, locked: str) -> None:
    from dolma_pipe.stages.mix import check_result, read_lock

    check_result(read_lock(home), lock, locked)
    typer.echo(f"{locked}: the same inputs, settings and documents", err=True)


def _predict(config: Any, file: str, sweep: str | None, json: bool) -> None:
    import msgspec

    from dolma_pipe.cli import prediction
    from dolma_pipe.stages.mix.prediction.prediction import predict
    from dolma_pipe.stages.mix.prediction.sweep import sweep as swept

    found: Any = predict(config, file) if sweep is None else swept(config, file, sweep)
    if json:
        typer.echo(msgspec.json.encode(found).decode())
    elif sweep is None:
        prediction.show(found)
    else:
        prediction.show_sweep(found)


def _print_rejected(home: str) -> None:
    """Some documents for every reason."""
    from dolma_pipe.cli.explanation import safe
    from dolma_pipe.stages.mix.explanation.rejections import samples

    for reason, rejections in samples(home, 2, WIDEST):
        typer.echo(f"rejected for {reason}, as in {home}/_rejected/{reason}:")
        for one in rejections:
            text = safe(" ".join(one.text.split())) or "(white space)"
            typer.echo(f"  {one.source} {safe(one.id)}: {text}")
