"""Static files are kept by browsers for good under the hash of them all, and sent compressed."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from web.site.assets import CONTENT_TYPES, Assets

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def assets(app: Flask) -> Assets:
    tree_assets: Assets = app.extensions["assets"]
    return tree_assets


def test_what_a_page_names_is_kept_for_good(browser: FlaskClient) -> None:
    page = browser.get("/board").get_data(as_text=True)
    addresses = {address.split("#")[0] for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page)}
    assert len(addresses) > 10
    for address in addresses:
        answer = browser.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")


def test_a_page_from_before_an_upgrade_gets_what_there_is_now_and_keeps_it_not(
    browser: FlaskClient, assets: Assets
) -> None:
    answer = browser.get("/static/0123456789ab/js/site/http.js")
    assert (answer.data, answer.headers["Cache-Control"]) == (
        (ROOT / "static/js/site/http.js").read_bytes(),
        "no-cache",
    )
    assert browser.get(f"/static/{assets.version}/js/gone.js").status_code == 404
    assert browser.get(f"/static/{assets.version}/../app.py").status_code == 404


def test_scripts_styles_and_drawings_are_compressed_for_who_takes_it(browser: FlaskClient, assets: Assets) -> None:
    for name in ("app.js", "style.css", "icons.svg"):
        plain = browser.get(assets.address(name))
        small = browser.get(assets.address(name), headers={"Accept-Encoding": "br, gzip"})
        uncompressed = browser.get(assets.address(name), headers={"Accept-Encoding": "gzip;q=0"})
        assert (
            small.headers["Content-Encoding"] == "gzip"
            and gzip.decompress(small.data) == plain.data == uncompressed.data
        )
        assert {answer.headers["Vary"] for answer in (plain, small)} == {"Accept-Encoding"}
    font = browser.get(assets.address("vendor/fonts/inter.woff2"), headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in font.headers


def test_a_change_in_any_file_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "style.css").write_text("body {}")
    (tmp_path / "js" / "one.js").write_text("1")
    versions = [Assets(tmp_path).version]
    (tmp_path / "js" / "one.js").write_text("2")
    versions.append(Assets(tmp_path).version)
    (tmp_path / "js" / "one.js").rename(tmp_path / "js" / "two.js")
    versions.append(Assets(tmp_path).version)
    (tmp_path / "notes.txt").write_text("of no interest")
    assert len(set(versions)) == 3 and Assets(tmp_path).version == versions[-1]


def test_what_is_served_is_what_was_there_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("old")
    assets = Assets(tmp_path)
    (tmp_path / "style.css").write_text("new")
    assert assets.text("style.css") == "old"


def test_the_entry_style_holds_all_layers_and_finds_its_fonts(assets: Assets) -> None:
    style = assets.text("style.css")
    assert "@import" not in style
    assert all(f"@layer {layer} {{" in style for layer in ("reset", "tokens", "frame", "utilities"))
    assert set(re.findall(r'url\("([^"]+)"\)', style)) <= set(assets.files)


def test_a_module_is_asked_for_together_with_all_it_imports(assets: Assets, browser: FlaskClient) -> None:
    for name in ("app.js", "chat.js"):
        texts = [assets.text(module) for module in assets.modules(name)]
        imported = {Path(part).name for text in texts for part in re.findall(r'import[^;"]*"(\.[^"]+)"', text)}
        assert imported and imported == {Path(module).name for module in assets.modules(name)[1:]}
    page = browser.get("/board").get_data(as_text=True)
    preloaded = re.findall(r'<link rel="modulepreload" href="([^"]+)"', page)
    assert preloaded == [assets.address(file_name) for file_name in assets.modules("app.js")]


def test_a_bundle_is_served_while_it_was_made_from_the_scripts_as_they_are(tmp_path: Path) -> None:
    """Regression guard for a checkout that is edited or updated: a stale bundle is worse than none."""
    files = {"style.css": "", "app.js": 'import { a } from "./js/a.js";\n', "js/a.js": "export const a = 1;\n"}
    files |= {"bundles/app.js": 'import{a}from"./chunk-A.js";a;', "bundles/chunk-A.js": "export{a}", "boot.js": "1"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    sources = [
        f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}" for name in ("app.js", "boot.js", "js/a.js")
    ]
    (tmp_path / "bundles/.sources").write_text("\n".join(sources) + "\n")
    bundled = Assets(tmp_path)
    assert bundled.modules("app.js") == ["bundles/app.js", "bundles/chunk-A.js"]
    assert bundled.list_used() == ["boot.js", "bundles/app.js", "bundles/chunk-A.js", "style.css"]
    (tmp_path / "js/a.js").write_text("export const a = 2;\n")
    edited = Assets(tmp_path)
    assert edited.modules("app.js") == ["app.js", "js/a.js"]
    assert edited.list_used() == ["app.js", "boot.js", "js/a.js", "style.css"]
    (tmp_path / "js/a.js").write_text(files["js/a.js"])
    (tmp_path / "js/b.js").write_text("")
    assert Assets(tmp_path).resolve("app.js") == "app.js", "a script was added"


def test_every_kind_of_file_that_is_there_is_served() -> None:
    left_out = {"", ".mjs"}  # marks of set-up
    kinds = {file.suffix for file in (ROOT / "static").rglob("*") if file.is_file() and not file.name.startswith(".")}
    assert kinds - set(CONTENT_TYPES) - left_out == set()
