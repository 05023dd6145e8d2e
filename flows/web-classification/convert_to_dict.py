"""Turn the model's answer into the outputs of the flow."""

import json

from promptflow.core import tool


@tool
def convert_to_dict(answer: str) -> dict[str, str]:
    """Read `category` and `evidence` from the model's JSON; a Markdown fence around it does no harm.

    Raises:
        ValueError: the answer is not a JSON object with a category.
    """
    start, end = answer.find("{"), answer.rfind("}")
    try:
        document = json.loads(answer[start : end + 1])
    except ValueError:
        raise ValueError(f"the model's answer is not JSON: {answer[:200]!r}") from None
    if not isinstance(document, dict) or not document.get("category"):
        raise ValueError(f"the model's answer has no category: {answer[:200]!r}")
    return {"category": str(document["category"]), "evidence": str(document.get("evidence", ""))}
