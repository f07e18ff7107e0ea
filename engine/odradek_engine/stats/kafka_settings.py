"""What Faust is told about Kafka: the settings of librdkafka that the log takes, in Faust's words."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from odradek_log import LogUnavailableError
from odradek_log.kafka.config import from_environment, parse_address

from .counts import StatsError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class FaustSettings:
    """`broker`: Faust's URL. `replicas`, `in_sync`: of the changelog topic, the same as the log's topics have."""

    broker: str
    replicas: int
    in_sync: int
    config: Mapping[str, Any]

    def credentials(self) -> Any:
        """Faust's credentials, or None for plain text. Raises StatsError for what Faust cannot do."""
        from faust.auth import SASLCredentials, SSLCredentials

        protocol = str(self.config.get("security.protocol", "PLAINTEXT")).upper()
        context = _ssl_context(self.config) if protocol.endswith("SSL") else None
        if protocol == "PLAINTEXT":
            return None
        if protocol == "SSL":
            return SSLCredentials(context=context)
        mechanism = self.config.get("sasl.mechanism", self.config.get("sasl.mechanisms", "PLAIN"))
        if protocol not in ("SASL_PLAINTEXT", "SASL_SSL") or mechanism not in _MECHANISMS:
            raise StatsError(
                f"security.protocol {protocol} with sasl.mechanism {mechanism} is not supported for the read model: "
                f"use SSL, or SASL with {', '.join(_MECHANISMS)}"
            )
        return SASLCredentials(
            username=self.config.get("sasl.username"),
            password=self.config.get("sasl.password"),
            mechanism=mechanism,
            ssl_context=context,
        )


def faust_settings(target: str, topic: str, log_settings: Mapping[str, Any]) -> FaustSettings:
    """Settings for the cluster at `target`; replicas as `topic` has. Raises LogUnavailableError, StatsError."""
    servers, in_url = parse_address(target)
    config = {**from_environment(), **in_url, **log_settings.get("config", {})}
    servers = str(config.pop("bootstrap.servers", servers))
    admin = AdminClient({**config, "bootstrap.servers": servers})
    try:
        metadata = admin.list_topics(topic, timeout=10.0)
    except KafkaException as error:
        raise LogUnavailableError(f"no broker of Kafka answers at {servers}: {error}") from error
    described = metadata.topics[topic]
    if not described.partitions:
        raise StatsError(f"there is no topic {topic}: start an engine first")
    replicas = len(described.partitions[0].replicas)
    broker = ";".join(f"kafka://{server}" for server in servers.split(","))
    return FaustSettings(broker, replicas, 2 if replicas >= 3 else 1, config)


def _ssl_context(config: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.get("ssl.ca.location"))
    if str(config.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif str(config.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    certificate = config.get("ssl.certificate.location")
    if certificate:
        context.load_cert_chain(certificate, config.get("ssl.key.location"), config.get("ssl.key.password"))
    return context
