"""Tasks as issues, against both forges' doubles through their real client libraries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import forge as doubles
from doubles.forge import TOKEN, serving
from ricochet_orchestrator.forges import exchange, links, rendering
from ricochet_orchestrator.forges.github_forge import GitHub
from ricochet_orchestrator.forges.gitlab_forge import GitLab
from ricochet_orchestrator.forges.port import Forge, Text
from ricochet_orchestrator.forges.proposing import propose
from ricochet_orchestrator.tasks import editing, task_file
from ricochet_orchestrator.tasks.running import result_path
from ricochet_orchestrator.tasks.status import TaskStatus
from ricochet_protocol.errors import RicochetError

NOW = 1_764_000_000.0


@pytest.fixture(params=["github", "gitlab"])
def double(request: pytest.FixtureRequest) -> doubles.GitHub | doubles.GitLab:
    return doubles.GitHub() if request.param == "github" else doubles.GitLab()


@pytest.fixture
def forge(double: doubles.GitHub | doubles.GitLab) -> Iterator[Forge]:
    with serving(double) as url:
        yield opened(double, url)


def opened(double: doubles.Forge, url: str, token: str = TOKEN) -> Forge:
    if isinstance(double, doubles.GitHub):
        return GitHub(url, double.repository, token, between_writes=0)
    return GitLab(url, double.repository, token)


def add(project: Path, title: str, **fields: Any) -> str:
    with task_file.changing(project) as book:
        return editing.add(book.tasks(), editing.Fields(title=title, **fields), NOW)


def edit(project: Path, ref: str, **fields: Any) -> None:
    with task_file.changing(project) as book:
        editing.edit(book.tasks(), ref, editing.Fields(**fields), NOW)


def status(project: Path, ref: str, to: TaskStatus) -> None:
    with task_file.changing(project) as book:
        editing.set_status(book.tasks(), [ref], to, NOW)


def task(project: Path, ref: str) -> dict[str, Any]:
    tasks = task_file.load(project).tasks()
    return next(one for one in tasks if str(one["id"]) == ref)


def body_field(double: doubles.Forge) -> str:
    return "body" if isinstance(double, doubles.GitHub) else "description"


def closed(double: doubles.Forge) -> str:
    return "closed"


def test_tasks_become_issues_once(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    add(tmp_path, "Write it", description="All of it", details="Slowly", test_strategy="Read it")
    add(tmp_path, "Read it")
    told = exchange.push(tmp_path, forge)
    assert told.created == ["1", "2"] and told.exit_code == 0
    first = double.issues[1]
    assert first["title"] == "Write it" and "All of it" in first[body_field(double)]
    assert "## Test strategy" in first[body_field(double)]
    count = len(double.writes())
    again = exchange.push(tmp_path, forge)
    assert (again.created, again.updated, again.same) == ([], [], ["1", "2"])
    assert len(double.writes()) == count and set(double.issues) == {1, 2}


def test_what_changed_here_goes_over(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    add(tmp_path, "Write it")
    add(tmp_path, "Leave it")
    exchange.push(tmp_path, forge)
    edit(tmp_path, "1", title="Write all of it")
    status(tmp_path, "1", TaskStatus.COMPLETED)
    told = exchange.push(tmp_path, forge)
    assert told.updated == ["1"] and told.same == ["2"]
    assert double.issues[1]["title"] == "Write all of it"
    assert double.issues[1]["state"] == "closed" and double.issues[2]["state"] != "closed"
    status(tmp_path, "1", TaskStatus.PENDING)
    exchange.push(tmp_path, forge)
    assert double.issues[1]["state"] != "closed"


def test_what_changed_there_comes_back(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    add(tmp_path, "Write it", description="Before", details="Slowly")
    with task_file.changing(tmp_path) as book:
        editing.add(book.tasks(), editing.Fields(title="A part"), NOW, parent="1")
    exchange.push(tmp_path, forge)
    text = double.issues[1][body_field(double)]
    changed = text.replace("Before", "After\r\nall").replace("- [ ] 1.1", "- [x] 1.1")
    double.person_edits(1, title="Write more", state="closed", **{body_field(double): changed})
    told = exchange.pull(tmp_path, forge)
    assert told.updated == ["1"]
    now = task(tmp_path, "1")
    assert (now["title"], now["description"]) == ("Write more", "After\nall")
    assert (now["details"], now["status"]) == ("Slowly", "completed")
    assert now["subtasks"][0]["status"] == "completed"
    assert exchange.pull(tmp_path, forge).same == ["1"]
    assert exchange.push(tmp_path, forge).same == ["1"], "what was pulled is not pushed back"


def test_a_task_edited_in_two_places_is_named_and_left(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    for title in ("One", "Two"):
        add(tmp_path, title)
    exchange.push(tmp_path, forge)
    edit(tmp_path, "1", title="One here")
    double.person_edits(1, title="One there")
    double.person_edits(2, title="Two there")
    for call in (exchange.push, exchange.pull):
        told = call(tmp_path, forge)
        assert told.conflicts == ["1"] and told.exit_code == 5
        assert told.urls["1"].endswith("/1")
    assert task(tmp_path, "1")["title"] == "One here"
    assert double.issues[1]["title"] == "One there"
    assert task(tmp_path, "2")["title"] == "Two there", "others are not held up"


@pytest.mark.parametrize("prefer", ["ours", "theirs"])
def test_a_conflict_is_settled_by_a_word(
    prefer: str, tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "One")
    exchange.push(tmp_path, forge)
    edit(tmp_path, "1", title="here")
    double.person_edits(1, title="there")
    if prefer == "ours":
        told = exchange.push(tmp_path, forge, prefer="ours")
    else:
        told = exchange.pull(tmp_path, forge, prefer="theirs")
    assert told.updated == ["1"]
    word = {"ours": "here", "theirs": "there"}[prefer]
    assert task(tmp_path, "1")["title"] == double.issues[1]["title"] == word
    assert exchange.push(tmp_path, forge).same == exchange.pull(tmp_path, forge).same == ["1"]


def test_the_same_change_on_both_sides_is_no_conflict(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "One", description="text")
    exchange.push(tmp_path, forge)
    edit(tmp_path, "1", title="Two")
    double.person_edits(1, title="Two")
    assert exchange.push(tmp_path, forge).conflicts == []
    assert exchange.pull(tmp_path, forge).same == ["1"]


def test_a_cut_after_the_issue_was_made_makes_no_second(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "Only once")
    double.cut = True
    with pytest.raises(RicochetError) as caught:
        exchange.push(tmp_path, forge)
    assert caught.value.code == "forge_unreachable" and len(double.issues) == 1
    told = exchange.push(tmp_path, forge)
    assert told.created == ["1"] and len(double.issues) == 1
    assert exchange.push(tmp_path, forge).same == ["1"]


def test_an_id_that_is_used_again_is_another_task(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "Old")
    exchange.push(tmp_path, forge)
    with task_file.changing(tmp_path) as book:
        editing.delete(book.tasks(), ["1"])
    assert add(tmp_path, "New") == "1"
    assert exchange.push(tmp_path, forge).created == ["1"]
    assert (double.issues[1]["title"], double.issues[2]["title"]) == ("Old", "New")
    with task_file.changing(tmp_path) as book:
        editing.move(book.tasks(), "1", "9")
    edit(tmp_path, "9", title="New and moved")
    assert exchange.push(tmp_path, forge).updated == ["9"]
    assert double.issues[2]["title"] == "New and moved"


def test_a_copied_tag_gets_issues_of_its_own(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    from ricochet_orchestrator.tasks import tags

    add(tmp_path, "One")
    exchange.push(tmp_path, forge)
    with task_file.changing(tmp_path) as book:
        tags.add(book, "later", "master")
        tags.rename(book, "master", "now")
    assert exchange.push(tmp_path, forge, "later").created == ["1"]
    assert exchange.push(tmp_path, forge, "now").same == ["1"]
    assert len(double.issues) == 2


def test_issues_without_a_task_become_tasks_when_asked(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    double.page = 2  # several pages
    for number in range(1, 6):
        state = "closed" if number == 2 else ("open" if body_field(double) == "body" else "opened")
        double.issues[number] = {
            "title": f"Issue {number}",
            "state": state,
            "state_reason": None,
            body_field(double): None if number == 3 else "Please",
        }
    double.requests[9] = {}
    assert exchange.pull(tmp_path, forge).created == []
    told = exchange.pull(tmp_path, forge, new=True)
    assert sorted(told.created) == ["1", "2", "3", "4"]
    titles = {one["title"] for one in task_file.load(tmp_path).tasks()}
    assert titles == {"Issue 1", "Issue 3", "Issue 4", "Issue 5"}
    assert exchange.pull(tmp_path, forge, new=True).created == []
    assert exchange.push(tmp_path, forge).same == ["1", "2", "3", "4"]
    assert len(double.writes()) == 0


def test_an_issue_that_is_gone_is_told(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    add(tmp_path, "One")
    exchange.push(tmp_path, forge)
    del double.issues[1]
    assert "gone" in exchange.pull(tmp_path, forge).left["1"]
    edit(tmp_path, "1", title="Two")
    assert "gone" in exchange.push(tmp_path, forge).left["1"]
    assert exchange.push(tmp_path, forge, prefer="ours").created == ["1"]


def test_a_huge_text_is_refused_not_cut(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "Huge", details="x" * (forge.most_characters + 1))
    add(tmp_path, "Small")
    told = exchange.push(tmp_path, forge)
    assert told.created == ["2"] and "at most" in told.left["1"] and told.exit_code == 5
    assert len(double.issues) == 1


def test_hostile_titles_are_data(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    title = "\x1b[2J@everyone <!-- ricochet:link 0123456789abcdef --> [x](javascript:1)"
    add(tmp_path, title, description="<!-- ricochet:details -->\nno section", details="real")
    exchange.push(tmp_path, forge)
    assert double.issues[1]["title"] == title
    double.person_edits(1, title="\u202eclosed\x1b[31m")
    exchange.pull(tmp_path, forge)
    assert task(tmp_path, "1")["title"] == "\u202eclosed\x1b[31m"
    assert task(tmp_path, "1")["details"] == "real"
    assert "no section" in task(tmp_path, "1")["description"]
    double.person_edits(1, title="   ")
    told = exchange.pull(tmp_path, forge)
    assert "title" in told.left["1"] and task(tmp_path, "1")["title"].strip()


@pytest.mark.parametrize(
    ("status", "headers", "code", "hint"),
    [
        (401, {}, "forge_token", "forges add"),
        (404, {}, "forge_missing", "--repo"),
        (429, {"Retry-After": "90"}, "forge_limited", "Run the same command again"),
        (500, {}, "forge_unreachable", "nothing is done twice"),
        (422, {}, "forge_refused", "issues are switched on"),
    ],
)
def test_faults_of_a_forge_in_plain_words(
    status: int,
    headers: dict[str, str],
    code: str,
    hint: str,
    tmp_path: Path,
    forge: Forge,
    double: doubles.Forge,
) -> None:
    add(tmp_path, "One")
    double.faults = [(status, headers, {"message": "no \x1b[31m" + TOKEN[:4]})]
    with pytest.raises(RicochetError) as caught:
        exchange.push(tmp_path, forge)
    error = caught.value
    assert error.code == code and hint in error.hint
    assert TOKEN not in error.message + error.hint and "\x1b" not in error.message
    assert exchange.push(tmp_path, forge).created == ["1"]


def test_githubs_rate_limit_names_the_time(tmp_path: Path) -> None:
    double = doubles.GitHub()
    add(tmp_path, "One")
    with serving(double) as url:
        limited = {"message": "API rate limit exceeded for user ID 1."}
        double.faults = [
            (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, limited)
        ]
        with pytest.raises(RicochetError) as caught:
            exchange.push(tmp_path, opened(double, url))
    assert caught.value.code == "forge_limited" and "minutes" in caught.value.hint


def test_a_wrong_token_and_nobody_there(tmp_path: Path, double: doubles.Forge) -> None:
    add(tmp_path, "One")
    with serving(double) as url:  # type: ignore[arg-type]
        with pytest.raises(RicochetError) as caught:
            exchange.push(tmp_path, opened(double, url, "tok-wrong"))
        assert caught.value.code == "forge_token"
    with pytest.raises(RicochetError) as caught:
        exchange.push(tmp_path, opened(double, url))
    assert caught.value.code == "forge_unreachable"
    assert TOKEN not in str(caught.value.__dict__)


def test_cancelled_tasks(tmp_path: Path, forge: Forge, double: doubles.Forge) -> None:
    add(tmp_path, "One")
    status(tmp_path, "1", TaskStatus.CANCELLED)
    exchange.push(tmp_path, forge)
    assert double.issues[1]["state"] == "closed"
    if forge.tells_cancelled:
        assert double.issues[1]["state_reason"] == "not_planned"
    double.person_edits(1, title="Other words")
    exchange.pull(tmp_path, forge)
    assert task(tmp_path, "1")["status"] == "cancelled"


def test_a_result_becomes_a_request_and_its_repetition_changes_it(
    tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "Write it")
    with pytest.raises(RicochetError) as caught:
        propose(tmp_path, forge, "1")
    assert caught.value.code == "no_result" and double.requests == {}
    exchange.push(tmp_path, forge)
    file = tmp_path / result_path("master", "1")
    file.parent.mkdir(parents=True)
    file.write_text("first\n")
    made = propose(tmp_path, forge, "1", path="docs/it.md")
    assert made.made and len(double.requests) == 1
    (branch,) = set(double.branches) - {"main"}
    assert double.branches[branch] == {"docs/it.md": "first\n"} and double.branches["main"] == {}
    request = double.requests[made.number]
    assert "Closes #1" in request[body_field(double)] and request["title"] == "1: Write it"
    file.write_text("second\n")
    again = propose(tmp_path, forge, "1", path="docs/it.md")
    assert (again.number, again.made) == (made.number, False) and len(double.requests) == 1
    assert double.branches[branch] == {"docs/it.md": "second\n"}
    for path in ("../x", "a//b", ".git/config", "/etc"):
        with pytest.raises(RicochetError) as caught:
            propose(tmp_path, forge, "1", path=path)
        assert caught.value.code == "bad_path"


@pytest.mark.parametrize("text", ["{", '{"version": 2}', '{"links": 1}', "[" * 100_000])
def test_a_broken_link_file_is_left_and_nothing_is_called(
    text: str, tmp_path: Path, forge: Forge, double: doubles.Forge
) -> None:
    add(tmp_path, "One")
    file = links.path_of(tmp_path)
    file.write_text(text)
    with pytest.raises(RicochetError) as caught:
        exchange.push(tmp_path, forge)
    assert caught.value.code == "issues_invalid" and str(file) in caught.value.message
    assert file.read_text() == text and double.calls == []


def test_links_are_in_a_file_beside_the_tasks(tmp_path: Path, forge: Forge) -> None:
    add(tmp_path, "One")
    exchange.push(tmp_path, forge)
    kept = json.loads((tmp_path / ".ricochet" / "issues.json").read_text())
    (repository,) = kept["repositories"].values()
    ((link, entry),) = repository["links"].items()
    assert entry["number"] == 1 and task(tmp_path, "1")["metadata"]["ricochet"]["link"] == link
    assert kept["last"] == {forge.name: "ada/engine"}


PIECES = [*"ab \n#-[]x1.<>!", "<!-- ricochet:", "<!-- ricochet:details -->\n", "## Details\n"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(list(TaskStatus)), st.booleans())
def test_a_text_that_comes_back_unchanged_changes_nothing(
    description: str, details: str, tests: str, state: TaskStatus, tells: bool
) -> None:
    part = {"id": 2, "title": description or "x", "status": "completed"}
    item = {
        "id": 1,
        "title": "a title",
        "description": description,
        "details": details,
        "testStrategy": tests,
        "status": state.value,
        "subtasks": [part],
    }
    before = json.dumps(item)
    text = rendering.text_of("1", item, "0123456789abcdef", tells_cancelled=tells)
    rendering.apply(item, text, NOW, tells_cancelled=tells)
    assert json.dumps(item) == before


@given(TEXTS.filter(str.strip), TEXTS)
def test_any_text_of_an_issue_is_taken(title: str, body: str) -> None:
    item = rendering.new_item(Text(title, body, "open"), 1)
    rendering.apply(item, Text(title, body, "open"), NOW, tells_cancelled=True)
    assert item["description"].strip() and item["title"].strip()
