"""Checks about what a person saw of a candidate, and about whose pseudonyms it has. Pure."""

from __future__ import annotations

from enclave.policy.checks import Case, anothers_batch, approving


def of_a_face(case: Case) -> str | None:
    """An expert judges how well faces went, and sees no other item."""
    review = case.facts.review
    if review is None:
        return "missing_fact"
    return None if review.face else "role"


def of_no_face(case: Case) -> str | None:
    """A head as it came in shows who it is: that is for the honest broker and the engaged expert alone."""
    review = case.facts.review
    if review is None:
        return "missing_fact"
    return "role" if review.face else None


def can_be_seen(case: Case) -> str | None:
    """An item of somebody else's batch that waits, or a head that is kept for those who decide later."""
    reason, review = anothers_batch(case), case.facts.review
    if reason or review is None:
        return reason or "missing_fact"
    return None if review.waiting or (review.face and review.kept) else "not_in_sample"


def steward_is_another(case: Case) -> str | None:
    """Of the sample as a whole: not by who handed the version in."""
    version = case.facts.version
    if version is None or not version.steward:
        return "missing_fact"
    return "reviews_own_batch" if version.steward == case.actor.name else None


def sample_known(case: Case) -> str | None:
    """The registry's own copy of the review is there, and of this version."""
    sample = case.facts.sample
    if sample is None:
        return "missing_fact"
    same = (sample.dataset, sample.version) == (case.resource.dataset, case.resource.version)
    return None if same else "other_resource"


def verdict_fits(case: Case) -> str | None:
    """A yes comes once, after every item was seen and found clean; a no is possible until there is one."""
    sample = case.facts.sample
    if sample is None:
        return "missing_fact"
    if sample.verdict == "no" or (sample.verdict and sample.clean):
        return "review_decided"
    if not sample.clean:
        return None
    if sample.unclean:
        return "review_unclean"
    return "review_waiting" if sample.waiting else None


def sample_passed(case: Case) -> str | None:
    """Nobody found anything; and where the recipe requires it, a person said yes."""
    unknown = sample_known(case)
    sample = case.facts.sample
    if unknown or sample is None:
        return unknown or "missing_fact"
    if sample.unclean or sample.verdict == "no":
        return "review_unclean"
    return "review_missing" if sample.required and sample.verdict != "yes" else None


def for_this_project(case: Case) -> str | None:
    """A version with pseudonyms of one project goes to no other one."""
    version = case.facts.version
    if version is None or version.only_for is None:
        return "missing_fact"
    return None if version.only_for in ("", case.resource.project) else "other_projects_pseudonyms"


def for_this_project_to_approve(case: Case) -> str | None:
    """As ``for_this_project``; a refusal is always possible."""
    return for_this_project(case) if approving(case) else None


def sample_passed_to_approve(case: Case) -> str | None:
    """As ``sample_passed``; a refusal is always possible."""
    return sample_passed(case) if approving(case) else None


def another_said_yes(case: Case) -> str | None:
    """Who said yes to the sample does not also say yes to the release: one version, one yes per person."""
    sample = case.facts.sample
    if not approving(case):
        return None
    if sample is None:
        return "missing_fact"
    return "yes_twice" if sample.verdict == "yes" and sample.decided_by in ("", case.actor.name) else None


def did_not_release(case: Case) -> str | None:
    """The same in the other order; a no is always possible."""
    sample = case.facts.sample
    if sample is None:
        return "missing_fact"
    return "yes_twice" if sample.clean and case.actor.name in sample.released_by else None
