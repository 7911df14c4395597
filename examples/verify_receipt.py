#!/usr/bin/env python3
"""Verifies a receipt of budget-consolidator without any of its code: the inclusion proof (RFC 9162), the checkpoint's
root, and its signature (C2SP signed note, Ed25519 after RFC 8032). Python's standard library only.

    verify_receipt.py RECEIPT KEY        KEY is written NAME+ID+BASE64, as the bureau has published it

Exit code 0: the event in the receipt stands at its position in the journal that the key has signed.
Key changes are followed: a note with a line "successor KEY", signed by the old key and the new one.
What the event says is a protobuf message, see proto/budget/storage/v1/journal.proto; its bytes are what is proved.
"""

import base64
import hashlib
import json
import sys

# ── Ed25519, verification only ──────────────────────────────────────────────────────────────────────────────────────

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


def add(a, b):
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def signed(public, message, signature):
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    return same(times(s, BASE), add(r, times(h, a)))


# ── keys and notes ──────────────────────────────────────────────────────────────────────────────────────────────────


class Wrong(Exception):
    """Why the receipt proves nothing."""


def decode(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"not canonical base64: {text[:20]}")
    return data


def parse_key(text):
    name, identity, data = text.strip().split("+", 2)
    data = decode(data)
    if len(data) != 33 or data[0] != 1:
        raise Wrong("the key is not an Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] != identity:
        raise Wrong("the key's id is not that of its bytes")
    return name, bytes.fromhex(identity), data[1:]


# The longest note that is read, in bytes: as in src/ledger/checkpoint.rs.
NOTE_BYTES_MAX = 2_000


def open_note(note, keys):
    """The lines of a note that one of the keys has signed under the name in its first line."""
    if len(note.encode()) > NOTE_BYTES_MAX:
        raise Wrong("the note is too long")
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    if not signatures.endswith("\n"):
        raise Wrong("the note is cut off")
    lines = text.split("\n")[:-1]
    good = False
    for line in signatures.split("\n")[:-1]:
        mark, name, data = line.split(" ")
        data = decode(data)
        if mark != "—" or len(data) != 68:
            raise Wrong("a line of the note is no signature")
        for known, identity, public in keys:
            if (known, identity) == (name, data[:4]):
                if not signed(public, text.encode(), data[4:]):
                    raise Wrong(f"the signature of {name} is wrong")
                good = good or name == lines[0]
    if not good:
        raise Wrong("the note is not signed by this key")
    return lines


def follow(key, changes):
    keys = [parse_key(key)]
    for note in changes:
        try:
            lines = open_note(note, keys)
        except Wrong:
            continue
        if len(lines) == 4 and lines[3].startswith("successor "):
            successor = parse_key(lines[3].removeprefix("successor "))
            open_note(note, [successor])
            keys.append(successor)
    return keys


def signs(key, note):
    try:
        open_note(note, [key])
        return True
    except Wrong:
        return False


def check_named(receipt, keys):
    """The key that the receipt names has signed it, and each change of keys leads to one that is trusted."""
    named = parse_key(receipt["public_key"])
    if named not in keys or not signs(named, receipt["checkpoint"]):
        raise Wrong("the receipt names another key than the one that has signed it")
    successors = []
    for note in receipt["key_changes"]:
        lines = note.split("\n")
        if len(lines) < 4 or not lines[3].startswith("successor "):
            raise Wrong("a change of keys names no successor")
        successors.append(parse_key(lines[3].removeprefix("successor ")))
    for note, successor in reversed(list(zip(receipt["key_changes"], successors))):
        if successor not in keys or not signs(successor, note):
            raise Wrong("a change of keys leads to no key that is trusted")
        open_note(note, keys)
        keys = keys + [key for key in successors if signs(key, note)]


# ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────────


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        raise Wrong("the event is not among those that were signed")
    here, last, value = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    for beside in path:
        if last == 0:
            raise Wrong("the proof is too long")
        if here & 1 or here == last:
            value = node(beside, value)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            value = node(value, beside)
        here, last = here >> 1, last >> 1
    if last:
        raise Wrong("the proof is too short")
    return value


def verify(receipt, key):
    if receipt["format"] != "budget-consolidator receipt, format 1":
        raise Wrong("not a receipt of format 1")
    keys = follow(key, receipt["key_changes"])
    lines = open_note(receipt["checkpoint"], keys)
    origin, size, root = lines[0], int(lines[1]), decode(lines[2])
    if lines[1] != str(size):
        raise Wrong("the size is written otherwise than it must be")
    path = [decode(hash) for hash in receipt["path"]]
    if any(len(hash) != 32 for hash in path):
        raise Wrong("a hash is not 32 bytes long")
    if root_of(decode(receipt["leaf"]), receipt["position"] - 1, size, path) != root:
        raise Wrong("the event is not in the tree that was signed")
    check_named(receipt, keys)
    return origin, size


def main(arguments):
    if len(arguments) != 2:
        print(__doc__)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            receipt = json.load(file)
        origin, size = verify(receipt, arguments[1])
    except (Wrong, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        print(f"NOT PROVED: {error}")
        return 1
    print(f"PROVED: the event stands at position {receipt['position']} in the journal of {origin}, signed at size {size}")
    print("What it says in readable form (says) is not held against the event here: `consolidator audit verify` does that.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
