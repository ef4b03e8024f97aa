"""The README: what its code prints, and where its links lead."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCKS = re.compile(r"```python\n(.*?)```\s*```text\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("code, output", BLOCKS.findall(README.read_text()))
def test_code_prints_what_the_readme_says(code, output):
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.stdout == output, run.stderr


def test_all_code_of_the_readme_is_run():
    text = README.read_text()
    assert text.count("```python") == len(BLOCKS.findall(text)) > 0


def test_links_of_the_readme_lead_somewhere():
    text = README.read_text()
    targets = dict(re.findall(r"^\[(.+?)\]: (\S+)$", text, re.MULTILINE))
    assert targets
    for target in targets.values():
        assert (ROOT / target).exists(), target
    body = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    named = re.findall(r"\[[^\]]*\]\[([^\]]+)\]", body)
    rest = re.sub(r"\[[^\]]*\](\[[^\]]+\]|\([^)]*\)|:)", "", body)
    named += re.findall(r"\[([^\]]+)\]", rest)
    assert set(named) == set(targets)


def test_readme_is_short():
    assert len(README.read_text().split()) <= 700
