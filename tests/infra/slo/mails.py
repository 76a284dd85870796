"""A mail server's memory."""

from aiosmtpd.handlers import Message


class Mails(Message):
    """Keeps what it was sent."""

    port: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []

    def handle_message(self, message: object) -> None:
        """Keep a message."""
        self.taken.append(str(message))
