"""GitHub's REST API over PyGithub: one repository behind the port `Forge`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import github
import requests

from ricochet_orchestrator.forges import port
from ricochet_orchestrator.forges.port import Change, Issue, Request, State, Text

_T = TypeVar("_T")
_BETWEEN_WRITES: Final = 1.0
"""Seconds that GitHub's best practices ask for between calls that change something."""
_REASONS: Final = {"completed": "completed", "cancelled": "not_planned"}


class GitHub:
    """A repository of GitHub, or of an Enterprise Server at its own address."""

    name: port.Name = "github"
    tells_cancelled = True
    most_characters = 65_536

    def __init__(
        self, address: str, repository: str, token: str, between_writes: float = _BETWEEN_WRITES
    ) -> None:
        self.address, self.repository = address, repository
        self._client = github.Github(
            auth=github.Auth.Token(token),
            base_url=address,
            timeout=port.SECONDS,
            per_page=100,
            retry=None,  # a person decides when to try again; nothing waits for minutes unseen
            seconds_between_requests=None,
            seconds_between_writes=between_writes,
        )
        self._repo: Any = None

    def get(self, number: int) -> Issue | None:
        """The issue, None when it is gone or is no issue."""
        found = self._unless_gone(lambda: self._repository().get_issue(number))
        return None if found is None or found.pull_request else _issue(found)

    def create(self, text: Text) -> Issue:
        """A new issue; closed at once when its task is done."""
        with self._told():
            made = self._repository().create_issue(title=text.title, body=text.body)
        return _issue(made) if text.state == "open" else self.update(made.number, text)

    def update(self, number: int, text: Text) -> Issue:
        """Give an issue another text and state."""
        closing: dict[str, Any] = {"state": "open"}
        if text.state != "open":
            closing = {"state": "closed", "state_reason": _REASONS[text.state]}
        with self._told():
            found = self._repository().get_issue(number)
            found.edit(title=text.title, body=text.body, **closing)
        return _issue(found)

    def issues(self, *, closed_too: bool) -> Iterator[Issue]:
        """The repository's issues, latest first; requests, which its API counts among them, not."""
        with self._told():
            for found in self._repository().get_issues(state="all" if closed_too else "open"):
                if not found.pull_request:
                    yield _issue(found)

    def propose(self, change: Change, base: str | None) -> Request:
        """Put a file on a branch and open a pull request, or change the one that is open."""
        with self._told():
            repo = self._repository()
            onto = base or repo.default_branch
            if self._unless_gone(lambda: repo.get_branch(change.branch)) is None:
                start = repo.get_branch(onto).commit.sha
                repo.create_git_ref(ref=f"refs/heads/{change.branch}", sha=start)
            self._put(repo, change)
            head = f"{repo.owner.login}:{change.branch}"
            for found in repo.get_pulls(state="open", head=head):
                found.edit(title=change.title, body=change.body)
                return Request(found.number, found.html_url, made=False)
            made = repo.create_pull(
                base=onto, head=change.branch, title=change.title, body=change.body
            )
            return Request(made.number, made.html_url, made=True)

    def _put(self, repo: Any, change: Change) -> None:
        there = self._unless_gone(lambda: repo.get_contents(change.path, ref=change.branch))
        if there is None:
            repo.create_file(change.path, change.title, change.content, branch=change.branch)
        elif there.decoded_content != change.content.encode():
            repo.update_file(
                change.path, change.title, change.content, there.sha, branch=change.branch
            )

    def _repository(self) -> Any:
        if self._repo is None:
            self._repo = self._client.get_repo(self.repository)
        return self._repo

    def _unless_gone(self, ask: Callable[[], _T]) -> _T | None:
        """What is asked for; None for 404 of a thing (not of the repository) and 410."""
        with self._told():
            self._repository()
            try:
                return ask()
            except github.GithubException as error:
                if error.status in (404, 410):
                    return None
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises, in words of ours; without the token, which is in no error."""
        try:
            yield
        except github.RateLimitExceededException as error:
            raise port.limited(self.address, _wait(error.headers)) from None
        except github.BadCredentialsException:
            raise port.token_refused(self.address) from None
        except github.GithubException as error:
            raise self._translated(error) from None
        except requests.RequestException as error:
            raise port.unreachable(self.address, type(error).__name__) from None

    def _translated(self, error: Any) -> Exception:
        headers = error.headers or {}
        if error.status == 429 or (error.status == 403 and "retry-after" in headers):
            return port.limited(self.address, _wait(headers))
        if error.status == 401:
            return port.token_refused(self.address)
        if error.status == 404:
            return port.missing(self.address, f"repository {self.repository}")
        if error.status >= 500:
            return port.unreachable(self.address, f"status {error.status}")
        return port.refused(self.address, error.status, str(error.message or ""))


def _issue(found: Any) -> Issue:
    state: State = "open"
    if found.state == "closed":
        state = "cancelled" if found.state_reason in ("not_planned", "duplicate") else "completed"
    text = Text(found.title, (found.body or "").replace("\r\n", "\n"), state)
    return Issue(found.number, found.html_url, text)


def _wait(headers: dict[str, str] | None) -> int | None:
    given = headers or {}
    try:
        if "retry-after" in given:
            return int(given["retry-after"])
        return max(0, int(given["x-ratelimit-reset"]) - int(time.time()))
    except (KeyError, ValueError):
        return None
