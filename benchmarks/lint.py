"""Measure `llmops lint` and `llmops affected` over repositories of 50 and of 200 flows, ten files each.

Budgets: lint of 50 flows under 1 s; lint and affected of 200 flows and 2 000 files under 3 s each. Whole processes are
timed, from the command line to the exit; the best of several counts, since others may use the machine too. Their CPU
time, which does not depend on that, stands beside it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 5

FLOW = """\
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${clean.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: gpt-4o-mini, temperature: 0, question: "${inputs.question}", examples: "${examples.output}"}
  connection: model
  api: chat
- name: examples
  type: python
  source: {type: code, path: examples.py}
- name: clean
  type: python
  source: {type: code, path: clean.py}
  inputs: {text: "${ask.output}"}
"""
TOOL = "import json\nimport re\n\nfrom promptflow.core import tool\n\n\n@tool\ndef NAME(PARAMETERS):\n"
HELPER = "".join(f"def step_{n}(value: str) -> str:\n    return value.replace('{n}', '')\n\n\n" for n in range(20))
FILES = {
    "flow.dag.yaml": FLOW,
    "ask.jinja2": "system:\nAnswer.\n{% for e in examples %}{{ e.question }}\n{% endfor %}\nuser:\n{{question}}\n",
    "examples.py": TOOL.replace("NAME(PARAMETERS)", "examples()") + "    return [{'question': 'Why is it so?'}]\n",
    "clean.py": "import steps_a\n" + TOOL.replace("NAME(PARAMETERS)", "clean(text: str)") + "    return text\n",
    "steps_a.py": HELPER,
    "steps_b.py": HELPER,
    "steps_c.py": HELPER,
    "requirements.txt": "promptflow-core\npromptflow-tools\n",
    "README.md": "A flow.\n",
    "notes.json": '{"a": [1, 2, 3]}\n',
}
EXPERIMENT = "flow: flows/f{n}\ndatasets: {{rows: {{path: data/f{n}.jsonl}}}}\n"


def build(root: Path, flows: int) -> None:
    """Build a repository, committed, with one change on top."""
    files = {f"flows/f{n}/{name}": text for n in range(flows) for name, text in FILES.items()}
    files |= {f"config/experiments/f{n}.yaml": EXPERIMENT.format(n=n) for n in range(flows)}
    files |= {f"data/f{n}.jsonl": '{"question": "What is it?"}\n' * 1 for n in range(flows)}
    files["config/environments/local.yaml"] = "connections: {model: {type: stand_in}}\n"
    files[".gitattributes"] = "* text=auto eol=lf\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.invalid")
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    for n in range(0, flows, 10):
        (root / f"flows/f{n}/ask.jinja2").write_text(FILES["ask.jinja2"] + "Be short.\n", encoding="utf-8")
    (root / "flows/f1/notes.json").unlink()


def best_times(root: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds of the fastest of several runs, and the CPU seconds of the cheapest, children included."""
    times, cpu = [], []
    for _ in range(ROUNDS):
        start, used = time.perf_counter(), _children_cpu()
        subprocess.run([sys.executable, "-m", "llmops", *arguments], cwd=root, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
        cpu.append(_children_cpu() - used)
    return min(times), min(cpu)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print one line for each measurement."""
    print("flows  files  command   seconds  CPU s  budget")
    for flows, commands in ((50, {"lint": 1.0}), (200, {"lint": 3.0, "affected": 3.0})):
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), flows)
            for command, budget in commands.items():
                arguments = [command, "--base", "main"] if command == "affected" else [command]
                seconds, cpu = best_times(Path(folder), arguments)
                print(f"{flows:5}  {flows * len(FILES):5}  {command:8}  {seconds:7.2f}  {cpu:5.2f}  {budget:6.1f}")


if __name__ == "__main__":
    main()
