"""The page's files: what must not stand in them, and how they are given out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from support.project import ROOT

from loader.service.app import page_router
from loader.service.problems import HANDLERS

PAGE = ROOT / "loader/service/page"
MODULES = sorted(PAGE.glob("*.js"))
# Ways in which text becomes markup or code.
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|"
    r"DOMParser|setHTML|createContextualFragment|javascript:"
)
# The name of SVG is written as an address, and is none.
FOREIGN = re.compile(r"(?<!\w)(?:https?:)?//(?!www\.w3\.org/2000/svg)\w")


def asked(path: str, *, method: str = "GET", tags: str = "") -> Any:
    """What the page's routes answer, alone: they need no database."""
    app = FastAPI(exception_handlers=HANDLERS)
    app.include_router(page_router)
    return TestClient(app).request(method, path, headers={"If-None-Match": tags})


def test_every_module_is_used_and_on_the_map() -> None:
    imports = "".join(module.read_text(encoding="utf-8") for module in MODULES)
    used = set(re.findall(r'from "\./(\w+)\.js"', imports)) | {"app"}
    assert used == {module.stem for module in MODULES}
    map_ = (PAGE / "app.js").read_text(encoding="utf-8").partition("import ")[0]
    assert {stem for stem in used if not re.search(rf"\b{stem}\b", map_)} == {"app"}


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda file: file.name)
def test_a_file_takes_nothing_from_elsewhere_and_makes_no_markup_of_text(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    code = re.sub(r"^\s*//.*|\s// .*", "", text, flags=re.MULTILINE)
    assert not FOREIGN.search(code)
    assert "@import" not in code
    if file in MODULES:
        assert not UNSAFE.search(text)
        assert text.startswith("// "), "it begins with what it is for"


def test_the_page_is_given_out_with_all_its_parts() -> None:
    answer = asked("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert asked("/", method="HEAD").status_code == 200
    for name in re.findall(r'"assets/([^"]+)"', answer.text):
        assert asked(f"/assets/{name}").content == (PAGE / name).read_bytes()
    module = asked("/assets/app.js")
    assert module.headers["content-type"] == "text/javascript; charset=utf-8"
    # What has not changed is not sent again.
    tags = f'"other", {module.headers["etag"]}'
    assert asked("/assets/app.js", tags=tags).status_code == 304
    assert asked("/assets/style.css", tags=tags).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["../jobs.py", "..%2fjobs.py", "%2e%2e/app.py", "no.js", "%00", "a/b.js", "."],
)
def test_no_other_file_is_given_out(path: str) -> None:
    assert asked(f"/assets/{path}").status_code == 404
