"""Sources that code, cards and documents cite can be opened."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from bench.plan.request import parse_assignment
from bench.registry import DATASETS, METHODS, PROTOCOLS, TEACHERS
from bench.spec import Recipe

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {".py", ".md", ".yaml", ".yml", ".json", ".toml", ".html", ".j2"}
FILES = sorted(
    path
    for folder in ("bench", "tests", "docs", "baselines", "demos")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in TEXTS and path != Path(__file__).resolve()
)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

CITED = re.compile(r"docs/(?P<file>[\w/-]+\.md)(?:#(?P<anchor>[\w-]+)|, (?P<heading>[A-Z][\w -]+)(?=[):]))?")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?!https?:|mailto:)(?P<file>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CLOSED = re.compile(
    r"\bspec(ification)? \(?\d+(\.\d+)?\b"
    r"|\bmethods? spec(ification)?\b"
    r"|\b(the|of the) specification'?s? (says|states|section)"
    r"|(?<![\w-])(spec/)?(methods|formats|transfer)\.md\b",
    re.IGNORECASE,
)
"""References to a specification that no reader has: "spec 7.4", "section 5.1 of the method specification"."""
SECTION = re.compile(r"(\bsections? |§ ?)\d", re.IGNORECASE)
PAPER = re.compile(r"arXiv \d{4}\.\d|\b(19|20)\d\d\b")
"""What a section number needs beside it: the paper that has the section."""


def headings(text: str) -> list[str]:
    """Return the headings of a Markdown text, code left out."""
    return [found.replace("`", "") for found in HEADING.findall(FENCED.sub("", text))]


def slugs(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a text."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@cache
def document(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return headings and anchors of a document."""
    text = path.read_text(encoding="utf-8")
    return frozenset(headings(text)), frozenset(slugs(text))


def lost(text: str) -> list[str]:
    """Return the citations of our documents in a text that lead nowhere."""
    broken = []
    for found in CITED.finditer(text):
        path = ROOT / "docs" / found["file"]
        known, anchors = document(path) if path.is_file() else (frozenset[str](), frozenset[str]())
        anchored = found["anchor"] is None or found["anchor"] in anchors
        headed = found["heading"] is None or found["heading"] in known
        if not path.is_file() or not anchored or not headed:
            broken.append(found[0])
    return broken


def closed(text: str) -> list[str]:
    """Return the lines that cite what a reader cannot open."""
    return [
        line.strip()
        for line in text.splitlines()
        if CLOSED.search(line) or (SECTION.search(line) and not PAPER.search(line))
    ]


def test_cited_headings_exist() -> None:
    """A reader of the code would follow a citation and find nothing."""
    texts = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *FILES]}
    broken = {str(path.relative_to(ROOT)): found for path, text in texts.items() if (found := lost(text))}
    assert broken == {}
    cited = {found["anchor"] for text in texts.values() for found in CITED.finditer(text)}
    assert {"recon-block", "recon-losses", "few-shot-folds"} <= cited, "the search for citations finds none"


def test_options_of_the_reference_exist() -> None:
    """An option that is said to restore a release would be refused, or restore nothing."""
    options: dict[str, list[type[BaseModel]]] = {"recipe": [Recipe]}
    for kind in (METHODS, PROTOCOLS):
        options |= {name: [kind.load(name).Options] for name in kind.names()}
    options["data"] = options["pretrain_data"] = [DATASETS.load(name).Options for name in DATASETS.names()]
    options["teacher"] = [TEACHERS.load(name).Options for name in TEACHERS.names()]
    text, _, _ = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").partition("## Checkpoint layouts")
    named = re.findall(rf"(?<=[`\s])({'|'.join(options)})\.(\w+)(?:=([\w.]+))?(?=[`\s])", text)
    assert len(named) > 30, "the search for options finds too few"
    for owner, name, value in named:
        fields = [model.model_fields[name] for model in options[owner] if name in model.model_fields]
        assert fields, f"{owner}.{name}"
        if value:
            given = parse_assignment(f"{owner}.{name}={value}")[1]
            assert any(TypeAdapter(field.annotation).validate_python(given) is not None for field in fields)


def test_no_source_is_out_of_reach() -> None:
    """Users saw "spec 7.4" in cards, and the specification was in no repository."""
    broken = {str(path.relative_to(ROOT)): found for path in FILES if (found := closed(path.read_text("utf-8")))}
    assert broken == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_resolve(path: Path) -> None:
    """A link of the documentation would lead to an error page."""
    broken = []
    for found in LINK.finditer(FENCED.sub("", path.read_text(encoding="utf-8"))):
        target = (path.parent / found["file"]).resolve() if found["file"] else path
        missing = found["anchor"] is not None and target.suffix == ".md" and target.exists()
        if not target.exists() or (missing and found["anchor"] not in document(target)[1]):
            broken.append(found[0])
    assert broken == []


@pytest.mark.parametrize(
    "line",
    [
        "As released (spec 7.4): ten folds",
        "Source: ReCon; section 5.1 of the method specification.",
        "by the released loop (sections 6.2, 6.4)",
        "(specification 5.5)",
        "Source: formats.md, ShapeNet",
        "see `spec/methods.md` 5.2",
        "see § 4",
    ],
)
def test_the_check_knows_citations_that_nobody_can_open(line: str) -> None:
    """Such a citation would come back unnoticed."""
    assert closed(line) == [line]


def test_the_check_lets_sources_pass_that_can_be_opened() -> None:
    assert (
        closed("Smyth, 2004, section 6\n(arXiv 2411.17467, section 4.3)\ndata-formats.md; the run's spec, 3 of them")
        == []
    )
    good = "docs/reference.md#recon-block, (docs/reference.md, Few-shot): docs/protocols.md."
    assert lost(good) == []
    bad = "docs/none.md docs/reference.md#recon-blocks (docs/reference.md, Few shots)"
    assert lost(bad) == ["docs/none.md", "docs/reference.md#recon-blocks", "docs/reference.md, Few shots"]


def test_anchors_are_those_of_github() -> None:
    text = "# A `b`: c, d\n## A [x](y.md) & z\n```\n# no heading\n```\n### Same\n### Same\n"
    assert slugs(text) == {"a-b-c-d", "a-x--z", "same", "same-1"}
