"""Sign packages with a debug key that is made when needed, or with the user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.build_tools import apksigner
from mcad_mobile.android.dex import MIN_SDK
from mcad_mobile.android.toolchain import JARSIGNER, KEYTOOL, run
from mcad_mobile.base.files import cache_directory
from mcad_mobile.errors import BuildError

PASSWORD_VARIABLE = "MCAD_KEYSTORE_PASSWORD"
_DEBUG_PASSWORD = "android"  # the usual one of debug keys: it protects nothing
_DEBUG_VARIABLE = "MCAD_DEBUG_PASSWORD"


@dataclass(frozen=True)
class Key:
    """A keystore, the alias of its key, and the environment variable that holds its password."""

    keystore: Path
    alias: str
    variable: str = PASSWORD_VARIABLE

    @property
    def environment(self) -> dict[str, str]:
        return {_DEBUG_VARIABLE: _DEBUG_PASSWORD, **os.environ}


def debug_key() -> Key:
    """Return this user's debug key, created at its first use and kept, so that a new build of an
    app installs over the last one. BuildError."""
    key = Key(cache_directory() / "debug.keystore", "androiddebugkey", _DEBUG_VARIABLE)
    if not key.keystore.is_file():
        key.keystore.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10950"]
        arguments += ["-dname", "CN=Android Debug,O=Android,C=US", "-storetype", "PKCS12"]
        arguments += ["-keystore", str(key.keystore), "-alias", key.alias]
        arguments += ["-storepass:env", key.variable, "-keypass:env", key.variable]
        run(KEYTOOL, arguments, environment=key.environment)
    return key


def own_key(keystore: Path, alias: str | None) -> Key:
    """Return the user's key. BuildError if the file, alias or password is missing."""
    if not keystore.is_file():
        raise BuildError(f"No keystore at {keystore}.", "Make one with keytool -genkeypair.")
    if PASSWORD_VARIABLE not in os.environ:
        raise BuildError(
            f"The password of {keystore} is not known.",
            f"Put it into the environment variable {PASSWORD_VARIABLE}.",
        )
    if alias is None:
        raise BuildError(
            f"{keystore} may hold several keys, and none is named.",
            "Name it: --key-alias NAME (keytool -list shows them).",
        )
    return Key(keystore, alias)


def sign_apk(unsigned: Path, out: Path, key: Key) -> None:
    """Sign with APK signature schemes 2 and 3, which phones with Android 8 or later verify."""
    arguments = ["sign", "--ks", key.keystore, "--ks-key-alias", key.alias]
    arguments += ["--ks-pass", f"env:{key.variable}", "--min-sdk-version", MIN_SDK]
    arguments += ["--v1-signing-enabled", "false"]
    arguments += ["--alignment-preserved", "true", "--out", out, unsigned]
    apksigner(arguments, key.environment)
    out.with_name(f"{out.name}.idsig").unlink(missing_ok=True)  # for incremental installs


def sign_aab(bundle: Path, key: Key) -> None:
    """Sign in place with a jar signature, which Google Play checks at upload."""
    arguments = ["-keystore", key.keystore, "-storepass:env", key.variable, bundle, key.alias]
    run(JARSIGNER, arguments, environment=key.environment)
