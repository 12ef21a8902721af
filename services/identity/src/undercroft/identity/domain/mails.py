"""What mails say. Each is a subject, some sentences and at most one link; how it becomes a message is a client's business."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote


class MailKind(StrEnum):
    """What somebody wants a mail for; which mail it becomes is decided when it is sent."""

    REGISTRATION = "registration"
    REGISTRATION_AGAIN = "registration_again"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a kind of mail
    EMAIL_CHANGE = "email_change"
    INVITATION = "invitation"
    SECURITY_NOTICE = "security_notice"


@dataclass(frozen=True, slots=True)
class MailRequest:
    """A mail that was asked for; `values` are what its text needs."""

    kind: MailKind
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MailText:
    """A mail that is ready to be sent."""

    subject: str
    greeting: str
    before: tuple[str, ...]
    link: str | None = None
    link_label: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailTexts:
    """Writes the mails of one installation."""

    brand: str
    issuer: str

    def verify_address(self, name: str, token: str, *, life: str, onward: str = "") -> MailText:
        """Ask whoever registered to prove that they read this address; `onward` is where they came from."""
        further = f"&continue={quote(onward, safe='')}" if onward else ""
        return MailText(
            subject=f"Confirm your address for {self.brand}",
            greeting=f"Hello {name},",
            before=(f"you registered at {self.brand} with this address. Confirm it to open your account.",),
            link=f"{self.issuer}/verify-email?token={token}{further}",
            link_label="Confirm my address",
            after=(
                f"The link works for {life}.",
                "Was it not you? Then ignore this mail: without your confirmation there is no account.",
            ),
        )

    def already_registered(self, name: str) -> MailText:
        """Tell the owner of an account that somebody registered with its address again."""
        return MailText(
            subject=f"You already have an account at {self.brand}",
            greeting=f"Hello {name},",
            before=(
                f"somebody, probably you, asked for a new account at {self.brand} with this address.",
                "You have one already: sign in with it, or choose a new password if you do not know yours any more.",
            ),
            link=f"{self.issuer}/forgot-password",
            link_label="Choose a new password",
            after=("Was it not you? Then there is nothing to do; your account is unchanged.",),
        )

    def reset_password(self, name: str, token: str, *, life: str) -> MailText:
        """Send the link that a new password is chosen with."""
        return MailText(
            subject=f"Choose a new password for {self.brand}",
            greeting=f"Hello {name},",
            before=("somebody, probably you, asked for a new password for your account.",),
            link=f"{self.issuer}/reset-password?token={token}",
            link_label="Choose a new password",
            after=(
                f"The link works once, for {life}. All your devices will be signed out.",
                "Was it not you? Then ignore this mail; your password stays as it is.",
            ),
        )

    def change_address(self, name: str, token: str, *, life: str) -> MailText:
        """Ask whoever changed their address to prove that they read the new one."""
        return MailText(
            subject=f"Confirm your new address for {self.brand}",
            greeting=f"Hello {name},",
            before=(f"you want to use this address for your account at {self.brand} from now on.",),
            link=f"{self.issuer}/verify-email?token={token}",
            link_label="Confirm the new address",
            after=(f"The link works for {life}.", "Was it not you? Then ignore this mail; nothing changes."),
        )

    def address_in_use(self) -> MailText:
        """Tell the owner of an account that somebody wanted to move another account to its address."""
        return MailText(
            subject=f"This address already has an account at {self.brand}",
            greeting="Hello,",
            before=(
                f"somebody wanted to use this address for another account at {self.brand}.",
                "It belongs to your account already, so nothing was changed.",
            ),
        )

    def invitation(self, values: Mapping[str, str]) -> MailText:
        """Invite somebody to an organization; `values` has organization, inviter, role and token."""
        organization = values["organization"]
        who = values.get("inviter") or f"The team of {organization}"
        return MailText(
            subject=f"Join {organization} on {self.brand}",
            greeting="Hello,",
            before=(f"{who} invites you to {organization} on {self.brand} as {values['role']}.",),
            link=f"{self.issuer}/invitation?token={values['token']}",
            link_label="See the invitation",
            after=("If you do not expect this invitation, ignore it.",),
        )

    def security_notice(self, values: Mapping[str, str]) -> MailText:
        """Tell somebody that their account's protection changed; `values` has name and what."""
        return MailText(
            subject=f"Your account at {self.brand} was changed",
            greeting=f"Hello {values['name']},",
            before=(values["what"],),
            link=f"{self.issuer}/forgot-password",
            link_label="That was not me: choose a new password",
            after=("Was it you? Then there is nothing to do.",),
        )


def human_duration(seconds: float) -> str:
    """Say a duration in the largest unit that divides it."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            number = int(seconds // size)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{int(seconds)} seconds"
