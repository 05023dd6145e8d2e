"""A Microsoft Agent Framework workflow as a flow: an agent names the team for a ticket, a function finds its queue.

Nothing in here knows of llmops or prompt flow. The address and the key of the model come from the environment.
"""

import os
from dataclasses import dataclass

from agent_framework import Agent, AgentExecutorResponse, Workflow, WorkflowBuilder, WorkflowContext, executor
from agent_framework.openai import OpenAIChatCompletionClient
from typing_extensions import Never

QUEUES = {"Billing": "money", "Shipping": "parcels", "Returns": "parcels"}

SORT = """\
Classify the ticket into one of these categories: Billing, Shipping, Returns, None.

Ticket: The amount on my invoice is too high, the card payment was taken twice.
Category: Billing

Ticket: Where is my parcel? The courier missed the delivery and the tracking is empty.
Category: Shipping

Ticket: The size is wrong, I want to send it back or exchange the item; I need a return label.
Category: Returns

Answer with the category alone."""


@dataclass
class Routed:
    """The team that a ticket goes to, and the queue that it works on."""

    team: str
    queue: str


@executor(id="find_queue")
async def find_queue(answer: AgentExecutorResponse, context: WorkflowContext[Never, Routed]) -> None:
    """Name the queue of the team that the agent chose; anything unknown is read by a person."""
    team = answer.agent_response.text.strip()
    await context.yield_output(Routed(team=team, queue=QUEUES.get(team, "people")))


class Triage:
    """Routes tickets; called once for each row, many at once."""

    def __init__(self, model: str = "gpt-4o-mini") -> None:
        """Keep one client for all tickets.

        Args:
            model: its name at the service.
        """
        self._client = OpenAIChatCompletionClient(
            model=model, api_key=os.environ["OPENAI_API_KEY"], base_url=os.environ["OPENAI_BASE_URL"]
        )

    async def __call__(self, ticket: str) -> Routed:
        """Run the workflow for one ticket."""
        result = await self._build().run(f"Ticket: {ticket}\nCategory:")
        (routed,) = result.get_outputs()
        assert isinstance(routed, Routed)
        return routed

    def _build(self) -> Workflow:
        """Build a workflow; one holds the state of one run."""
        sort = Agent(self._client, SORT, name="sort")
        return WorkflowBuilder(start_executor=sort, output_from=[find_queue]).add_edge(sort, find_queue).build()
