"""Files like the official ones."""

import io
import pickle
import struct


class _Python2Pickler(pickle._Pickler):
    """Writes byte strings the way Python 2 did, which wrote the official batches."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _save_string(self, value):
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = _save_string


def python2_pickle(content) -> bytes:
    buffer = io.BytesIO()
    _Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue()
