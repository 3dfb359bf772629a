"""The commands of "Operating it" in service/README.md do what is said there."""

import re
import tomllib
from pathlib import Path

import yaml
from click.testing import CliRunner
from starlette.testclient import TestClient

from lsr.__main__ import cli
from service import Settings, create_app
from service.config import Storage

PAGE = (Path(__file__).resolve().parent.parent / "service" / "README.md").read_text("utf-8")
SECTION = PAGE.split("\n## Operating it\n")[1].split("\n## ")[0]


def test_its_addresses_answer_and_its_commands_run(tmp_path: Path) -> None:
    (tmp_path / "lsr.toml").write_text('[server]\ndata = "server"\n')
    addresses = re.findall(r"curl -s localhost:8000(\S+)", SECTION)
    assert addresses == ["/readyz", "/metrics", "/v1/health-history"]
    app = create_app(Settings({}, home=tmp_path / "server", work_inside=True))
    with TestClient(app) as client:
        assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
        for address in addresses:
            assert client.get(address).status_code == 200
        doctor = ["doctor", "--data", str(tmp_path / "server")]
        assert CliRunner().invoke(cli, doctor).exit_code == 0
    show = ["serve", "--config", str(tmp_path / "lsr.toml"), "--workers", "2", "--show"]
    shown = tomllib.loads(CliRunner().invoke(cli, show).stdout)
    named = re.findall(r"`storage\.(\w+)`", SECTION) + ["min_free_share"]
    assert set(named) <= set(shown["storage"]) == set(Storage.__dataclass_fields__)
    assert "canary_minutes" in shown["server"]


def test_the_scrape_settings_are_yaml_for_the_job_that_alerts_ask_for() -> None:
    block = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[0]
    assert yaml.safe_load(block)["scrape_configs"][0]["job_name"] == "lsr-search"
