"""What artists read, in three languages: nothing missing, nothing left behind when the English text changes."""

import ast
import json
import re
from collections import Counter
from itertools import product

import pytest

from tests.conftest import ROOT

LANGUAGES = ("en", "zh", "ja")
TRANSLATIONS = LANGUAGES[1:]
DOCS = ROOT / "web" / "docs"
LOCALES = {path.parent.name: path for path in (ROOT / "locales").glob("*/nodeDefs.json")}
DEFS = {language: json.loads(LOCALES[language].read_text(encoding="utf-8")) for language in LANGUAGES}
NODES = tuple(DEFS["en"])
SAID = json.loads((ROOT / "web" / "js" / "sentences.js").read_text(encoding="utf-8").partition(" = ")[2].rstrip(";\n"))
# The editor passes names and descriptions through vue-i18n, where these are syntax, and shows HTML as text.
SYNTAX = re.compile(r"[{}@|]|</?[a-zA-Z][^>]*>")
# CommonMark does not close emphasis after punctuation with a letter next: "**text.**letter", easily written in Chinese.
EMPHASIS = re.compile(r"(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1(.?)")
NUMBER = re.compile(r"(?<![A-Za-z_.\d])\d+(?:\.\d+)?")
MODELS = ("S2V", "WanDancer", "Wan-Animate", "HuMo", "HunyuanVideo", "InfiniteTalk", "MultiTalk", "LTX-2", "MiniMax-H3")
EVERY_PAGE = list(product(NODES, LANGUAGES))
translated = pytest.mark.parametrize(("node", "language"), list(product(NODES, TRANSLATIONS)))


def texts(value: object, place: str = "") -> dict[str, str]:
    """ "SyncCache.inputs.model.name" -> text, of every leaf."""
    if isinstance(value, dict):
        return {key: text for name, part in value.items() for key, text in texts(part, f"{place}.{name}").items()}
    return {place[1:]: value}


def page(node: str, language: str) -> str:
    """A help page, from where the editor looks for it."""
    path = DOCS / f"{node}.md" if language == "en" else DOCS / node / f"{language}.md"
    return path.read_text(encoding="utf-8")


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def outline(text: str) -> dict:
    """How a page is built, whatever its language."""
    items = re.findall(r"^(?:-|\d+\.) ", text, re.MULTILINE)
    return {"headings": re.findall(r"^#+", text, re.MULTILINE), "rows": len(rows(text)), "items": items}


def test_there_are_no_other_files():
    found = {path.relative_to(ROOT / "locales").as_posix() for path in (ROOT / "locales").rglob("*") if path.is_file()}
    assert found == {f"{language}/nodeDefs.json" for language in LANGUAGES}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    wanted = {f"{node}/{language}.md" for node, language in product(NODES, TRANSLATIONS)}
    assert pages == wanted | {f"{node}.md" for node in NODES}


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_the_languages_have_the_same_keys(language):
    assert texts(DEFS[language]).keys() == texts(DEFS["en"]).keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_there_and_plain(language):
    for key, text in texts(DEFS[language]).items():
        assert isinstance(text, str) and text and text == text.strip(), key
        assert not SYNTAX.search(text), key


def sentences() -> set[str]:
    """All that Python says by `synccache_core.sentences.say`: literal texts, so that they can be found."""
    found = set()
    for path in (path for room in ("synccache_core", "nodes") for path in sorted((ROOT / room).rglob("*.py"))):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "say":
                assert len(call.args) == 1 and isinstance(call.args[0], ast.Constant), f"{path.name}:{call.lineno}"
                found.add(call.args[0].value)
    return found


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_every_sentence_of_python_is_translated_with_its_places_and_numbers(language):
    assert SAID.keys() == set(TRANSLATIONS) and SAID[language].keys() == sentences() and len(sentences()) > 80
    script = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
    for english, text in SAID[language].items():
        places = [Counter(re.findall(r"\{\w+\}", each)) for each in (english, text)]
        assert places[0] == places[1] and not numbers(english) - numbers(text), text
        assert script.search(text) or not re.search("[a-z]{5}", re.sub(r"\{\w+\}", "", english)), text


@translated
def test_names_of_a_node_differ(node, language):
    for kind in ("inputs", "outputs"):
        named = [entry["name"] for entry in DEFS[language][node][kind].values()]
        assert len(set(named)) == len(named)


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_are_in_their_script(language):
    """A sentence that was left in English has no letter of the other script."""
    script = re.compile("[\u3040-\u30ff]" if language == "ja" else "[\u4e00-\u9fff]")
    assert [key for key, text in texts(DEFS[language]).items() if " " in text and not script.search(text)] == []


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_translations_give_the_numbers_of_the_english_text(language):
    english = texts(DEFS["en"])
    lost = {key: numbers(english[key]) - numbers(text) for key, text in texts(DEFS[language]).items()}
    assert {key: missing for key, missing in lost.items() if missing} == {}


def numbers(text: str) -> Counter:
    return Counter(NUMBER.findall(text))


@pytest.mark.parametrize(("node", "language"), EVERY_PAGE)
def test_help_has_the_title_and_names_everything(node, language):
    text, defined = page(node, language), DEFS[language][node]
    title = text.partition("\n")[0]
    assert title.startswith("# ") and defined["display_name"].startswith(title[2:])
    first = [row.split("|")[1] for row in rows(text)]
    for name, entry in defined["inputs"].items():
        cell = [cell for cell in first if re.search(rf"(?<!\w){name}(?!\w)", cell)]
        assert cell, f"{name} is not explained"
        assert any(entry["name"] in each for each in cell), f"{name} is called {entry['name']} on the node"
    assert [entry["name"] for entry in defined["outputs"].values() if entry["name"] not in text] == []


@translated
def test_help_is_built_alike(node, language):
    assert outline(page(node, language)) == outline(page(node, "en"))


@translated
def test_help_gives_the_code_and_the_numbers_of_the_english_page(node, language):
    english, text = page(node, "en"), page(node, language)
    assert set(re.findall("`[^`]+`", " ".join(english.split()))) <= set(re.findall("`[^`]+`", text))
    assert numbers(english) - numbers(text) == Counter()


@translated
def test_help_names_the_models_of_the_english_page(node, language):
    """In the same row of a table."""
    for english, text in zip(rows(page(node, "en")), rows(page(node, language)), strict=True):
        assert [name for name in MODELS if name in english and name not in text] == [], text


@pytest.mark.parametrize(("node", "language"), EVERY_PAGE)
def test_help_renders(node, language):
    """No HTML, pictures that are there, links that work in the editor: it finds pictures below docs/ and nothing else."""
    text = page(node, language)
    assert not re.search(r"</?[a-zA-Z]", text)
    for mark, target in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)[^)]*\)", text):
        assert (DOCS / target).is_file() if mark else target.startswith("https://"), target
    for _, inside, after in EMPHASIS.findall(re.sub("`[^`]+`", "code", text)):
        assert inside[-1].isalnum() or not after.isalnum(), inside
    assert len({row.count("|") for row in rows(text)}) <= 1
