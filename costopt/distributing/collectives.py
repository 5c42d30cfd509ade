"""How long `n` chips or machines take to exchange what they know, in seconds.

`size_bytes` is what each of them ends up with, `bytes_per_s` what a link carries each way, `latency_s` what one message
costs however short it is. One alone exchanges nothing.
"""


def all_reduce_s(size_bytes: float, n: int, bytes_per_s: float, latency_s: float) -> float:
    """Everybody gets the sum of what all have: 2 (n-1)/n S/B + 2 (n-1) alpha, by a ring.

    Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations"; the factor
    also in nccl-tests, doc/PERFORMANCE.md.
    """
    return 2 * all_gather_s(size_bytes, n, bytes_per_s, latency_s)


def all_gather_s(size_bytes: float, n: int, bytes_per_s: float, latency_s: float) -> float:
    """Everybody gets the parts of all: (n-1)/n S/B + (n-1) alpha, by a ring. A reduce-scatter takes the same.

    Source: as `all_reduce_s`, of which it is one half.
    """
    return (n - 1) / n * size_bytes / bytes_per_s + (n - 1) * latency_s


def send_s(size_bytes: float, bytes_per_s: float, latency_s: float) -> float:
    """One hands something to another: S/B + alpha."""
    return size_bytes / bytes_per_s + latency_s
