"""Whether a face can be recognised: each rule at its border, and what holds whatever the facts are."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.deid.faces.recognisability import (
    HEAD,
    OTHER,
    RULES,
    SECTIONAL,
    UNSTATED,
    StackFacts,
    judge,
    region_of,
)

AXIAL, SAGITTAL, CORONAL = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
HEAD_CT = StackFacts(modality="CT", region=HEAD, slices=160, gap_mm=1.0, extent_mm=159.0, field_mm=240.0, normal=AXIAL)


def turned(degrees: float) -> tuple[float, float, float]:
    """A normal so many degrees from the sagittal one."""
    return (math.cos(math.radians(degrees)), 0.0, math.sin(math.radians(degrees)))


@pytest.mark.row("S13.4")
@pytest.mark.parametrize(
    ("change", "recognisable", "rule"),
    [
        ({}, True, "surface"),
        ({"slices": 24, "gap_mm": 6.0, "extent_mm": 138.0}, True, "surface"),
        ({"slices": 23}, False, "no_surface"),
        ({"gap_mm": 6.01}, False, "no_surface"),
        ({"extent_mm": 120.0}, True, "surface"),
        ({"extent_mm": 119.9}, False, "no_surface"),
        ({"normal": CORONAL}, True, "surface"),
        ({"normal": CORONAL, "slices": 20}, False, "no_surface"),
        ({"normal": SAGITTAL, "slices": 1, "extent_mm": 0.0}, True, "sagittal_plane"),
        ({"normal": (-1.0, 0.0, 0.0), "slices": 1, "extent_mm": 0.0}, True, "sagittal_plane"),
        ({"normal": turned(29.9), "slices": 3, "extent_mm": 20.0}, True, "sagittal_plane"),
        ({"normal": turned(30.1), "slices": 3, "extent_mm": 20.0}, False, "no_surface"),
        ({"field_mm": 79.9}, False, "narrow_field"),
        ({"field_mm": 80.0}, True, "surface"),
        ({"region": OTHER}, False, "other_region"),
        ({"region": OTHER, "extent_mm": 800.0, "slices": 400, "gap_mm": 2.0}, True, "surface"),
        ({"region": OTHER, "extent_mm": math.nan}, True, "geometry_unknown"),
        ({"region": OTHER, "extent_mm": math.nan, "slices": 99}, False, "other_region"),
        ({"region": OTHER, "extent_mm": math.nan, "captured": True}, False, "other_region"),
        ({"region": UNSTATED}, True, "surface"),
        ({"normal": None}, True, "geometry_unknown"),
        ({"normal": (0.0, 0.0, 2.0)}, True, "geometry_unknown"),
        ({"gap_mm": math.inf}, True, "geometry_unknown"),
        ({"field_mm": 0.0}, True, "geometry_unknown"),
        ({"slices": 0}, True, "geometry_unknown"),
        ({"modality": "MR"}, True, "surface"),
        ({"modality": "PT"}, True, "surface"),
        ({"modality": "CR"}, False, "not_sectional"),
        ({"modality": "US"}, False, "not_sectional"),
        ({"modality": "XC", "region": OTHER}, True, "photograph"),
        ({"modality": "SC", "captured": True}, True, "capture"),
        ({"modality": "CT", "captured": True, "region": UNSTATED}, True, "capture"),
        ({"modality": "SC", "captured": True, "region": OTHER}, False, "other_region"),
        ({"modality": "US", "captured": True}, False, "not_sectional"),
    ],
)
def test_each_rule_decides_at_its_border(change: dict[str, object], recognisable: bool, rule: str) -> None:
    found = judge(replace(HEAD_CT, **change))  # type: ignore[arg-type] - the cases above name fields
    assert (found.recognisable, found.rule) == (recognisable, rule)


lengths = st.floats(allow_nan=True, allow_infinity=True)
facts = st.builds(
    StackFacts,
    modality=st.sampled_from(["CT", "MR", "PT", "CR", "XC", "SC", "OT", "US", ""]),
    region=st.sampled_from([HEAD, OTHER, UNSTATED]),
    slices=st.integers(-1, 600),
    gap_mm=lengths,
    extent_mm=lengths,
    field_mm=lengths,
    normal=st.none() | st.tuples(lengths, lengths, lengths) | st.sampled_from([AXIAL, SAGITTAL, CORONAL]),
    captured=st.booleans(),
)


@given(facts)
def test_whatever_the_facts_a_known_rule_decides(given_facts: StackFacts) -> None:
    assert judge(given_facts).rule in RULES


@given(facts)
def test_a_missing_fact_never_lets_a_head_pass(given_facts: StackFacts) -> None:
    for lacking in (replace(given_facts, normal=None), replace(given_facts, extent_mm=math.nan)):
        if lacking.modality in SECTIONAL and lacking.region != OTHER:
            assert judge(lacking).recognisable


@given(facts, st.integers(0, 400), st.floats(0, 400))
def test_more_of_a_head_is_never_less_recognisable(given_facts: StackFacts, slices: int, extent: float) -> None:
    if judge(given_facts).recognisable:
        more = replace(given_facts, slices=given_facts.slices + slices, extent_mm=given_facts.extent_mm + extent)
        assert judge(more).recognisable


@given(facts)
def test_a_region_that_is_not_stated_is_judged_as_a_head(given_facts: StackFacts) -> None:
    unstated, head = (replace(given_facts, region=region) for region in (UNSTATED, HEAD))
    assert judge(unstated) == judge(head)


@pytest.mark.parametrize(
    ("texts", "region"),
    [
        (("HEAD",), HEAD),
        (("", "CT Schädel nativ"), HEAD),
        (("CHEST", "CT NECK AND CHEST"), HEAD),
        (("WHOLEBODY", "PET thigh"), HEAD),
        (("CHEST", "CT THORAX"), OTHER),
        (("", "T2 TSE AX"), UNSTATED),
        ((), UNSTATED),
    ],
)
def test_a_word_for_the_head_outweighs_all_others(texts: tuple[str, ...], region: str) -> None:
    assert region_of(texts) == region
