"""What is wrong in a page, a key, a name or an example fails the build: tried on a small copy of the site."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("sphinx")

DOCS = Path(__file__).parents[2] / "docs"
INDEX = """# A site

```{toctree}
reference/python
reference/command_line
reference/exit_codes
page
```
"""
SMALLER = """
extensions = [each for each in extensions if each != "executed"]  # of the gallery
exclude_patterns.append("validation.md")
"""
PAGE = """# A page

[This](reference/python.md), [examples](../examples/some), {py:exc}`~splitimpera.core.errors.PlanError`, and $x^2$.

```{keys} DirectSection
:prefix: direct.
```
"""
CELL = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---

# A page

```{code-cell}
1 / 0
```
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path):
    source = tmp_path / "docs"
    (source / "reference").mkdir(parents=True)
    for folder in ("_ext", "_static"):
        shutil.copytree(DOCS / folder, source / folder)
    for name in ("conf.py", "reference/python.md", "reference/command_line.md", "reference/exit_codes.md"):
        text = (DOCS / name).read_text().replace("[installation](../install.md)", "installation")
        (source / name).write_text(text)
    for path in (*DOCS.glob("*.py"), DOCS / "validation.md"):  # what the configuration reads
        if path.name != "conf.py":
            shutil.copy(path, source)
    with (source / "conf.py").open("a") as configuration:
        configuration.write(SMALLER)
    (source / "index.md").write_text(INDEX)
    (source / "page.md").write_text(PAGE)
    (tmp_path / "examples" / "some" / "runs").mkdir(parents=True)
    (tmp_path / "examples" / "some" / "scenario.yaml").write_text("name: some\n")
    (tmp_path / "examples" / "some" / "runs" / "results.json").write_text("{}\n")
    return source


def built(source):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", source, source.parent / "site"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_copy_builds_and_is_whole(copy):
    done = built(copy)
    assert (done.returncode, done.stderr) == (0, "")
    site = copy.parent / "site"
    page = (site / "page.html").read_text()
    for part in ("_static/mathjax/tex-chtml.js", "_downloads/examples-some.zip"):
        assert part in page
        assert (site / part).is_file()
    assert zipfile.ZipFile(site / "_downloads" / "examples-some.zip").namelist() == ["some/scenario.yaml"]


def test_each_fault_is_told(copy):
    change(copy / "page.md", "[This](reference/python.md)", "[This](nowhere.md), [there](#nowhere)")
    change(copy / "page.md", "PlanError", "NoSuchError")
    change(copy / "reference" / "python.md", ".. autofunction:: splitimpera.save\n", "")
    change(copy / "reference" / "command_line.md", "```{command} doctor\n```\n", "")
    with (copy / "conf.py").open("a") as configuration:
        configuration.write(
            "import splitimpera as sei\n"
            "from splitimpera.scenario import file_schema\n"
            "file_schema.key_docs = lambda section: {}\n"
            "sei.Plan.configuration.__doc__ = None\n"
        )
    done = built(copy)
    assert done.returncode == 1
    for told in (
        *("'nowhere.md'", "'nowhere'", "NoSuchError", "splitimpera.save is on no page"),
        *("no page shows the command 'doctor'", "the key direct.rate has no description"),
        "splitimpera.Plan.configuration has no docstring",
    ):
        assert told in done.stderr, done.stderr


def test_an_example_that_fails_fails_the_build(copy):
    (copy / "page.md").write_text(CELL)
    done = built(copy)
    assert done.returncode != 0
    assert "ExecutionError" in done.stderr
    assert "page.md" in done.stderr
