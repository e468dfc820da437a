"""Translations against the nodes as ComfyUI has them, and what its server gives the editor."""

import re
import urllib.request
from itertools import product

import pytest

from tests.conftest import ROOT
from tests.host.running import launched
from tests.test_locales import DEFS, LANGUAGES, NODES, TRANSLATIONS, page

pytestmark = pytest.mark.host
PICKED = re.compile(r"`(context_length|dim|context_schedule)`[^`]{0,6}?(\d+|[a-z]+_[a-z]+)")


@pytest.fixture(scope="module")
def schemas(comfy):
    """Of every node of this pack, by id."""
    ours = {
        name: node for name, node in comfy.ids.items() if getattr(node, "RELATIVE_PYTHON_MODULE", "").endswith(ROOT.name)
    }
    return {name: node.GET_SCHEMA() for name, node in ours.items()}


def named(part) -> dict:
    """An input or output as the editor shows it where there is no translation."""
    tooltip = {"tooltip": part.tooltip} if part.tooltip else {}
    return {"name": part.display_name or part.id, **tooltip}


def test_every_node_is_translated(schemas):
    assert sorted(schemas) == sorted(NODES)


@pytest.mark.parametrize("node", NODES)
def test_english_is_what_the_schema_says(schemas, node):
    schema = schemas[node]
    assert DEFS["en"][node] == {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {each.id: named(each) for each in schema.inputs},
        "outputs": {str(number): named(each) for number, each in enumerate(schema.outputs)},
    }


@pytest.mark.parametrize("node", NODES)
def test_everything_is_explained(schemas, node):
    assert [each.id for each in schemas[node].inputs if not each.tooltip] == []
    assert schemas[node].description and schemas[node].category == "SyncCache"


@pytest.mark.parametrize("node", NODES)
def test_inputs_with_a_default_may_be_left_out(comfy, schemas, node):
    """Prompts of the API that were made for an older version do not have what came later."""
    import inspect

    parameters = inspect.signature(comfy.ids[node].execute).parameters
    missing = [each.id for each in schemas[node].inputs if parameters[each.id].default is not inspect.Parameter.empty]
    assert [each.id for each in schemas[node].inputs if each.id in missing and not each.optional] == []


@pytest.mark.parametrize("node", NODES)
def test_values_of_combos_keep_their_names(schemas, node):
    """The editor does not translate them: where the English text names one, the others must name it as the node shows it."""
    combos = {each.id: each.options for each in schemas[node].inputs if getattr(each, "options", None)}
    for (name, values), language in product(combos.items(), TRANSLATIONS):
        english, text = (DEFS[way][node]["inputs"][name]["tooltip"] for way in ("en", language))
        assert [v for v in values if re.search(rf"\b{re.escape(v)}\b", english) and v not in text] == [], name
        english, text = page(node, "en"), page(node, language)
        assert [v for v in values if f"*{v}*" in english and f"*{v}*" not in text] == [], name


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_says_how_windows_are_had(comfy, language):
    """The host's node windows the batch unless it is told otherwise. With windows that move nothing can be reused."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode

    wanted = {"context_length": "33", "dim": "2", "context_schedule": "standard_static"}
    told = page("SyncCacheAvatarConditioning", language)
    assert wanted == dict(PICKED.findall(told))
    short = DEFS[language]["SyncCacheAvatarConditioning"]["inputs"]["length"]["tooltip"]
    assert re.search(r"dim \D{0,4}2.*context_schedule \D{0,4}standard_static", short)
    inputs = {each.id: each for each in ContextWindowsManualNode.GET_SCHEMA().inputs}
    assert inputs["dim"].default == 0 and "standard_static" in inputs["context_schedule"].options
    assert inputs["context_length"].min <= 33


def test_the_host_merges_the_translations(comfy, tmp_path, monkeypatch):
    import folder_paths
    from app.custom_node_manager import CustomNodeManager

    (tmp_path / "some name").symlink_to(ROOT)
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda _: [str(tmp_path)])
    merged = CustomNodeManager().build_translations()
    assert merged == {language: {"nodeDefs": DEFS[language]} for language in LANGUAGES}


@pytest.mark.slow
def test_the_server_gives_translations_and_help(comfy, tmp_path):
    with launched(tmp_path, "ComfyUI-SyncCache") as server:
        assert {language: texts["nodeDefs"] for language, texts in server.get("/i18n").items()} == DEFS
        for node in NODES:
            pack = server.get(f"/object_info/{node}")[node]["python_module"].split(".")[1]
            for language in TRANSLATIONS:
                address = f"{server.url}/extensions/{pack}/docs/{node}/{language}.md"
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert "html" not in answer.headers["Content-Type"]
                    assert answer.read().decode() == page(node, language)
