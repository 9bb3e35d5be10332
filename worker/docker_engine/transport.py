"""How engines are reached: sockets as they are, `ssh://` by a tunnel, TCP by mutual TLS or, where a setting names
the very engine, in the clear.

Whoever may speak to an engine is root on its host, so `tcp://` means a certificate on both sides: the engine
shows one of the authority in `ca.pem`, for the name or address it is called by, and we show ours. Files are
looked for in `<folder>/<host>` first, then in `<folder>`, under Docker's own names.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from core.errors import NodeUnreachable
from core.settings import Settings
from worker.docker_engine.ssh_tunnel import SshTunnel

#: A connection of this option that is closed is reset, and forgets what it has not delivered (tcp(7), SO_LINGER).
#: Else the kernel goes on sending for minutes: a create that was given up while a host was cut off would arrive
#: when it is back, and make a second container where the first, of another try, has run and gone meanwhile.
FORGETS_WHEN_CLOSED = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
_DIAGNOSIS_SECONDS = 5.0
#: An engine that has nothing against our certificate waits for a request for so long.
_REFUSAL_SECONDS = 1.0
_CERTIFICATE, _KEY, _AUTHORITY = "cert.pem", "key.pem", "ca.pem"
#: What an engine's TLS says of the certificate that we showed it (RFC 8446, section 6.2).
_REFUSAL = re.compile(
    r"ALERT_(?P<why>BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|HANDSHAKE_FAILURE|ACCESS_DENIED)"
)
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|HTTP_REQUEST|UNKNOWN_PROTOCOL")
#: OpenSSL's codes of a failed check (x509_vfy.h).
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64


@dataclass(frozen=True)
class EngineAccess:
    """Where our certificates are, and the `host:port` of engines that are spoken to without TLS.

    `ssh_key` and `ssh_known_hosts` None leave it to what OpenSSH is told elsewhere.
    """

    certificates: Path | None = None
    plain: frozenset[str] = field(default_factory=frozenset)
    ssh_key: Path | None = None
    ssh_known_hosts: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> EngineAccess:
        """As the settings have it."""
        return cls(
            settings.docker_certs,
            settings.plain_engine_set,
            ssh_key=settings.ssh_key_file,
            ssh_known_hosts=settings.ssh_known_hosts,
        )


@dataclass(frozen=True)
class TlsFiles:
    """The three files for one engine, and what it is called."""

    host: str
    port: int
    certificate: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """A context that shows our certificate and trusts the authority alone. Raises NodeUnreachable."""
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            why = f"{self.certificate.parent} has no pair of certificate and key that fit"
            raise NodeUnreachable(f"{self._endpoint}: {why}: {error}") from None
        return context

    def fault(self) -> str | None:
        """Why no TLS comes about with the engine, in a sentence; None where it is not TLS that fails.

        By one connection of its own: the SDKs tell such faults in many ways, and a refusal of our certificate
        may reach them as a reset.
        """
        try:
            context = self.context()
            with (
                socket.create_connection((self.host, self.port), _DIAGNOSIS_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=self.host) as encrypted,
            ):
                # In TLS 1.3 the engine looks at our certificate when our side of the handshake is over. Nothing is
                # sent: what it has not read when it hangs up would overtake what it says.
                encrypted.settimeout(_REFUSAL_SECONDS)
                encrypted.recv(64)
        except NodeUnreachable as error:
            return str(error)
        except ssl.SSLCertVerificationError as error:
            return f"{self._endpoint}: {self._distrust(error)}"
        except ssl.SSLEOFError:
            return None
        except ssl.SSLError as error:
            return self._alert(error)
        except OSError:
            return None
        return None

    @property
    def _endpoint(self) -> str:
        return f"the engine at tcp://{self.host}:{self.port} is not used"

    def _distrust(self, error: ssl.SSLCertVerificationError) -> str:
        if error.verify_code == _EXPIRED:
            return "its certificate has expired"
        if error.verify_code == _NOT_YET:
            return "its certificate is not valid yet; compare the clocks"
        if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
            return f"its certificate is not for {self.host}"
        return f"its certificate is not of the authority in {self.authority} ({error.verify_message})"

    def _alert(self, error: ssl.SSLError) -> str | None:
        said = error.reason or str(error)
        refusal = _REFUSAL.search(said)
        if refusal is not None:
            why = refusal["why"].replace("_", " ").lower()
            return f"{self._endpoint}: it refuses our certificate {self.certificate} ({why})"
        if _NO_TLS.search(said):
            return f"{self._endpoint}: what answers at this port does not speak TLS"
        return f"{self._endpoint}: TLS fails ({said})"


def ssh_tunnel(endpoint: str, access: EngineAccess) -> SshTunnel | None:
    """A tunnel to an engine at `ssh://`, being made; None for other endpoints. Raises NodeUnreachable."""
    if not endpoint.startswith("ssh://"):
        return None
    return SshTunnel(endpoint, access.ssh_key, access.ssh_known_hosts)


def tls_files(endpoint: str, access: EngineAccess) -> TlsFiles | None:
    """The files for an engine at `tcp://`; None for an endpoint that needs none.

    Raises NodeUnreachable that says which file is missing, or that our certificate has expired.
    """
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp" or parts.netloc in access.plain:
        return None
    refused = f"the engine at {endpoint} is not used"
    host, port = parts.hostname or "", parts.port or 2376
    if access.certificates is None:
        raise NodeUnreachable(
            f"{refused}: tcp:// needs mutual TLS, and LONGSHORE_DOCKER_CERTS names no folder with our certificate"
        )
    own = access.certificates / host
    folder = own if own.is_dir() else access.certificates
    files = TlsFiles(host, port, folder / _CERTIFICATE, folder / _KEY, folder / _AUTHORITY)
    for file in (files.certificate, files.key, files.authority):
        try:
            file.open("rb").close()
        except OSError as error:
            raise NodeUnreachable(f"{refused}: {file} cannot be read: {error.strerror}") from None
    _refuse_expired(files.certificate, refused)
    return files


def plain_url(endpoint: str) -> str:
    """An endpoint at `tcp://` as a URL of HTTP without TLS."""
    return f"http://{urlsplit(endpoint).netloc}"


def _refuse_expired(certificate: Path, refused: str) -> None:
    try:
        ends_at = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        raise NodeUnreachable(f"{refused}: {certificate} is not a certificate") from None
    if ends_at <= datetime.now(UTC):
        raise NodeUnreachable(f"{refused}: our certificate {certificate} expired on {ends_at:%Y-%m-%d}")
