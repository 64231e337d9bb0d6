"""Tools that list chains and make one; `run_tools` runs them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mcp.types import CallToolResult
from pydantic import Field

from ricochet_cli.mcp_server import chain_shelf
from ricochet_cli.mcp_server.outputs import ChainMadeOut, ChainOut, ChainsOut, ChainStepOut
from ricochet_cli.mcp_server.replies import told

if TYPE_CHECKING:
    from ricochet_orchestrator.chain_language import Chain


class ChainTools:
    """Bound to a home; chains of the project are in the working folder's `.ricochet/chains`."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def chain_list(self) -> Annotated[CallToolResult, ChainsOut]:
        """List the chains of models that can be run over documents here, with their steps and the
        parameters that chain_run needs for them."""
        paths = chain_shelf.paths(self._home).values()
        chains = [_chain(chain_shelf.chain(path)) for path in paths]
        return told("\n".join(_line(one) for one in chains), ChainsOut(chains=chains))

    def chain_create(
        self,
        name: Annotated[str, Field(description="Lower-case letters, digits, - and _.")],
        source: Annotated[str, Field(description="The chain to start from.")] = "overview",
        models: Annotated[
            dict[str, str] | None, Field(description="Models by role, for the steps of that role.")
        ] = None,
        replace: Annotated[
            bool, Field(description="Replace a chain of the project with that name.")
        ] = False,
    ) -> Annotated[CallToolResult, ChainMadeOut]:
        """Make a chain of the project's own from another chain: a YAML file in .ricochet/chains,
        which can be edited (prompts, steps, models). Models come from `models`, then from those
        chosen by role; steps that get none take the run's."""
        from ricochet_orchestrator import chain_files, chains, role_models

        template = chains.get(source, chains.folders(self._home, Path.cwd()))
        proposed = role_models.by_role(role_models.layers(self._home, Path.cwd()))
        made = chain_files.created(template, name, models or {}, proposed)
        data = chain_files.written(made, "yaml")
        folder = Path.cwd() / ".ricochet" / "chains"
        path = chain_files.save(folder, name, data, ".yaml", replace=replace)
        chosen = {step.name: step.model for step in made.steps}
        lines = [f"{step}: {model or 'the model of the run'}" for step, model in chosen.items()]
        out = ChainMadeOut(name=name, path=str(path), models={**chosen})
        return told("\n".join([f"Wrote {path}", *lines]), out)


def _chain(chain: "Chain") -> ChainOut:
    steps = [
        ChainStepOut(name=one.name, role=one.role, mode=one.mode, model=one.model)
        for one in chain.steps
    ]
    about = {
        name: f"{one.description} [default: {one.default}]"
        if one.default is not None
        else one.description
        for name, one in chain.parameters.items()
    }
    return ChainOut(name=chain.name, description=chain.description, steps=steps, parameters=about)


def _line(chain: ChainOut) -> str:
    roles = " → ".join(one["role"] for one in chain["steps"])
    takes = f" Parameters: {', '.join(chain['parameters'])}." if chain["parameters"] else ""
    return f"{chain['name']} ({roles}): {chain['description']}{takes}"
