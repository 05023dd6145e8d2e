"""Pure statistics: what decides holds for any n, what is approximate says so."""

from __future__ import annotations

from llmops.core.statistics.betting import Bettor, Tally, betting_above, log_capital, rounded_tallies, tally_of
from llmops.core.statistics.bootstrap import bootstrap_above, bootstrap_lower
from llmops.core.statistics.means import BOOTSTRAP_ROWS, Moments, bca_interval, moments, student_above, student_interval
from llmops.core.statistics.multiplicity import holm, holm_in_shares
from llmops.core.statistics.paired import Pairs, paired_above, paired_below, tango, tango_above
from llmops.core.statistics.percentiles import lower_rank, nearest_rank, percentile_interval, upper_rank
from llmops.core.statistics.proportions import (
    Interval,
    binomial_above,
    binomial_below,
    clopper_pearson_lower,
    clopper_pearson_upper,
    score_above,
    wilson,
)

__all__ = [
    "BOOTSTRAP_ROWS",
    "Bettor",
    "Interval",
    "Moments",
    "Pairs",
    "Tally",
    "bca_interval",
    "betting_above",
    "binomial_above",
    "binomial_below",
    "bootstrap_above",
    "bootstrap_lower",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "holm",
    "holm_in_shares",
    "log_capital",
    "lower_rank",
    "moments",
    "nearest_rank",
    "paired_above",
    "paired_below",
    "percentile_interval",
    "rounded_tallies",
    "score_above",
    "student_above",
    "student_interval",
    "tally_of",
    "tango",
    "tango_above",
    "upper_rank",
    "wilson",
]
