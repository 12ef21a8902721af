"""How use cases and the worker come by mail."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.dependencies.callers import utc_now
from undercroft.identity.domain.mails import MailTexts
from undercroft.identity.domain.sealing import Sealer
from undercroft.identity.repository.mails import MailRepository
from undercroft.identity.repository.registrations import EmailTokenRepository, RegistrationRepository
from undercroft.identity.repository.users import UserRepository
from undercroft.identity.service.mail_composition import LinkLives, MailComposer, MailRepositories
from undercroft.identity.service.postbox import Postbox
from undercroft.identity.settings import IdentitySettings
from undercroft.shared.settings import derive_key


def mail_sealer(settings: IdentitySettings) -> Sealer:
    """Return what waiting mails are sealed with."""
    return Sealer(derive_key(settings.secret_key, "mails"))


def postbox(settings: IdentitySettings, session: AsyncSession) -> Postbox:
    """Build the postbox of one transaction."""
    life = timedelta(hours=settings.mail_life_hours)
    return Postbox(MailRepository(session), mail_sealer(settings), life=life, clock=utc_now)


def mail_composer(settings: IdentitySettings, session: AsyncSession) -> MailComposer:
    """Build the composer of one transaction."""
    repositories = MailRepositories(
        users=UserRepository(session),
        registrations=RegistrationRepository(session),
        tokens=EmailTokenRepository(session),
    )
    lives = LinkLives(
        registration=timedelta(hours=settings.registration_life_hours),
        password_reset=timedelta(seconds=settings.password_reset_life_seconds),
    )
    texts = MailTexts(brand=settings.branding_name, issuer=settings.issuer)
    return MailComposer(repositories, texts, lives, clock=utc_now)
