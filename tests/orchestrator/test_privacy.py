"""Privacy settings: read strictly, only ever added to; and documents as they may be sent."""

from pathlib import Path

import pytest

from ricochet_orchestrator.document import Mark, document_of, part_of
from ricochet_orchestrator.material import Material
from ricochet_orchestrator.media import Form
from ricochet_orchestrator.personal_data import Kind
from ricochet_orchestrator.privacy import (
    Privacy,
    Sensitivity,
    kinds_of,
    load,
    redact_document,
    strictest,
    terms_of,
)
from ricochet_orchestrator.redaction import restore
from ricochet_orchestrator.segment import segment
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.tokens import count_tokens

KEY = bytes(range(32))


def put(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "privacy.yaml").write_text(text, "utf-8")


def test_without_a_file_nothing_is_kept_back(tmp_path: Path) -> None:
    assert load(tmp_path / "home", tmp_path) == Privacy()
    assert not Privacy().redacts


def test_the_working_folders_file_counts_before_the_homes(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    put(home, "redact: all\n")
    assert Kind.PHONE in load(home, work).redact
    put(work / ".ricochet", "redact: [email]\nterms: [Ada]\nregion: DE\nsensitivity: own\n")
    assert load(home, work) == Privacy((Kind.EMAIL,), ("Ada",), "DE", Sensitivity.OWN)


@pytest.mark.parametrize(
    "text",
    [
        "redact: [names]",
        "redacted: all",
        "sensitivity: secret",
        "region: Atlantis",
        "terms: [1]",
        "- redact",
        "a: [",
        "x" * (1024 * 1024 + 1),
    ],
)
def test_a_file_that_says_something_unknown_is_refused(tmp_path: Path, text: str) -> None:
    put(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, tmp_path / "elsewhere")
    assert caught.value.code == "bad_privacy"
    assert "privacy.yaml" in caught.value.message


def test_a_command_line_only_adds() -> None:
    file = Privacy((Kind.EMAIL,), ("Ada",), "DE", Sensitivity.ATTESTED)
    both = file.and_also(Privacy((Kind.PHONE,), ("Bob",)))
    assert both == Privacy((Kind.EMAIL, Kind.PHONE), ("Ada", "Bob"), "DE", Sensitivity.ATTESTED)
    assert strictest(Sensitivity.OWN, Sensitivity.PUBLIC) is Sensitivity.OWN


def test_what_a_command_line_names(tmp_path: Path) -> None:
    assert set(kinds_of(["all"])) == set(Kind) - {Kind.TERM}
    assert kinds_of(["email", "ip"]) == (Kind.EMAIL, Kind.IP)
    with pytest.raises(UsageError, match="names"):
        kinds_of(["names"])
    (tmp_path / "terms").write_text("Ada\n\n Bob \n", "utf-8")
    assert terms_of(tmp_path / "terms") == ("Ada", "Bob")
    with pytest.raises(UsageError):
        terms_of(tmp_path / "none")


def test_only_terms_redact_only_terms() -> None:
    redacted, values = redact_document(
        document_of("d", (part_of("d", "Ada: a@b.org"),)), Privacy(terms=("Ada",)).finder(), KEY
    )
    assert list(values.values()) == ["Ada"]
    assert redacted.text.endswith(": a@b.org")


def test_a_document_is_redacted_part_by_part_and_still_leads_to_its_sources() -> None:
    first = "Write to ada@example.org today.\fSecond page."
    marks = (Mark(0, "page 1"), Mark(first.index("Second"), "page 2"))
    document = document_of(
        "corpus",
        (
            part_of("letters to ada@example.org", first, "pdf", Form.TEXT, marks),
            part_of("b.md", "Again: ada@example.org", "markdown", Form.MARKDOWN),
        ),
    )
    redacted, values = redact_document(document, Privacy((Kind.EMAIL,)).finder(), KEY)
    assert "ada@" not in redacted.text + "".join(part.name for part in redacted.parts)
    assert set(values.values()) == {"ada@example.org"}
    assert restore(redacted.text, values) == document.text
    assert redacted.sha256 != document.sha256
    at = redacted.text.index("Second")
    (span,) = redacted.trace(at, at + 6)
    assert (span.start, span.end, span.places) == (
        first.index("S"),
        first.index("S") + 6,
        ("page 2",),
    )
    (whole,) = redacted.trace(0, 12)
    assert first[whole.start : whole.end] == "Write to ada@example.org"
    material = Material(redacted, segment(redacted, 64, count_tokens))
    ends = [(one.start, one.end) for one in material.origins if one.part == redacted.parts[0].name]
    assert ends[0][0] == 0 and ends[-1][1] == len(first), "what is cited is the source as it was"
    assert material.origin(0, at, at + 6).places == ("page 2",)
