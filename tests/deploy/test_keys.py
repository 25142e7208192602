"""Certificates that are made here, and what is said of those that cannot be used."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from peers import PATIENCE_S, End, keys, listening, opened
from typer.testing import CliRunner

from splitimpera.cli.app import app
from splitimpera.codec.framing import Kind
from splitimpera.core.errors import DataError, LinkError, OutputError
from splitimpera.deploy.dtls import Cookies, bears, client_dtls, server_dtls
from splitimpera.deploy.keys import make_keys
from splitimpera.deploy.messages import Hello
from splitimpera.deploy.security import ClientSecurity, ServerSecurity, client_context, same_token, server_context
from splitimpera.deploy.sessions import Limits
from splitimpera.records.traffic import Payload

SECURE = pytest.mark.parametrize("carrier", ["tls", "dtls"])


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def expired(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("expired"), days=1, now=datetime.now(UTC) - timedelta(days=9))


def test_the_server_is_known_by_all_names_and_addresses(tmp_path):
    files = make_keys(tmp_path, ["pi.local", "192.0.2.7", "::1", "pi.local"])
    certificate = x509.load_pem_x509_certificate(files.server.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pi.local", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address(a) for a in ("192.0.2.7", "::1", "127.0.0.1")]


def test_new_certificates_of_the_authority_that_devices_know(tmp_path):
    first, second = make_keys(tmp_path / "first", days=800), tmp_path / "second"
    files = make_keys(second, ["pi.local"], days=365, signed_by=tmp_path / "first")
    assert files.authority.read_bytes() == first.authority.read_bytes()
    assert not files.authority_key.exists()
    authority = x509.load_pem_x509_certificate(first.authority.read_bytes())
    for path in (files.server, files.client):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(authority)
        assert certificate.not_valid_after_utc <= authority.not_valid_after_utc
    assert len({path.read_bytes() for path in (first.server_key, files.server_key, files.client_key)}) == 3


def test_no_certificate_outlives_its_authority_and_none_is_signed_by_nobody(tmp_path):
    make_keys(tmp_path / "first", days=30)
    with pytest.raises(DataError, match="good for 29 more days"):
        make_keys(tmp_path / "second", days=365, signed_by=tmp_path / "first")
    with pytest.raises(DataError, match="authority"):
        make_keys(tmp_path / "second", signed_by=tmp_path / "nowhere")
    make_keys(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "authority.key", tmp_path / "first")
    with pytest.raises(DataError, match="not of each other"):
        make_keys(tmp_path / "second", days=1, signed_by=tmp_path / "first")
    (tmp_path / "first" / "authority.key").write_text("no key")
    with pytest.raises(DataError, match="there is no authority"):
        make_keys(tmp_path / "second", days=1, signed_by=tmp_path / "first")
    assert not (tmp_path / "second").exists()


def test_keys_are_for_their_owner_alone(tmp_path):
    files = make_keys(tmp_path / "deep" / "down")
    modes = {path.name: path.stat().st_mode & 0o777 for path in files}
    private = {"authority.key", "server.key", "client.key", "token"}
    assert modes == {name: 0o600 if name in private else 0o644 for name in modes}
    assert len(files.token.read_text().strip()) >= 40


def test_nothing_is_written_over_unless_it_is_asked_for(tmp_path):
    files = make_keys(tmp_path)
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(OutputError, match=r"authority.pem' exists already; name another folder, or add --force"):
        make_keys(tmp_path)
    assert {path: path.read_bytes() for path in files} == before
    make_keys(tmp_path, force=True)
    assert all(path.read_bytes() != content for path, content in before.items())


def test_the_certificates_last_as_long_as_asked(tmp_path):
    files = make_keys(tmp_path, days=3, now=datetime(2030, 1, 1, tzinfo=UTC))
    for path in (files.authority, files.server, files.client):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        assert certificate.not_valid_after_utc == datetime(2030, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "a b"], "'a b' is neither a name nor an address"),
        (["--days", "0"], "'0' is not a whole number from 1 to 36500"),
        (["--host", ""], "'' is neither a name nor an address"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(tmp_path, arguments, told):
    result = CliRunner().invoke(app, ["keys", str(tmp_path / "keys"), *arguments])
    assert told in str(result.exception)
    assert not (tmp_path / "keys").exists()


def test_the_command_writes_what_it_says(tmp_path):
    result = CliRunner().invoke(app, ["keys", str(tmp_path / "keys"), "--host", "pi.local"])
    assert result.exit_code == 0
    assert "known as pi.local, localhost, 127.0.0.1" in result.stdout
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {path.name for path in keys()}


def used_by_all(client: ClientSecurity | None, server: ServerSecurity | None):
    """Make contexts of both carriers."""
    if client:
        yield lambda: client_context(client)
        yield lambda: client_dtls(client)
    if server:
        yield lambda: server_context(server)
        yield lambda: server_dtls(server, Cookies())


def refused(told: str, client: ClientSecurity | None = None, server: ServerSecurity | None = None):
    for made in used_by_all(client, server):
        with pytest.raises(DataError, match=told):
            made()


def test_files_that_cannot_be_used_are_named(tmp_path, others, expired):
    good = keys()
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    refused(
        "missing.pem' does not exist; `splitimpera keys`", ClientSecurity(missing), ServerSecurity(missing, missing)
    )
    refused("text.pem': this is no certificate in PEM", ClientSecurity(text), ServerSecurity(text, good.server_key))
    refused("text.pem': this is no key in PEM", None, ServerSecurity(good.server, text))
    refused("does not belong to the certificate", None, ServerSecurity(good.server, others.server_key))
    refused("does not belong", ClientSecurity(good.authority, good.client, good.server_key))
    refused("the certificate expired on", ClientSecurity(expired.authority))
    refused("the certificate expired on", None, ServerSecurity(expired.server, expired.server_key))
    refused("this is no authority's certificate", ClientSecurity(good.server))
    refused("this is no authority's", None, ServerSecurity(good.server, good.server_key, good.client))
    refused("go together", ClientSecurity(good.authority, good.client))
    refused("is a folder", ClientSecurity(tmp_path))


def test_a_certificate_that_is_not_valid_yet(tmp_path):
    files = make_keys(tmp_path, now=datetime.now(UTC) + timedelta(days=2))
    refused("is not valid before", ClientSecurity(files.authority))


def test_a_key_with_a_password(tmp_path):
    key = load_pem_private_key(keys().server_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    refused("the key has a password", None, ServerSecurity(keys().server, locked))


def test_streams_take_no_version_below_1_3():
    good = keys()
    for context in (
        client_context(ClientSecurity(good.authority)),
        server_context(ServerSecurity(good.server, good.server_key)),
    ):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_tokens():
    assert same_token(b"secret", "secret")
    assert same_token(b"anything", None)
    assert not same_token(b"", "secret")
    assert not same_token(b"secrets", "secret")


async def met(carrier, **client):
    """What comes of a client of some security: the failure that it sees, and how many sessions the server had."""
    ends = []
    listener = await listening(carrier, lambda session: ends.append(End(session)), Limits(greeting_s=PATIENCE_S))
    try:
        end = End(await opened(carrier, listener.address, **client))
        end.send(0, Payload(Hello(bytes(32)).to_bytes()), Kind.HELLO)
        return str(await end.failure()), len(ends)
    except LinkError as failure:
        return str(failure), len(ends)
    finally:
        await listener.close()


@SECURE
def test_a_server_of_another_authority(carrier, others):
    told, sessions = asyncio.run(met(carrier, authority=others.authority))
    assert "the server's certificate is of another authority" in told
    assert sessions == 0


@SECURE
def test_a_client_of_another_authority(carrier, others):
    told, sessions = asyncio.run(met(carrier, certificate=others.client, key=others.client_key))
    assert "the server refuses this side's certificate" in told
    assert sessions == 0


@SECURE
def test_a_client_without_a_certificate(carrier):
    told, sessions = asyncio.run(met(carrier, certificate=None, key=None))
    assert "a certificate of its authority" in told
    assert sessions == 0


@SECURE
def test_a_server_of_another_name(carrier):
    told, _ = asyncio.run(met(carrier, server_name="elsewhere.org"))
    assert "certificate is for another name" in told


@SECURE
def test_the_server_of_the_name_that_was_asked_for(carrier):
    async def story():
        listener = await listening(carrier, lambda _: None)
        session = await opened(carrier, listener.address, server_name="localhost")
        session.close()
        await listener.close()

    asyncio.run(story())


@SECURE
def test_who_knows_the_authority_knows_its_new_certificates(carrier, tmp_path):
    old = make_keys(tmp_path / "first", days=30)
    new = make_keys(tmp_path / "second", days=10, signed_by=tmp_path / "first")

    async def story():
        shown = {"certificate": new.server, "key": new.server_key, "authority": new.authority}
        listener = await listening(carrier, lambda _: None, **shown)
        session = await opened(carrier, listener.address, authority=old.authority, certificate=old.client,
                               key=old.client_key)  # fmt: skip
        session.close()
        await listener.close()

    asyncio.run(story())


def test_an_expired_certificate_is_named_by_the_client(tmp_path, expired, monkeypatch):
    """The server's own check is passed over, as by another program."""
    good = keys()
    mixed = tmp_path / "server.pem"
    shutil.copy(expired.server, mixed)
    authority = tmp_path / "authority.pem"
    authority.write_bytes(expired.authority.read_bytes())
    monkeypatch.setattr("splitimpera.deploy.security._certificates", _unchecked)

    async def story(carrier):
        listener = await listening(
            carrier,
            lambda _: None,
            certificate=mixed,
            key=expired.server_key,
            authority=good.authority,
        )
        try:
            await opened(carrier, listener.address, authority=authority)
        finally:
            await listener.close()

    for carrier in ("tls", "dtls"):
        with pytest.raises(LinkError, match="has expired"):
            asyncio.run(story(carrier))


def _unchecked(path):
    return x509.load_pem_x509_certificates(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("pi.example.org", True),
        ("a.example.org", True),
        ("a.b.example.org", False),
        ("example.org", False),
        ("127.0.0.2", False),
        ("local", False),
        ("", False),
    ],
)
def test_names_are_compared_as_tls_does(tmp_path, name, fits):
    files = make_keys(tmp_path, ["*.example.org", "pi.example.org"])
    assert bears(x509.load_pem_x509_certificate(files.server.read_bytes()), name) is fits


def test_dtls_has_the_record_size_that_is_counted():
    context = client_dtls(ClientSecurity(keys().authority))
    connection = SSL.Connection(context)
    assert all("AES" in name and "GCM" in name for name in connection.get_cipher_list() if not name.startswith("TLS_"))
