"""librdkafka's errors as the log's own, with what to do next."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from ..protocol import LogCorruptError, LogError, LogUnavailableError, ProducerFailedError, RecordTooLargeError

# No broker answers: librdkafka's own errors, of connections.
_NO_ANSWER = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._WAIT_COORD,
    KafkaError.NETWORK_EXCEPTION,
}
# Brokers answer that they cannot do it now.
_NOT_NOW = {
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    # What changes with the next leader, controller or metadata; librdkafka calls none of them retriable.
    KafkaError._NOENT,  # "no leaders found"
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.LISTENER_NOT_FOUND,
    KafkaError.STALE_BROKER_EPOCH,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
    KafkaError.KAFKA_STORAGE_ERROR,
}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_UNKNOWN = {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}
_PURGED = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._DESTROY}
# A broker that has lost records, or what it knew of a producer: librdkafka's other errors of this kind are fatal.
_OUT_OF_STEP = {
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
    KafkaError.UNKNOWN_PRODUCER_ID,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
_CORRUPT = {KafkaError._BAD_MSG, KafkaError.INVALID_MSG}
_FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
}


def kafka_error(error: KafkaException) -> KafkaError:
    """The KafkaError inside."""
    inner = error.args[0]
    assert isinstance(inner, KafkaError)
    return inner


def kafka_problem(answer: Future[Any]) -> KafkaError | None:
    """What an answer says instead, once it is there. If it were raised, its traceback would hold who asks, and so the
    client, for as long as librdkafka's own thread has the answer, which must not be the last to hold a client."""
    problem = answer.exception()
    if isinstance(problem, KafkaException):
        return kafka_error(problem)
    if problem is not None:
        raise problem
    return None


def is_refusal(error: KafkaError) -> bool:
    """Whether the cluster is there, and does not let us in; or we do not trust it."""
    return error.code() in _FORBIDDEN


def passes(error: KafkaError) -> bool:
    """Whether the same may work later: brokers come back, and leaders are elected."""
    return not error.fatal() and (error.code() in _NO_ANSWER | _NOT_NOW or error.retriable())


def translate(error: KafkaError, what: str, servers: str) -> LogError:
    """The log's error for `error`, met while doing `what` on the cluster at `servers`."""
    code, said = error.code(), error.str()
    if error.fatal() or code == KafkaError._FATAL or code in _OUT_OF_STEP:
        return failed_for_good(what, said)
    if code in _TOO_LARGE:
        return RecordTooLargeError(
            f"{what}: the record is too large for the topic ({said}); make it smaller, or raise max.message.bytes"
        )
    if code in _UNKNOWN:
        return LogError(f"{what}: the cluster at {servers} has no such topic or partition; create the topic first")
    if code in _PURGED:
        return LogError(f"{what}: the producer was closed before the append was acknowledged; it may have landed")
    if code in _CORRUPT:
        return LogCorruptError(f"{what}: the broker gave a damaged record ({said}); check the broker's disk and log")
    if code in _FORBIDDEN:
        return LogError(
            f"{what}: the cluster at {servers} refused ({said}); check the user, its ACLs and the security settings"
        )
    if code == KafkaError.INVALID_REPLICATION_FACTOR:
        return LogUnavailableError(
            f"{what}: fewer brokers of the cluster at {servers} are up than a topic is to have copies ({said}); start "
            "those that are away, or set a lower replication_factor"
        )
    if code == KafkaError.INVALID_SESSION_TIMEOUT:
        return LogError(
            f"{what}: the cluster at {servers} does not allow this session timeout ({said}); set session.timeout.ms, "
            "6000 by default, to its brokers' group.min.session.timeout.ms or more"
        )
    if code in _NO_ANSWER:
        return unavailable(what, servers, said)
    if passes(error):
        return not_now(what, servers, said)
    return LogError(f"{what} failed: {said}")


def failed_for_good(what: str, said: str) -> ProducerFailedError:
    return ProducerFailedError(
        f"{what} failed for good ({said}): close this producer or consumer and ask the log for a new one"
    )


def unavailable(what: str, servers: str, said: str) -> LogUnavailableError:
    return LogUnavailableError(
        f"{what}: no Kafka broker at {servers} answers ({said}); start one there, or check the address and the "
        "security settings"
    )


def not_now(what: str, servers: str, said: str) -> LogUnavailableError:
    return LogUnavailableError(
        f"{what}: the Kafka cluster at {servers} answers, but cannot do this now ({said}); see whether all of its "
        "brokers are up and in sync, and try again"
    )


def wrong_setting(error: KafkaException) -> ValueError:
    """For what librdkafka says of the settings of a new client."""
    return ValueError(f"librdkafka refuses a setting: {kafka_error(error).str()}")
