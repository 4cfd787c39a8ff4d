"""The modules of the page fit together: in a browser, and joined in one script."""

import re
import shutil
import subprocess

import pytest

from vdbevents.web import page_files

TEXTS = {name: page_files.content(name).decode() for name in page_files.MODULES}
TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:const|let|class|function\*?) (\w+)", re.MULTILINE)
IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./([^"]*)";$', re.MULTILINE)


def test_each_module_imports_only_from_those_before_it_what_they_export():
    seen = {}
    for name, text in TEXTS.items():
        imports = IMPORT.findall(text)
        assert len(imports) == text.count("\nimport ") + text.startswith("import ")
        for names, module in imports:
            assert set(names.split(", ")) <= seen[module], (name, module)
        seen[name] = set(re.findall(r"^export (?:const|class|function) (\w+)", text, re.MULTILINE))
        assert len(seen[name]) == len(re.findall(r"^export ", text, re.MULTILINE))


def test_no_two_modules_have_a_name_at_their_top_level_in_common():
    names = [name for text in TEXTS.values() for name in TOP_LEVEL.findall(text)]

    assert sorted(names) == sorted(set(names))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_all_modules_as_one_script_are_valid(tmp_path):
    script = tmp_path / "page.mjs"
    script.write_text(page_files.one_script())

    subprocess.run(["node", "--check", script], check=True, timeout=60)


def test_no_text_is_ever_markup():
    for name, text in TEXTS.items():
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in text, name


def test_the_document_has_no_script_and_no_style_of_its_own():
    text = page_files.content("timeline.html").decode()

    assert re.findall(r"<script[^>]*>[^<]", text) == []
    assert "<style" not in text
    assert re.findall(r'\s(?:style|on\w+)="', text) == []
