"""Names of cookies."""


def cookie_name(name: str, *, is_https: bool) -> str:
    """Return a cookie's full name: bound to this host alone (RFC 6265bis section 4.1.3.2), which needs https."""
    return f"__Host-{name}" if is_https else name
