"""The rules of lending: how many, how long, how often. Settings of the library's own."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from service.settings import Section


class LendingRules(Section):
    """What the library allows."""

    model_config = SettingsConfigDict(env_prefix="SHELFMARK_LENDING_")

    loans_most: int = Field(10, ge=1, le=1000)
    """Loans that a member may have open at the same time."""
    loan_days: int = Field(28, ge=1, le=3650)
    """Days for which a copy is lent, and by which a renewal puts off its return."""
    renewals_most: int = Field(2, ge=0, le=1000)
    """Times that a loan may be renewed."""
    hold_days: int = Field(7, ge=1, le=365)
    """Days for which a copy stays set aside for the member whose turn it is."""
