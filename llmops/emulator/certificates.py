"""A certificate authority that lives as long as the emulator, and one certificate for all names that it answers to."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: what clients must trust.
        leaf, key: what the servers show, Azurite included.
    """

    authority: Path
    leaf: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Build the TLS side of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.leaf, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Build the TLS side of a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificates(folder: Path, region: str) -> Certificates:
    """Write a new authority and its one certificate; a wildcard stands for one label.

    The extensions are those that Python 3.13 demands: basic constraints and key usage on the authority, its key
    identifier on the leaf. Both begin a day ago, because clocks differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    leaf = _leaf(authority, authority_key, leaf_key, host_names(region))
    files = Certificates(authority=folder / "ca.pem", leaf=folder / "leaf.pem", key=folder / "leaf.key")
    files.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files.leaf.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    files.key.touch(mode=0o600)
    private = serialization.PrivateFormat.PKCS8
    pem = leaf_key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    files.key.write_bytes(pem)
    return files


def host_names(region: str) -> tuple[str, ...]:
    """Name every host that the emulator answers to."""
    return (
        "management.azure.com",
        "login.microsoftonline.com",
        "login.microsoft.com",
        "*.api.azureml.ms",
        "*.experiments.azureml.net",
        f"*.{region}.inference.ml.azure.com",
        "*.blob.core.windows.net",
        "localhost",
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("llmops emulator, trusted on this machine only")
    builder = _builder(name, name, key.public_key(), key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def _leaf(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
) -> x509.Certificate:
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return (
        _builder(_name("llmops emulator"), authority.subject, key.public_key(), authority_key.public_key())
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
