import errno
import socket

from scripts.stack.config import USER_OF_PORT, StackConfig
from scripts.stack.errors import StackError


def check_ports(config: StackConfig) -> None:
    """Raises StackError naming the first port that is taken and the setting that moves it."""
    for name, port in config.port_settings().items():
        host = config.host if name == "CHORUS_GATEWAY_PORT" else "127.0.0.1"
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise StackError(_sentence(name, host, port, error)) from None


def _sentence(name: str, host: str, port: int, error: OSError) -> str:
    wanted = f"{USER_OF_PORT[name]} cannot listen on {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use, so {wanted}; stop what uses it or set {name} to another port."
    return (
        f"Here {wanted} ({error.strerror or error}); set {name} to another port or CHORUS_GATEWAY_HOST to another host."
    )
