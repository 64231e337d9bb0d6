"""HOST:PORT, as node.yaml names where its owner's own endpoints listen."""


def host_and_port(text: str) -> tuple[str, int]:
    """The two parts; ValueError unless it is like 127.0.0.1:9464 or [::1]:9464."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("give HOST:PORT such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)
