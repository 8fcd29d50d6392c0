"""The gate's lists: default deny, one reading of each path, only text and our kernel."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from enclave.core.errors import DeniedError
from enclave.server.gate import bodies
from enclave.server.gate.headers import POLICY, own_cookie, safe_location, to_browser, to_server
from enclave.server.gate.hub_leg import check_token_request, check_user_reply, classify
from enclave.server.gate.routes import ROUTES, below_base, judge, same_origin

BASE = "/user/rosa/"
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
pytestmark = pytest.mark.row("S4.5")


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "", "lab"),
        ("GET", "lab", "lab"),
        ("GET", "lab/tree/demo/first%20look.ipynb", "lab"),
        ("GET", "static/lab/main.js", "static"),
        ("GET", "api/contents", "files"),
        ("PUT", "api/contents/demo/a.ipynb", "files"),
        ("POST", "api/contents/a.ipynb/checkpoints", "checkpoints"),
        ("POST", "api/sessions", "sessions"),
        ("PATCH", f"api/sessions/{ID}", "sessions"),
        ("POST", f"api/kernels/{ID}/interrupt", "kernels"),
        ("GET", f"api/kernels/{ID}/channels", "channels"),
        ("GET", "lab/api/settings/@jupyterlab/apputils-extension:themes", "settings"),
        ("PUT", "lab/api/workspaces/default", "layout"),
        ("GET", "oauth_callback", "oauth"),
    ],
)
def test_what_jupyterlab_needs_passes(method: str, path: str, name: str) -> None:
    verdict = judge(method, BASE + path, base_url=BASE)
    assert verdict.route is not None
    assert verdict.route.name == name


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "files/a.py", "download"),
        ("GET", "view/a.html", "download"),
        ("GET", "nbconvert/html/a.ipynb", "export"),
        ("POST", "nbconvert/html", "export"),
        ("GET", "api/nbconvert", "export"),
        ("POST", "api/terminals", "terminals"),
        ("GET", "terminals/websocket/1", "terminals"),
        ("GET", "lsp/status", "language_server"),
        ("PUT", "lab/api/settings/@jupyterlab/x:y", "settings_write"),
        ("PATCH", "api/config/notebook", "settings_write"),
        ("POST", "lab/api/extensions", "extensions"),
        ("GET", "kernelspecs/python3/logo.png", "kernelspecs"),
        ("GET", "api/kernelspecs/python3", "kernelspecs"),
        ("PUT", f"api/kernels/{ID}", "kernels"),
        ("POST", "api/events", "other"),
        ("POST", "api/shutdown", "other"),
        ("GET", "metrics", "other"),
        ("OPTIONS", "api/contents", "files"),
        ("GET", "api/spec.yaml", "other"),
        ("POST", "login", "other"),
        ("GET", "proxy/8080/", "other"),
    ],
)
def test_everything_else_is_refused_under_a_name_of_ours(method: str, path: str, name: str) -> None:
    verdict = judge(method, BASE + path, base_url=BASE)
    assert verdict.route is None
    assert verdict.name == name


@pytest.mark.parametrize(
    "path",
    [
        "/user/rosa/api/../files/a",
        "/user/rosa/api/%2e%2e/files/a",
        "/user/rosa/api/contents/a%2fb",
        "/user/rosa/api/contents/a%252fb",
        "/user/rosa//files/a",
        "/user/rosa/static/..%5cfiles/a",
        "/user/rosa/api/contents/a%00.py",
        "/user/rosa/api/contents/a%0d%0ab",
        "/user/rosa/api/contents/%ff",
        "/user/olga/lab",
        "/user/rosalind/lab",
        "/hub/api/users",
        "/",
    ],
)
def test_a_path_that_leaves_the_base_or_can_be_read_two_ways_is_refused(path: str) -> None:
    assert below_base(path, base_url=BASE) is None
    assert judge("GET", path, base_url=BASE).name == "path"


@given(st.text(alphabet="abc/.%25e\\fi les", max_size=40))
def test_no_path_reaches_a_file_route_except_below_the_files_api(text: str) -> None:
    path = below_base(BASE + text, base_url=BASE)
    if path is not None:
        assert ".." not in path.split("/")
        assert "//" not in path


def test_every_route_with_a_changing_method_limits_its_body() -> None:
    for route in ROUTES:
        assert 0 < route.max_body <= 8 * 1024 * 1024


def denied(act: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(DeniedError) as caught:
        act(*args, **named)
    return caught.value.code


def test_reading_data_types_base64_and_hidden_files_is_refused() -> None:
    bodies.check_read("api/contents/demo/a.ipynb", {"content": "1", "type": "notebook"})
    bodies.check_read("api/contents/demo", {})
    bodies.check_read("api/contents/demo.v2", {"type": "directory"})
    bodies.check_read("api/contents/t.csv", {"content": "0"})
    assert denied(bodies.check_read, "api/contents/t.csv", {}) == "data_file"
    assert denied(bodies.check_read, "api/contents/t.PARQUET", {"type": "file"}) == "data_file"
    assert denied(bodies.check_read, "api/contents/a.py", {"format": "base64"}) == "data_file"
    assert denied(bodies.check_read, "api/contents/.ssh/id", {}) == "hidden_file"


def reply(**model: Any) -> bytes:
    return json.dumps(model).encode()


def test_an_answer_with_data_is_refused_whatever_the_question_was() -> None:
    assert bodies.check_read_reply(reply(type="notebook", format="json", content={}))
    assert not bodies.check_read_reply(reply(type="notebook", format=None, content=None))
    assert not bodies.check_read_reply(reply(type="directory", format="json", content=[]))
    assert bodies.check_read_reply(reply(type="directory", format="json", content=["x" * bodies.MAX_LIST]))
    assert denied(bodies.check_read_reply, reply(type="file", format="base64", content="AAAA")) == "data_file"
    assert denied(bodies.check_read_reply, reply(type="file", format="text", content="1", path="a.csv")) == "data_file"
    large = reply(type="file", format="text", content="x" * bodies.MAX_TEXT, path="a.py")
    assert denied(bodies.check_read_reply, large) == "file_too_large"
    assert denied(bodies.check_read_reply, b"\x89PNG") == "not_json"


def put(**model: Any) -> None:
    bodies.check_write("PUT", "api/contents/a.py", json.dumps(model).encode())


def test_only_text_and_notebooks_of_at_most_five_megabytes_are_written() -> None:
    put(type="file", format="text", content="x")
    put(type="file", format="base64", content=base64.b64encode("é".encode()).decode())
    put(type="file", format="base64", content=base64.b64encode("é".encode()[:1]).decode(), chunk=1)
    bodies.check_write("PUT", "api/contents/new", json.dumps({"type": "directory"}).encode())
    bodies.check_write("POST", "api/contents/demo", json.dumps({"type": "notebook", "ext": ".ipynb"}).encode())
    bodies.check_write("DELETE", "api/contents/a.csv", b"")
    for content in (b"\0\1", b"\xff\xfe\xfa"):
        assert denied(put, type="file", format="base64", content=base64.b64encode(content).decode()) == "data_file"
    middle = "é".encode()
    put(type="file", format="base64", content=base64.b64encode(middle[1:] + b"text" + middle[:1]).decode(), chunk=2)
    for content in (b"\xff" + bytes(range(128, 160)) * 9, b"text" + b"\x80" + b"text", b"\x80" * 4 + b"text"):
        piece = base64.b64encode(content).decode()
        assert denied(put, type="file", format="base64", content=piece, chunk=1) == "data_file"
    assert denied(put, type="file", format="base64", content="***") == "data_file"
    assert denied(put, type="file", format="text", content="x" * 5_000_001) == "file_too_large"
    assert denied(put, type="file", format="base64", content="", chunk=9) == "file_too_large"
    write = bodies.check_write
    assert denied(write, "PUT", "api/contents/a.csv", reply(type="file", format="text", content="")) == "data_file"
    assert denied(write, "PUT", "api/contents/.bashrc", reply(type="file", content="")) == "hidden_file"
    assert denied(write, "PATCH", "api/contents/a.py", reply(path="a.dcm")) == "data_file"
    assert denied(write, "PATCH", "api/contents/a.py", reply(path=".a.py")) == "hidden_file"
    assert denied(write, "POST", "api/contents", reply(copy_from="x.parquet")) == "data_file"
    assert denied(write, "POST", "api/contents", reply(ext=".npy")) == "data_file"


def test_only_our_kernel_starts_and_nothing_is_added_to_it() -> None:
    start = bodies.check_kernel
    start(b"", session=False)
    start(reply(name="enclave-python"), session=False)
    start(reply(path="a.ipynb", type="notebook", name="a", kernel={"name": "enclave-python"}), session=True)
    start(reply(kernel={"id": ID}), session=True)
    assert denied(start, reply(name="python3"), session=False) == "foreign_kernel"
    assert denied(start, reply(name="enclave-python", env={"A": "1"}), session=False) == "foreign_kernel"
    assert denied(start, reply(kernel={"name": "bash"}), session=True) == "foreign_kernel"
    assert denied(start, reply(kernel="bash"), session=True) == "foreign_kernel"
    assert denied(start, reply(kernel={}, provisioner="x"), session=True) == "foreign_kernel"


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_body_that_is_no_object_is_refused(body: bytes) -> None:
    assume(b"{" not in body)
    checks = (
        lambda: bodies.check_kernel(body, session=True),
        lambda: bodies.check_write("PUT", "api/contents/a.py", body),
        lambda: bodies.check_read_reply(body),
    )
    for check in checks if body else checks[2:]:  # a request without a body brings nothing
        assert denied(check) == "not_json"


@given(
    st.dictionaries(
        st.sampled_from(["name", "path", "type", "format", "content", "chunk", "kernel", "id", "env"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda v: st.lists(v, max_size=3)
        ),
    )
)
def test_any_object_is_accepted_or_refused_by_name(model: dict[str, Any]) -> None:
    body = json.dumps(model).encode()
    refusals = set()
    for check in (
        lambda: bodies.check_kernel(body, session=True),
        lambda: bodies.check_write("PUT", "api/contents/a.py", body),
        lambda: bodies.check_read_reply(body),
    ):
        try:
            check()
        except DeniedError as error:
            refusals.add(error.code)
    assert refusals <= {"foreign_kernel", "data_file", "file_too_large", "hidden_file"}
    assert "foreign_kernel" in refusals or "env" not in model


def test_answers_carry_our_policy_and_only_the_servers_own_cookies() -> None:
    found = dict(
        to_browser(
            [
                ("Content-Type", "text/html"),
                ("Content-Security-Policy", "default-src *"),
                ("Access-Control-Allow-Origin", "*"),
                ("Service-Worker-Allowed", "/"),
                ("Refresh", "0; url=http://elsewhere"),
                ("Set-Cookie", "jupyterhub-hub-login=x; Path=/hub/"),
            ],
            base_url=BASE,
        )
    )
    assert found["Content-Security-Policy"] == POLICY
    assert not {"Access-Control-Allow-Origin", "Service-Worker-Allowed", "Refresh", "Set-Cookie"} & set(found)
    assert "'unsafe-inline'" not in POLICY.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize(
    ("cookie", "own"),
    [
        ("_xsrf=x; Path=/user/rosa/", True),
        ("jupyterhub-user-rosa=x; HttpOnly; Path=/user/rosa/", True),
        ("_xsrf=x; Path=/", False),
        ("_xsrf=x", False),
        ("jupyterhub-hub-login=x; Path=/user/rosa/", False),
        ("_xsrf=x; Path=/user/rosa/; Domain=localhost", False),
    ],
)
def test_a_cookie_beyond_the_servers_path_or_names_is_dropped(cookie: str, own: bool) -> None:
    assert own_cookie(cookie, base_url=BASE) is own


def test_requests_lose_foreign_cookies_and_hop_by_hop_headers() -> None:
    given_headers = [("Cookie", "_xsrf=1; service-console=2; jupyterhub-user-rosa=3"), ("Upgrade", "x"), ("A", "b")]
    assert dict(to_server(given_headers)) == {"Cookie": "_xsrf=1; jupyterhub-user-rosa=3", "A": "b"}


@pytest.mark.parametrize(
    ("location", "safe"),
    [
        ("/hub/login", True),
        ("http://localhost:8000/x", True),
        ("//elsewhere/x", False),
        ("/\\elsewhere", False),
        ("http://elsewhere/?data", False),
        ("javascript:alert(1)", False),
        ("relative", False),
    ],
)
def test_a_redirect_stays_on_this_host(location: str, safe: bool) -> None:
    assert safe_location(location, host="localhost:8000") is safe


def test_no_header_of_a_server_speaks_for_the_host_or_to_a_web_server_in_front() -> None:
    names = ("Alt-Svc", "X-Accel-Redirect", "x-accel-buffering", "X-Sendfile", "Access-Control-Allow-Origin")
    passed = dict(to_browser([(name, "x") for name in names], base_url=BASE))
    assert not set(names) & set(passed)
    assert passed["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("site", "own"), [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False)]
)
def test_what_a_browser_says_of_the_page_that_asks_is_believed(site: str, own: bool) -> None:
    assert same_origin({"Host": "localhost:8000", "Sec-Fetch-Site": site}) is own


def test_a_websocket_of_another_origin_is_foreign() -> None:
    assert same_origin({"Origin": "http://localhost:8000", "Host": "localhost:8000"})
    assert not same_origin({"Origin": "http://localhost:8001", "Host": "localhost:8000"})
    assert not same_origin({"Origin": "null", "Host": "localhost:8000"})


@pytest.mark.parametrize(
    ("method", "path", "ask"),
    [
        ("GET", "/hub/api", "version"),
        ("GET", "/hub/api/", "version"),
        ("GET", "/hub/api/user", "user"),
        ("POST", "/hub/api/oauth2/token", "token"),
        ("POST", "/hub/api/users/rosa/activity", "activity"),
        ("POST", "/hub/api/users/olga/activity", None),
        ("POST", "/hub/api/users/rosa/../olga/activity", None),
        ("POST", "/hub/api/users/rosa%2f..%2folga/activity", None),
        ("GET", "/hub/api/user?x=1", None),
        ("GET", "/hub/api/users", None),
        ("GET", "/hub/api/users/rosa", None),
        ("POST", "/hub/api/users/rosa/tokens", None),
        ("POST", "/hub/api/users/rosa/server", None),
        ("DELETE", "/hub/api/user", None),
        ("GET", "/hub/api/proxy", None),
        ("GET", "/hub/api/oauth2/authorize", None),
        ("GET", "/hub/metrics", None),
    ],
)
def test_the_server_may_ask_the_hub_four_things(method: str, path: str, ask: str | None) -> None:
    assert classify(method, path, person="rosa") == ask


def test_a_code_is_exchanged_for_this_servers_own_sign_in_only() -> None:
    check_token_request(b"grant_type=authorization_code&client_id=jupyterhub-user-rosa&code=1", person="rosa")
    for body in (
        b"grant_type=authorization_code&client_id=service-console&code=1",
        b"grant_type=authorization_code&client_id=jupyterhub-user-olga",
        b"grant_type=authorization_code&client_id=jupyterhub-user-rosa&client_id=service-console",
        b"grant_type=password&client_id=jupyterhub-user-rosa",
        b"",
        b"\xff",
    ):
        assert denied(check_token_request, body, person="rosa") == "foreign_client"


def test_a_token_of_another_person_or_service_is_not_told_about() -> None:
    check_user_reply(200, reply(kind="user", name="rosa"), person="rosa")
    check_user_reply(403, b"", person="rosa")
    for body in (reply(kind="user", name="olga"), reply(kind="service", name="rosa"), b"x", b"[]"):
        assert denied(check_user_reply, 200, body, person="rosa") == "foreign_person"
