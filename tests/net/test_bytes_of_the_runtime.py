"""The simulator counts the bytes that the runtime sends, sealed by real TLS and DTLS."""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress

import numpy as np
import pytest
from networks import inputs, make
from OpenSSL import SSL

import splitimpera as sei
from splitimpera.codec.framing import Kind, packetise
from splitimpera.core.errors import SplitImperaError
from splitimpera.deploy.messages import Response, Status, result_bytes
from splitimpera.graph.tracing import trace
from splitimpera.net.tcp import stream_bytes
from splitimpera.net.udp import payload_bytes
from splitimpera.records.link import Link
from splitimpera.records.traffic import Payload, Workload
from splitimpera.scenario import Scenario
from splitimpera.setting import resolve

SIZES = [1, 1371, 1372, 5000, 16364, 16365, 40_000]
TLS = Link(rate_bps=1e7, delay_s=0.0, app_header_bytes=20, stream_record_bytes=22)
DTLS = Link(rate_bps=1e7, delay_s=0.0, app_header_bytes=20 + 37)


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """The paths of a certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    paths = [tmp_path_factory.mktemp("keys") / part for part in ("certificate.pem", "key.pem")]
    pem = serialization.Encoding.PEM
    paths[0].write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return paths


@pytest.fixture(scope="module")
def tls(identity):
    """How many bytes TLS makes of some that are written at once."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts[0].check_hostname, contexts[0].verify_mode = False, ssl.CERT_NONE
    contexts[1].load_cert_chain(*identity)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(back, there)
    server = contexts[1].wrap_bio(there, back, server_side=True)
    for end in [client, server] * 2:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"
    there.read()

    def sealed(data):
        assert client.write(data) == len(data)
        return len(there.read())

    return sealed


@pytest.fixture(scope="module")
def dtls(identity):
    """How many bytes DTLS makes of a datagram."""
    contexts = [SSL.Context(SSL.DTLS_METHOD) for _ in range(2)]
    contexts[1].use_certificate_file(str(identity[0]))
    contexts[1].use_privatekey_file(str(identity[1]))
    client, server = (SSL.Connection(context, None) for context in contexts)
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                while True:
                    other.bio_write(end.bio_read(65536))
    assert "GCM" in client.get_cipher_name()

    def sealed(data):
        client.send(data)
        return len(client.bio_read(65536))

    return sealed


def simulated(link, transport, size, response=0):
    return sei.simulate(
        link, Workload(1.0, 1, frame_bytes=size, response_bytes=response), transport, np.random.default_rng(0)
    )


@pytest.mark.parametrize("size", SIZES)
def test_over_tcp_a_frame_is_its_header_and_payload_in_records(tls, size):
    (frame,) = packetise(Payload(bytes(size)), frame=0, plan=1)
    stream = tls(frame)
    assert stream_bytes(TLS, np.array([size])) == stream
    assert simulated(TLS, "tcp", size).wire_bytes[0] == stream + 54 * -(-stream // 1448)


@pytest.mark.parametrize("size", SIZES)
def test_over_udp_each_datagram_is_a_header_and_its_piece_in_a_record(dtls, size):
    packets = packetise(Payload(bytes(size)), frame=0, plan=1, packet_bytes=payload_bytes(DTLS, 1))
    wire = [dtls(packet) + 28 + 2 for packet in packets]
    sent = simulated(DTLS, "udp", size)
    assert (sent.packets[0], sent.wire_bytes[0]) == (len(wire), sum(wire))
    assert max(wire) <= 1500 + 2


def test_a_response_is_its_message_and_the_result(tls, dtls):
    """Its size follows from the network; its headers are those of a frame."""
    graph = trace(make("Chain").eval(), inputs("Chain", 1))
    specs = graph.cuts[-1].tensors
    result = result_bytes([np.zeros(spec.shape, np.float32) for spec in specs], specs)
    message = Payload(Response(Status.OK, tensors=result).to_bytes())
    size = resolve(scenario()).workload_for(5 * 4).response_bytes
    assert size == len(message.data) == 32 + 5 * 4
    (packet,) = packetise(message, frame=0, plan=1, kind=Kind.RESPONSE)
    assert stream_bytes(TLS, np.array([size])) == tls(packet)
    done = simulated(DTLS, "udp", 1000, response=size)
    assert done.response_s[0] - done.complete_s[0] == pytest.approx((dtls(packet) + 28 + 2) * 8 / 1e7)


def scenario(**workload):
    devices = [{"name": "camera", "preset": "cortex-m7"}, {"name": "server", "preset": "t4"}]
    return Scenario.model_validate(
        {
            "network": {"model": "digits-vgg16"},
            "data": {"source": "digits"},
            "devices": devices,
            "links": [{"rate": "10 Mbit/s", "delay": 0, "security": "dtls"}],
            "plans": {"transports": ["udp"]},
            "workload": {"fps": 20, "response": "runtime"} | workload,
            "requirements": ["latency_p95 <= 50 ms"],
        }
    )


def test_a_response_of_the_runtime_is_written_and_read_as_such():
    plain = scenario().model_dump(mode="json")["workload"]["response"]
    assert plain == "runtime"
    assert resolve(scenario()).digest != resolve(scenario(response=0)).digest
    assert resolve(scenario(response="72 B")).workload_for(5 * 4).response_bytes == 72


def test_it_is_refused_where_no_response_is_simulated():
    with pytest.raises(SplitImperaError, match="udp-arq simulates no responses"):
        resolve(
            scenario().model_copy(update={"plans": scenario().plans.model_copy(update={"transports": ["udp-arq"]})})
        )
