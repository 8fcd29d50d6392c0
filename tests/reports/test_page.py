"""The page of a report: what a kernel prints is hostile, the page runs and loads nothing."""

from __future__ import annotations

import re

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.reports.page import render_page

HOSTILE = (
    "<script>fetch('http://far.example')</script>",
    "<img src='http://far.example/x.png'>",
    "<img src='data:image/svg+xml;base64,AAAA'>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)></svg>",
    "<iframe src='http://far.example'></iframe>",
    "<a href='javascript:alert(1)'>go</a>",
    "<link rel=stylesheet href='http://far.example'>",
    "<p style='background:url(http://far.example)'>x</p>",
    "<form action='http://far.example'><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=http://far.example'>",
    "<object data='http://far.example'></object>",
    "<math><mtext><style><img src=http://far.example onerror=alert(1)></style></mtext></math>",
    "<!--><img src=http://far.example onerror=alert(1)>-->",
)
PNG = "aGFsbG8="


def page_of(*outputs: tuple[str, str], text: str = "# Title") -> str:
    notebook = nbformat.v4.new_notebook()
    shown = [nbformat.v4.new_output("display_data", {kind: data}) for kind, data in outputs]
    notebook.cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("secret_code()", outputs=shown)]
    return render_page(notebook, title="demo-validation: demo-ct")


def active_parts(page: str) -> list[str]:
    body = page.partition("<body>")[2]
    tags = re.findall(r"<[^>]*>", body)
    allowed = re.compile(r'<img( alt="[^"]*"| class="[^"]*"| src="data:image/png;base64,[^"]*")*>')
    return [
        tag
        for tag in tags
        if re.search(r"script|style|href|\son\w+\s*=|http|src|<(?!/?[a-z0-9]+[ >])", tag) and not allowed.fullmatch(tag)
    ]


@pytest.mark.parametrize("payload", HOSTILE)
@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_nothing_that_a_kernel_prints_runs_or_loads_anything(payload: str, kind: str) -> None:
    assert active_parts(page_of((kind, payload))) == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_nothing_in_the_notebooks_own_text_runs_or_loads_anything(payload: str) -> None:
    assert active_parts(page_of(text=payload)) == []


@given(payload=st.text(alphabet=st.sampled_from("<>/=\"' abcimgscrptonlodhef:-!"), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_arrangement_of_tag_characters_becomes_active(payload: str) -> None:
    assert active_parts(page_of(("text/html", payload))) == []


@pytest.mark.parametrize(
    "kind", ["application/javascript", "image/svg+xml", "application/vnd.jupyter.widget-view+json"]
)
def test_other_kinds_of_output_are_left_out(kind: str) -> None:
    assert "canary" not in page_of((kind, "canary"))


def test_the_page_asks_the_browser_to_load_nothing() -> None:
    page = page_of()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"https?://", page)


def test_tables_and_pictures_are_kept_and_code_is_not() -> None:
    page = page_of(("text/html", "<style scoped>.x{}</style><table><tr><td>41</td></tr></table>"), ("image/png", PNG))
    assert "<td>41</td>" in page
    assert f"data:image/png;base64,{PNG}" in page
    assert "secret_code" not in page
    assert ".x{}" not in page


def test_the_error_output_of_a_cell_is_left_out() -> None:
    notebook = nbformat.v4.new_notebook()
    error = nbformat.v4.new_output("error", ename="E", evalue="canary", traceback=["canary"])
    notebook.cells = [nbformat.v4.new_code_cell("1/0", outputs=[error])]
    assert "canary" not in render_page(notebook, title="t")
