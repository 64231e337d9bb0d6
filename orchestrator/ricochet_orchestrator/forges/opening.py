"""Which implementation of the port a forge has; their libraries are loaded when one is opened."""

from ricochet_orchestrator.forges.port import Forge, Name, check_repository
from ricochet_protocol.errors import ConfigurationError


def opened(name: Name, address: str, repository: str, token: str) -> Forge:
    """A repository of a forge; nothing is asked of it yet. ConfigurationError `forges_missing`."""
    check_repository(repository)
    try:
        if name == "github":
            from ricochet_orchestrator.forges.github_forge import GitHub

            return GitHub(address, repository, token)
        from ricochet_orchestrator.forges.gitlab_forge import GitLab

        return GitLab(address, repository, token)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "forges_missing",
            f"the library for {name} is not installed ({error.name})",
            'Install it: pip install "ricochet-network[forges]"',
        ) from None
