"""Network namespaces on this machine, each joined to the next by a link of a chosen rate, delay and loss (relay.c).

    with joined(Wire(rate_bps=20e6, delay_s=0.005, loss=0.01, seed=1)) as ends:
        subprocess.run(ends.near.command(["ping", "-c", "3", ends.far.address]))
    print(ends.report.up.late_p99_us)

`chained` joins more than two in a row; those that no link joins do not reach each other.

Needs root, a C compiler, iproute2 and TUN devices; `hindrance` says what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from string import ascii_lowercase

SOURCE = Path(__file__).with_name("relay.c")
ANSWER_S = 10.0
SPIN_S = 40e-6
"""The relay wakes so long before a packet is due, since timers of virtual machines are late."""
_NUMBERS = count()


class NoNamespacesError(Exception):
    """This machine cannot join namespaces; says why."""


@dataclass(frozen=True)
class Wire:
    """What the link does.

    Attributes:
        rate_bps: Of both ways, headers of the link layer included.
        delay_s: One way; the same both ways.
        loss: Probability that a packet on the uplink is lost.
        small_bytes: IP packets of up to so many bytes are never lost, nor counted.
        most_s: The relay ends after so long, whatever happens.
    """

    rate_bps: float
    delay_s: float
    loss: float = 0.0
    seed: int = 1
    mtu_bytes: int = 1500
    link_header_bytes: int = 2
    small_bytes: int = 0
    congestion_control: str = "cubic"
    most_s: int = 900


@dataclass(frozen=True)
class End:
    """One end of a link, in a namespace; one in the middle of a chain has an end of either link."""

    name: str
    device: str
    address: str

    def command(self, words: Sequence[str], core: int | None = None) -> list[str]:
        """A command line that runs another one in the namespace, on one core where it is given."""
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        return ["ip", "netns", "exec", self.name, *pinned, *words]


@dataclass(frozen=True)
class WayReport:
    """What the relay did one way.

    Attributes:
        packets: Packets that came, but for small ones.
        handed_on: All that went on, small ones too; `refused`: of which the device took none.
        late_p50_us, late_p99_us, late_max_us: How long after they were due.
    """

    packets: int
    handed_on: int
    refused: int
    bytes: int
    late_p50_us: float
    late_p99_us: float
    late_max_us: float


@dataclass(frozen=True)
class RelayReport:
    """What the relay did.

    Attributes:
        real_time, locked: Whether it had real-time priority, and its memory to itself.
        dropped: Which packets of the uplink were lost; the first is 0.
    """

    up: WayReport
    down: WayReport
    real_time: bool
    locked: bool
    lost: int
    dropped: tuple[int, ...]

    @property
    def late_max_us(self) -> float:
        return max(self.up.late_max_us, self.down.late_max_us)


@dataclass
class Ends:
    """Both ends, and once the link is gone what it did."""

    near: End
    far: End
    reports: list[RelayReport] = field(default_factory=list)

    @property
    def report(self) -> RelayReport:
        return self.reports[0]


def hindrance() -> str | None:
    """What keeps this machine from joining namespaces; None: nothing."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    for program, what in (("cc", "a C compiler"), ("ip", "iproute2"), ("taskset", "util-linux")):
        if shutil.which(program) is None:
            return f"'{program}' is not there ({what})"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is not there"
    try:
        with joined(Wire(rate_bps=1e9, delay_s=0.0)):
            return None
    except NoNamespacesError as failure:
        return str(failure)


@contextmanager
def joined(wire: Wire) -> Iterator[Ends]:
    """Two namespaces and the link between them, for as long as the block lasts.

    Raises:
        NoNamespacesError: they cannot be made here; nothing is left behind.
    """
    with chained([wire]) as (ends,):
        yield ends


@contextmanager
def chained(wires: Sequence[Wire]) -> Iterator[list[Ends]]:
    """Namespaces in a row and the links between them, one more than these; errors as of `joined`."""
    number = f"{os.getpid()}-{next(_NUMBERS)}"
    names = [f"sei-{number}-{ascii_lowercase[place]}" for place in range(len(wires) + 1)]
    links = [_ends(names[place], names[place + 1], place) for place in range(len(wires))]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-")))
        _do("cc", "-O2", "-o", str(folder / "relay"), str(SOURCE))
        for name in names:
            _do("ip", "netns", "add", name)
            stack.callback(_remove, name)
        for ends, wire in zip(links, wires, strict=True):
            relay = _start(folder / "relay", ends.near, ends.far, wire)
            stack.callback(_stop, relay, ends)
            for end, other in ((ends.near, ends.far), (ends.far, ends.near)):
                _set_up(end, other, wire)
        yield links
    if not all(ends.reports for ends in links):
        raise NoNamespacesError("a relay ended without a report")


def _ends(near: str, far: str, place: int) -> Ends:
    """Both ends of a link, by the names of their namespaces and its place in the row."""
    subnet = f"10.{77 + next(_NUMBERS) % 100}.0"
    first, second = ascii_lowercase[2 * place : 2 * place + 2]
    device = f"sei{os.getpid() % 1_000_000}"
    return Ends(End(near, device + first, f"{subnet}.1"), End(far, device + second, f"{subnet}.2"))


def _start(program: Path, near: End, far: End, wire: Wire) -> subprocess.Popen[str]:
    delay_ns = round(wire.delay_s * 1e9)
    words = [near.device, far.device, wire.mtu_bytes, wire.link_header_bytes, wire.rate_bps, wire.rate_bps]
    words += [delay_ns, delay_ns, wire.loss, wire.seed, wire.small_bytes, round(SPIN_S * 1e9), wire.most_s]
    relay = subprocess.Popen(
        [str(program), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert relay.stdout
    assert relay.stderr
    if relay.stdout.readline() != "ready\n":
        relay.wait(ANSWER_S)
        raise NoNamespacesError(f"the relay cannot start: {relay.stderr.read().strip()}")
    return relay


def _set_up(end: End, other: End, wire: Wire) -> None:
    _do("ip", "link", "set", end.device, "netns", end.name)
    settings = (
        ("net.ipv4.tcp_no_metrics_save", 1),
        ("net.ipv4.conf.all.rp_filter", 0),
        ("net.ipv6.conf.all.disable_ipv6", 1),
    )
    lines = [f"echo {value} > /proc/sys/{key.replace('.', '/')}" for key, value in settings]
    lines += [
        f"ip addr add {end.address}/32 dev {end.device}",
        f"ip link set {end.device} mtu {wire.mtu_bytes} txqueuelen 100000 up",
        # by the route, since a namespace may not choose each algorithm as its default
        f"ip route add {other.address} dev {end.device} src {end.address} congctl {wire.congestion_control}",
        "ip link set lo up",
    ]
    _do("ip", "netns", "exec", end.name, "sh", "-ec", "\n".join(lines))


def _stop(relay: subprocess.Popen[str], ends: Ends) -> None:
    try:
        said, _ = relay.communicate(timeout=ANSWER_S)  # closes its input, which ends it
    except subprocess.TimeoutExpired:
        relay.kill()
        relay.communicate()
        return
    if relay.returncode == 0:
        content = json.loads(said)
        ways = {way: WayReport(**content.pop(way)) for way in ("up", "down")}
        ends.reports.append(RelayReport(**ways, **content | {"dropped": tuple(content["dropped"])}))


def _remove(name: str) -> None:
    """End what still runs in a namespace, by its number, then the namespace."""
    held = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, timeout=ANSWER_S)
    for number in held.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(number), 9)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=ANSWER_S)


def _do(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise NoNamespacesError(f"'{words[0]}' cannot be run: {failure}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NoNamespacesError(f"'{' '.join(words[:3])}' fails: {said[-1] if said else done.returncode}")
