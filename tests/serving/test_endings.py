"""A service ends when it is told to, whatever its background work makes of that."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.serving.rig import ROOT

STUBBORN = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from fixtures.serving.config import ServiceConfig
from fixtures.serving.service import Service, run

async def work():
    while True:
        try:
            print("at work", flush=True)
            await asyncio.sleep(3600)
        except asyncio.CancelledError:  # as a client library may
            pass

async def build(config):
    return Service(registry=CollectorRegistry(), background=[work])

run(ServiceConfig, build)
"""


def test_work_that_swallows_its_cancellation_does_not_keep_a_service_alive(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"name": "stubborn", "token": "t"}))
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, str(config)], cwd=ROOT, stdout=subprocess.PIPE
    ) as service:
        assert service.stdout is not None and service.stdout.readline() == b"at work\n"
        service.send_signal(signal.SIGTERM)
        try:
            assert service.wait(20) == 0
        finally:
            service.kill()
