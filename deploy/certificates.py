"""A certificate authority for engines that are reached over a network: each side shows a certificate of it.

    python -m deploy.certificates FOLDER authority          ca.pem, ca-key.pem
    python -m deploy.certificates FOLDER client             cert.pem, key.pem beside them, for our processes
    python -m deploy.certificates FOLDER server HOST …      server/HOST/{ca,cert,key}.pem, for one engine

The names are Docker's own, so that FOLDER also serves as DOCKER_CERT_PATH. Keys are 0400, and are made where
they are used or carried there by a person: whoever holds `ca-key.pem` or `key.pem` is root on every engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.private_files import replace_private
from deploy.processes import SetupError

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
#: Clocks of two hosts differ; a certificate is valid a little before it was made.
_CLOCK_SKEW = timedelta(minutes=10)

_Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Validity:
    """When a certificate is valid; by default from now on for the usual time."""

    begins_at: datetime
    ends_at: datetime

    @classmethod
    def of_days(cls, days: int) -> Validity:
        """From a moment ago, for so many days."""
        now = datetime.now(UTC)
        return cls(now - _CLOCK_SKEW, now + timedelta(days=days))


class Authority:
    """The authority whose files are in a folder. `ensure` makes it where there is none."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: _Key) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def ensure(cls, folder: Path, *, name: str = "Longshore engines") -> Authority:
        """The folder's authority, made if it has none. Raises SetupError where only half of it is there."""
        certificate_file, key_file = folder / "ca.pem", folder / "ca-key.pem"
        if certificate_file.exists() and key_file.exists():
            try:
                key = serialization.load_pem_private_key(key_file.read_bytes(), None)
                certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            except (OSError, ValueError) as error:
                raise SetupError(f"the authority in {folder} cannot be read: {error}") from error
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise SetupError(f"{key_file} is not a key that this command made; give another folder")
            return cls(folder, certificate, key)
        if certificate_file.exists() or key_file.exists():
            raise SetupError(f"{folder} has one of ca.pem and ca-key.pem; put the other one back, or remove it")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, made.public_key(), Validity.of_days(AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(made, hashes.SHA256())
        )
        replace_private(key_file, _key_pem(made), 0o400)
        replace_private(certificate_file, _pem(certificate), 0o444)
        return cls(folder, certificate, made)

    def issue_client(self, folder: Path, *, validity: Validity | None = None) -> None:
        """`ca.pem`, `cert.pem` and `key.pem` in the folder, for processes that call engines."""
        self._issue(folder, "longshore", (), ExtendedKeyUsageOID.CLIENT_AUTH, validity)

    def issue_server(self, folder: Path, hosts: Sequence[str], *, validity: Validity | None = None) -> None:
        """`ca.pem`, `cert.pem` and `key.pem` for an engine that is called by these names and addresses."""
        if not hosts:
            raise SetupError("an engine's certificate needs the names and addresses by which it is called")
        self._issue(folder, hosts[0], hosts, ExtendedKeyUsageOID.SERVER_AUTH, validity)

    def _issue(
        self,
        folder: Path,
        name: str,
        hosts: Sequence[str],
        use: x509.ObjectIdentifier,
        validity: Validity | None,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            _name(name),
            self._certificate.subject,
            key.public_key(),
            validity or Validity.of_days(CERTIFICATE_DAYS),
        )
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_private(folder / "key.pem", _key_pem(key), 0o400)
        replace_private(folder / "cert.pem", _pem(certificate), 0o444)
        if folder != self.folder:
            replace_private(folder / "ca.pem", _pem(self._certificate), 0o444)


def days_left(certificate_file: Path) -> float:
    """Days until a certificate runs out; negative when it has. Raises SetupError where it cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError) as error:
        raise SetupError(f"{certificate_file} is not a certificate that can be read: {error}") from error
    return (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86_400


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.begins_at)
        .not_valid_after(validity.ends_at)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    # A common name holds 64 characters (RFC 5280, A.1); what is checked is the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def main() -> int:
    """The command line; 1 with a sentence on stderr when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.certificates", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("authority", "client", "server"))
    parser.add_argument("hosts", nargs="*", help="of a server: the names and addresses by which it is called")
    parser.add_argument("--days", type=int, default=CERTIFICATE_DAYS)
    arguments = parser.parse_args()
    try:
        authority = Authority.ensure(arguments.folder)
        validity = Validity.of_days(arguments.days)
        if arguments.what == "client":
            authority.issue_client(arguments.folder, validity=validity)
        elif arguments.what == "server":
            hosts = arguments.hosts
            authority.issue_server(arguments.folder / "server" / (hosts or ["?"])[0], hosts, validity=validity)
    except SetupError as error:
        print(f"certificates: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.what} in {arguments.folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
