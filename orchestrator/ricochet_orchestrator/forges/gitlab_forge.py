"""GitLab's REST API (version 4) over python-gitlab: one project behind the port `Forge`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gitlab
import requests

from ricochet_orchestrator.forges import port
from ricochet_orchestrator.forges.port import Change, Issue, Request, Text

_T = TypeVar("_T")


class _Impatient(gitlab.Gitlab):  # type: ignore[misc]  # its types may not be installed
    """A client that says so when it is told to wait, instead of waiting for minutes unseen."""

    def http_request(self, *args: Any, **settings: Any) -> Any:
        """As of the library."""
        return super().http_request(*args, **{**settings, "obey_rate_limit": False})


class GitLab:
    """A project of gitlab.com, or of another GitLab at its own address."""

    name: port.Name = "gitlab"
    tells_cancelled = False
    most_characters = 1_048_576

    def __init__(self, address: str, repository: str, token: str) -> None:
        self.address, self.repository = address, repository
        self._client = _Impatient(
            url=address,
            private_token=token,
            timeout=port.SECONDS,
            per_page=100,
            keep_base_url=True,  # links in its answers lead nowhere else with the token
        )
        self._project: Any = None

    def get(self, number: int) -> Issue | None:
        """The issue, None when it is gone."""
        found = self._unless_gone(lambda: self._repository().issues.get(number))
        return None if found is None else _issue(found)

    def create(self, text: Text) -> Issue:
        """A new issue; closed at once when its task is done."""
        with self._told():
            fields = {"title": text.title, "description": text.body}
            made = self._repository().issues.create(fields)
        return _issue(made) if text.state == "open" else self.update(made.iid, text)

    def update(self, number: int, text: Text) -> Issue:
        """Give an issue another text and state."""
        with self._told():
            found = self._repository().issues.get(number)
            found.title, found.description = text.title, text.body
            if (found.state == "closed") != (text.state != "open"):
                found.state_event = "reopen" if text.state == "open" else "close"
            found.save()
        return _issue(found)

    def issues(self, *, closed_too: bool) -> Iterator[Issue]:
        """The project's issues, latest first."""
        wanted = {} if closed_too else {"state": "opened"}
        with self._told():
            for found in self._repository().issues.list(iterator=True, **wanted):
                yield _issue(found)

    def propose(self, change: Change, base: str | None) -> Request:
        """Put a file on a branch and open a merge request, or change the one that is open."""
        with self._told():
            project = self._repository()
            onto = base or project.default_branch
            if self._unless_gone(lambda: project.branches.get(change.branch)) is None:
                project.branches.create({"branch": change.branch, "ref": onto})
            self._put(project, change)
            wanted = {"source_branch": change.branch, "target_branch": onto, "state": "opened"}
            for found in project.mergerequests.list(iterator=True, **wanted):
                found.title, found.description = change.title, change.body
                found.save()
                return Request(found.iid, found.web_url, made=False)
            made = project.mergerequests.create(
                {
                    "source_branch": change.branch,
                    "target_branch": onto,
                    "title": change.title,
                    "description": change.body,
                }
            )
            return Request(made.iid, made.web_url, made=True)

    def _put(self, project: Any, change: Change) -> None:
        there = self._unless_gone(lambda: project.files.get(change.path, ref=change.branch))
        if there is None:
            project.files.create(
                {
                    "file_path": change.path,
                    "branch": change.branch,
                    "content": change.content,
                    "commit_message": change.title,
                }
            )
        elif there.decode() != change.content.encode():
            there.content = change.content
            there.encoding = "text"
            there.save(branch=change.branch, commit_message=change.title)

    def _repository(self) -> Any:
        if self._project is None:
            self._project = self._client.projects.get(self.repository)
        return self._project

    def _unless_gone(self, ask: Callable[[], _T]) -> _T | None:
        """What is asked for; None for 404 of a thing, not of the project."""
        with self._told():
            self._repository()
            try:
                return ask()
            except gitlab.GitlabError as error:
                if error.response_code == 404:
                    return None
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises, in words of ours; without the token, which is in no error."""
        try:
            yield
        except gitlab.GitlabError as error:
            raise self._translated(error) from None
        except requests.RequestException as error:
            raise port.unreachable(self.address, type(error).__name__) from None

    def _translated(self, error: Any) -> Exception:
        status = error.response_code or 0
        if status == 401:
            return port.token_refused(self.address)
        if status == 404:
            return port.missing(self.address, f"project {self.repository}")
        if status == 429:
            return port.limited(self.address, None)
        if status >= 500 or status == 0:
            why = f"status {status}" if status else type(error).__name__
            return port.unreachable(self.address, why)
        return port.refused(self.address, status, str(error.error_message or ""))


def _issue(found: Any) -> Issue:
    body = (found.description or "").replace("\r\n", "\n")
    text = Text(found.title, body, "completed" if found.state == "closed" else "open")
    return Issue(found.iid, found.web_url, text)
