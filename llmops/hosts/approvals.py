"""Who approved the job that runs this command, as the CI system recorded it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from llmops.hosts.host import Env
from llmops.hosts.rest import RestClient


def find_approvals(env: Env, environment: str, *, sleep: Callable[[float], None] = time.sleep) -> Sequence[str]:
    """Name the people who approved this run's use of an environment, each once.

    Only GitHub tells a job, and only one with a token that may read actions; elsewhere nobody is named.

    Raises:
        BackendError: GitHub refused.

    Source: docs.github.com/rest, actions/workflow-runs, review history, API version 2022-11-28.
    """
    token, repository, run = (env.get(f"GITHUB_{name}", "") for name in ("TOKEN", "REPOSITORY", "RUN_ID"))
    if env.get("GITHUB_ACTIONS") != "true" or not token or not run.isdigit():
        return ()
    client = RestClient(
        env.get("GITHUB_API_URL", "https://api.github.com"),
        authorization=f"Bearer {token}",
        headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        sleep=sleep,
    )
    reviews = client.call("GET", f"repos/{repository}/actions/runs/{run}/approvals").document
    return [*dict.fromkeys(_login(review) for review in reviews if _approves(review, environment))]


def _approves(review: dict[str, object], environment: str) -> bool:
    environments = review.get("environments")
    names = [one.get("name") for one in environments] if isinstance(environments, list) else []
    return review.get("state") == "approved" and environment in names and bool(_login(review))


def _login(review: dict[str, object]) -> str:
    user = review.get("user")
    return str(user.get("login", "")) if isinstance(user, dict) else ""
