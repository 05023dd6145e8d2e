"""What the cloud side needs before a pipeline can use it: a checklist with the exact commands."""

from __future__ import annotations

from collections.abc import Mapping

from llmops.commands.init_plan import CiSystem

_HEAD = """\
# What the cloud side needs

Written by `llmops init`; tick off and keep. Nothing of this is needed for `llmops check` on a laptop, or in CI with the
local backend. Replace what is in angle brackets.
"""

_IDENTITY: Mapping[CiSystem, str] = {
    "github": """\
## 1. An identity without a stored key

- [ ] An app registration for the pipeline:

      az ad app create --display-name llmops-<repository>
      az ad sp create --id <appId>

- [ ] A federated credential for each environment, so that GitHub's own token is enough:

      az ad app federated-credential create --id <appId> --parameters '{
        "name": "github-<environment>",
        "issuer": "https://token.actions.githubusercontent.com",
        "subject": "<subject>",
        "audiences": ["api://AzureADTokenExchange"]}'

      The subject is `repo:<owner>/<repository>:environment:<environment>`; that of a repository which was created or
      renamed since July 2026 has numbers, `repo:<owner>@<id>/<repository>@<id>:environment:<environment>`. Read them:

      gh api repos/<owner>/<repository> --jq '"repo:\\(.owner.login)@\\(.owner.id)/\\(.name)@\\(.id)"'

- [ ] None for pull requests: a job that runs their code logs in nowhere.
- [ ] Variables of each GitHub environment `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_SUBSCRIPTION_ID`: names, not
      secrets.
""",
    "azure-pipelines": """\
## 1. An identity without a stored key

- [ ] A service connection of the kind "Azure Resource Manager", "workload identity federation (automatic)", scoped to
      the resource group of the workspace: Project settings, Service connections, New. No secret is created.
- [ ] Its application's id (Manage service connection roles shows it): `<appId>` below.
- [ ] The service connection is allowed for this pipeline alone, not for all.
""",
    "none": "",
}

_ROLES = """\
## 2. Roles, each at the smallest scope

      GROUP=/subscriptions/<subscription>/resourceGroups/<group>/providers
      WORKSPACE=$GROUP/Microsoft.MachineLearningServices/workspaces/<workspace>
      STORAGE=$GROUP/Microsoft.Storage/storageAccounts/<account>
      MODEL=$GROUP/Microsoft.CognitiveServices/accounts/<account>

- [ ] The workspace: runs, models, endpoints.

      az role assignment create --assignee <appId> --role "AzureML Data Scientist" --scope $WORKSPACE

- [ ] The workspace's storage account: data sets and results.

      az role assignment create --assignee <appId> --role "Storage Blob Data Contributor" --scope $STORAGE

- [ ] The model, when connections use the identity and no key:

      az role assignment create --assignee <appId> --role "Cognitive Services OpenAI User" --scope $MODEL

- [ ] Each endpoint's own identity needs to read the workspace's connections:

      az role assignment create --assignee <endpoint's principalId> --scope $WORKSPACE \\
        --role "Azure Machine Learning Workspace Connection Secrets Reader"
"""

_ENVIRONMENTS: Mapping[CiSystem, str] = {
    "github": """\
## 3. Environments with reviewers

- [ ] Settings, Environments: one for each file in `config/environments/` that deploys, with the same name.
- [ ] `prod`: required reviewers, "prevent self-review", deployment branches: the default branch alone.
- [ ] Keys of models that are not reached by the identity: as secrets of the environment, under the names that
      `config/environments/` refers to.
""",
    "azure-pipelines": """\
## 3. Environments with reviewers

- [ ] Pipelines, Environments: one for each file in `config/environments/` that deploys, with the same name.
- [ ] `prod`: Approvals and checks: an approval by people other than the author, and a branch control for the default
      branch.
- [ ] Keys of models that are not reached by the identity: in a variable group that is linked to a key vault, under the
      names that `config/environments/` refers to.
""",
    "none": "",
}


def checklist_text(ci: CiSystem) -> str:
    """Write the checklist for a CI system."""
    return "\n".join(part for part in (_HEAD, _IDENTITY[ci], _ROLES, _ENVIRONMENTS[ci]) if part)
