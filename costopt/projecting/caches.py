"""How much the last cache of this machine holds, as Linux tells."""

from pathlib import Path

_CPU0 = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def last_cache_bytes(folder: Path = _CPU0) -> int | None:
    """The largest cache that the first processor sees; None where the system doesn't tell."""
    sizes = [_bytes(path) for path in folder.glob("index*/size")]
    return max((size for size in sizes if size is not None), default=None)


def _bytes(path: Path) -> int | None:
    """`32768K` in bytes."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:  # a hypervisor may hide it
        return None
    number, unit = text[:-1], text[-1:]
    return int(number) * _UNITS[unit] if number.isdigit() and unit in _UNITS else None
