"""Images put together: those of one series, and series that continue each other, judged as what they show in sum."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from enclave.deid.faces.image_facts import ImageFacts, widest
from enclave.deid.faces.recognisability import HEAD, OTHER, SECTIONAL, UNLABELLED, UNSTATED, StackFacts, Verdict, judge

_SAME_DIRECTION = math.cos(math.radians(5.0))
_SAME_PLACE_MM = 0.05
_MAY_BE_PART = "no_surface"


@dataclass(frozen=True, slots=True)
class Series:
    """The images of one series by their index; ``normal`` is None when they are not all parallel."""

    images: Mapping[int, ImageFacts]
    normal: tuple[float, float, float] | None

    @property
    def one(self) -> ImageFacts:
        """Any of them, for what they share."""
        return next(iter(self.images.values()))


@dataclass(frozen=True, slots=True)
class Judged:
    """A series with the verdict on the stack that it belongs to."""

    series: Series
    verdict: Verdict


def judge_all(images: Mapping[int, ImageFacts]) -> list[Judged]:
    """Every image's series with its verdict.

    Series that show no face by themselves are judged together when they are parallel, of one study, modality and frame
    of reference: a head that was stored in parts shows its face all the same.
    """
    by_series: defaultdict[tuple[object, ...], dict[int, ImageFacts]] = defaultdict(dict)
    for index, facts in _with_regions(images).items():
        by_series[facts.study, facts.series, facts.frame, facts.modality, facts.captured][index] = facts
    alone = [Series(members, _common_normal(members.values())) for members in by_series.values()]
    judged = [Judged(series, judge(stack_facts([series]))) for series in alone]
    parts = [one.series for one in judged if one.verdict.rule == _MAY_BE_PART]
    return [one for one in judged if one.verdict.rule != _MAY_BE_PART] + _judge_parts(parts)


def _with_regions(images: Mapping[int, ImageFacts]) -> dict[int, ImageFacts]:
    """Captures that do not say what they show, with the region of the sections in their study."""
    heads = {
        facts.study
        for facts in images.values()
        if facts.modality in SECTIONAL and not facts.captured and facts.region != OTHER
    }
    return {
        index: replace(facts, region=HEAD if facts.study in heads else OTHER)
        if facts.captured and facts.modality in UNLABELLED and facts.region == UNSTATED
        else facts
        for index, facts in images.items()
    }


def _judge_parts(parts: list[Series]) -> list[Judged]:
    stacks: list[list[Series]] = []
    for series in parts:
        stack = next((stack for stack in stacks if _continues(stack[0], series)), None)
        if stack is None:
            stacks.append([series])
        else:
            stack.append(series)
    return [Judged(series, verdict) for stack in stacks for verdict in [judge(stack_facts(stack))] for series in stack]


def stack_facts(stack: list[Series]) -> StackFacts:
    """The facts of series that belong together."""
    images = [facts for series in stack for facts in series.images.values()]
    places = sorted({round(place / _SAME_PLACE_MM) * _SAME_PLACE_MM for place in _places(images, stack[0].normal)})
    gaps = [after - before for before, after in itertools.pairwise(places)]
    return StackFacts(
        modality=images[0].modality,
        region=widest({facts.region for facts in images}),
        slices=len(places) or sum(max(1, facts.frames) for facts in images),
        gap_mm=max(gaps, default=0.0),
        extent_mm=places[-1] - places[0] if places else math.nan,
        field_mm=max(facts.field_mm for facts in images),
        normal=stack[0].normal,
        captured=images[0].captured,
    )


def _places(images: list[ImageFacts], normal: tuple[float, float, float] | None) -> list[float]:
    if normal is None:
        return []
    placed = [facts.placement.origin for facts in images if facts.placement is not None]
    return [sum(a * b for a, b in zip(origin, normal, strict=True)) for origin in placed]


def _common_normal(images: Iterable[ImageFacts]) -> tuple[float, float, float] | None:
    normals = [facts.placement.normal if facts.placement is not None else None for facts in images]
    first = normals[0]
    if first is None or not all(normal is not None and _dot(first, normal) >= _SAME_DIRECTION for normal in normals):
        return None
    return first


def _continues(one: Series, other: Series) -> bool:
    a, b = one.one, other.one
    if (a.study, a.frame, a.modality, a.captured) != (b.study, b.frame, b.modality, b.captured):
        return False
    if not a.frame or one.normal is None or other.normal is None:
        return False
    return abs(_dot(one.normal, other.normal)) >= _SAME_DIRECTION


def _dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
