"""A real Apache Kafka for tests and benchmarks, from the jars that Maven resolves. Needs Java 17+ and Maven.

As a program it starts a broker, prints its address, and runs until its standard input ends or it is terminated:

    python tests/kafka/broker.py
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBS = HERE / "libs"
KAFKA_VERSION = re.findall(r"kafka_2.13</artifactId>\s*<version>(.+?)</version>", (HERE / "pom.xml").read_text())[0]
"""Also that of the image, where there is Docker."""
START_TIMEOUT = 180.0  # 4 s are enough on a machine that does nothing else
SHORT_LIFE = ("-XX:TieredStopAtLevel=1", "-XX:CICompilerCount=1", "-XX:+UseSerialGC")
"""For a broker that lives for minutes: it starts with half of the processor time, and its first thousands of requests
take a third. After some 20,000 requests, what Java does without these is faster."""
_PR_SET_PDEATHSIG = 1


class BrokerError(RuntimeError):
    """No broker could be started; the message holds what its process said."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _taken_port() -> socket.socket:
    """A port that the system gives to nobody else before this is closed; who asks for it by its number may listen there
    (Linux; elsewhere it is free at once)."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does
    taken.bind(("127.0.0.1", 0))
    return taken


def jars_can_be_had() -> bool:
    """Whether this machine has Java, and the jars or Maven, which gets them."""
    return bool(shutil.which("java") and (any(LIBS.glob("kafka_2.13-*.jar")) or shutil.which("mvn")))


def resolve_jars() -> None:
    """Let Maven copy Kafka's jars into `libs`, once; safe to race with other processes."""
    scratch = HERE / "target"
    scratch.mkdir(exist_ok=True)
    with open(scratch / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if any(LIBS.glob("kafka_2.13-*.jar")):
            return
        if shutil.which("mvn") is None:
            raise BrokerError("no Maven: install Maven and Java 17+, or Docker, or set KAFKA_BOOTSTRAP_SERVERS")
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=target/libs"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            raise BrokerError(f"Maven could not resolve Kafka's jars:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (scratch / "libs").rename(LIBS)


def die_with_parent() -> None:
    """In the child: be killed when the parent is, however it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Broker:
    """One broker in KRaft combined mode on 127.0.0.1. `settings` override its server.properties, None removes a line.

    `kill` and `start` again keeps address and data; `stop` ends it and removes the data. `java`: its options.
    """

    def __init__(
        self, settings: dict[str, str | None] | None = None, heap: str = "512m", java: Sequence[str] = SHORT_LIFE
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="odradek-kafka-"))
        self._taken: list[socket.socket] = []
        self.port, self.controller_port = self.new_port(), self.new_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._java_options = (f"-Xmx{heap}", *java)
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = self.folder / "server.properties"
        self._output = self.folder / "output.log"
        self._formatted = False
        self.configure(settings or {})

    def new_port(self) -> int:
        """For a listener of this broker, which begins seconds later, and ends while the broker is away: a port that is
        nobody else's before `stop`."""
        taken = _taken_port()
        port: int = taken.getsockname()[1]
        if sys.platform == "linux":
            self._taken.append(taken)
        else:
            taken.close()
        return port

    def configure(self, settings: dict[str, str | None]) -> None:
        """Write server.properties, before the first start."""
        self._lines: dict[str, str | None] = {**self._defaults(), **settings}
        lines = (f"{key}={value}\n" for key, value in self._lines.items() if value is not None)
        self._properties.write_text("".join(lines))

    def _defaults(self) -> dict[str, str]:
        controller = f"127.0.0.1:{self.controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # After `kill` a new life is taken for the old broker until that one's session is over.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        }

    @property
    def process_id(self) -> int:
        """Of the running broker."""
        if self._process is None:
            raise BrokerError("the broker does not run")
        return self._process.pid

    def start(self) -> Broker:
        """Start it and wait until it answers. Raises BrokerError."""
        self.spawn()
        self.wait()
        return self

    def spawn(self) -> None:
        """Start its process, which ends with this thread. Raises BrokerError."""
        resolve_jars()
        self.format()
        with open(self._output, "ab") as output:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def format(self) -> None:
        """Make its data folder, if there is none. Raises BrokerError."""
        if not self._formatted:
            tool = ["kafka.tools.StorageTool", "format", "-t", "b2RyYWRlay10ZXN0cy0wMQ", "-c", str(self._properties)]
            if not self._lines.get("controller.quorum.voters"):
                tool.append("--standalone")
            done = subprocess.run(self._java(*tool), capture_output=True, text=True)
            if done.returncode:
                raise BrokerError(f"formatting the broker's folder failed:\n{done.stdout}{done.stderr}")
            self._formatted = True

    def format_like(self, other: Broker) -> None:
        """Make its data folder from that of another broker of its cluster: the tool takes seconds."""
        meta = (other.folder / "data" / "meta.properties").read_text()
        own = base64.urlsafe_b64encode(b"\x01" + secrets.token_bytes(15)).decode().rstrip("=")
        meta = re.sub(r"(?m)^directory.id=.*$", f"directory.id={own}", meta)
        meta = re.sub(r"(?m)^node.id=.*$", f"node.id={self._lines['node.id']}", meta)
        shutil.copytree(other.folder / "data", self.folder / "data")
        (self.folder / "data" / "meta.properties").write_text(meta)
        self._formatted = True

    def _java(self, *arguments: str) -> list[str]:
        return ["java", *self._java_options, "-Dorg.apache.logging.log4j.level=WARN", "-cp", f"{LIBS}/*", *arguments]

    def wait(self) -> None:
        """Wait until it answers. Raises BrokerError, and ends it, if it does not."""
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        assert self._process is not None
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.ms": 50})
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=0.5).brokers:
                    return
        raise BrokerError(f"the broker does not answer at {self.bootstrap}; it said:\n{self.output()[-4000:]}")

    def output(self) -> str:
        """What the broker's process printed."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def pause(self) -> None:
        """Stop its process where it is, all its threads; `resume` lets it go on."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.process_id, os.WUNTRACED)  # the signal alone leaves threads a moment

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End its process at once, as a crash would; the data stays."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def leave(self) -> None:
        """End its process in order, as before an upgrade; the data stays. After half a minute it is killed."""
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30.0)
        self.kill()

    def stop(self) -> None:
        """End its process and remove its data."""
        self.kill()
        for taken in self._taken:
            taken.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Broker() as broker:
        print(broker.bootstrap, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
