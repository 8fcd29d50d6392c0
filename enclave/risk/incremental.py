"""Whether rows that are appended break what was certified, from the counts of before and the new rows alone. Pure.

Only classes that the rows touch are counted anew. The distribution of a sensitive column shifts for all classes: each
distance for t is a metric, so no untouched class moves further than the distribution itself, and only when that bound
does not decide are all classes measured.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from enclave.core.errors import InvalidError
from enclave.risk.assessment import TOLERANCE
from enclave.risk.classes import Ints
from enclave.risk.config import Model, RiskConfig
from enclave.risk.context import likeliest_attack
from enclave.risk.diversity import Floats, SensitiveCounts, beta, closeness, delta, value_counts, weigh
from enclave.risk.encoding import encode
from enclave.risk.lowering import discloses
from enclave.risk.measuring import Prepared


@dataclass(frozen=True, slots=True)
class Appended:
    """What the table would be with the rows. ``holds``: per part of the model, None when only a full assessment tells.

    ``breaks``: whether a part does not hold. ``small_classes``: classes with fewer than k subjects.
    """

    rows: int
    new_subjects: int
    classes: int
    k: int
    small_classes: int
    average: float
    share_at_risk: float
    holds: dict[str, bool | None]
    breaks: bool


class Standing:
    """The counts of a table that was certified, ready to be asked. Asking changes nothing."""

    def __init__(self, prepared: Prepared, subjects: tuple[dict[str | None, int], Ints] | None, config: RiskConfig):
        if config.nulls == "wildcard":
            raise InvalidError("risk: wanted nulls as own_category or drop for appended rows, got wildcard; assess all")
        self._config = config
        self._names = [column.name for column in prepared.columns]
        self._codes: list[dict[str | None, int]] = [
            {value: code for code, value in enumerate(column.labels[0])} for column in prepared.columns
        ]
        width = prepared.base.codes.shape[1] * 4
        packed = np.ascontiguousarray(prepared.base.codes, dtype=np.int32).tobytes()
        self._places = {packed[i * width : (i + 1) * width]: i for i in range(len(prepared.base.rows))}
        self._sizes = prepared.base.subjects
        self._histogram = np.bincount(self._sizes)
        self._subjects, self._pairs = self._members(prepared, subjects)
        self._values = [_Values(one, config.model, class_count=len(self._sizes)) for one in prepared.sensitive]

    def append(self, rows: Any) -> Appended:
        """What the table would be with ``rows`` (Arrow, the same columns); raises ``InvalidError`` without one."""
        self._check(rows)
        if self._config.nulls == "drop":
            rows = rows.filter([None not in key for key in self._keys(rows)])
        of, known = self._classes_of(rows)
        joined, new_subjects = self._joined(rows, of)
        sizes = self._sizes_after(joined, of, known)
        histogram = Counter({size: int(n) for size, n in enumerate(self._histogram.tolist()) if n and size})
        for place, size in sizes.items():
            if place < len(self._sizes):
                histogram[int(self._sizes[place])] -= 1
            histogram[size] += 1
        histogram = +histogram
        members = sum(size * n for size, n in histogram.items())
        k, model = min(histogram), self._config.model
        average = sum(histogram.values()) / members
        holds: dict[str, bool | None] = {"k": k >= model.k, **self._average_holds(average, k=k)}
        holds |= self._values_hold(rows, of, known)
        small = {size: n for size, n in histogram.items() if size < model.k}
        return Appended(
            rows=rows.num_rows,
            new_subjects=new_subjects,
            classes=sum(histogram.values()),
            k=k,
            small_classes=sum(small.values()),
            average=average,
            share_at_risk=sum(size * n for size, n in small.items()) / members,
            holds=holds,
            breaks=any(one is False for one in holds.values()),
        )

    def _average_holds(self, average: float, *, k: int) -> dict[str, bool | None]:
        """What is asked of all classes together; the population and the images are not counted here."""
        model, context = self._config.model, self._config.context
        holds: dict[str, bool | None] = {}
        if model.average is not None:
            holds["average"] = k >= model.floor and average <= model.average + TOLERANCE
        if context.threshold is not None:
            chance = likeliest_attack(context)
            holds["context"] = chance is not None and chance * average <= context.threshold + TOLERANCE
        if model.presence:
            holds["presence"] = None
        if self._config.image is not None:
            holds["image"] = None
        return holds

    def _check(self, rows: Any) -> None:
        wanted = [*self._names, *(one.counts.name for one in self._values)]
        wanted += [self._config.subject] if self._config.subject else []
        missing = sorted(set(wanted) - set(rows.column_names))
        if missing:
            raise InvalidError(f"risk: wanted the columns {', '.join(missing)} in the appended rows, got none of them")

    @staticmethod
    def _members(
        prepared: Prepared, subjects: tuple[dict[str | None, int], Ints] | None
    ) -> tuple[dict[str | None, int] | None, Ints]:
        if subjects is None:
            return None, np.empty(0, dtype=np.int64)
        numbers, codes = subjects
        return numbers, np.unique(prepared.of_row * np.int64(len(numbers)) + codes)

    def _keys(self, rows: Any) -> list[tuple[str | None, ...]]:
        columns = []
        for name in self._names:
            values, codes = encode(rows.column(name))
            columns.append([values[code] for code in codes.tolist()])
        return list(zip(*columns, strict=True))

    def _classes_of(self, rows: Any) -> tuple[Ints, int]:
        """The class of each row, numbered on from those of before; and how many are known afterwards."""
        fresh: dict[tuple[str | None, ...], int] = {}
        found = []
        for key in self._keys(rows):
            codes = [known.get(value, -1) for known, value in zip(self._codes, key, strict=True)]
            place = -1 if -1 in codes else self._places.get(np.array(codes, dtype=np.int32).tobytes(), -1)
            found.append(place if place >= 0 else fresh.setdefault(key, len(self._sizes) + len(fresh)))
        return np.array(found, dtype=np.int64), len(self._sizes) + len(fresh)

    def _joined(self, rows: Any, of: Ints) -> tuple[set[tuple[int, Any]], int]:
        """The (class, subject) pairs that are new, and how many subjects are."""
        if self._subjects is None or self._config.subject is None:
            return {(place, i) for i, place in enumerate(of.tolist())}, len(of)
        values, codes = encode(rows.column(self._config.subject))
        if None in values:
            raise InvalidError("risk: wanted a subject in each appended row, got rows without one")
        numbers = [self._subjects.get(value, -1) for value in values]
        joined: set[tuple[int, Any]] = set()
        for place, code in zip(of.tolist(), codes.tolist(), strict=True):
            if numbers[code] < 0 or place >= len(self._sizes) or not self._is_member(place, numbers[code]):
                joined.add((place, values[code]))
        return joined, sum(one < 0 for one in numbers)

    def _is_member(self, place: int, number: int) -> bool:
        key = place * len(self._subjects or ()) + number
        at = int(np.searchsorted(self._pairs, key))
        return at < len(self._pairs) and int(self._pairs[at]) == key

    def _sizes_after(self, joined: set[tuple[int, Any]], of: Ints, known: int) -> dict[int, int]:
        gained = Counter(place for place, _ in joined)
        before = len(self._sizes)
        return {
            place: (int(self._sizes[place]) if place < before else 0) + gained[place]
            for place in {*of.tolist(), *range(before, known)}
            if place < before or gained[place]
        }

    def _values_hold(self, rows: Any, of: Ints, known: int) -> dict[str, bool | None]:
        model = self._config.model
        parts: dict[str, Model] = {}
        for name in ("l", "t", "beta", "delta"):
            if getattr(model, name) is not None:
                parts[name] = replace(Model(), **{name: getattr(model, name)})
        holds: dict[str, bool | None] = dict.fromkeys(parts, True)
        for one in self._values:
            values, codes = encode(rows.column(one.counts.name))
            coded = [one.counts.numbers.get(value, -1) for value in values]
            if -1 in coded:
                return dict.fromkeys(parts)  # a value that is new changes the distance itself
            added = np.array(coded, dtype=np.int64)[codes] if len(codes) else np.empty(0, dtype=np.int64)
            for name, asked in parts.items():
                holds[name] = bool(holds[name]) and one.hold(of, added, known, asked)
        return holds


class _Values:
    """One sensitive column: its counts by class, and how close each class is."""

    def __init__(self, counts: SensitiveCounts, model: Model, *, class_count: int) -> None:
        order = np.argsort(counts.combination, kind="stable")
        self.counts = replace(
            counts, combination=counts.combination[order], value=counts.value[order], count=counts.count[order]
        )
        self._class_count = class_count
        self._starts = np.searchsorted(self.counts.combination, np.arange(class_count + 1))
        self._overall = weigh(counts.value, weights=counts.count, minlength=counts.value_count)
        found = value_counts(self.counts, np.arange(class_count), class_count)
        self._measured = {"t": closeness(found, self.counts), "beta": beta(found), "delta": delta(found)}
        self._not_diverse = discloses(found, self.counts, Model(l=model.l))

    def hold(self, of: Ints, added: Ints, known: int, model: Model) -> bool:
        """Whether each class holds ``model`` when row i brings the value ``added[i]`` to the class ``of[i]``."""
        overall = self._overall + np.bincount(added, minlength=self.counts.value_count)
        touched = np.unique(of)
        counts = self._of(touched, of, added, overall)
        found = value_counts(counts, np.arange(len(touched)), len(touched))
        if discloses(found, counts, model).any():
            return False
        if self._untouched_within(touched, overall, model):
            return True
        everywhere = self._of(np.arange(known), of, added, overall)
        found = value_counts(everywhere, np.arange(known), known)
        return not discloses(found, everywhere, model)[found.size > 0].any()

    def _untouched_within(self, touched: Ints, overall: Floats, model: Model) -> bool:
        """Whether the others hold for certain, however the shift of the distribution falls on them."""
        rest = np.ones(self._class_count, dtype=bool)
        rest[touched[touched < self._class_count]] = False
        if model.l is not None:
            return not self._not_diverse[rest].any()
        largest = {name: float(found[rest].max(initial=0.0)) for name, found in self._measured.items()}
        if model.t is not None:
            return largest["t"] + self._moved(overall) <= model.t + TOLERANCE
        before, after = self._overall / self._overall.sum(), overall / overall.sum()
        if not (before > 0).all():
            return False
        ratio = before / after
        if model.delta is not None:
            return largest["delta"] + float(np.abs(np.log(ratio)).max()) <= model.delta + TOLERANCE
        if model.beta is not None and model.beta.kind == "basic":
            return (largest["beta"] + 1) * float(ratio.max()) - 1 <= model.beta.value + TOLERANCE
        return False

    def _moved(self, overall: Floats) -> float:
        """The distance between the distribution of before and that of after."""
        present = np.flatnonzero(self._overall)
        whole = replace(
            self.counts,
            combination=np.zeros(len(present), dtype=np.int64),
            value=present,
            count=self._overall[present].astype(np.int64),
            overall=overall,
        )
        return float(closeness(value_counts(whole, np.zeros(1, dtype=np.int64), 1), whole)[0])

    def _of(self, classes: Ints, of: Ints, added: Ints, overall: Floats) -> SensitiveCounts:
        """The counts of these classes (sorted) with the new rows, the classes numbered from 0."""
        old = classes[classes < self._class_count]
        begin, end = self._starts[old], self._starts[old + 1]
        length = end - begin
        taken = np.repeat(begin - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(int(length.sum()))
        new = np.searchsorted(classes, of)
        return replace(
            self.counts,
            combination=np.concatenate([np.repeat(np.searchsorted(classes, old), length), new]),
            value=np.concatenate([self.counts.value[taken], added]),
            count=np.concatenate([self.counts.count[taken], np.ones(len(added), dtype=np.int64)]),
            overall=overall,
        )
