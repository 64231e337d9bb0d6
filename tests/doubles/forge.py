"""GitHub's and GitLab's REST APIs on loopback, as far as issues, branches, files and requests go.

Written from the published schemas (GitHub's OpenAPI description, GitLab's API documentation): what
a call may say is checked field by field, and answers have the properties that the schema requires.
Neither service was ever asked. `faults` are answers given instead of the next calls; `cut` breaks
the connection after the next call that changes something, which is carried out.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "tok-0f8c2b77d1e94a35b6aa"
AT = "2026-11-25T10:00:00Z"
MEMBER = {"login": "ada", "id": 1, "node_id": "U1", "type": "User", "site_admin": False}
Answer = tuple[int, dict[str, str], Any]


@dataclass
class Forge:
    """What a forge has: issues by number, files by branch and path, requests by number."""

    repository: str = "ada/engine"
    base: str = ""
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    branches: dict[str, dict[str, str]] = field(default_factory=lambda: {"main": {}})
    requests: dict[int, dict[str, Any]] = field(default_factory=dict)
    faults: list[Answer] = field(default_factory=list)
    cut: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)
    page: int = 100

    def person_edits(self, number: int, **fields: Any) -> None:
        """Somebody changes an issue in the browser."""
        self.issues[number].update(fields)

    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.calls if method != "GET"]

    def next_number(self) -> int:
        return max([0, *self.issues, *self.requests]) + 1


class GitHub(Forge):
    """https://docs.github.com/en/rest"""

    _CREATE = frozenset({"title", "body", "assignee", "milestone", "labels", "assignees", "type"})
    _EDIT = _CREATE | {"state", "state_reason"}

    def authorized(self, headers: Any) -> bool:
        return headers.get("Authorization") in (f"token {TOKEN}", f"Bearer {TOKEN}")

    def refusal(self) -> Answer:
        return 401, {}, {"message": "Bad credentials", "documentation_url": "https://docs"}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        prefix = f"/repos/{self.repository}"
        if not path.startswith(prefix):
            return _gone()
        match method, path.removeprefix(prefix).strip("/").split("/", 1):
            case "GET", [""]:
                return 200, {}, self._repository()
            case "GET", ["issues"]:
                return self._listed(query, prefix)
            case "POST", ["issues"]:
                return self._created(body)
            case (("GET" | "PATCH"), ["issues", number]):
                return self._issue_call(method, int(number), body)
            case "GET", ["branches", name]:
                found = unquote(name) in self.branches
                return (200, {}, self._branch(unquote(name))) if found else _gone()
            case "POST", ["git", "refs"]:
                return self._ref(body)
            case (("GET" | "PUT"), ["contents", file]):
                return self._file(method, unquote(file), query, body)
            case "GET", ["pulls"]:
                return 200, {}, [one for one in self._pulls() if _fits(one, query)]
            case "POST", ["pulls"]:
                return self._pull(body)
            case "PATCH", ["pulls", number]:
                self.requests[int(number)].update(body)
                return 200, {}, self.requests[int(number)]
        return _gone()

    def _listed(self, query: dict[str, str], prefix: str) -> Answer:
        assert query["state"] in ("open", "all", "closed")
        found = [
            self._issue(number)
            for number in sorted(self.issues, reverse=True)
            if query["state"] in ("all", self.issues[number]["state"])
        ]
        page, size = int(query.get("page", 1)), min(self.page, int(query["per_page"]))
        rest = found[page * size :]
        url = f"{self.base}{prefix}/issues?state={query['state']}&per_page={size}&page={page + 1}"
        link = {"Link": f'<{url}>; rel="next"'} if rest else {}
        return 200, link, found[(page - 1) * size : page * size]

    def _created(self, body: Any) -> Answer:
        if set(body) - self._CREATE or not isinstance(body.get("title"), str):
            return _invalid("title")
        if len(body.get("body", "")) > 65_536:
            return _invalid("body is too long (maximum is 65536 characters)")
        number = self.next_number()
        self.issues[number] = {"state": "open", "state_reason": None, "body": None} | body
        return 201, {}, self._issue(number)

    def _issue_call(self, method: str, number: int, body: Any) -> Answer:
        if number in self.requests:
            return 200, {}, self._issue(number)
        if number not in self.issues:
            return _gone()
        if method == "PATCH":
            if set(body) - self._EDIT or body.get("state", "open") not in ("open", "closed"):
                return _invalid("state")
            issue = self.issues[number]
            closes = body.get("state", issue["state"]) != issue["state"]
            reason = body.pop("state_reason", None)
            issue.update(body)
            if closes:  # the reason is ignored unless the state changes
                closed = issue["state"] == "closed"
                issue["state_reason"] = (reason or "completed") if closed else "reopened"
        return 200, {}, self._issue(number)

    def _issue(self, number: int) -> dict[str, Any]:
        api = f"{self.base}/repos/{self.repository}"
        return {
            "id": 1000 + number,
            "node_id": f"I{number}",
            "number": number,
            "url": f"{api}/issues/{number}",
            "repository_url": api,
            "labels_url": f"{api}/issues/{number}/labels{{/name}}",
            "comments_url": f"{api}/issues/{number}/comments",
            "events_url": f"{api}/issues/{number}/events",
            "html_url": f"https://github.example/{self.repository}/issues/{number}",
            "user": MEMBER,
            "labels": [],
            "assignee": None,
            "milestone": None,
            "locked": False,
            "comments": 0,
            "closed_at": None,
            "created_at": AT,
            "updated_at": AT,
        } | self.issues.get(number, {"title": "a request", "state": "open", "pull_request": {}})

    def _repository(self) -> dict[str, Any]:
        owner, name = self.repository.split("/")
        return {
            "id": 7,
            "node_id": "R7",
            "name": name,
            "full_name": self.repository,
            "owner": MEMBER | {"login": owner},
            "private": True,
            "html_url": f"https://github.example/{self.repository}",
            "url": f"{self.base}/repos/{self.repository}",
            "default_branch": "main",
        }

    def _branch(self, name: str) -> dict[str, Any]:
        commit = {"sha": _sha(name), "url": f"{self.base}/repos/{self.repository}/commits/x"}
        return {"name": name, "commit": commit, "protected": False}

    def _ref(self, body: Any) -> Answer:
        name = body["ref"].removeprefix("refs/heads/")
        if set(body) != {"ref", "sha"} or name in self.branches:
            return _invalid("Reference already exists")
        self.branches[name] = dict(self.branches["main"])
        target = {"type": "commit", "sha": body["sha"], "url": f"{self.base}/x"}
        return 201, {}, {"ref": body["ref"], "node_id": "X", "url": "u", "object": target}

    def _file(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if method == "GET":
            files = self.branches[query["ref"]]
            return (200, {}, self._content(path, files[path])) if path in files else _gone()
        files = self.branches[body["branch"]]
        if path in files and body.get("sha") != _sha(files[path]):
            return 409, {}, {"message": f"{path} does not match"}
        if not {"message", "content"} <= set(body):
            return _invalid("content")
        new = path not in files
        files[path] = base64.b64decode(body["content"]).decode()
        commit = {"sha": _sha(path), "message": body["message"]}
        answer = {"content": self._content(path, files[path]), "commit": commit}
        return 201 if new else 200, {}, answer

    def _content(self, path: str, text: str) -> dict[str, Any]:
        return {
            "type": "file",
            "encoding": "base64",
            "size": len(text),
            "name": path.rsplit("/", 1)[-1],
            "path": path,
            "content": base64.b64encode(text.encode()).decode(),
            "sha": _sha(text),
            "url": f"{self.base}/repos/{self.repository}/contents/{quote(path)}",
        }

    def _pull(self, body: Any) -> Answer:
        if not {"head", "base"} <= set(body) or body["head"] not in self.branches:
            return _invalid("head")
        number = self.next_number()
        self.requests[number] = {
            "id": number,
            "number": number,
            "state": "open",
            "html_url": f"https://github.example/{self.repository}/pull/{number}",
            "url": f"{self.base}/repos/{self.repository}/pulls/{number}",
            "title": body["title"],
            "body": body.get("body"),
            "head": {"ref": body["head"], "label": f"ada:{body['head']}"},
            "base": {"ref": body["base"]},
        }
        return 201, {}, self.requests[number]

    def _pulls(self) -> list[dict[str, Any]]:
        return list(self.requests.values())


class GitLab(Forge):
    """https://docs.gitlab.com/api/"""

    _FIELDS = frozenset({"title", "description", "labels", "confidential", "issue_type"})

    def authorized(self, headers: Any) -> bool:
        return bool(headers.get("PRIVATE-TOKEN") == TOKEN)

    def refusal(self) -> Answer:
        return 401, {}, {"message": "401 Unauthorized"}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        start = "/api/v4/projects/"
        project, _, rest = path.removeprefix(start).partition("/")
        if not path.startswith(start) or unquote(project) not in (self.repository, "7"):
            return 404, {}, {"message": "404 Project Not Found"}
        match method, rest.split("/", 2):
            case "GET", [""]:
                return 200, {}, {"id": 7, "default_branch": "main", "name": "engine"}
            case "GET", ["issues"]:
                return self._listed(query)
            case "POST", ["issues"]:
                return self._created(body)
            case (("GET" | "PUT"), ["issues", number]):
                return self._issue_call(method, int(number), body)
            case _, ["merge_requests", *number]:
                return self._merge(method, number, query, body)
        parts = rest.split("/")
        if parts[:2] == ["repository", "branches"]:
            return self._branch(method, parts[2:], body)
        if parts[:2] == ["repository", "files"]:
            return self._file(method, unquote(parts[2]), query, body)
        return _gone()

    def _listed(self, query: dict[str, str]) -> Answer:
        wanted = query.get("state", "all")
        found = [
            self._issue(number)
            for number in sorted(self.issues, reverse=True)
            if wanted in ("all", self.issues[number]["state"])
        ]
        page, size = int(query.get("page", 1)), min(self.page, int(query["per_page"]))
        more = len(found) > page * size
        url = f"{self.base}/api/v4/projects/7/issues?per_page={size}&page={page + 1}"
        if wanted != "all":
            url += f"&state={wanted}"
        headers = {"X-Page": str(page), "X-Next-Page": str(page + 1) if more else ""}
        if more:
            headers["Link"] = f'<{url}>; rel="next"'
        return 200, headers, found[(page - 1) * size : page * size]

    def _created(self, body: Any) -> Answer:
        if set(body) - self._FIELDS or not body.get("title"):
            return 400, {}, {"message": {"title": ["can't be blank"]}}
        number = self.next_number()
        self.issues[number] = {"state": "opened", "description": None} | body
        return 201, {}, self._issue(number)

    def _issue_call(self, method: str, number: int, body: Any) -> Answer:
        if number not in self.issues:
            return 404, {}, {"message": "404 Issue Not Found"}
        if method == "PUT":
            if not body or set(body) - (self._FIELDS | {"state_event"}):
                return 400, {}, {"error": "at least one parameter must be provided"}
            match body.pop("state_event", None):
                case "close":
                    self.issues[number]["state"] = "closed"
                case "reopen":
                    self.issues[number]["state"] = "opened"
            self.issues[number].update(body)
        return 200, {}, self._issue(number)

    def _issue(self, number: int) -> dict[str, Any]:
        return {
            "id": 1000 + number,
            "iid": number,
            "project_id": 7,
            "created_at": AT,
            "updated_at": AT,
            "labels": [],
            "author": {"id": 1, "username": "ada", "name": "Ada", "state": "active"},
            "web_url": f"https://gitlab.example/{self.repository}/-/issues/{number}",
        } | self.issues[number]

    def _branch(self, method: str, rest: list[str], body: Any) -> Answer:
        if method == "GET":
            name = unquote("/".join(rest))
            if name not in self.branches:
                return 404, {}, {"message": "404 Branch Not Found"}
        else:
            name = body["branch"]
            if set(body) != {"branch", "ref"} or name in self.branches:
                return 400, {}, {"message": "Branch already exists"}
            self.branches[name] = dict(self.branches[body["ref"]])
        return 200 if method == "GET" else 201, {}, {"name": name, "merged": False}

    def _file(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if method == "GET":
            files = self.branches[query["ref"]]
            if path not in files:
                return 404, {}, {"message": "404 File Not Found"}
            content = base64.b64encode(files[path].encode()).decode()
            found = {"file_path": path, "file_name": path, "content": content, "ref": query["ref"]}
            return 200, {}, found | {"encoding": "base64"}
        files = self.branches[body["branch"]]
        if not {"branch", "content", "commit_message"} <= set(body):
            return 400, {}, {"error": "content is missing"}
        if (path in files) != (method == "PUT"):
            return 400, {}, {"message": "A file with this name already exists"}
        files[path] = body["content"]
        return 200, {}, {"file_path": path, "branch": body["branch"]}

    def _merge(self, method: str, number: list[str], query: dict[str, str], body: Any) -> Answer:
        if method == "GET":
            found = [
                one
                for one in self.requests.values()
                if all(one[name] == query[name] for name in ("state", "source_branch"))
            ]
            return 200, {"X-Page": "1", "X-Next-Page": ""}, found
        if method == "PUT":
            self.requests[int(number[0])].update(body)
            return 200, {}, self.requests[int(number[0])]
        if not {"source_branch", "target_branch", "title"} <= set(body):
            return 400, {}, {"error": "title is missing"}
        new = self.next_number()
        url = f"https://gitlab.example/{self.repository}/-/merge_requests/{new}"
        self.requests[new] = {"id": new, "iid": new, "state": "opened", "web_url": url} | body
        return 201, {}, self.requests[new]


@contextmanager
def serving(forge: GitHub | GitLab) -> Iterator[str]:
    """The forge on an ephemeral port; its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: two would wait for each other's acknowledgement.
        wbufsize = 64 * 1024
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(size)
            forge.calls.append((self.command, parts.path))
            if forge.faults:
                status, headers, answer = forge.faults.pop(0)
            elif not forge.authorized(self.headers):
                status, headers, answer = forge.refusal()
            else:
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                body = json.loads(data) if data else None
                status, headers, answer = forge.answer(self.command, parts.path, query, body)
                if forge.cut and self.command != "GET":
                    forge.cut = False
                    self.close_connection = True
                    self.connection.close()
                    return
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = handle_one  # noqa: N815  # the server's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        forge.base = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield forge.base
        finally:
            server.shutdown()
            thread.join()


def _fits(request: dict[str, Any], query: dict[str, str]) -> bool:
    return bool(request["state"] == query["state"] and request["head"]["label"] == query["head"])


def _sha(text: str) -> str:
    import hashlib

    return hashlib.sha1(text.encode()).hexdigest()


def _gone() -> Answer:
    return 404, {}, {"message": "Not Found", "documentation_url": "https://docs"}


def _invalid(what: str) -> Answer:
    return 422, {}, {"message": f"Validation Failed: {what}", "documentation_url": "https://docs"}
