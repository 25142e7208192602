"""The code blocks of the documents: what they are, and how those of a page are run.

A page's `sh` and `python` blocks run in order, in one fresh folder with a link `examples`, as a process of the page's
own. Python's names stay from block to block, and so do files. Commands and addresses are those of the page, but:

- a port is a free one, and another machine is this one, so that pages run beside each other and anywhere;
- `splitimpera serve` goes on beside the page's other commands once it listens, as in a terminal of its own, and must
  end with exit code 0 at SIGTERM when the page is through;
- `<!-- before: COMMAND -->` runs a command that the page takes for done;
- `make` is asked whether it knows the target; what `pip` would install is held against pyproject.toml.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")
REMARK = re.compile(r"<!-- (not run|run by): (.+?) -->|<!-- slow -->")
BEFORE = re.compile(r"<!-- before: (.+?) -->")
OWN_PORTS = re.compile(r"\b(?:743\d|943\d|6379)\b")
OTHER_MACHINES = re.compile(r"\b10\.0\.0\.\d+\b|\b(?:server|cloud|gateway)(?=:743\d)")
PATIENCE_S = 20
"""How long servers have for their end."""
SUBREAPER = 36
"""Of Linux' prctl: what a shell left running becomes a child of ours once the shell ends."""

PRELUDE = """
set -eu
splitimpera() {
    if [ "$1" != serve ]; then
        command splitimpera "$@"
    else
        command splitimpera "$@" > "$SAID" &
        echo $! >> "$SERVERS"
        until [ -s "$SAID" ]; do
            kill -0 $! || { echo "it ended at once: serve $*"; return 1; }
            sleep 0.1
        done
        cat "$SAID"
        rm "$SAID"
    fi
}
make() { command make --dry-run --directory "$REPOSITORY" "$@" > /dev/null; }
pip() { :; }  # see `installs`
"""


@dataclass(frozen=True)
class Block:
    """A code block: its language, where it begins, and the remark in front of it."""

    page: str
    line: int
    language: str
    text: str
    remark: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and self.reason is None and self.tested_by is None

    @property
    def slow(self) -> bool:
        return self.remark == "<!-- slow -->"

    @property
    def reason(self) -> str | None:
        """Why it is neither run nor checked."""
        return self._said("not run")

    @property
    def tested_by(self) -> str | None:
        """The test that runs it elsewhere."""
        return self._said("run by")

    def _said(self, what: str) -> str | None:
        found = REMARK.fullmatch(self.remark)
        return found[2] if found and found[1] == what else None


def pages(root: Path = ROOT) -> list[Path]:
    """The documents whose blocks are looked at."""
    documents = [page for page in sorted((root / "docs").rglob("*.md")) if "adr" not in page.parts]
    return [root / "README.md", root / "CONTRIBUTING.md", *documents]


def blocks_of(text: str, page: str, above: int = 0) -> list[Block]:
    """The code blocks of a text in order, also those within a directive's fence; without cells, which the site runs."""
    found: list[Block] = []
    remark = ""
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            remark = ""
            for said in token.content.strip().splitlines():
                if before := BEFORE.fullmatch(said):
                    found.append(Block(page, above + token.map[0] + 1, "sh", before[1] + "\n"))
                else:
                    remark = said
        elif token.type in ("fence", "code_block"):
            language = token.info.split()[0] if token.info.strip() else ""
            line = above + token.map[0] + 1
            if not language.startswith("{"):
                found.append(Block(page, line, language, token.content, remark))
            elif language not in ("{code-cell}", "{math}", "{toctree}"):
                found += blocks_of(token.content, page, line)
            remark = ""
        elif token.type not in ("list_item_open", "bullet_list_open", "ordered_list_open"):
            remark = ""
    return found


def read_page(page: Path, root: Path = ROOT) -> list[Block]:
    return blocks_of(page.read_text(), page.relative_to(root).as_posix())


def installs(text: str) -> list[str]:
    """What is wrong with the `pip install` lines of a text: an unknown extra, or a file that is not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wrong = []
    for line in re.findall(r"^(?:\S*/)?pip install (.*)", text, re.MULTILINE):
        extras = ",".join(re.findall(r"\[([\w,-]+)\]", line)).split(",")
        unknown = {*extras} - {"", *project["optional-dependencies"]}
        wrong += [f"there is no extra [{extra}]: {line}" for extra in sorted(unknown)]
        named = re.findall(r"(?<![\w-])split-et-impera(?![\w-])|(?<!\S)'?\.(?![\w.])", line)
        if not named:
            wrong.append(f"it installs something else: {line}")
        wrong += [
            f"no file {file}: {line}" for file in re.findall(r"--constraint (\S+)", line) if not (ROOT / file).exists()
        ]
    return wrong


def here(text: str, ports: dict[str, int]) -> str:
    """A block with this machine in the place of others, and free ports."""

    def port(found: re.Match[str]) -> str:
        return str(ports.setdefault(found[0], _free_port(ports)))

    return OWN_PORTS.sub(port, OTHER_MACHINES.sub("127.0.0.1", text))


def _free_port(taken: dict[str, int]) -> int:
    """A port that is free by TCP and by UDP."""
    while True:
        with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken.values():
            return port


def run_page(blocks: list[Block], folder: Path) -> None:
    """Run a page's blocks in a folder; what they print goes to `printed.txt` there.

    To be called in a process of its own: it changes folder, environment, `__main__` and standard streams.

    Raises:
        SystemExit: a block failed; the place and the error stand at the end of what was printed.
    """
    os.setsid()  # all that the page starts is in one group
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    with (folder / "printed.txt").open("w") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    os.chdir(folder)
    Path("examples").symlink_to(ROOT / "examples")
    servers = folder / ".servers"
    os.environ |= {"SERVERS": str(servers), "SAID": str(folder / ".said"), "REPOSITORY": str(ROOT)}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.path.insert(0, "")
    sys.modules["__main__"] = main = ModuleType("__main__")
    ports: dict[str, int] = {}
    try:
        for block in blocks:
            text = here(block.text, ports)
            if block.language == "python":
                lines = "\n" * block.line  # so that a traceback names the document's line
                exec(compile(lines + text, ROOT / block.page, "exec"), vars(main))
                sys.stdout.flush()
            else:
                _shell(block, text)
    finally:
        ended = _end_children()
    expected = {int(pid) for pid in servers.read_text().split()} if servers.exists() else set()
    failed = {pid: ended[pid] for pid in expected & set(ended) if ended[pid]}
    if failed:
        sys.exit(f"{blocks[0].page}: servers ended with {failed}")


def _shell(block: Block, text: str) -> None:
    # a server begins in the background anyhow, and the next command finds it listening
    text = re.sub(r"^(splitimpera serve (?:[^\n]*\\\n)*[^\n#]*?)\s*&[ \t]*(?=#|$)", r"\1 ", text, flags=re.MULTILINE)
    wrong = installs(text)
    if wrong:
        sys.exit(f"{block.place}: {'; '.join(wrong)}")
    done = subprocess.run(["bash", "-c", PRELUDE + text], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{block.place}: exit code {done.returncode} of\n{text}")


def _end_children() -> dict[int, int]:
    """End what the page left running, and wait for it: exit codes, by process."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # ours alone; programs that we start have their own
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.alarm(PATIENCE_S)
    os.killpg(0, signal.SIGTERM)
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            ended[pid] = os.waitstatus_to_exitcode(status)
    signal.alarm(0)
    return ended
