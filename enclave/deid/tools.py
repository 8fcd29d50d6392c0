"""What a job brings to each instance: profile, keys, words, and what is known of the cohort."""

from __future__ import annotations

from dataclasses import dataclass

from enclave.deid.codes import known_meanings
from enclave.deid.harvest import Cohort
from enclave.deid.keyring import Keyring
from enclave.deid.long_text import DETECTORS, settle
from enclave.deid.places import Places
from enclave.deid.profile import Profile
from enclave.deid.recipe import Recipe
from enclave.deid.table import PrivateElement, table_rows, vocabulary
from enclave.detectors.pixel_text.network import check_models, model_folder


@dataclass(frozen=True, slots=True)
class Tools:
    """What every instance of a job is cleaned with."""

    profile: Profile
    places: Places
    keyring: Keyring
    cohort: Cohort
    vocabulary: frozenset[str]
    private: frozenset[PrivateElement]
    max_shift_days: int
    times: str = "exact"
    detectors: bool = False


def make_tools(recipe: Recipe, *, keyring: Keyring, cohort: Cohort) -> Tools:
    """The tools of a job; raises as ``settle``."""
    return tools_of(settle(recipe), keyring=keyring, cohort=cohort)


def tools_of(recipe: Recipe, *, keyring: Keyring, cohort: Cohort) -> Tools:
    """As ``make_tools``, of a recipe that is settled."""
    profile = Profile(table_rows(), options=recipe.options, minimum=recipe.needed())
    known_meanings()
    if "clean_pixel_data" in profile.options:
        check_models(model_folder())
    return Tools(
        profile=profile,
        places=Places(profile),
        keyring=keyring,
        cohort=cohort,
        vocabulary=vocabulary(),
        private=recipe.kept_private(),
        max_shift_days=recipe.dates.max_shift_days,
        times=recipe.dates.times,
        detectors=recipe.long_text == DETECTORS,
    )
