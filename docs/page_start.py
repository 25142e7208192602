"""What the kernel of an executed page does first: the examples lie beside it, and figures show themselves."""

import os
import subprocess
import sys
from pathlib import Path

import plotly.io
from IPython import get_ipython
from plotly.io.base_renderers import MimetypeRenderer  # type: ignore[import-untyped]

Path("examples").symlink_to(Path(os.environ["GALLERY_ROOT"]) / "examples")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the command
os.environ["COLUMNS"] = "96"  # of what it prints
for wish in ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"):  # a kernel's: colours and moving bars, which no page shows
    os.environ.pop(wish, None)


class _OnPage(MimetypeRenderer):
    """HTML that needs the page's own copy of Plotly."""

    def to_mimebundle(self, figure):
        html = plotly.io.to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            default_width="100%",
            config={"displaylogo": False, "responsive": True, "displayModeBar": False},
        )
        return {"text/html": html}


plotly.io.renderers["page"] = _OnPage()
plotly.io.renderers.default = "page"


def _sh(line, cell):
    """`%%sh`, whose output is printed in one go: what comes in pieces would be broken where they end."""
    done = subprocess.run(["sh", "-c", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sys.stdout.write(done.stdout)
    done.check_returncode()


get_ipython().register_magic_function(_sh, "cell", "sh")
