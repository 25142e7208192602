"""What a server counts of itself, for Prometheus; with whether it lives and whether it is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from splitimpera.core.errors import LinkError
from splitimpera.core.files import reason

LATENCY_S = tuple(
    float(f"{step}e{power}") for power in range(-4, 1) for step in (1, 1.5, 2, 3, 5, 7) if step * 10.0**power <= 5
)
"""Upper edges of the histogram of latencies: six a decade, from 0.1 ms to 5 s."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PATIENCE_S = 5.0
"""How long a request for metrics may take to come."""
MOST_REQUESTS = 16
"""So many at once; whoever keeps all of them busy keeps others from the figures, and nothing else."""


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        known: dict[str, Any] = {"namespace": "splitimpera", "registry": self.registry}
        self.frames = Counter("frames", "Frames that were answered, by what became of them", ["status"], **known)
        self.refusals = Counter("refusals", "Clients that were turned away, by reason", ["reason"], **known)
        self.received_bytes = Counter("received_bytes", "Payloads of frames", **known)
        self.sent_bytes = Counter("sent_bytes", "Payloads of responses and greetings", **known)
        self.lost_packets = Counter("lost_packets", "Packets of frames that never came", **known)
        self.latency = Histogram(
            "latency_seconds", "From a frame's first packet to its response", buckets=LATENCY_S, **known
        )
        self.batch = Histogram("batch_frames", "Frames that were run together", buckets=BATCHES, **known)
        self.queue = Gauge("queue_frames", "Frames that wait", **known)
        self.clients = Gauge("clients", "Clients that were taken in", **known)
        self.cache_bytes = Gauge("cache_bytes", "Keys and values of language models", **known)
        self.bundles = Gauge("bundles", "Bundles that are served, with those that clients are leaving", **known)
        self.plan_frames = Counter("plan_frames", "Frames that came, by plan", ["plan"], **known)
        self._of_plan: dict[str, Any] = {}
        self._of_status: dict[str, Any] = {}

    def frame_came(self, plan: str | None, size: int, lost_packets: int) -> None:
        """Count a frame.

        Args:
            plan: Its name; None: it is for none that is served. Names are those of bundles, so they are bounded.
        """
        self.received_bytes.inc(size)
        if lost_packets:
            self.lost_packets.inc(lost_packets)
        if plan is not None:
            _labelled(self.plan_frames, self._of_plan, plan).inc()

    def frame_answered(self, status: str, total_s: float) -> None:
        """Count an answer, by what became of the frame."""
        _labelled(self.frames, self._of_status, status).inc()
        self.latency.observe(total_s)


def _labelled(counter: Counter, known: dict[str, Any], label: str) -> Any:
    """A counter's child, which takes longer to look up than to count."""
    child = known.get(label)
    if child is None:
        child = known[label] = counter.labels(label)
    return child


class MetricsServer:
    """`/metrics`, `/healthz` (it lives) and `/readyz` (it takes clients in), by HTTP, in threads of its own.

    Args:
        ready: Whether the server takes clients in.

    Raises:
        LinkError: the address cannot be listened at.
    """

    def __init__(self, metrics: Metrics, host: str, port: int, ready: Callable[[], bool]) -> None:
        figures: Any = make_wsgi_app(metrics.registry)

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                answer: Iterable[bytes] = figures(environ, start_response)
                return answer
            good = {"/healthz": True, "/readyz": ready()}.get(path)
            status = "404 Not Found" if good is None else "200 OK" if good else "503 Service Unavailable"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{status[4:]}\n".encode()]

        try:
            self._server = make_server(host, port, app, _Threaded, _Quiet)
        except (OSError, OverflowError) as failure:
            raise LinkError(
                f"{host}:{port} cannot be listened at: {reason(failure)}", hint="choose another port for the metrics"
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="splitimpera-metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, the real one where any was asked for."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Threaded(ThreadingMixIn, WSGIServer):
    """A thread a request, and no more than `MOST_REQUESTS`: who comes then is turned away."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *where: Any) -> None:
        super().__init__(*where)
        self._room = threading.BoundedSemaphore(MOST_REQUESTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever went away in the middle of a request needs no answer, and nobody else a traceback


class _Quiet(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
