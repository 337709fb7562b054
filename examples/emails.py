"""E-mail by SMTP: tried again while a server has trouble, given up for addresses it refuses.

REDIS_URL=redis://127.0.0.1 SMTP_HOST=mail.example feedmill worker --app emails
REDIS_URL=redis://127.0.0.1 python emails.py ann@example.org
"""

import os
import sys
from email.message import EmailMessage
from smtplib import SMTP, SMTPRecipientsRefused

from pydantic import BaseModel

from feedmill import Job, UnrecoverableError, queue

HOST, PORT = os.environ.get("SMTP_HOST", "127.0.0.1"), int(os.environ.get("SMTP_PORT", "25"))


class Email(BaseModel):
    """What a job carries; checked when it is added, and when it is run."""

    to: str
    subject: str = "Welcome"
    text: str = "Good to have you here."


@queue("emails", attempts=6, backoff="30s exp", limit="100/m", keep={"count": 1000, "age": "7d"})
def send(job: Job[Email]) -> None:
    """Send one email; a recipient that is refused for good is not tried again."""
    try:
        with SMTP(HOST, PORT, timeout=20) as server:
            server.send_message(message_of(job.data))
    except SMTPRecipientsRefused as exc:
        [(code, reason)] = exc.recipients.values()
        if code >= 500:
            raise UnrecoverableError(f"{job.data.to} is refused: {reason.decode()}") from exc
        raise


def message_of(email: Email) -> EmailMessage:
    """Return an email as it goes over the wire."""
    message = EmailMessage()
    message["From"], message["To"] = "mill@example.org", email.to
    message["Subject"] = email.subject
    message.set_content(email.text)
    return message


if __name__ == "__main__":
    for address in sys.argv[1:]:
        send.add(Email(to=address), id=f"welcome-{address}")
