"""What may reach a browser: types, HTML, pictures, budgets; over the whole rule."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.core.errors import InvalidError
from enclave.sandbox.tap.amounts import NOTHING, STEP_S, Amount, Usage, amount_from_json, amount_to_json
from enclave.sandbox.tap.display import KNOWN_TYPES, OTHER, WHY, judge, judge_reply, placeholder
from enclave.sandbox.tap.markup import TAGS, clean_html
from enclave.sandbox.tap.message import Message
from enclave.sandbox.tap.pictures import clean_picture
from enclave.sandbox.tap.policy import ACTIVE_TYPES, Budget, DisplayChange, DisplayPolicy, policy_for

POLICY = DisplayPolicy()
WIDGET = "application/vnd.jupyter.widget-view+json"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
AMOUNTS = st.builds(Amount, st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))


def message(kind: str, metadata: Any = None, buffers: tuple[bytes, ...] = (), **content: Any) -> Message:
    return Message(
        (b"t",), {"msg_type": kind, "msg_id": "1"}, {"msg_id": "0"}, metadata or {}, content, buffers, b"", 500
    )


def display(data: Any, kind: str = "display_data") -> Message:
    return message(kind, data=data, metadata={}, transient={})


def png(**text: str) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    out = io.BytesIO()
    Image.new("L", (3, 2)).save(out, "png", pnginfo=info)
    return out.getvalue()


class Tree(HTMLParser):
    """What a reader finds in HTML: elements with attributes, and what follows a raw text element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


# ── types ───────────────────────────────────────────────────────────────────


@given(data=st.dictionaries(st.sampled_from(sorted(KNOWN_TYPES)) | st.text(), JSON, max_size=5))
def test_only_listed_types_pass_whatever_is_in_them(data: dict[str, Any]) -> None:
    verdict = judge(display(data), POLICY)
    if verdict.message is None:
        assert verdict.refusals
        return
    assert set(verdict.message.content["data"]) <= set(POLICY.mime_types)
    assert all(isinstance(value, str) for value in verdict.message.content["data"].values())
    assert all(one.mime in KNOWN_TYPES | {OTHER} for one in verdict.refusals)


@given(kind=st.text(min_size=1, max_size=20), content=st.dictionaries(st.text(), JSON, max_size=4), metadata=JSON)
def test_what_nobody_knows_does_not_pass_and_metadata_and_buffers_never_do(
    kind: str, content: dict[str, Any], metadata: Any
) -> None:
    found = {"hidden": metadata}
    for name in (kind, "stream", "error", "status", "execute_input", "display_data"):
        sent = Message((), {"msg_type": name, "msg_id": "1"}, {}, found, content, (b"hidden",), b"", 9)
        verdict = judge(sent, POLICY)
        if verdict.message is not None:
            assert (verdict.message.metadata, verdict.message.buffers) == ({}, ())
        elif name == kind:
            assert verdict.refusals


def test_comms_pass_only_where_the_project_lists_them() -> None:
    one = message("comm_open", comm_id="1", target_name="jupyter.widget", data={})
    assert judge(one, POLICY).message is None
    assert judge(one, DisplayPolicy(comms=True)).message is one


def test_a_widget_falls_back_to_its_text_with_one_line_of_explanation() -> None:
    verdict = judge(display({WIDGET: {"model_id": "1"}, "text/plain": "IntSlider(value=0)"}), POLICY)
    assert verdict.message is not None
    first, second = verdict.message.content["data"]["text/plain"].split("\n")
    assert first == "IntSlider(value=0)"
    assert second.startswith("[enclave] Shown as text")
    assert [(one.rule, one.mime) for one in verdict.refusals] == [("mime_type", WIDGET)]
    listed = DisplayPolicy(mime_types=(*POLICY.mime_types, WIDGET))
    assert judge(display({WIDGET: {"model_id": "1"}}), listed).refusals == ()


def test_every_rule_has_words_and_a_placeholder_says_type_size_rule_and_what_is_left() -> None:
    verdict = judge(display({"image/svg+xml": "<svg/>" * 500}), POLICY)
    text = placeholder(verdict.refusals[0], note="Left for this cell: 5 pictures.")
    for part in ("image/svg+xml", "2.9 KB", "mime_type", "Left for this cell"):
        assert part in text
    assert all(WHY.values())


def test_an_answer_to_the_browser_shows_no_more_than_an_output() -> None:
    shown = {"status": "ok", "data": {"text/html": "<script>x</script>1", "image/svg+xml": "<svg/>"}, "metadata": {}}
    reply = message(
        "execute_reply", status="ok", execution_count=1, user_expressions={"x": shown}, payload=[{"source": "x"}]
    )
    verdict = judge_reply(reply, POLICY)
    assert verdict.message is not None
    assert verdict.message.content["user_expressions"]["x"]["data"] == {"text/html": "1"}
    assert verdict.message.content["payload"] == []
    large = Message(
        (), {"msg_type": "inspect_reply", "msg_id": "1"}, {}, {}, {"status": "ok", "found": True}, (), b"", 2 << 20
    )
    short = judge_reply(large, POLICY)
    assert short.message is not None
    assert short.message.content == {"status": "ok", "found": False, "data": {}, "metadata": {}}
    assert [one.rule for one in short.refusals] == ["reply_size"]


# ── HTML ────────────────────────────────────────────────────────────────────

PARTS = st.sampled_from(
    (
        *(
            "<",
            ">",
            "</",
            "/>",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?",
            "&lt;",
            "&",
            ";",
            '"',
            "'",
            "=",
            " ",
            "\x00",
            "\n",
        ),
        *(
            "script",
            "style",
            "svg",
            "math",
            "mtext",
            "table",
            "td",
            "a",
            "img",
            "onerror",
            "src",
            "href",
            "javascript:x",
        ),
        *(
            "noscript",
            "title",
            "textarea",
            "template",
            "iframe",
            "p",
            "style=",
            "color:red",
            "url(//x)",
            "class=y",
            "é",
        ),
    )
)


@given(text=st.lists(PARTS, max_size=30).map("".join))
def test_whatever_goes_in_only_listed_elements_and_harmless_attributes_come_out(text: str) -> None:
    cleaned = clean_html(text)
    found = Tree(cleaned.html)
    assert set(found.tags) <= TAGS
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "href", "srcdoc", "action"}
        assert name != "style" or "url" not in value
    assert clean_html(cleaned.html) == type(cleaned)(cleaned.html, cleaned.rows, 0)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg><style><a title='</style><img src=x onerror=alert(1)>'>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<a href='javascript:alert(1)'>x</a>",
        "<b style=\"background-image:url('https://x/')\">x</b>",
        "<iframe srcdoc='<script>x</script>'></iframe>",
        "<table><tr><td data-commandlinker-command='x'>1</td></tr></table>",
    ],
)
def test_known_ways_to_run_or_load_are_gone(text: str) -> None:
    found = Tree(clean_html(text).html)
    assert set(found.tags) <= TAGS
    assert not [name for name, _ in found.attributes if name not in ("title", "class")]


def test_a_data_frame_keeps_its_look_and_its_rows_count() -> None:
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b<": ["x & y", "<script>"]})
    cleaned = clean_html(frame.to_html())
    assert cleaned.rows == 3
    assert cleaned.removed == 0
    assert 'class="dataframe"' in cleaned.html
    assert "&lt;script&gt;" in cleaned.html


@pytest.mark.parametrize("piece", ["<br>", "<li>", "<p>", "<div>", "<tr>", "<dd>", "<h3>"])
def test_whatever_begins_a_row_counts_as_one(piece: str) -> None:
    assert clean_html(f"{piece}1" * 50).rows == 50
    assert clean_html("<pre>" + "1\n" * 50 + "</pre>").rows == 50


@pytest.mark.parametrize("words", ["background-color:" * 40 + "!", "color:" + " color:" * 4000 + "!", "color: " * 9000])
def test_no_style_holds_its_reader_up(words: str) -> None:
    begun = time.process_time()
    assert clean_html(f'<b style="{words}">x</b>').html == "<b>x</b>"
    assert time.process_time() - begun < 2


def test_a_style_of_listed_declarations_is_kept() -> None:
    kept = '<td style="color: red; text-align:right;">1</td>'
    assert clean_html(kept).html == kept
    assert clean_html('<td style="color: red; position: fixed">1</td>').html == "<td>1</td>"


def test_large_html_and_html_of_which_nothing_is_left_are_refused() -> None:
    assert judge(display({"text/html": "x" * (300 << 10)}), POLICY).refusals[0].rule == "html_size"
    assert judge(display({"text/html": "<script>x</script>"}), POLICY).refusals[0].rule == "html_active"


# ── pictures ────────────────────────────────────────────────────────────────


def test_a_picture_loses_its_comments_and_what_follows_its_end() -> None:
    data = png(Comment="secret words") + b"more secret words"
    kept = clean_picture("image/png", base64.encodebytes(data).decode())
    assert kept is not None
    assert base64.b64decode(kept) == png()
    from PIL import Image

    assert Image.open(io.BytesIO(base64.b64decode(kept))).size == (3, 2)


@given(data=st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: png()[:40] + tail))
def test_what_is_no_picture_is_not_shown_as_one(data: bytes) -> None:
    assert clean_picture("image/png", base64.b64encode(data).decode()) is None
    verdict = judge(display({"image/png": base64.b64encode(data).decode(), "text/plain": "<Figure>"}), POLICY)
    assert verdict.amount.images == 0
    assert verdict.refusals[0].rule == "not_a_picture"


# ── policy ──────────────────────────────────────────────────────────────────


def test_a_project_changes_what_it_names_and_keeps_the_rest() -> None:
    default = DisplayPolicy(comms=True, html_kb=7)
    changes = {
        "open": DisplayChange(cell=Budget(mb=1, images=2, rows=3)),
        "bad": DisplayChange(mime_types=("image/svg+xml",)),
    }
    found = policy_for("open", default=default, changes=changes)
    assert (found.comms, found.html_kb, found.cell.images) == (True, 7, 2)
    assert policy_for("other", default=default, changes=changes) == default
    with pytest.raises(InvalidError):
        policy_for("bad", default=default, changes=changes)


@pytest.mark.parametrize(
    "change", [*({"mime_types": (one,)} for one in sorted(ACTIVE_TYPES)), {"warn_percent": 0}, {"freeze_after": 0}]
)
def test_types_that_run_and_budgets_without_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        policy_for("x", default=DisplayPolicy(**change), changes={})


# ── budgets ─────────────────────────────────────────────────────────────────

LIMITS = {"hour": Amount(1000, 1000, 1000), "day": Amount(3000, 3000, 3000)}
STEPS = st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 4000)), max_size=20)


@given(steps=STEPS)
def test_no_order_of_draws_and_returns_takes_anybody_over_a_window(steps: list[tuple[Amount, Amount, int]]) -> None:
    usage, at, granted = Usage(), NOW, []
    for need, spare, seconds in steps:
        at += timedelta(seconds=seconds)
        answer = usage.draw(need, spare=spare, limits=LIMITS, warn_percent=80, at=at)
        if answer.granted is not None:
            assert not need.beyond(answer.granted)
            granted.append((at, answer.granted))
        else:
            assert answer.budget in LIMITS
            assert answer.measure in ("bytes", "images", "rows")
        for window, span in (("hour", 3600), ("day", 86_400)):
            total = NOTHING
            for when, amount in granted:
                if (at - when).total_seconds() < span:
                    total = total.plus(amount)
            assert not total.beyond(LIMITS[window])
            assert not total.beyond(usage.used(window, at))


@given(drawn=AMOUNTS, back=AMOUNTS)
def test_what_goes_back_is_never_more_than_was_drawn(drawn: Amount, back: Amount) -> None:
    usage = Usage()
    usage.draw(drawn, spare=NOTHING, limits=LIMITS, warn_percent=80, at=NOW)
    usage.give_back(back, NOW)
    assert usage.used("hour", NOW) == drawn.minus(back)


def test_a_person_is_warned_once_when_most_is_used_and_gets_the_budget_back_with_time() -> None:
    usage = Usage()
    for number in range(10):
        answer = usage.draw(Amount(100), spare=NOTHING, limits=LIMITS, warn_percent=80, at=NOW)
        assert answer.warned == (("hour",) if number == 7 else ())
    assert usage.draw(Amount(1), spare=NOTHING, limits=LIMITS, warn_percent=80, at=NOW).budget == "hour"
    later = NOW + timedelta(seconds=3600 + STEP_S)
    assert usage.draw(Amount(1000), spare=NOTHING, limits=LIMITS, warn_percent=80, at=later).granted == Amount(1000)


def test_refused_cells_are_counted_for_a_day() -> None:
    usage = Usage()
    assert [usage.refuse(NOW) for _ in range(3)] == [1, 2, 3]
    assert usage.refusals(NOW + timedelta(days=2)) == 0


@given(amount=AMOUNTS)
def test_an_amount_keeps_its_meaning_on_the_line(amount: Amount) -> None:
    assert amount_from_json(json.loads(json.dumps(amount_to_json(amount)))) == amount


@given(value=JSON)
def test_anything_else_on_the_line_is_refused(value: Any) -> None:
    good = isinstance(value, list) and len(value) == 3 and all(type(one) is int and one >= 0 for one in value)
    if not good:
        with pytest.raises(InvalidError):
            amount_from_json(value)


def test_the_words_of_an_amount_are_for_people() -> None:
    assert re.fullmatch(r"3\.0 MB, 4 pictures, 5 rows", Amount(3 << 20, 4, 5).words())


@given(st.lists(st.sampled_from(["\n", "x" * 5000, "y\n" * 80, "z" * 100]), max_size=12))
def test_every_line_of_a_text_is_counted_however_long_it_is(parts: list[str]) -> None:
    text = "".join(parts)
    assert judge(message("stream", name="stdout", text=text), POLICY).amount.rows == text.count("\n")
