"""Texts and files of strangers that try to run, forge, leak or hide something; each names what stands against it."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

from llmops.commands.comment import comment
from llmops.commands.recorded import MOST_BYTES, MOST_VERDICTS
from llmops.commands.report import report
from llmops.core.documents import to_json
from llmops.errors import LlmopsError
from llmops.hosts.azure_pipelines import AZURE_PIPELINES
from llmops.hosts.azure_pull_request import open_azure_pull_request
from llmops.hosts.github import GITHUB, SUMMARY_BYTES
from llmops.hosts.github_pull_request import BODY_CHARACTERS, describe_finished_run
from llmops.hosts.host import PER_LEVEL, Annotation, worst_first
from llmops.records import FlowChange, LineError, RowView, VerdictRecord, read_record, write_record
from llmops.reports import console, html, junit, markdown
from llmops.reports.comment import render_comment
from llmops.reports.redaction import redact
from llmops.reports.terminal import Terminal
from tests.hosts.azure_double import SOMEBODY, AzureRepos
from tests.hosts.github_double import BOT, COMMIT, NUMBER, GitHub
from tests.hosts.rest_double import Call, Reply, Service, serve
from tests.hosts.surroundings import build_context, read_outputs
from tests.reports.verdicts import (
    ACCURACY,
    build_evaluation,
    build_finding,
    build_row,
    build_verdict,
)

Damage = Callable[[Path], object]
"""Tries an attack in a folder; gives something true when it did what it should not be able to do."""


class Attack(NamedTuple):
    """One attack and the name of the defence against it."""

    name: str
    defence: str
    damage: Damage


# Where a stranger's text gets into a verdict.


def in_note(text: str) -> VerdictRecord:
    return build_verdict(notes=(text,))


def in_finding(text: str) -> VerdictRecord:
    return build_verdict(findings=(build_finding(outcome="fail", message=text),))


def in_limit(text: str) -> VerdictRecord:
    return build_verdict(findings=(build_finding(limit=text),))


def in_metric(text: str) -> VerdictRecord:
    metric = dataclasses.replace(ACCURACY, name=text)
    return build_verdict(candidate=build_evaluation(metric), findings=(build_finding(metric=text),))


def in_answer(text: str) -> VerdictRecord:
    sides = (
        RowView(status="scored", outputs={"answer": one}, scores={}, error="", duration_s=0.1) for one in (text, "x")
    )
    return build_verdict(flipped=(build_row(0, *sides, change="regressed"),), baseline=build_evaluation())


def in_question(text: str) -> VerdictRecord:
    side = RowView(status="scored", outputs={}, scores={}, error="", duration_s=0.1)
    return build_verdict(flipped=(build_row(0, side, inputs={"question": text}, change="regressed"),))


def in_error(text: str) -> VerdictRecord:
    side = RowView(status="failed", outputs=None, scores={}, error=text, duration_s=0.1)
    return build_verdict(flipped=(build_row(0, side, change="regressed"),), candidate=build_evaluation(failed=1))


def in_branch(text: str) -> VerdictRecord:
    return build_verdict(candidate=build_evaluation(ref=text))


def in_file(text: str) -> VerdictRecord:
    return build_verdict(changes=(FlowChange(text=f"{text} changed"),))


def in_prompt(*lines: str) -> VerdictRecord:
    diff = "\n".join(["@@ -1 +1 @@", *lines])
    return build_verdict(changes=(FlowChange(text="prompt changed", diff=diff, is_prompt=True),))


# What a reader, a runner or a browser would do.

_READER = MarkdownIt("gfm-like", {"html": True, "linkify": True})
_OURS = {"<details>", "</details>", "<summary>", "</summary>"}
_NOTIFIES = re.compile(r"@\w|(?<!\w)[#!]\d|gh-\d|://|www\.\w", re.IGNORECASE)
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def _tokens(text: str) -> list[Any]:
    return [inner for token in _READER.parse(text) for inner in (token, *(token.children or ()))]


def markup(text: str) -> set[str]:
    """Name what Markdown makes of a text beside what our own report holds: tags, links, images, headings."""
    tokens = _tokens(text)
    found = {token.type for token in tokens if token.type in {"link_open", "image", "code_block"}}
    tags = {tag for token in tokens if token.type.startswith("html") for tag in re.findall(r"<[^>]*>?", token.content)}
    return found | (tags - _OURS)


def notified(text: str) -> object:
    """Find mentions, references and addresses that the host would make something of."""
    shown = [token.content for token in _tokens(text) if token.type in {"text", "text_special"}]
    return _NOTIFIES.search("\n".join(shown)) or "link_open" in markup(text)


def headings(text: str) -> int:
    """Count headings; a report has one."""
    return sum(token.type == "heading_open" for token in _tokens(text))


def widths(text: str) -> set[int]:
    """Give the numbers of bars in the lines of tables, those in cells counted too."""
    return {line.count("|") for line in text.splitlines() if line.startswith("|")}


def obeyed(text: str) -> list[str]:
    """Give the lines that a runner takes for commands."""
    return [line for line in text.splitlines() if line.lstrip().startswith("::") or re.search(r"##(vso)?\[", line)]


def on_a_terminal(verdict: VerdictRecord) -> str:
    return console.render(verdict, width=100, color=False)


class _Page(HTMLParser):
    def __init__(self, verdict: VerdictRecord) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html.render(verdict))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def _page(place: Callable[[str], VerdictRecord], text: str) -> Damage:
    """Attack the HTML report: other elements or attributes than with a harmless text."""

    def damage(_: Path) -> object:
        page, harmless_page = _Page(place(text)), _Page(place("text"))
        return page.tags != harmless_page.tags or page.attributes != harmless_page.attributes

    return damage


def _markdown(place: Callable[..., VerdictRecord], *text: str, find: Callable[[str], object] = markup) -> Damage:
    return lambda _: find(markdown.render(place(*text)))


def _adds_cells(verdict: VerdictRecord) -> Damage:
    return lambda _: len(widths(markdown.render(verdict))) > 1


def _adds_heading(verdict: VerdictRecord) -> Damage:
    return lambda _: headings(markdown.render(verdict)) > 1


def _console(place: Callable[[str], VerdictRecord], text: str, find: Callable[[str], object]) -> Damage:
    return lambda _: find(on_a_terminal(place(text)))


# Workflow commands and logging commands, read as the runners read them.


def github_command(annotation: Annotation) -> tuple[list[str], dict[str, str]]:
    """Give the lines of an annotation and the properties that GitHub's runner reads of the first."""
    lines = re.split(r"[\r\n]", GITHUB.annotate(annotation))
    properties = lines[0][2:].partition("::")[0].partition(" ")[2]
    return lines, dict(part.split("=", 1) for part in properties.split(",") if "=" in part)


def _unescaped(text: str) -> str:
    for escape, sign in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, sign)
    return text


def _github_message(text: str) -> Damage:
    """Attack by the message: more lines, a command inside, or another text than the one that was meant."""

    def damage(_: Path) -> object:
        lines, _properties = github_command(Annotation(level="error", title="t", message=text))
        shown = _unescaped(lines[0].split("::", 2)[2]).replace("# #", "##")
        return len(lines) > 1 or "##[" in lines[0] or shown != text

    return damage


def _github_property(**fields: str) -> Damage:
    def damage(_: Path) -> object:
        annotation = Annotation(**{"level": "note", "title": "t", "message": "m", **fields})  # type: ignore[arg-type]
        lines, properties = github_command(annotation)
        return lines[0].count("::") != 2 or set(properties) != ({"file", "title"} if "file" in fields else {"title"})

    return damage


def _azure(expected: Sequence[str], **fields: str) -> Damage:
    """Attack an annotation of Azure Pipelines: more commands, lines or properties than there should be."""

    def damage(_: Path) -> object:
        annotation = Annotation(**{"level": "error", "title": "t", "message": "m", **fields})  # type: ignore[arg-type]
        written = AZURE_PIPELINES.annotate(annotation)
        found = re.match(r"##vso\[task\.logissue ([^\]]*)\](.*)", written, re.DOTALL)
        assert found
        names = [part.partition("=")[0] for part in found[1].split(";") if part]
        message = found[2].replace("%0D", "\r").replace("%0A", "\n").replace("%AZP25", "%").replace("# #", "##")
        meant = f"{fields.get('title', 't')}: {fields.get('message', 'm')}"
        return (
            written.count("##vso[") > 1 or re.search(r"[\r\n]", written) or names != list(expected) or message != meant
        )

    return damage


def _output(value: str) -> Damage:
    def damage(folder: Path) -> object:
        place = folder / "output"
        place.touch()
        GITHUB.set_output({"GITHUB_OUTPUT": str(place)}, "names", value)
        return set(read_outputs(place)) != {"names"}

    return damage


def _azure_output(value: str) -> Damage:
    return lambda _: len("\n".join(AZURE_PIPELINES.set_output({}, "names", value)).splitlines()) > 1


def _mask(_: Path) -> object:
    lines = ["first line", "second line"]
    masked = [line.removeprefix("::add-mask::") for line in GITHUB.mask("\n".join(lines))]
    return set(lines) - set(masked)


def _summary(folder: Path) -> object:
    (folder / "summary").touch()
    (folder / "report.md").write_text("x" * 80 + "\n" + "y" * SUMMARY_BYTES)
    GITHUB.add_summary({"GITHUB_STEP_SUMMARY": str(folder / "summary")}, folder / "report.md")
    return (folder / "summary").stat().st_size > SUMMARY_BYTES


def _many_annotations(_: Path) -> object:
    many = [Annotation(level="note", title=f"{at}", message="m") for at in range(50)]
    return len(worst_first(many)) > PER_LEVEL


# The trusted half: what a fork's run left behind, and what GitHub says of it.


def trusted(
    folder: Path,
    *,
    pulls: Sequence[dict[str, Any]] | None = None,
    key: str = "check",
    status: bool = False,
    **run: Any,
) -> GitHub:
    """Comment on what is in `left`; a refusal posts nothing."""
    service = GitHub(
        pulls=list(
            pulls if pulls is not None else [{"number": NUMBER, "head": {"sha": COMMIT, "label": "fork:feature"}}]
        )
    )
    (folder / "left").mkdir(exist_ok=True)
    with serve(service):
        context = build_context(folder, env=service.finished_run(folder, **run))
        try:
            comment(context=context, verdict=folder / "left", expected=(), key=key, status=status)
        except LlmopsError as error:
            service.calls.append(f"refused: {error}")
        service.mistakes.clear()
    return service


def left(folder: Path, verdict: VerdictRecord, name: str = "llmops-check-a") -> Path:
    path = folder / "left" / name / "verdict.json"
    write_record(path, verdict)
    return path


def _link(folder: Path) -> object:
    write_record(folder / "secret.json", build_verdict(notes=("the secret",)))
    path = left(folder, build_verdict())
    path.unlink()
    path.symlink_to(folder / "secret.json")
    return [one for one in trusted(folder).comments if "the secret" in one["body"]]


def _oversized(folder: Path) -> object:
    path = left(folder, build_verdict())
    path.write_text(" " * MOST_BYTES + path.read_text())
    return trusted(folder).comments


def _named(name: str) -> Damage:
    def damage(folder: Path) -> object:
        left(folder, build_verdict(experiment=name))
        return trusted(folder).comments

    return damage


def _named_to_leave(name: str) -> Damage:
    """A name that is a path: the reports of several verdicts go into folders of these names."""

    def damage(folder: Path) -> object:
        left(folder, build_verdict(experiment=name))
        left(folder, build_verdict(experiment="b"), "llmops-check-b")
        try:
            report(context=build_context(folder), verdict=folder / "left", output=folder / "in" / "out")
        except LlmopsError:
            return None
        return [path for path in folder.rglob("report.md") if not path.is_relative_to(folder / "in" / "out")]

    return damage


def _doubled(folder: Path) -> object:
    left(folder, build_verdict(outcome="fail", exit_code=10))
    left(folder, build_verdict(), "llmops-check-b")
    return trusted(folder).comments


def _flood(folder: Path) -> object:
    for at in range(MOST_VERDICTS + 1):
        left(folder, build_verdict(experiment=f"e{at}"), f"llmops-check-{at}")
    return trusted(folder, pulls=[]).calls[0].startswith("GET")


def _accepted(*path: str | int, to: Any) -> Damage:
    """A verdict in which one value has another type; damage is done when it is taken for a record."""

    def damage(folder: Path) -> object:
        document = to_json(build_verdict())
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        file = folder / "verdict.json"
        file.write_text(json.dumps(document))
        try:
            read_record(file, VerdictRecord)
        except LlmopsError:
            return False
        return True

    return damage


def _moved_head(folder: Path) -> object:
    left(folder, build_verdict())
    return trusted(folder, head_sha="f" * 40).comments


def _forged_number(folder: Path) -> object:
    """A fork has the commit of somebody else's pull request on a branch of the same name."""
    left(folder, build_verdict())
    head = {"full_name": "mallory/cat", "owner": {"login": "mallory"}}
    return trusted(folder, head_repository=head).comments


def _number_in_the_artifact(folder: Path) -> object:
    """A number that the fork wrote down points at another pull request, whose commit is another one."""
    path = left(folder, build_verdict())
    path.with_name("pr_number.txt").write_text("8")
    document = json.loads(path.read_text()) | {"pull_request": 8, "number": 8}
    path.write_text(json.dumps(document))
    pulls = [{"number": 8, "head": {"sha": "e" * 40, "label": "fork:feature"}}]
    return [call for call in trusted(folder, pulls=pulls).calls if "/issues/" in call]


def _other_event(name: str) -> Damage:
    def damage(folder: Path) -> object:
        left(folder, build_verdict())
        return trusted(folder, event=name).comments

    return damage


def _forged_pass(folder: Path) -> object:
    left(folder, build_verdict())
    (one,) = trusted(folder).comments
    return "which ended with failure" not in one["body"]


def _forged_status(folder: Path) -> object:
    left(folder, build_verdict())
    return [run for run in trusted(folder, status=True).check_runs if run["conclusion"] == "success"]


def _conclusion(text: str) -> Damage:
    def damage(folder: Path) -> object:
        found = describe_finished_run(GitHub().finished_run(folder, conclusion=text))
        return found is None or text in found.conclusion

    return damage


def _mark_of(login: str, body: str) -> Damage:
    """Somebody has left our mark where it is not ours."""

    def damage(folder: Path) -> object:
        left(folder, build_verdict())
        service = GitHub()
        service.add(login, body)
        before = service.comments[0]["body"]
        pulls = [{"number": NUMBER, "head": {"sha": COMMIT, "label": "fork:feature"}}]
        service.pulls = pulls
        with serve(service):
            context = build_context(folder, env=service.finished_run(folder))
            comment(context=context, verdict=folder / "left", expected=())
            service.mistakes.clear()
        return service.comments[0]["body"] != before

    return damage


def _thread_of_somebody(_: Path) -> object:
    service = AzureRepos()
    thread = service.add(SOMEBODY, "mine", status="active", key="check")
    with serve(service):
        open_azure_pull_request(service.environment()).put_comment("ours", key="check", is_open=True)
        service.mistakes.clear()
    return thread["comments"][0]["content"] != "mine"


class _Elsewhere(Service):
    def answer(self, call: Call) -> Reply:
        del call
        return Reply(200, [])


def _led_away(reply: Callable[[str], Reply]) -> Damage:
    """The answer leads to another address: nothing may arrive there."""

    def damage(folder: Path) -> object:
        left(folder, build_verdict())
        elsewhere = _Elsewhere()
        with serve(elsewhere):
            service = GitHub(trouble=[reply(elsewhere.url)])
            service.pulls.append({"number": NUMBER, "head": {"sha": COMMIT, "label": "fork:feature"}})
            with serve(service):
                context = build_context(folder, env=service.finished_run(folder))
                comment(context=context, verdict=folder / "left", expected=())
                service.mistakes.clear()
        return elsewhere.calls

    return damage


def _key(text: str) -> Damage:
    def damage(folder: Path) -> object:
        left(folder, build_verdict())
        return trusted(folder, key=text).comments

    return damage


def _huge_comment(_: Path) -> object:
    return len(render_comment([_huge(), _huge()])) > BODY_CHARACTERS


def _huge() -> VerdictRecord:
    return build_verdict(outcome="fail", notes=tuple("x" * 500 for _ in range(200)))


def _cut(verdict: VerdictRecord, at: str, find: Callable[[str], object]) -> Damage:
    def damage(_: Path) -> object:
        text = markdown.render(verdict)
        return find(markdown.cut_at_line(text, text.index(at) + 200))

    return damage


def _open_folds(text: str) -> bool:
    return text.count("<details>") != text.count("</details>")


def _swallowed(text: str) -> bool:
    """Say whether what follows a diff is taken for a part of it."""
    return not [token for token in _tokens(text) if token.type == "text" and "This report was cut" in token.content]


# Redaction.

_PRIVATE = "the private text of a row"


def _told(change: Callable[[VerdictRecord], VerdictRecord]) -> Damage:
    def damage(_: Path) -> object:
        verdict = redact(change(build_verdict()))
        texts = (markdown.render(verdict), html.render(verdict), junit.render(verdict), json.dumps(to_json(verdict)))
        return [text for text in texts if _PRIVATE in text]

    return damage


def _with_row(**fields: Any) -> Callable[[VerdictRecord], VerdictRecord]:
    view: dict[str, Any] = {"status": "failed", "outputs": None, "scores": {}, "error": "", "duration_s": 0.1}
    inputs = fields.pop("inputs", {})
    row = build_row(0, RowView(**{**view, **fields}), inputs=inputs, change="regressed")
    return lambda verdict: dataclasses.replace(verdict, flipped=(row,), worst=(row,))


def _with_run(**fields: Any) -> Callable[[VerdictRecord], VerdictRecord]:
    def change(verdict: VerdictRecord) -> VerdictRecord:
        run = dataclasses.replace(verdict.candidate.run, **fields)
        return dataclasses.replace(verdict, candidate=dataclasses.replace(verdict.candidate, run=run))

    return change


def _invisible(text: str) -> object:
    return _INVISIBLE.search(text.replace("\n", ""))


def _no_xml(text: str) -> Damage:
    def damage(_: Path) -> object:
        try:
            ET.fromstring(junit.render(in_error(text)).encode())  # noqa: S314 our own
        except (ET.ParseError, UnicodeEncodeError):
            return True
        return False

    return damage


_ESCAPED = "markup in sentences is escaped"
_BROKEN = "mentions, references and addresses are broken"
_SPAN = "a code span has more backticks than its text"
_PADDED = "a code span is padded beside backticks"
_LINE = "a value stands on one line"
_FENCE = "the fence of a block is longer than what is in it"
_VISIBLE = "what cannot be seen is made visible"
_COLONS = "two colons at the start of a line are broken"
_ANYWHERE = "commands anywhere in a line are broken"
_DATA = "line ends and percents in a workflow command are escaped"
_PROPERTY = "colons and commas in properties of a workflow command are escaped"
_AZURE_DATA = "line ends and percents in a logging command are escaped"
_AZURE_PROPERTY = "semicolons and brackets in properties of a logging command are escaped"
_PAGE_ESCAPES = "the page escapes every value"
_NAME = "an experiment's name is a name"
_TYPES = "a record has its types"
_PLACES = ["type", "sourcepath", "linenumber"]

ATTACKS: Sequence[Attack] = (
    # Markup in sentences: notes, findings, limits.
    Attack("an image with a handler in a note", _ESCAPED, _markdown(in_note, "<img src=x onerror=alert(1)>")),
    Attack("the end of a fold in a note", _ESCAPED, _markdown(in_note, "x </details> y <b>")),
    Attack("a comment that hides what follows in a note", _ESCAPED, _markdown(in_note, "x <!-- y --> z")),
    Attack("a link in a finding", _ESCAPED, _markdown(in_finding, "[approve](javascript:alert\\(1\\)) [x](/y)")),
    Attack("an image that tells of readers in a finding", _ESCAPED, _markdown(in_finding, "![x](/p.png)")),
    Attack("an address in brackets in a finding", _ESCAPED, _markdown(in_finding, "see <https:x>")),
    Attack("a cell more in a limit", _ESCAPED, _adds_cells(in_limit("min 0.1 | ✅ pass"))),
    # Whom a sentence would call.
    Attack("a mention in a note", _BROKEN, _markdown(in_note, "ask @octocat", find=notified)),
    Attack("a mention of a team in a finding", _BROKEN, _markdown(in_finding, "ask @org/admins", find=notified)),
    Attack("a reference to an issue in a note", _BROKEN, _markdown(in_note, "closes !12 now", find=notified)),
    Attack("a short reference in a note", _BROKEN, _markdown(in_note, "closes GH-7", find=notified)),
    Attack("an address in a note", _BROKEN, _markdown(in_note, "go to http://evil.example/x", find=notified)),
    Attack("a host in a finding", _BROKEN, _markdown(in_finding, "go to www.evil.example", find=notified)),
    Attack(
        "an address to write to in a finding", _BROKEN, _markdown(in_finding, "write to a@evil.example", find=notified)
    ),
    # Out of a code span.
    Attack("a tag behind a backtick in an answer", _SPAN, _markdown(in_answer, "a` <b>x</b> `b")),
    Attack("a link behind a backtick in an answer", _SPAN, _markdown(in_answer, "a` [x](http://evil.example) `b")),
    Attack("an image behind a backtick in a question", _SPAN, _markdown(in_question, "a` ![x](/p.png) `b")),
    Attack("a tag behind a backtick in a metric", _SPAN, _markdown(in_metric, "a` <b>x</b> `b")),
    Attack("a mention behind a backtick in a branch", _SPAN, _markdown(in_branch, "a` @octocat `b", find=notified)),
    Attack("an image behind a backtick in a file name", _SPAN, _markdown(in_file, "a` ![x](/p.png) `b")),
    Attack("a tag behind a backtick in an error", _SPAN, _markdown(in_error, "a` <b>x</b> `b")),
    Attack("a tag behind a leading backtick in an answer", _PADDED, _markdown(in_answer, "`<b>x</b>")),
    Attack("a tag before a trailing backtick in a file name", _PADDED, _markdown(in_question, "<b>x</b>`")),
    # Out of a table, a line, a block.
    Attack("a cell more in a metric", "a name in a table has no pipe", _adds_cells(in_metric("a | **0.99** | ✅"))),
    Attack(
        "a cell more in the overview",
        "a name in the overview has no pipe",
        lambda _: len(widths(render_comment([build_verdict()], missing=("x | ✅ passed",)))) > 1,
    ),
    Attack("a heading in an answer", _LINE, _adds_heading(in_answer("x\n\n## ✅ passed\n"))),
    Attack("a heading in an error", _LINE, _adds_heading(in_error("x\n\n## ✅ passed\n"))),
    Attack("a heading in a question", _LINE, _adds_heading(in_question("x\n\n## ✅ passed\n"))),
    Attack("a heading in a branch", _LINE, _adds_heading(in_branch("x\n\n## ✅ passed\n"))),
    Attack("a row more in a metric", _LINE, _adds_cells(in_metric("a\n| forged | 1 |\n"))),
    Attack("an answer as long as a book", "a value is cut", lambda _: len(markdown.code("x" * 9_000, 200)) > 300),
    Attack("a fence in a prompt", _FENCE, _markdown(in_prompt, " ```", "+<img src=x>", "+")),
    Attack("a fence and a link in a prompt", _FENCE, _markdown(in_prompt, " ```", " [x](http://evil.example)")),
    # What cannot be seen.
    Attack("text that is turned around in a note", _VISIBLE, _markdown(in_note, "x \u202edessap", find=_invisible)),
    Attack("a tag character in an answer", _VISIBLE, _markdown(in_answer, "x \U000e0041", find=_invisible)),
    Attack("a screen that is cleared by an answer", _VISIBLE, _console(in_answer, "\x1b[2J\x1b[31mred", _invisible)),
    Attack("a link of a terminal in an error", _VISIBLE, _console(in_error, "\x1b]8;;http://x\x07y", _invisible)),
    Attack("a control character of one byte in a note", _VISIBLE, _console(in_note, "x \x9b2J", _invisible)),
    Attack("colours in a branch", _VISIBLE, _console(in_branch, "\x1b[32mmain", _invisible)),
    Attack("text that is turned around in a page", _VISIBLE, lambda _: "\u202e" in html.render(in_answer("x \u202ey"))),
    Attack("a nul in an error", _VISIBLE, _no_xml("x \x00 y")),
    Attack("a character that XML has not in an error", _VISIBLE, _no_xml("x \ufffe y")),
    Attack("half a character in an error", _VISIBLE, _no_xml("x \ud83d y")),
    # What a runner obeys on standard output.
    Attack(
        "a workflow command in a prompt",
        _COLONS,
        _markdown(in_prompt, "::error::x", " ::set-output name=x::y", find=obeyed),
    ),
    Attack(
        "a workflow command that is indented",
        _COLONS,
        lambda _: obeyed(Terminal(width=80, color=False, encoding="utf-8").spell("x\n  ::add-mask::a")),
    ),
    Attack("a logging command in an answer", _ANYWHERE, _console(in_answer, "x ##vso[task.complete]", obeyed)),
    Attack(
        "a logging command in a question",
        _ANYWHERE,
        _console(in_question, "##vso[task.setvariable variable=x]y", obeyed),
    ),
    Attack("an older command in an error", _ANYWHERE, _console(in_error, "x ##[error]y", obeyed)),
    Attack("a logging command in a branch", _ANYWHERE, _console(in_branch, "##vso[build.addbuildtag]x", obeyed)),
    Attack(
        "a logging command in a comment that is printed",
        _ANYWHERE,
        _markdown(in_answer, "##vso[task.complete]", find=obeyed),
    ),
    Attack(
        "a logging command in a test's name",
        _ANYWHERE,
        lambda _: obeyed(junit.render(in_metric("##vso[task.complete]x"))),
    ),
    # Commands of ours.
    Attack("a second command on the next line", _DATA, _github_message("x\n::error::forged")),
    Attack("a second command after a carriage return", _DATA, _github_message("x\r::error::forged")),
    Attack("a line end that is escaped already", _DATA, _github_message("x%0A::error::forged")),
    Attack(
        "an older command in a message",
        "older commands in a workflow command are broken",
        _github_message("x ##[error]y"),
    ),
    Attack("another file by the title", _PROPERTY, _github_property(title="x,file=/etc/passwd")),
    Attack("an end of the properties in the title", _PROPERTY, _github_property(title="x::forged")),
    Attack("another line by the file name", _PROPERTY, _github_property(file="a,line=1.py")),
    Attack(
        "a second output in a value",
        "the end of an output cannot be guessed",
        _output("x\nllmops_0\nadmin<<llmops_0\ntrue"),
    ),
    Attack("the second line of a secret", "every line of a secret is masked", _mask),
    Attack("a summary that is refused as a whole", "a summary stays below the limit", _summary),
    Attack("so many notes that the errors are not seen", "a step shows so many annotations", _many_annotations),
    Attack("a logging command on the next line", _AZURE_DATA, _azure(["type"], message="x\n##vso[task.complete]")),
    Attack("a line end that is escaped already, for Azure", _AZURE_DATA, _azure(["type"], message="x%0Ay %AZP25")),
    Attack("a second line in an output, for Azure", _AZURE_DATA, _azure_output("x\ny")),
    Attack(
        "a logging command in a message",
        "commands in a logging command are broken",
        _azure(["type"], message="x ##vso[task.complete result=Succeeded]"),
    ),
    Attack("another property by a file name", _AZURE_PROPERTY, _azure(["type", "sourcepath"], file="a;type=warning")),
    Attack("the end of a command in a file name", _AZURE_PROPERTY, _azure(["type", "sourcepath"], file="a]forged")),
    # The page.
    Attack("a script in an answer", _PAGE_ESCAPES, _page(in_answer, "</td><script>alert(1)</script>")),
    Attack("an image in a question", _PAGE_ESCAPES, _page(in_question, "<img src=x onerror=alert(1)>")),
    Attack("a handler in an error", _PAGE_ESCAPES, _page(in_error, '"><svg onload=alert(1)>')),
    Attack("a frame in a branch", _PAGE_ESCAPES, _page(in_branch, "<iframe src=//evil.example></iframe>")),
    Attack("a form in a note", _PAGE_ESCAPES, _page(in_note, "<form action=//evil.example>")),
    Attack("a script in a metric", _PAGE_ESCAPES, _page(in_metric, "<script src=//evil.example></script>")),
    Attack(
        "a script that got in all the same",
        "the page runs only its own script",
        lambda _: "unsafe" in html.render(build_verdict()),
    ),
    Attack(
        "a picture that tells of readers",
        "the page loads nothing",
        lambda _: "default-src *" in html.render(build_verdict()),
    ),
    # What a fork left behind.
    Attack("a verdict that is a link to a file of the runner", "a verdict is no link", _link),
    Attack("a verdict that fills the memory", "a verdict has a size", _oversized),
    Attack("a name that is markup", _NAME, _named("a|b`<b>")),
    Attack("a name of two lines", _NAME, _named("a\n# Passed")),
    Attack("a name that is a path upwards", _NAME, _named_to_leave("../../x")),
    Attack("a name that is a path of its own", _NAME, _named_to_leave("../x")),
    Attack("a second verdict that covers the first", "an experiment has one verdict", _doubled),
    Attack("more verdicts than there can be", "there are so many verdicts", _flood),
    Attack("a text where a number belongs", _TYPES, _accepted("exit_code", to="0")),
    Attack("a number where a text belongs", _TYPES, _accepted("experiment", to=1)),
    Attack("a list where a text belongs", _TYPES, _accepted("environment", to=["<b>"])),
    Attack("an outcome that there is not", _TYPES, _accepted("outcome", to="approved")),
    Attack("a text where rows are counted", _TYPES, _accepted("regressed", to="none")),
    Attack("a text in a metric's number", _TYPES, _accepted("candidate", "metrics", 0, "value", to="0.99")),
    Attack("a record of another kind", "a record has its kind and version", _accepted("kind", to="run")),
    Attack("a record of another version", "a record has its kind and version", _accepted("schema_version", to=99)),
    Attack("a head that has moved", "the pull request stands at the commit that was checked", _moved_head),
    Attack(
        "a number in the artifact", "the pull request stands at the commit that was checked", _number_in_the_artifact
    ),
    Attack(
        "a commit of somebody else's pull request",
        "the pull request comes from the fork that was checked",
        _forged_number,
    ),
    Attack("a run for a push", "only the run of a pull request is reported", _other_event("push")),
    Attack("a run for an issue", "only the run of a pull request is reported", _other_event("issue_comment")),
    Attack("a pass of a run that failed, in words", "the comment says how the run ended", _forged_pass),
    Attack("a pass of a run that failed, as a check", "a run that failed is no pass", _forged_status),
    Attack("a conclusion that is a link", "a conclusion is a word", _conclusion("success](http://evil.example)")),
    Attack(
        "our mark in somebody else's comment",
        "only a comment of ours is changed",
        _mark_of("mallory", "<!-- llmops:check -->\nx"),
    ),
    Attack(
        "our mark in the middle of another comment of ours",
        "a comment that only quotes the mark is another one",
        _mark_of(BOT, "see <!-- llmops:check -->"),
    ),
    Attack("our mark in somebody else's thread", "only a thread of ours is changed", _thread_of_somebody),
    Attack(
        "a redirection elsewhere",
        "no redirection is followed",
        _led_away(lambda url: Reply(302, [], {"Location": f"{url}/x"})),
    ),
    Attack("a key that ends our mark", "a key is a key", _key("x --> <b>")),
    # Size.
    Attack("a comment that is refused as too long", "a comment is cut", _huge_comment),
    Attack(
        "a cut inside of a diff",
        "a report is cut with its fences closed",
        _cut(in_prompt(*["+line of a prompt"] * 50), "+line", _swallowed),
    ),
    Attack(
        "a cut inside of a fold",
        "a report is cut with its folds closed",
        _cut(in_prompt(*["+line of a prompt"] * 50), "+line", _open_folds),
    ),
    # What is not to be told.
    Attack("a private question", "redaction leaves inputs out", _told(_with_row(inputs={"question": _PRIVATE}))),
    Attack(
        "a private answer", "redaction leaves outputs and errors out", _told(_with_row(outputs={"answer": _PRIVATE}))
    ),
    Attack("a private error", "redaction leaves outputs and errors out", _told(_with_row(error=_PRIVATE))),
    Attack(
        "a private literal of the mapping",
        "redaction leaves out what may quote a row",
        _told(_with_run(column_mapping={"url": _PRIVATE})),
    ),
    Attack(
        "a private error of an aggregation",
        "redaction leaves out what may quote a row",
        _told(_with_run(aggregation_error=LineError(type="E", message=_PRIVATE))),
    ),
)


def harmless(defence: str) -> list[str]:
    """Name the attacks on a defence that do no damage."""
    with tempfile.TemporaryDirectory() as folder:
        tried = [(attack.name, Path(folder, str(at))) for at, attack in enumerate(ATTACKS) if attack.defence == defence]
        for _, place in tried:
            place.mkdir()
        damages = {attack.name: attack.damage for attack in ATTACKS}
        return [name for name, place in tried if not damages[name](place)]
