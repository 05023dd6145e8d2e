from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmops.config.layers import Options, layer, merge, parse_variants, read_variables
from llmops.config.model import Dataset, Environment, Experiment, Project
from llmops.errors import UsageError

DATASETS = {"smoke": Dataset(path="s.jsonl"), "full": Dataset(path="f.jsonl"), "big": Dataset(path="b.jsonl")}


def project(overrides: dict[str, Any] | None = None, **experiment: Any) -> Project:
    environments = {
        "local": Environment(name="local", overrides={"qa": overrides or {}}),
        "prod": Environment(name="prod"),
    }
    qa = Experiment(name="qa", flow="flows/qa", datasets=DATASETS, **experiment)
    return Project(root=Path("/p"), state=Path("/p/.llmops"), experiments={"qa": qa}, environments=environments)


LAYERS: dict[str, tuple[Any, ...]] = {
    # option: default, file, overlay, variable, flag
    "dataset": ("smoke", "full", "big", "smoke", "full"),
    "concurrency": (16, 4, 5, 6, 7),
    "repeat": (1, 2, 3, 4, 5),
    "line_timeout_s": (600.0, 1.5, 2.0, 3.0, 4.0),
}


@pytest.mark.parametrize("last", range(5), ids=["default", "file", "overlay", "variable", "flag"])
@pytest.mark.parametrize("option", LAYERS)
def test_the_last_layer_that_says_something_wins(option: str, last: int) -> None:
    _, file, overlay, variable, flag = LAYERS[option]
    env = {f"LLMOPS_{option.upper()}": str(variable)} if last >= 3 else {}
    flags = Options(**{option: flag}) if last >= 4 else None
    layered = project({option: overlay} if last >= 2 else {}, **({option: file} if last >= 1 else {}))
    selection = layer(layered, "qa", env=env, flags=flags)
    assert getattr(selection.experiment, option) == LAYERS[option][last]


@pytest.mark.parametrize(
    ("file", "variable", "flag", "chosen"),
    [("local", "", None, "local"), ("prod", "", None, "prod"), ("prod", "local", None, "local"), ("local", "local", "prod", "prod")],
)  # fmt: skip
def test_environment_is_chosen_by_the_same_order(file: str, variable: str, flag: str | None, chosen: str) -> None:
    env = {"LLMOPS_ENVIRONMENT": variable}
    selection = layer(project(environment=file), "qa", env=env, flags=Options(environment=flag))
    assert (selection.environment.name, selection.experiment.environment) == (chosen, chosen)


def test_overlay_of_an_environment_that_is_not_chosen_says_nothing() -> None:
    selection = layer(project({"concurrency": 2}), "qa", env={}, flags=Options(environment="prod"))
    assert selection.experiment.concurrency == 16


def test_variants_of_all_layers_are_merged_by_node() -> None:
    layered = project({"variants": {"b": "overlay", "c": "overlay"}}, variants={"a": "file", "b": "file"})
    env = {"LLMOPS_VARIANTS": "c=variable,d=variable"}
    selection = layer(layered, "qa", env=env, flags=Options(variants={"d": "flag"}))
    assert selection.experiment.variants == {"a": "file", "b": "overlay", "c": "variable", "d": "flag"}


def test_nested_settings_of_the_overlay_become_frozen_values() -> None:
    selection = layer(project({"gate": {"thresholds": [{"metric": "m", "max": 1}]}}), "qa", env={})
    assert selection.experiment.gate.thresholds[0].max == 1.0
    assert selection.experiment.gate.max_failed == 0


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_mappings_merge_by_key_and_all_else_replaces(below: Any, above: Any, merged: Any) -> None:
    assert merge(below, above) == merged


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        ("node=variant_1", {"node": "variant_1"}),
        ("node=variant_1, other=variant_0", {"node": "variant_1", "other": "variant_0"}),
        ("${node.variant_1}", {"node": "variant_1"}),
        ("${node.variant_1},other=v-0,node=variant_1", {"node": "variant_1", "other": "v-0"}),
    ],
)
def test_variants_are_read_in_both_forms(text: str, variants: dict[str, str]) -> None:
    assert parse_variants(text) == variants


@pytest.mark.parametrize("part", ["node", "node=", "=v", "a=b=c", "${node}", "${a.b.c}", ""])
def test_what_is_no_variant_is_refused(part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_variants(f"x=y,{part}")
    assert str(caught.value) == (
        f"--variants: not a variant\n  found '{part}'\n  expected node=variant or ${{node.variant}}, separated by commas"
    )


def test_two_variants_of_one_node_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        parse_variants("a=b,${a.c}", where="LLMOPS_VARIANTS")
    assert str(caught.value) == "LLMOPS_VARIANTS: two variants of node 'a'\n  found 'b' and 'c'"


def test_malformed_variables_are_reported_at_once() -> None:
    env = {"LLMOPS_CONCURRENCY": "2000", "LLMOPS_REPEAT": "0", "LLMOPS_LINE_TIMEOUT_S": "inf"}
    with pytest.raises(UsageError) as caught:
        read_variables(env)
    assert str(caught.value) == (
        "LLMOPS_CONCURRENCY: not a number that fits\n  found '2000'\n  expected a whole number from 1 to 1024\n"
        "LLMOPS_REPEAT: not a number that fits\n  found '0'\n  expected a whole number of at least 1\n"
        "LLMOPS_LINE_TIMEOUT_S: not a number that fits\n  found 'inf'\n  expected seconds, more than 0"
    )


def test_empty_variable_is_no_variable() -> None:
    assert read_variables({"LLMOPS_DATASET": "", "LLMOPS_REPEAT": " "}) == Options()


@pytest.mark.parametrize(
    ("env", "flags", "where"),
    [({}, {"dataset": "ful"}, "--dataset"), ({"LLMOPS_DATASET": "ful"}, {}, "LLMOPS_DATASET")],
)
def test_unknown_data_set_names_the_layer_that_asked(env: dict[str, str], flags: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError) as caught:
        layer(project(), "qa", env=env, flags=Options(**flags))
    assert str(caught.value) == (
        f"{where}: no data set 'ful'\n  expected 'smoke', 'full', 'big'\n  did you mean 'full'?"
    )


def test_unknown_environment_names_a_near_match() -> None:
    with pytest.raises(UsageError) as caught:
        layer(project(), "qa", env={}, flags=Options(environment="prd"))
    assert (
        str(caught.value) == "--environment: no environment 'prd'\n  expected 'local', 'prod'\n  did you mean 'prod'?"
    )
