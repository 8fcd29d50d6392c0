"""The data's risk times how likely an attack is: strict average and risk in context. Pure.

Source: El Emam (2013), Guide to the De-Identification of Personal Health Information, chapters 16 to 19.
"""

from __future__ import annotations

from dataclasses import dataclass

from enclave.risk.config import Context


@dataclass(frozen=True, slots=True)
class StrictAverage:
    """The average risk, which counts only where no class is smaller than ``floor``; else it is not available."""

    floor: int
    average: float | None = None


@dataclass(frozen=True, slots=True)
class ContextRisk:
    """Per kind of attack its probability times the average risk; ``average`` is the highest of the three.

    ``max``: the same with the highest risk of a subject. An attack whose probability was not given has none, and
    without any all is not available.
    """

    attempt: float | None = None
    acquaintance: float | None = None
    breach: float | None = None
    average: float | None = None
    max: float | None = None


def strict_average(average: float | None, *, smallest: int | None, floor: int) -> StrictAverage:
    """``average`` where the ``smallest`` class has at least ``floor`` subjects."""
    holds = smallest is not None and smallest >= floor
    return StrictAverage(floor, average if holds else None)


def context_risk(context: Context, *, average: float | None, highest: float | None) -> ContextRisk:
    """The risk where the data will be."""
    likeliest = likeliest_attack(context)
    if likeliest is None or average is None or highest is None:
        return ContextRisk()
    parts = {name: None if chance is None else chance * average for name, chance in _chances(context).items()}
    return ContextRisk(**parts, average=likeliest * average, max=likeliest * highest)


def likeliest_attack(context: Context) -> float | None:
    """The highest of the probabilities of an attack that are known."""
    return max((chance for chance in _chances(context).values() if chance is not None), default=None)


def _chances(context: Context) -> dict[str, float | None]:
    return {"attempt": context.attempt, "acquaintance": acquaintance_of(context), "breach": context.breach}


def acquaintance_of(context: Context) -> float | None:
    """Pr(at least one of m acquaintances is in the data) = 1 − (1 − prevalence)^m."""
    if context.acquaintance is not None or context.prevalence is None:
        return context.acquaintance
    return 1.0 - (1.0 - context.prevalence) ** context.acquaintances
