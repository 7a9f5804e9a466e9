"""`python weak_key.py REPOSITORY`: let restic derive the key of a test's repository at once.

restic takes the time and memory that guessing a password is to cost, at each start: half a
second, some 700 times in these tests. RESTIC_PASSWORD opens the key here; what it guards is kept
under the least that scrypt allows. The format is that of restic's "References", "Keys, Encryption
and MAC"; a key that this made wrongly opens nothing.
"""

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

WEAK = {"N": 2, "r": 1, "p": 1}


def main(repository: Path) -> None:
    password = os.environ["RESTIC_PASSWORD"].encode()
    for file in list((repository / "keys").iterdir()):
        key = json.loads(file.read_text())
        if {name: key[name] for name in WEAK} == WEAK:
            continue
        master = opened(derived(password, key), base64.b64decode(key["data"]))
        key |= WEAK
        key["data"] = base64.b64encode(sealed(derived(password, key), master)).decode()
        text = json.dumps(key).encode()
        weak = file.with_name(hashlib.sha256(text).hexdigest())
        weak.write_bytes(text)
        weak.chmod(0o400)
        file.unlink()


def derived(password: bytes, key: dict[str, object]) -> bytes:
    """The key for AES, and the two parts of the one for Poly1305."""
    return hashlib.scrypt(
        password,
        salt=base64.b64decode(str(key["salt"])),
        n=int(str(key["N"])),
        r=int(str(key["r"])),
        p=int(str(key["p"])),
        maxmem=2**30,
        dklen=64,
    )


def opened(key: bytes, data: bytes) -> bytes:
    """What is in nonce, ciphertext and MAC."""
    nonce, text, tag = data[:16], data[16:-16], data[-16:]
    Poly1305.verify_tag(authenticator(key, nonce), text, tag)
    return counted(key, nonce, text)


def sealed(key: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(16)
    text = counted(key, nonce, plain)
    return nonce + text + Poly1305.generate_tag(authenticator(key, nonce), text)


def counted(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """AES-256 in counter mode, which is its own inverse."""
    return Cipher(algorithms.AES(key[:32]), modes.CTR(nonce)).encryptor().update(text)


def authenticator(key: bytes, nonce: bytes) -> bytes:
    """Of Poly1305-AES: r, and the nonce that AES has encrypted."""
    once = Cipher(algorithms.AES(key[32:48]), modes.ECB()).encryptor()  # noqa: S305
    return key[48:64] + once.update(nonce)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
