"""How sizes of files are told."""


def megabytes(count: int) -> str:
    """Bytes of a file in MB, millions of bytes, with one digit: as app stores tell them. Memory is
    told in MiB, as Android tells that."""
    return f"{count / 1e6:.1f}"
