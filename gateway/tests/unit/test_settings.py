import pytest

from undercroft.gateway.settings import GatewaySettings
from undercroft.shared.settings import SettingsError, load_settings
from undercroft.shared.testing import TEST_SECRET


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080", "https://id.example", "http://[::1]:80"])
def test_an_issuer_is_an_origin(issuer: str):
    assert load_settings(GatewaySettings, secret_key=TEST_SECRET, issuer=issuer).issuer == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "id.example",
        "https://id.example/",
        "https://id.example/t1",
        "https://id.example?a",
        "ftp://h",
        "https://",
    ],
)
def test_what_could_be_written_in_two_ways_is_no_issuer(issuer: str):
    with pytest.raises(SettingsError, match="GATEWAY_ISSUER: must be of the form"):
        load_settings(GatewaySettings, secret_key=TEST_SECRET, issuer=issuer)
