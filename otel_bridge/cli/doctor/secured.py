"""TLS as programs speak it with this environment: whom it trusts, what it shows, and why it does not come about."""

import os
import ssl
from dataclasses import replace
from pathlib import Path

from otel_bridge.cli.doctor.environment import OTLP
from otel_bridge.cli.doctor.finding import Finding, fault
from otel_bridge.sdk.refusals import HINTS, UNTRUSTED, mistaken

CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY = "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"
REFUSED = ("CERTIFICATE", "UNKNOWN_CA")  # in what the other side calls it that asks for a certificate


class UnusableError(Exception):
    """A file that a variable names can not be used; in words that say what to do."""


def context() -> ssl.SSLContext:
    """Of the files that the environment names.

    UnusableError: one of them can not be read, or is none of TLS.
    """
    authority, shown, key = _file(CERTIFICATE), _file(CLIENT_CERTIFICATE), _file(CLIENT_KEY)
    try:
        made = ssl.create_default_context(cafile=authority[1])
    except ssl.SSLError as error:
        said = f"{authority[0]} names no certificate in PEM ({error.reason}): name that of whom to trust"
        raise UnusableError(said) from None
    if shown[1] is None:
        return made
    try:
        made.load_cert_chain(shown[1], key[1], password="")  # else a terminal is asked for one
    except ssl.SSLError as error:
        named = f"{shown[0]} and {key[0]} name" if key[1] else f"{shown[0]} names"
        said = f"{named} no certificate with its key ({error.reason}): name both, in PEM and without a password"
        raise UnusableError(said) from None
    return made


def failed(shown: str, error: ssl.SSLError) -> Finding:
    """Why TLS with an address does not come about; facts: asks, where only senders have what is asked for."""
    if (said := mistaken(str(error))) is not None:
        return fault("endpoint", f"{shown}: {said}; {HINTS[said]}")
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"{shown} can not be trusted ({error.verify_message or reason}): {HINTS[UNTRUSTED]}"
    elif "ALERT" in reason and any(word in reason for word in REFUSED):
        why = f"{shown} asks for another certificate ({reason}): {OTLP}{CLIENT_CERTIFICATE} and …_{CLIENT_KEY} name it"
    else:
        return fault("endpoint", f"{shown} does not come to terms about TLS ({reason}): is it a port that has TLS?")
    return replace(fault("endpoint", why), facts={"asks": True})


def _file(what: str) -> tuple[str, str | None]:
    """The variable that names a file, that of spans first, and the file; None where none is named."""
    names = f"{OTLP}TRACES_{what}", f"{OTLP}{what}"
    name = next((name for name in names if os.environ.get(name)), names[-1])
    if not (said := os.environ.get(name)):
        return name, None
    try:
        with Path(said).open("rb"):
            return name, said
    except OSError as error:
        why = f"{name} names a file that can not be read ({said}: {error.strerror}): name one that can"
        raise UnusableError(why) from None
