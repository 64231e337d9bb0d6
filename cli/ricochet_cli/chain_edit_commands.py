"""`ricochet chain create|edit|show|validate|delete|export|import`: chain files of one's own."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_cli.output_form import form_of
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.chain_language import Chain

Name = Annotated[str, typer.Argument(help="The chain's name: ricochet chain list.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a chain of that name.")]


def create(
    name: Annotated[str, typer.Option(help="The new chain's name.")],
    home: Home,
    source: Annotated[str, typer.Option("--from", help="The chain to start from.")] = "overview",
    model: Annotated[
        list[str] | None,
        typer.Option(help="ROLE=MODEL, for the steps of that role; may be repeated."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a chain of your own from a template, in .ricochet/chains of this folder.

    Models come from --model, then from `ricochet models` by role; steps that get none take the
    run's.
    """
    from ricochet_orchestrator import chain_files, chains, role_models

    template = chains.get(source, _places(home))
    wanted = dict(_pair(one) for one in model or ())
    proposed = role_models.by_role(role_models.layers(home, Path.cwd()))
    made = chain_files.created(template, name, wanted, proposed)
    data = chain_files.written(made, "yaml")
    path = chain_files.save(_folder(), name, data, ".yaml", replace=force)
    models = {step.name: step.model for step in made.steps}
    if as_json:
        print_json({"name": name, "path": str(path), "from": source, "models": models})
        return
    typer.echo(str(path))
    for step, found in models.items():
        say(f"{step}: {found or t('the model of the run')}")


def edit(
    name: Name,
    set_field: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE, such as steps.summarize.max_tokens=200."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a chain of yours: in $EDITOR, or field by field with --set.

    The file is replaced only by what is a chain.
    """
    from ricochet_orchestrator import chain_files

    path = chain_files.owned(name, _folder())
    data = chain_files.changed(path, set_field) if set_field else _edited(path)
    chain_files.save(path.parent, name, data, path.suffix, replace=True)
    _told(as_json, {"name": name, "path": str(path)}, str(path))


def show(name: Name, home: Home, as_json: AsJson = False) -> None:
    """Print a chain's file; with --json, the chain as it is understood."""
    from ricochet_orchestrator import chains

    path = chains.available(_places(home)).get(name)
    chain = chains.get(name, _places(home)) if path is None else chains.read(path)
    if as_json or path is None:
        print_json(_content(chain))
    else:
        typer.echo(path.read_text("utf-8-sig").rstrip())


def validate(
    chains: Annotated[
        list[str],
        typer.Argument(metavar="CHAIN...", help="Names of chains, or files, which end in .yaml."),
    ],
    home: Home,
    as_json: AsJson = False,
) -> None:
    """Check chains by name or by file; the first problem of each is told, with its field."""
    from ricochet_orchestrator import chain_files

    found: list[dict[str, Any]] = []
    for which in chains:
        path, name, problem = which, None, None
        try:
            file, chain = chain_files.checked_file(which, _places(home))
            path, name = str(file), chain.name
        except UsageError as error:
            problem = error.message
        found.append({"file": path, "name": name, "valid": problem is None, "problem": problem})
    if as_json:
        print_json(found)
    for one in found if not as_json else ():
        if one["problem"]:
            typer.echo(f"{one['file']}: {told(str(one['problem']))}")
        else:
            typer.echo(t("{file}: the chain {name} is valid", file=one["file"], name=one["name"]))
    if not all(one["valid"] for one in found):
        raise typer.Exit(UsageError.exit_code)


def delete(name: Name, as_json: AsJson = False) -> None:
    """Delete a chain of yours; runs and their answers are kept."""
    from ricochet_orchestrator import chain_files

    path = chain_files.owned(name, _folder())
    path.unlink()
    _told(as_json, {"deleted": str(path)}, t("deleted {path}", path=path))


def export(
    name: Name,
    home: Home,
    out: Annotated[Path | None, typer.Option(help="File to write. [default: stdout]")] = None,
    form: Annotated[
        Literal["yaml", "json"] | None,
        typer.Option("--format", help="yaml or json. [default: as the file ends, else yaml]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a chain to a file or stdout, as YAML or JSON."""
    from ricochet_orchestrator import chain_files, chains
    from ricochet_orchestrator.placing import place

    written_as = form_of(out, form, chain_files.FORMS, "yaml")
    data = chain_files.written(chains.get(name, _places(home)), written_as)
    if out is None:
        typer.echo(data.decode().rstrip())
        return
    if out.exists() and not force:
        raise UsageError("file_exists", f"{out} exists already.", "Add --force to replace it.")
    place(out, data)
    _told(as_json, {"name": name, "path": str(out)}, str(out))


def import_chain(
    file: Annotated[Path, typer.Argument(help="A chain file, whatever it is called.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Take a chain file into .ricochet/chains of this folder, under the name that it says."""
    from ricochet_orchestrator import chain_files, chains

    suffix = chain_files.suffix_of(file)
    chain = chains.read_elsewhere(file)
    path = chain_files.save(_folder(), chain.name, file.read_bytes(), suffix, replace=force)
    _told(as_json, {"name": chain.name, "path": str(path)}, str(path))


def add_to(app: typer.Typer) -> None:
    """Enter the commands into the group `chain`."""
    for command in (create, edit, show, validate, delete, export):
        app.command(command.__name__)(command)
    app.command("import")(import_chain)


def _folder() -> Path:
    from ricochet_orchestrator.chains import project_folder

    return project_folder(Path.cwd())


def _places(home: Path) -> tuple[Path, ...]:
    from ricochet_orchestrator.chains import folders

    return folders(home, Path.cwd())


def _content(chain: "Chain") -> Any:
    import msgspec

    return msgspec.to_builtins(chain)


def _told(as_json: bool, document: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(document)
    else:
        typer.echo(text)


def _pair(text: str) -> tuple[str, str]:
    role, _, model = text.partition("=")
    if not role or not model:
        raise UsageError("model_bad", f"--model {text}: not ROLE=MODEL.", "Such as main=gpt-oss.")
    return role, model


def _edited(path: Path) -> bytes:
    """What a person makes of a file in an editor; UsageError when it was left as it is."""
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not words:
        raise UsageError(
            "no_editor",
            "No editor is known.",
            "Set EDITOR, or change fields: ricochet chain edit NAME --set FIELD=VALUE",
        )
    before = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_bytes(before)
        try:
            done = subprocess.run([*words, str(draft)], check=False)  # noqa: S603 - the user's own
        except OSError as error:
            raise UsageError(
                "no_editor", f"{words[0]} cannot be started: {error.strerror}.", "Set EDITOR."
            ) from None
        after = draft.read_bytes() if draft.exists() else before
    if done.returncode or after == before:
        raise UsageError("chain_unchanged", f"{path.name} was left as it is.", "")
    return after
