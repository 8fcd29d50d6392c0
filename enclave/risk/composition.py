"""What several releases tell together: the classes of subjects who look alike in all of them. Pure.

Pseudonyms are the same in all releases of a data set, so who sees two of them joins them by subject. Classes of the
join are never larger than those of either. Where pseudonyms differ (one domain per project) the join needs a further
attack; the joint k is then a lower bound.
Source: Ganta, Kasiviswanathan, Smith (2008), Composition attacks and auxiliary information in data privacy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enclave.risk.classes import Ints, number


@dataclass(frozen=True, slots=True)
class JointRisk:
    """Classes over all releases; a subject who is absent from one differs from all who are in it.

    ``k_alone``: the smallest class of each release by itself, by subject and all that it shows of a subject.
    """

    releases: int
    subjects: int
    classes: int
    k: int
    unique_subjects: int
    average: float
    share_at_risk: float
    k_alone: tuple[int, ...]
    holds: bool


def joint_risk(releases: tuple[tuple[Ints, Ints], ...], *, subject_count: int, k: int) -> JointRisk:
    """Each release as (subject per row, combination per row), with one numbering of subjects for all."""
    shown = [appearances(subject, combination, subject_count=subject_count) for subject, combination in releases]
    present = np.zeros(subject_count, dtype=bool)
    for one in shown:
        present |= one > 0
    columns = [one[present].astype(np.int64) for one in shown]
    of, count = number(columns, [int(one.max()) + 1 for one in columns], int(present.sum()))
    sizes = np.bincount(of, minlength=count)
    total = int(sizes.sum())
    return JointRisk(
        releases=len(releases),
        subjects=total,
        classes=count,
        k=int(sizes.min()),
        unique_subjects=int((sizes == 1).sum()),
        average=count / total,
        share_at_risk=int(sizes[sizes < k].sum()) / total,
        k_alone=tuple(int(np.bincount(one[one > 0])[1:].min()) for one in shown),
        holds=bool(sizes.min() >= k),
    )


def appearances(subject: Ints, combination: Ints, *, subject_count: int) -> Ints:
    """A number per subject for the set of combinations that it has, from 1; 0 for who is absent."""
    span = int(combination.max()) + 1
    pairs = np.unique(subject * np.int64(span) + combination)
    who, what = pairs // span, pairs % span
    many = np.bincount(who, minlength=subject_count)
    place = np.arange(len(who)) - np.searchsorted(who, who, side="left")
    sets: Ints = many.astype(np.int64)  # sets of different sizes differ
    for step in range(int(many.max())):
        there = who[place == step]
        coded = [sets[there], what[place == step]]
        of, _ = number(coded, [int(sets.max()) + 1, span], len(there))
        rest = (many > 0) & (many <= step)
        refined: Ints = np.zeros(subject_count, dtype=np.int64)
        refined[there] = of + 1
        refined[rest] = sets[rest] + int(of.max()) + 1
        sets = refined
    there = np.flatnonzero(many)
    of, _ = number([sets[there]], [int(sets.max()) + 1], len(there))
    sets = np.zeros(subject_count, dtype=np.int64)
    sets[there] = of + 1
    return sets
