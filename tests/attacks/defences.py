"""What stands between a stranger's text and our log lines, comments and reports: each defence, and how it is taken out.

A defence is a place in the code and what stands there when it is gone; `corpus_test.py` takes each out of a copy of the
code, and sees the attacks that name it get through.
"""

from __future__ import annotations

from typing import NamedTuple


class Defence(NamedTuple):
    """One place in the code: `old` is the defence, `new` is the code without it."""

    file: str
    old: str
    new: str


_MARKDOWN = "llmops/reports/markdown.py"
_TEXT = "llmops/reports/plain_text.py"
_GITHUB, _AZURE = "llmops/hosts/github.py", "llmops/hosts/azure_pipelines.py"
_PULL_REQUEST, _THREAD = "llmops/hosts/github_pull_request.py", "llmops/hosts/azure_pull_request.py"
_RECORDED, _COMMENT = "llmops/commands/recorded.py", "llmops/commands/comment.py"
_REST, _REDACTION = "llmops/hosts/rest.py", "llmops/reports/redaction.py"

DEFENCES = {
    "markup in sentences is escaped": Defence(
        _MARKDOWN, 'return "".join(_ESCAPES.get(char, char) for char in joined)', "return joined"
    ),
    "mentions, references and addresses are broken": Defence(
        _MARKDOWN, "joined = _REFERENCE.sub(lambda match: match[0] + _WORD_JOINER, line)", "joined = line"
    ),
    "a code span has more backticks than its text": Defence(
        _MARKDOWN,
        'fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))\n    pad',
        'fence = "`"\n    pad',
    ),
    "a code span is padded beside backticks": Defence(
        _MARKDOWN, 'pad = " " if text.startswith("`") or text.endswith("`") else ""', 'pad = ""'
    ),
    "a name in a table has no pipe": Defence(
        _MARKDOWN, 'return code(name.replace("|", "¦"), 60)', "return code(name, 60)"
    ),
    "a name in the overview has no pipe": Defence(
        "llmops/reports/comment.py", 'return code(name.replace("|", "¦"), 60)', "return code(name, 60)"
    ),
    "a value stands on one line": Defence(
        _TEXT,
        'folded = " ".join(reveal(show(value)[: 2 * limit]).split())',
        "folded = reveal(show(value)[: 2 * limit])",
    ),
    "a value is cut": Defence(_TEXT, "return shorten(folded, limit) if folded", "return folded if folded"),
    "the fence of a block is longer than what is in it": Defence(
        _MARKDOWN, 'fence = "`" * (1 + max((len(run) for line', 'fence = "```" or "`" * (1 + max((len(run) for line'
    ),
    "what cannot be seen is made visible": Defence(
        _TEXT, 'return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", _LINE_END.sub("\\n", text))', "return text"
    ),
    "two colons at the start of a line are broken": Defence(_TEXT, ':(?=:)")\n', ':(?=:)(?!:)")\n'),
    "commands anywhere in a line are broken": Defence(_TEXT, '+)?\\[)")\n', '+)?\\[)(?!)")\n'),
    "line ends and percents in a workflow command are escaped": Defence(
        _GITHUB,
        'return text.replace("%", "%25").replace("\\r", "%0D").replace("\\n", "%0A").replace("##", "# #")',
        'return text.replace("##", "# #")',
    ),
    "older commands in a workflow command are broken": Defence(
        _GITHUB, '.replace("\\n", "%0A").replace("##", "# #")', '.replace("\\n", "%0A")'
    ),
    "colons and commas in properties of a workflow command are escaped": Defence(
        _GITHUB, 'return _escape(text).replace(":", "%3A").replace(",", "%2C")', "return _escape(text)"
    ),
    "the end of an output cannot be guessed": Defence(
        _GITHUB, 'delimiter = f"llmops_{secrets.token_hex(16)}"', 'delimiter = "llmops_0"'
    ),
    "every line of a secret is masked": Defence(
        _GITHUB,
        'f"::add-mask::{_escape(line)}" for line in value.splitlines() if line.strip()',
        'f"::add-mask::{_escape(line)}" for line in value.splitlines()[:1]',
    ),
    "a summary stays below the limit": Defence(_GITHUB, "if len(text) + 1 > left:", "if False:"),
    "line ends and percents in a logging command are escaped": Defence(
        _AZURE,
        'escaped = text.replace("%", "%AZP25").replace("\\r", "%0D").replace("\\n", "%0A")',
        "escaped = text",
    ),
    "commands in a logging command are broken": Defence(
        _AZURE, 'return escaped.replace("##", "# #")', "return escaped"
    ),
    "semicolons and brackets in properties of a logging command are escaped": Defence(
        _AZURE, 'return _escape(text).replace(";", "%3B").replace("]", "%5D")', "return _escape(text)"
    ),
    "the page escapes every value": Defence("llmops/reports/page.py", "autoescape=True", "autoescape=False"),
    "the page runs only its own script": Defence(
        "llmops/reports/page.py", "script-src {script_digest}", "script-src 'unsafe-inline'"
    ),
    "the page loads nothing": Defence("llmops/reports/page.py", "default-src 'none'", "default-src *"),
    "a verdict is no link": Defence(_RECORDED, "if file.is_symlink() or file.stat().st_size", "if file.stat().st_size"),
    "a verdict has a size": Defence(_RECORDED, "or file.stat().st_size > MOST_BYTES", "or False"),
    "an experiment's name is a name": Defence(_RECORDED, "if not re.fullmatch(NAME, verdict.experiment):", "if False:"),
    "an experiment has one verdict": Defence(_RECORDED, "if len(doubled) != len(found):", "if False:"),
    "there are so many verdicts": Defence(_RECORDED, "if len(files) > MOST_VERDICTS:", "if False:"),
    "a record has its types": Defence("llmops/core/documents.py", "    if not is_right:\n", "    if False:\n"),
    "a record has its kind and version": Defence(
        "llmops/records.py", "    if found != (cls.kind, SCHEMA_VERSION):\n", "    if False:\n"
    ),
    "the pull request stands at the commit that was checked": Defence(
        _PULL_REQUEST, 'if (found.get("head") or {}).get("sha") == run.get("head_sha"):', "if True:"
    ),
    "the pull request comes from the fork that was checked": Defence(
        _PULL_REQUEST, '"head": f"{owner}:{run.get(\'head_branch\')}", "state"', '"state"'
    ),
    "only the run of a pull request is reported": Defence(
        _PULL_REQUEST, 'if run.get("event") != "pull_request" or not owner:', "if not owner:"
    ),
    "the comment says how the run ended": Defence(
        _COMMENT, "    if finished:\n        body = ", "    if False:\n        body = "
    ),
    "a run that failed is no pass": Defence(_COMMENT, 'if finished and finished.conclusion != "success":', "if False:"),
    "a conclusion is a word": Defence(
        _PULL_REQUEST, 'conclusion if re.fullmatch("[a-z_]+", conclusion) else "unknown"', "conclusion"
    ),
    "only a comment of ours is changed": Defence(_PULL_REQUEST, "return login == self.author and str(", "return str("),
    "a comment that only quotes the mark is another one": Defence(
        _PULL_REQUEST, 'str(comment.get("body") or "").startswith(marker)', 'marker in str(comment.get("body") or "")'
    ),
    "only a thread of ours is changed": Defence(
        _THREAD, 'return bool((comments[0].get("author") or {}).get("id") == me)', "return True"
    ),
    "no redirection is followed": Defence(_REST, "allow_redirects=False", "allow_redirects=True"),
    "a key is a key": Defence(_COMMENT, "if not _KEY.fullmatch(key):", "if False:"),
    "a comment is cut": Defence(
        "llmops/reports/comment.py", "{cut_at_line(text, MAX_CHARACTERS - len(footer) - 2)}", "{text}"
    ),
    "a report is cut with its fences closed": Defence(_MARKDOWN, "    fence = _open_fence(kept)\n", '    fence = ""\n'),
    "a report is cut with its folds closed": Defence(
        _MARKDOWN, 'is_folded = kept.count("\\n<details>") > kept.count("\\n</details>")', "is_folded = False"
    ),
    "a step shows so many annotations": Defence(
        "llmops/hosts/host.py", "if len(kept[annotation.level]) < per_level:", "if True:"
    ),
    "redaction leaves inputs out": Defence(_REDACTION, "            inputs={},\n", ""),
    "redaction leaves outputs and errors out": Defence(
        _REDACTION, 'return replace(view, outputs=None, error="")', "return view"
    ),
    "redaction leaves out what may quote a row": Defence(
        _REDACTION,
        "run=replace(run, column_mapping={}, metrics={}, aggregation_error=None)",
        "run=run",
    ),
}
