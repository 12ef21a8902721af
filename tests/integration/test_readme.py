"""The README's five minutes, pasted as they stand but for the port, the key's path and the key."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .platforms import Platform

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, *, section: str = "Five minutes") -> str:
    text = README.partition(f"## {section}")[2].partition("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_five_minutes_work_when_pasted(platform: Platform, tmp_path: Path) -> None:
    key_file = tmp_path / "operator.key"
    key_file.write_text(platform.operator_key)
    script = (
        block("sh")
        .replace("http://127.0.0.1:8080", platform.url)
        .replace(".undercroft/operator.key", str(key_file))
    )
    pasted = subprocess.run(
        ["sh", "-e", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    secret = json.loads(pasted.stdout[pasted.stdout.rindex('{"') :])["secret"]
    platform.wait_for_flag(secret, "new-checkout")

    program = block("python").replace("http://127.0.0.1:8080", platform.url).replace("uc_live_...", secret)
    asked = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert asked.stdout.strip() == "True"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_first_oauth_client_is_made_as_written(platform: Platform) -> None:
    before = f'URL={platform.url}\nOPERATOR="Authorization: Bearer {platform.operator_key}"\n'
    pasted = subprocess.run(
        ["sh", "-e", "-c", before + block("sh", section="Signing in")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(pasted.stdout)["clientId"].startswith("client_")
