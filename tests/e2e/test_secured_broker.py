"""A broker that speaks TLS only, and only to those who know a password."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from odradek import Client, Worker, workflow
from odradek.errors import UnavailableError
from odradek_engine import Engine
from odradek_log import LogError, open_log

from ..kafka.broker import Broker
from ..longer import with_longer_times

PASSWORD = "a long secret"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@workflow.define
async def greet(name: str) -> str:
    return f"Hello, {name}!"


def certificate(folder: Path) -> Path:
    """A PEM file with a key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a broker of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "broker.pem"
    path.write_bytes(private + made.public_bytes(pem))
    return path


@pytest.fixture(scope="module")
def secured(broker_from_jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Path]]:
    """The broker, and the certificate to trust. Its own wait asks in plain text, at a second listener."""
    pem = certificate(tmp_path_factory.mktemp("tls"))
    broker = Broker()
    port = broker.new_port()
    controller = f"127.0.0.1:{broker.controller_port}"
    broker.configure({
        "listeners": f"PLAINTEXT://{broker.bootstrap},SASL_SSL://127.0.0.1:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker.bootstrap},SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{LOGIN} required user_ada="{PASSWORD}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(pem),
    })
    with broker:
        broker.bootstrap = f"127.0.0.1:{port}"
        yield broker, pem


def settings(certificate: Path, password: str = PASSWORD) -> dict[str, str]:
    return {
        "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "ada", "sasl.password": password,
        "ssl.ca.location": str(certificate),
    }


async def test_engine_worker_and_client_log_in_over_tls(secured: tuple[Broker, Path], tmp_path: Path) -> None:
    broker, certificate = secured
    target, known = f"kafka://{broker.bootstrap}", {"config": settings(certificate)}
    async with (
        Engine(target, data_dir=tmp_path, partitions=2, log_settings=known),
        Client(target, log_settings=known) as client,
        Worker(client, task_queue="q", workflows=[greet]),
    ):
        assert await client.execute(greet, "Ada", id="a", task_queue="q") == "Hello, Ada!"


async def test_a_wrong_password_is_told_at_once(secured: tuple[Broker, Path]) -> None:
    broker, certificate = secured

    async def told(timeout: float) -> None:
        wrong = {"config": settings(certificate, "not it"), "request_timeout": timeout}
        with pytest.raises(UnavailableError, match=r"refused .*[Aa]uthentication"):
            async with Client(f"kafka://{broker.bootstrap}", log_settings=wrong):
                pass

    await with_longer_times(2.0, told)


async def test_a_broker_whose_certificate_nobody_vouches_for_is_not_trusted(
    secured: tuple[Broker, Path], tmp_path: Path
) -> None:
    broker, _ = secured
    other = certificate(tmp_path)

    async def told(timeout: float) -> None:
        log = open_log(f"kafka://{broker.bootstrap}", config=settings(other), request_timeout=timeout)
        try:
            with pytest.raises(LogError, match=r"refused .*certificate"):
                await asyncio.to_thread(log.topics, "")
        finally:
            log.close()

    await with_longer_times(2.0, told)
