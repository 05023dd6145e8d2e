"""What of a command's budget each run and each shard may spend."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmops.backends.azure.shares import (
    NO_LIMIT,
    NOTHING,
    Shares,
    add,
    divide,
    from_text,
    is_spent,
    left_of,
    spent_of,
    to_text,
)
from llmops.config.model import Budget
from llmops.records import ModelCalls


def dollars(*budgets: Budget) -> Decimal:
    return sum((Decimal(str(budget.usd)) for budget in budgets), Decimal(0))


@pytest.mark.parametrize(
    ("tokens", "weights", "expected"),
    [
        (100, [1, 1], [50, 50]),
        (100, [3, 1], [75, 25]),
        (7, [1, 1, 1], [2, 2, 2]),
        (2, [1, 1, 1], [0, 0, 0]),
        (5, [], []),
    ],
)
def test_tokens_are_divided_into_whole_ones_by_lines(tokens: int, weights: list[int], expected: list[int]) -> None:
    assert [share.tokens for share in divide(Budget(tokens=tokens), weights)] == expected


@pytest.mark.parametrize(("usd", "parts"), [(1.0, 3), (0.1, 7), (2.5, 49), (1e-6, 2)])
def test_dollars_never_add_up_to_more_than_there_was(usd: float, parts: int) -> None:
    shares = divide(Budget(usd=usd), [1] * parts)
    assert Decimal(0) <= Decimal(str(usd)) - dollars(*shares) < Decimal(parts) / 1_000_000


def test_what_has_no_limit_is_divided_into_parts_without_one() -> None:
    assert divide(NO_LIMIT, [1, 2]) == [NO_LIMIT, NO_LIMIT]
    assert divide(Budget(tokens=4), [1])[0].usd is None


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ([], Budget(tokens=10, usd=1.0)),
        ([Budget(tokens=4, usd=0.25), Budget(tokens=1, usd=0.5)], Budget(tokens=5, usd=0.25)),
        ([Budget(tokens=14, usd=2.0)], NOTHING),
        ([Budget(tokens=4)], Budget(tokens=6, usd=0.0)),
        ([NO_LIMIT], NOTHING),
    ],
)
def test_what_is_left_is_never_less_than_nothing_and_nothing_beside_one_without_a_limit(
    taken: list[Budget], left: Budget
) -> None:
    assert left_of(Budget(tokens=10, usd=1.0), taken) == left


def test_shares_are_added_up() -> None:
    assert add([Budget(tokens=1, usd=0.1), Budget(tokens=2, usd=0.2)]) == Budget(tokens=3, usd=0.3)
    assert add([Budget(tokens=1), Budget(usd=0.2)]) == NO_LIMIT


@pytest.mark.parametrize("share", [NO_LIMIT, NOTHING, Budget(tokens=12), Budget(usd=0.1), Budget(tokens=3, usd=1 / 64)])
def test_a_share_is_read_as_it_was_written(share: Budget) -> None:
    assert from_text(to_text(share)) == share


@pytest.mark.parametrize("text", ["12", "tokens=many", "tokens=1 euros=2", "tokens="])
def test_a_share_that_is_not_understood_is_not_taken_for_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"no share|invalid literal"):
        from_text(text)


@pytest.mark.parametrize(
    ("calls", "spent"),
    [
        (None, NOTHING),
        (ModelCalls(live=1, spent_tokens=7, spent_usd=0.25), Budget(tokens=7, usd=0.25)),
        (ModelCalls(live=1, spent_tokens=7, uncounted=1, spent_usd=None), Budget(tokens=10, usd=1.0)),
        (ModelCalls(live=1, spent_tokens=17, uncounted=1, spent_usd=2.0), Budget(tokens=17, usd=2.0)),
    ],
)
def test_a_job_whose_spending_is_not_known_has_spent_its_share(calls: ModelCalls | None, spent: Budget) -> None:
    assert spent_of(calls, Budget(tokens=10, usd=1.0)) == spent


def test_runs_that_start_together_divide_what_is_left() -> None:
    shares = Shares(Budget(tokens=100))
    shares.ask("candidate", 10)
    shares.ask("baseline", 10)
    assert [shares.take(name) for name in ("candidate", "baseline")] == [Budget(tokens=50)] * 2
    shares.settle("candidate", Budget(tokens=20))
    shares.ask("evaluation", 10)
    assert shares.take("evaluation") == Budget(tokens=30)
    assert is_spent(shares.left)


def test_one_run_that_is_asked_for_twice_gets_one_share() -> None:
    shares = Shares(Budget(tokens=100))
    shares.ask("evaluation", 1)
    shares.ask("evaluation", 1)
    assert [shares.take("evaluation") for _ in range(2)] == [Budget(tokens=100)] * 2


def test_a_run_waits_while_another_holds_all_that_is_left() -> None:
    shares = Shares(Budget(tokens=100))
    shares.hold("attached", NO_LIMIT)
    shares.ask("late", 1)
    assert (shares.can_give, shares.take("late")) == (False, None)
    shares.settle("attached", Budget(tokens=40))
    assert (shares.can_give, shares.take("late")) == (True, Budget(tokens=60))


def test_a_run_that_nobody_watches_any_more_keeps_its_share_and_lets_nobody_wait() -> None:
    shares = Shares(Budget(tokens=100))
    shares.ask("lost", 1)
    shares.take("lost")
    shares.ask("late", 1)
    assert shares.take("late") is None
    shares.give_up("lost")
    assert shares.take("late") == Budget(tokens=0)
