"""The files that a person hands in: what they say is read as it stands, or refused in words without a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from enclave.core.errors import InvalidError
from enclave.risk.config import Model, Qi, RiskConfig, Sensitive
from enclave.risk.encoding import value_order
from enclave.risk.engine import anonymise, assess, load_config, read_table
from enclave.risk.hierarchy import parse_hierarchy

pytestmark = pytest.mark.row("S13.1")
AB = "[qi.a]\n[qi.b]\n"


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,007\n1,7\n",
        b"a;b\r\n1;007\r\n1;7\r\n",
        b"a\tb\r1\t007\r1\t7\r",
        b"\xef\xbb\xbfa|b\n1|007\n1|7\n",
        b'"a",b,"one; two; three; four"\n1,007,\n1,7,\n',
        b'a,b,"over\ntwo lines"\n1,007,x\n1,7,x\n',
        b'a,b,"a ""quoted"" name;;;"\n1,007,x\n1,7,x\n',
    ],
    ids=[
        "commas",
        "semicolons",
        "old line ends",
        "mark and bars",
        "delimiters in a name",
        "line end in a name",
        "quotes",
    ],
)
def test_a_table_is_read_by_its_own_delimiter_and_as_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    found = read_table(tmp_path / "t.csv")
    assert (found.column("a").to_pylist(), found.column("b").to_pylist()) == (["1", "1"], ["007", "7"])


@pytest.mark.parametrize(
    "data",
    [
        "a,b\n1,2\n".encode("utf-16"),
        b"a,b\nsecret,\xff\n",
        b"a,b\nsecret\n",
        b'a,b\n"secret,2\n',
        b"a," + b"secret" * 30_000 + b"\n1,2\n",
        b"",
        b"PAR1 secret",
    ],
    ids=["utf-16", "bytes", "ragged", "open quote", "endless name", "empty", "no parquet"],
)
def test_what_is_no_table_is_refused_without_what_it_says(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InvalidError) as caught:
        read_table(tmp_path / "t.csv")
    assert caught.value.message.startswith("t.csv: wanted CSV (UTF-8, one header line) or Parquet")
    assert "secret" not in caught.value.message


def test_settings_and_hierarchies_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "risk.toml").write_bytes(b'\xef\xbb\xbf[qi.a]\nhierarchy = "a.csv"\n[model]\nk = 2\n')
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf1;low;*\r\n2;low;*\r\n")
    found = anonymise(pa.table({"a": ["1", "2"]}), load_config(tmp_path / "risk.toml"))
    assert found.table.column("a").to_pylist() == ["low", "low"]


@pytest.mark.parametrize(
    "value", ["two\nlines", "old\rline", "a\u2028separator", "next\x85line", 'a "quote"; and more']
)
def test_a_hierarchy_holds_any_value_that_a_table_holds(value: str) -> None:
    quoted = '"' + value.replace('"', '""') + '"'
    assert parse_hierarchy(f"{quoted};*\n", name="a").rows == ((value, "*"),)


def test_a_hierarchy_that_cannot_be_read_is_refused_without_what_it_says() -> None:
    with pytest.raises(InvalidError, match="hierarchy of a: wanted lines") as caught:
        parse_hierarchy("1;" + "secret" * 30_000, name="a")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.string()), pa.struct([("x", pa.string())]), pa.map_(pa.string(), pa.string()), pa.float16()],
    ids=str,
)
def test_a_column_of_another_form_is_refused_where_it_is_measured_and_kept_where_not(tmp_path: Path, kind: Any) -> None:
    pq.write_table(pa.table({"a": ["1", "1"], "b": pa.nulls(2, kind)}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    with pytest.raises(InvalidError, match="wanted plain values"):
        assess(table, RiskConfig(qis=(Qi("b"),)))
    assert anonymise(table, RiskConfig(qis=(Qi("a"),))).table.column("b").type == kind


def test_text_in_views_is_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array(["1", "2", None, "1"], pa.string_view())}), tmp_path / "t.parquet")
    found = anonymise(read_table(tmp_path / "t.parquet"), RiskConfig(qis=(Qi("a"),), model=Model(k=4)))
    assert found.table.column("a").to_pylist() == ["*"] * 4


@pytest.mark.parametrize("values", [["nan", "3", "1", "x"], ["3", "x", "nan", "1"], ["x", "1", "3", "nan"]])
def test_the_order_of_values_is_that_of_numbers_then_of_words(values: list[str]) -> None:
    ranks = dict(zip(values, value_order(values, (), "s").tolist(), strict=True))
    assert ranks == {"1": 0, "3": 1, "nan": 2, "x": 3}
    assert value_order(["1", "1.0"], (), "s").tolist() == value_order(["1.0", "1"], (), "s").tolist()[::-1]


@pytest.mark.parametrize(
    "part",
    [
        "l = { kind = 'distinct', value = nan }",
        "l = { kind = 'recursive', value = inf }",
        "l = { kind = 'recursive', value = 2.5 }",
        "l = { kind = 'recursive', c = nan }",
        "l = { kind = 'recursive', c = -1.0 }",
        "beta = { value = inf }",
        "beta = { value = nan }",
        "delta = nan",
        "t = nan",
        "risk = nan",
        f"t = 1{'0' * 400}",
        "average = nan",
        "suppression_limit = nan",
        "presence = [nan, nan]",
    ],
)
def test_a_bound_that_is_no_number_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / "risk.toml").write_text(f"{AB}[sensitive.s]\n[model]\n{part}\n")
    with pytest.raises(InvalidError):
        load_config(tmp_path / "risk.toml")


@pytest.mark.parametrize(
    "text",
    ["population = { size = 1" + "0" * 400 + " }\n" + AB, "[qi.a]\ntop = inf\n", "[qi.a]\nbottom = nan\n"],
    ids=["size", "top", "bottom"],
)
def test_a_size_or_an_end_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "risk.toml").write_text(text)
    with pytest.raises(InvalidError):
        load_config(tmp_path / "risk.toml")


def test_whole_numbers_are_spelled_alike_whatever_stands_beside_them() -> None:
    people = pa.table({"a": [0.0, 1.0, 2.5], "n": [10, 20, 40]})
    asked = RiskConfig(qis=(Qi("a"),), sensitive=(Sensitive("s"),), population_table=people, model=Model(k=1))
    assert assess(pa.table({"a": [-0.0, 0.0], "s": ["u", "v"]}), asked).journalist.k_map == 10
