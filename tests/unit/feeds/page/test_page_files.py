"""The operations page's files: kept by browsers, and holding to the page's own rules."""

from __future__ import annotations

import asyncio
import gzip
import re
from importlib import resources

import httpx
import pytest
from starlette.applications import Starlette

from feeds.page.routes import PAGE_POLICY, page_routes
from feeds.page.static_files import PageFiles, load_page_files

STATIC = resources.files("feeds.page") / "static"
CODE = sorted(path.name for path in (STATIC / "code").iterdir() if path.name.endswith(".js"))


@pytest.fixture(scope="module")
def files() -> PageFiles:
    return load_page_files()


class Client:
    """Asks the routes, without a server."""

    def __init__(self, files: PageFiles) -> None:
        self._transport = httpx.ASGITransport(Starlette(routes=page_routes(files)))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://page.test"
            ) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def client(files: PageFiles) -> Client:
    return Client(files)


def addresses(page: httpx.Response) -> list[str]:
    return re.findall(r'(?:src|href)="(/[^"]+)"', page.text)


def test_everything_the_page_names_is_served_for_good_with_its_version(
    client: Client, files: PageFiles
) -> None:
    page = client.get("/")
    assert page.status_code == 200
    found = addresses(page)
    assert len(found) > 5
    for address in found:
        assert files.version in address
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_known_file_is_not_sent_again(client: Client) -> None:
    for address in ("/", addresses(client.get("/"))[1]):
        first = client.get(address)
        again = client.get(address, headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304
        assert not again.content
        other = client.get(address, headers={"if-none-match": '"something else"'})
        assert other.status_code == 200


def test_files_are_gzipped_for_who_takes_it_and_the_same_either_way(
    client: Client, files: PageFiles
) -> None:
    address = f"/static/{files.version}/plotly.min.js"
    packed = client.get(address, headers={"accept-encoding": "gzip"})
    plain = client.get(address, headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"


def test_a_file_of_another_version_or_place_is_not_found(client: Client, files: PageFiles) -> None:
    assert client.get("/static/0123456789abcdef/code/main.js").status_code == 404
    assert client.get(f"/static/{files.version}/code/nothing.js").status_code == 404
    assert client.get(f"/static/{files.version}/%2e%2e/routes.py").status_code == 404


def test_the_version_changes_with_the_files(files: PageFiles) -> None:
    assert files.version == load_page_files().version
    assert files.version.encode() in files.index.body
    assert gzip.decompress(files.index.gzipped) == files.index.body


def test_the_policy_lets_in_nothing_foreign_and_nothing_inline(client: Client) -> None:
    assert client.get("/").headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert "http" not in PAGE_POLICY
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


@pytest.mark.parametrize("name", CODE)
def test_a_module_is_small_names_no_foreign_host_and_never_writes_html(name: str) -> None:
    code = (STATIC / "code" / name).read_text()
    assert code.count("\n") < 250
    assert not re.search(r"https?://", code)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", code)
    for imported in re.findall(r'from "\./([^"]+)"', code):
        assert imported in CODE, f"{name} imports {imported}, which is not there"
