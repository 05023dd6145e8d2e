"""Every rule: its code, severity, title, explanation and fix. `docs/lint.md` is generated from this table."""

from __future__ import annotations

from collections.abc import Mapping

from llmops.flows.lint.finding import Rule, Severity

FAMILIES: Mapping[str, str] = {
    "LL0": "Files and suppressions",
    "LL1": "Graph",
    "LL2": "Nodes and tools",
    "LL3": "Prompt templates",
    "LL4": "Variants",
    "LL5": "Flex flows and prompty files",
    "LL6": "Packages",
    "LL7": "Repository",
    "LL8": "Configuration and data",
}
"""First characters of a code to what its rules are about."""

_TABLE: tuple[tuple[str, Severity, str, str, str], ...] = (
    (
        "LL001",
        "error",
        "the definition of a flow cannot be read",
        "The file is not UTF-8, not YAML, or does not have the form of a flow: `nodes` for a DAG flow, `entry` for a flex "
        "flow, front matter for a prompty file. Nothing else can be said about the flow until this is repaired.",
        "Repair the file at the place that is named.",
    ),
    (
        "LL002",
        "error",
        "a key is given twice in one mapping",
        "YAML readers keep one of the two values and drop the other without a word; which one differs between readers.",
        "Remove or rename one of them.",
    ),
    (
        "LL003",
        "warning",
        "a suppression is not in order",
        "A suppression names the codes that it silences and gives a reason, so that the next reader can judge it: "
        "`# llmops: ignore[LL105] writes the audit log`. Without a reason, or with a code that does not exist, it silences "
        "nothing.",
        "Write known codes in the brackets and a reason after them.",
    ),
    (
        "LL004",
        "note",
        "a suppression that silences nothing",
        "What it was written for is gone, and it would hide the next finding of the same kind at this place.",
        "Remove the comment.",
    ),
    (
        "LL101",
        "error",
        "a reference to a node that does not exist",
        "`${name.output}` takes the output of the node `name`. Prompt flow refuses to load a flow with an unknown name, "
        "after it has imported all of its tools.",
        "Name a node of the flow, or add the node.",
    ),
    (
        "LL102",
        "error",
        "a reference to a flow input that does not exist",
        "`${inputs.name}` takes the flow input `name`. An input has no fields: `${inputs.name.field}` looks for an input "
        "called `name.field`.",
        "Name an input of the flow, or add it under `inputs`.",
    ),
    (
        "LL103",
        "error",
        "a malformed reference",
        "A reference is the whole value: `${inputs.name}` or `${node.output}`, perhaps followed by the field of the output. "
        "Inside of other text it is not replaced, and anything but `output` after a node's name is refused.",
        "Write the reference alone, as `${inputs.name}`, `${node.output}` or `${node.output.field}`.",
    ),
    (
        "LL104",
        "error",
        "nodes that wait for each other",
        "Each of these nodes needs the output of another before it can run, so that none of them can ever start.",
        "Break the cycle: take one of the inputs from elsewhere.",
    ),
    (
        "LL105",
        "warning",
        "an orphan node",
        "No output and no aggregation node depends on this node. It still runs, and is paid for, on every line.",
        "Use its output, remove the node, or suppress the finding if it is there for its side effect.",
    ),
    (
        "LL106",
        "error",
        "a node name is given twice",
        "References could mean either of the two nodes; prompt flow refuses to load the flow.",
        "Rename one of the nodes.",
    ),
    (
        "LL107",
        "warning",
        "a flow input that nothing uses",
        "The flow asks its callers for a value and ignores it. Most often a node takes a constant where it was meant to "
        "take this input.",
        "Use the input or remove it. The input of a chat flow that has `is_chat_history` is never reported.",
    ),
    (
        "LL108",
        "error",
        "an output that dangles",
        "A flow output without a `reference`, or whose reference is a constant, returns nothing.",
        "Give it `reference: ${node.output}`.",
    ),
    (
        "LL109",
        "error",
        "a field that the node's output does not have",
        "The tool's source shows all that it returns, and this field is not among it. The line fails at the end, after "
        "every node has been paid for.",
        "Name a field that the tool returns.",
    ),
    (
        "LL110",
        "error",
        "a node without the form of a node",
        "A node has a `name`, a `type` (`llm`, `prompt`, `python` or `custom_llm`) and a `source`, or `use_variants: true`. "
        "A node may not be called `inputs` or `flow`, since references would mean the flow's inputs.",
        "Complete the node.",
    ),
    (
        "LL111",
        "error",
        "a malformed activate condition",
        "`activate` needs both `when`, a reference, and `is`, the value at which the node runs.",
        "Write `when: ${node.output}` and `is: value`.",
    ),
    (
        "LL112",
        "error",
        "an aggregation node feeds a node that runs per line",
        "Aggregation nodes run once, after all lines; a node that runs per line cannot wait for them.",
        "Give the other node `aggregation: true` too, or take the input from elsewhere.",
    ),
    (
        "LL113",
        "warning",
        "an output taken from an aggregation node",
        "Outputs are per line, aggregation nodes run after all lines: the output will be empty.",
        "Log the value with `log_metric` in the aggregation node and remove the output.",
    ),
    (
        "LL114",
        "error",
        "an unknown type",
        "Inputs have one of the types `string`, `int`, `double`, `bool`, `list`, `object`, `image`, `file_path`, `secret`, "
        "`prompt_template` and `assistant_definition`.",
        "Use one of these types.",
    ),
    (
        "LL115",
        "error",
        "a default that does not have its type",
        "The default is converted to the type of its input when a row lacks the input; that conversion would fail.",
        "Change the default or the type.",
    ),
    (
        "LL116",
        "error",
        "a flow without outputs that matter",
        "A flow that has neither outputs nor an aggregation node returns nothing for any row.",
        "Add `outputs`.",
    ),
    (
        "LL201",
        "error",
        "a file that a node names does not exist",
        "Paths are relative to the flow's folder, and upper and lower case matter on the machines that run checks.",
        "Correct the path or add the file.",
    ),
    (
        "LL202",
        "error",
        "a Python file that cannot be parsed",
        "The worker could not import it. It is read with the grammar of the Python that runs llmops.",
        "Repair the syntax at the place that is named.",
    ),
    (
        "LL203",
        "error",
        "a tool file without exactly one tool",
        "Prompt flow runs the one function of the file that is decorated with `@tool`; it refuses a file with none or with "
        "several.",
        "Decorate exactly one function with `@tool`.",
    ),
    (
        "LL204",
        "error",
        "a node input that the tool does not take",
        "The node passes a parameter that the function does not have, so that every line fails with a TypeError.",
        "Rename the input as the function's parameter, or add the parameter.",
    ),
    (
        "LL205",
        "error",
        "a parameter that the node does not feed",
        "The function needs the parameter, it has no default, and the node gives it no value or an empty one.",
        "Add the parameter to the node's `inputs`, or give it a default.",
    ),
    (
        "LL206",
        "error",
        "a literal that does not have the parameter's type",
        "Literals are converted to the type that the function's annotation names when the flow is loaded.",
        "Change the literal or the annotation.",
    ),
    (
        "LL207",
        "error",
        "an LLM node without a connection",
        "The connection says where the model is and with which key it is reached; there is no default.",
        "Add `connection: NAME`, and the name to `connections` of the environment.",
    ),
    (
        "LL208",
        "error",
        "an LLM node without a model",
        "OpenAI goes by `model`, Azure OpenAI by `deployment_name`; a node may have both, and each connection reads its own.",
        "Add `model` or `deployment_name` to the node's inputs.",
    ),
    (
        "LL209",
        "error",
        "an LLM node without a known api",
        "`api` chooses the call: `chat` or `completion`.",
        "Add `api: chat`.",
    ),
    (
        "LL210",
        "error",
        "a model parameter out of its range",
        "The service refuses the call: `temperature` is 0 to 2, `top_p` 0 to 1, the penalties -2 to 2, and `max_tokens` and "
        "`n` are whole numbers of at least 1.",
        "Use a value in the range.",
    ),
    (
        "LL301",
        "error",
        "a template that does not parse",
        "Prompts are Jinja templates; this one has a syntax error, or a filter or test that Jinja does not have.",
        "Repair the template at the place that is named.",
    ),
    (
        "LL302",
        "error",
        "a template variable that no input feeds",
        "It renders as nothing, and the model answers a prompt with a hole in it, without any error. A variable that the "
        "template checks (`is defined`, `default`) is not reported.",
        "Add it to the node's inputs (of a prompty file: to `inputs`), or correct its name.",
    ),
    (
        "LL303",
        "warning",
        "an input that the template does not use",
        "The value is prepared, perhaps by another model call, and never reaches the prompt.",
        "Use it in the template, or remove it from the node's inputs.",
    ),
    (
        "LL304",
        "error",
        "a template that takes parts from other files",
        "Prompt flow renders a template from its text alone: `include`, `import` and `extends` find no file and fail.",
        "Put the text into the template, or render the part in a prompt node and pass it in.",
    ),
    (
        "LL305",
        "error",
        "a chat prompt without a role",
        "The chat api splits the prompt at lines such as `# system:` and `# user:`, and refuses a prompt that has none.",
        "Start the prompt with `# system:` or `# user:` on a line of its own.",
    ),
    (
        "LL401",
        "error",
        "variants without a default",
        "When no variant is chosen, the default runs; without `default_variant_id` the flow cannot be loaded.",
        "Add `default_variant_id` with the name of one of the variants.",
    ),
    (
        "LL402",
        "error",
        "a default variant that does not exist",
        "`default_variant_id` names a variant that is not among the node's `variants`.",
        "Name one of the variants.",
    ),
    (
        "LL403",
        "error",
        "a node whose variants are missing",
        "The node has `use_variants: true`, but `node_variants` has no variants for it.",
        "Add the variants, or remove `use_variants` and give the node itself a type and a source.",
    ),
    (
        "LL404",
        "warning",
        "variants that no node uses",
        "No node has this name and `use_variants: true`, so that nothing of these variants ever runs.",
        "Remove them, or give the node `use_variants: true`.",
    ),
    (
        "LL501",
        "error",
        "the entry's module does not exist",
        "`entry: module:name` is looked up in the flow's folder first, then in the project folder.",
        "Correct the module's name or add the file.",
    ),
    (
        "LL502",
        "error",
        "the entry's function or class does not exist",
        "The module has no function or class of this name at its top level, or the class has no `__call__`.",
        "Correct the name after the colon, or add the function.",
    ),
    (
        "LL503",
        "error",
        "an input that the entry does not take",
        "The definition declares an input that is not among the parameters of the function (of a class: of `__call__`).",
        "Rename the input or add the parameter.",
    ),
    (
        "LL504",
        "error",
        "a parameter that the definition does not declare",
        "The function needs a value for the parameter, and the definition, which declares other inputs, leaves it out.",
        "Declare it under `inputs`, or give it a default.",
    ),
    (
        "LL505",
        "error",
        "a prompty file without a model",
        "The front matter's `model` names the `api` and, under `configuration`, a `type` and the deployment or model.",
        "Complete `model` in the front matter.",
    ),
    (
        "LL506",
        "warning",
        "a sample that does not fit the inputs",
        "`sample` shows how the prompty file is called; a key that is not an input, or an input without a default that is "
        "missing, makes it wrong.",
        "Give `sample` the keys of `inputs`.",
    ),
    (
        "LL507",
        "error",
        "a malformed entry",
        "The entry of a flex flow is `module:function` or `module:Class`.",
        "Write the module, a colon, and the name of the function or class.",
    ),
    (
        "LL601",
        "warning",
        "an import that no requirement provides",
        "The flow has requirements, and none of them is the package that provides this module. It may work on this machine "
        "by accident and fail in the image that is deployed.",
        "Add the package to the requirements of the flow.",
    ),
    (
        "LL602",
        "note",
        "an import that is not known",
        "It is neither of Python, nor a file of the flow, nor in the table of known modules, nor named like a requirement. "
        "It may still be provided by one.",
        "Check that a requirement provides it.",
    ),
    (
        "LL603",
        "error",
        "a requirements file that does not exist",
        "`environment.python_requirements_txt` names a file, relative to the flow's folder, that the image of a deployment "
        "is built from.",
        "Correct the path or add the file.",
    ),
    (
        "LL701",
        "error",
        "a secret in a file of the flow",
        "Who can read the repository can use it, and it travels with every registered model. The value is never shown here.",
        "Revoke it first, then take it out and reach it through a connection.",
    ),
    (
        "LL702",
        "error",
        "a cache that is committed",
        "Caches such as `.promptflow/` and `__pycache__/` differ from machine to machine, may hold what your rows said, and "
        "are not part of the flow's digest.",
        "Run `git rm -r --cached` on it, and add it to .gitignore.",
    ),
    (
        "LL703",
        "warning",
        "line endings are left to the machine",
        "The digest of a flow is over bytes. Without a fixed `eol`, git may check out CRLF on Windows and LF elsewhere, and "
        "the same commit has two digests: nothing that one machine checked is accepted on the other.",
        "Add `* text=auto eol=lf` to .gitattributes.",
    ),
    (
        "LL704",
        "error",
        "the files of the flow cannot be collected",
        "An include or a link leads nowhere, out of the repository or in a circle, or two names cannot live side by side "
        "on every operating system.",
        "Repair what is named.",
    ),
    (
        "LL801",
        "error",
        "the configuration is wrong",
        "A file under config/ has an unknown key, a wrong type, or a name that does not exist; every command stops here.",
        "Repair the key that is named; docs/configuration.md lists all of them.",
    ),
    (
        "LL802",
        "error",
        "a column mapping that does not fit",
        "It names a column that the data does not have, an input that the flow does not have, an output of the flow that "
        "does not exist, or leaves out an input that has no default.",
        "Correct the mapping.",
    ),
    (
        "LL803",
        "error",
        "a threshold on a metric that no evaluator reports",
        "The evaluators' source shows every metric that they can log, and this one is not among them. A gate on it could "
        "never pass.",
        "Name a metric that an evaluator reports.",
    ),
    (
        "LL804",
        "error",
        "a connection that the environment does not have",
        "The flow names a connection, and the experiment's environment says nothing of it.",
        "Add it to `connections` of the environment, or correct the name in the flow.",
    ),
    (
        "LL805",
        "warning",
        "a few-shot example that is also a row of the data",
        "The prompt shows the model the answer to a row that it is then measured on, so that the metric says too much.",
        "Take the row out of the data set, or use another example.",
    ),
    (
        "LL806",
        "warning",
        "rows that are given twice",
        "The same inputs count twice in every metric; with different labels, at least one of them can never be right.",
        "Remove one of the rows.",
    ),
    (
        "LL807",
        "warning",
        "rows without a label",
        "An evaluator takes this column, and in some rows it is empty: whatever the flow answers there is scored as wrong, "
        "or as right by accident.",
        "Label the rows or remove them.",
    ),
    (
        "LL808",
        "note",
        "labels out of balance",
        "One label makes up most of the rows, so that a flow that always answers it looks good; or a label has one row, so "
        "that it says nothing about that label.",
        "Add rows of the rare labels, or gate on a metric per class.",
    ),
    (
        "LL809",
        "error",
        "a data set that cannot be read",
        "A line is not JSON, a CSV record has another number of fields, or there is no row at all.",
        "Repair the line that is named.",
    ),
    (
        "LL810",
        "error",
        "a variant that the flow does not have",
        "The experiment chooses a variant of a node, and the flow has no such node or no such variant.",
        "Name a node of `node_variants` and one of its variants.",
    ),
)

RULES: Mapping[str, Rule] = {
    code: Rule(code=code, severity=severity, title=title, explanation=explanation, fix=fix)
    for code, severity, title, explanation, fix in _TABLE
}
"""Code to rule, in the order of the codes."""


def rule_table() -> str:
    """Write all rules as Markdown, one table for each family."""
    lines: list[str] = []
    for prefix, family in FAMILIES.items():
        lines += [f"### {family}", "", "| code | | finds | fix |", "| --- | --- | --- | --- |"]
        rules = (rule for code, rule in RULES.items() if code.startswith(prefix))
        lines += [f"| {rule.code} | {rule.severity} | {rule.title} | {_cell(rule.fix)} |" for rule in rules]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
