"""`prices refresh gpuhunt --from library`: the real library, and a server on this machine in place of its own."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from costopt.pricing import gpuhunt_library
from tests import price_lists

pytest.importorskip("gpuhunt", reason="gpuhunt is not installed: pip install 'costopt[prices]'")

VERSIONS = {"nebius": "20260818-42", "lambdalabs": "20260801-7", "oci": "latest"}


class Catalogues(BaseHTTPRequestHandler):
    """Three providers; the others are not found, as when their collection failed."""

    def do_GET(self) -> None:
        _, provider, *rest = self.path.split("/")
        if provider not in VERSIONS:
            self.send_error(404)
            return
        body = VERSIONS[provider].encode() if rest == ["version"] else _zipped(provider)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # the signature that http.server calls
        """Nothing: the tests' output is their own."""


def _zipped(provider: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{provider}.csv", price_lists.GPUHUNT)
    return content.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), Catalogues)
    Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def refreshed(server: str, book: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "COSTOPT_PRICES": str(book), "GPUHUNT_CATALOG_URL": server}
    command = [sys.executable, "-m", "costopt", "prices", "refresh", "gpuhunt", "--from", "library", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_providers_catalogue_comes_with_its_own_date(server: str, tmp_path: Path) -> None:
    ended = refreshed(server, tmp_path / "prices.csv", "--provider", "nebius")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = (tmp_path / "prices.csv").read_text(encoding="utf-8")
    assert "nebius/gpu-h100-sxm_1gpu,eu-north1,16,200,H100,1,2.95,1.25,,2026-08-18,2026-08-18," in rows


def test_a_provider_has_the_price_books_name_and_either_is_understood(server: str, tmp_path: Path) -> None:
    for name in ("lambda", "lambdalabs"):
        ended = refreshed(server, tmp_path / f"{name}.csv", "--provider", name, "--region", "all")
        assert ended.returncode == 0, ended.stderr
        assert "lambda/gpu-h100-sxm_1gpu" in (tmp_path / f"{name}.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("provider", "words"),
    [("oci", "version 'latest', which has no date"), ("nebus", "no catalogue of it; did you mean 'nebius'")],
)
def test_what_has_no_date_or_is_not_there_writes_nothing(
    server: str, tmp_path: Path, provider: str, words: str
) -> None:
    ended = refreshed(server, tmp_path / "prices.csv", "--provider", provider)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "prices.csv").exists()


def test_several_catalogues_are_as_old_as_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"nebius": SimpleNamespace(version="20260818-42"), "oci": SimpleNamespace(version="20260801-7")}

    def nothing(provider: list[str]) -> list[object]:
        assert set(provider) <= set(versions)
        return []

    catalog = SimpleNamespace(catalog=versions, query=nothing)
    monkeypatch.setattr(gpuhunt_library, "_loaded", lambda: catalog)
    assert gpuhunt_library.read().as_of == "2026-08-01"
    assert gpuhunt_library.read("nebius").as_of == "2026-08-18"


def test_without_a_network_the_way_out_is_said(tmp_path: Path) -> None:
    ended = refreshed("http://127.0.0.1:1", tmp_path / "prices.csv", "--provider", "aws")
    assert ended.returncode == 2
    assert "give the file: --from aws.csv --provider aws" in ended.stderr
    assert "Traceback" not in ended.stderr
