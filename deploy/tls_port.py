"""The engine's port with mutual TLS: its options, and whether it is open and asks for a certificate."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from deploy.processes import SetupError

TLS_PORT = 2376
_SECONDS = 5.0


def tls_options(certificates: Path, address: str) -> tuple[str, ...]:
    """The engine's command line for the port; it takes calls of certificates of the folder's authority only."""
    folder = certificates.resolve()
    return (
        *("-H", f"tcp://{_numeric(address)}:{TLS_PORT}", "--tlsverify"),
        *("--tlscacert", f"{folder}/ca.pem", "--tlscert", f"{folder}/cert.pem", "--tlskey", f"{folder}/key.pem"),
    )


def check_port(address: str, certificates: Path) -> str:
    """Raise SetupError unless the port speaks TLS with a certificate for the address, and wants one of ours."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    try:
        with (
            socket.create_connection((address, TLS_PORT), _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=address) as encrypted,
        ):
            encrypted.settimeout(1.0)
            if encrypted.recv(1):
                raise SetupError(f"what answers at {address}:{TLS_PORT} speaks first, so it is not an engine")
    except ssl.SSLCertVerificationError as error:
        raise SetupError(
            f"the certificate at {address}:{TLS_PORT} is not one of {certificates} for {address}:"
            f" {error.verify_message}; give the engine the one in that folder"
        ) from error
    except ssl.SSLError:
        # It hangs up on whoever shows no certificate: as it should.
        return f"{address}:{TLS_PORT} is open to certificates of {certificates / 'ca.pem'} only"
    except TimeoutError as error:
        raise SetupError(
            f"the engine at {address}:{TLS_PORT} takes callers without a certificate; start it with --tlsverify"
        ) from error
    except OSError as error:
        options = " ".join(tls_options(certificates, address))
        raise SetupError(
            f"the engine that runs has no port {TLS_PORT} at {address} ({error}). It is not ours to restart: add"
            f" to its command line (systemd: `systemctl edit docker`, ExecStart) `{options}`, then run this again"
        ) from error
    raise SetupError(f"the engine at {address}:{TLS_PORT} hangs up; see its log")


def _numeric(address: str) -> str:
    """The address to listen on: that of the name."""
    try:
        return str(socket.getaddrinfo(address, None, socket.AF_INET)[0][4][0])
    except OSError as error:
        raise SetupError(f"{address} cannot be resolved here: {error}") from error
