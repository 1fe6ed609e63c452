"""The virtual GPU as a process, through the calls that the real one is read and set with."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time

import pynvml
import pytest

from fixtures.serving.device import backend, exporter, nvml, physics
from fixtures.serving.device.physics import Gpu
from tests.serving.rig import (
    ROOT,
    TOKEN,
    call,
    eventually,
    free_address,
    listening,
    metric,
    rig,
    trained,
)


@contextlib.contextmanager
def devices(folder, gpus=2):
    """A device process; gives its address and process."""
    bound, where = listening()
    with bound:
        os.set_inheritable(bound.fileno(), True)
        config = folder / "gpus.json"
        config.write_text(
            json.dumps({"name": "gpus", "token": TOKEN, "fd": bound.fileno(), "gpus": gpus})
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "fixtures.serving.device.server", str(config)],
            cwd=ROOT,
            pass_fds=(bound.fileno(),),
        )
    try:
        yield where, process
    finally:
        process.terminate()
        assert process.wait(10) is not None


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with devices(tmp_path_factory.mktemp("gpus")) as (where, _):
        yield where


@pytest.fixture
def gpu(daemon):
    """A handle of device 0 that may set; the device is as it was built afterwards."""
    nvml.use(daemon, TOKEN)
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    yield handle
    pynvml.nvmlDeviceResetGpuLockedClocks(handle)
    default = pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)
    pynvml.nvmlDeviceSetPowerManagementLimit(handle, default)
    pynvml.nvmlShutdown()
    nvml.use(None)


class Client:
    """A process that uses a device, as far as the device can tell."""

    def __init__(self, where):
        host, _, port = where.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._lines = self._socket.makefile("rwb", buffering=0)
        self._number = 0

    def send(self, work_s, gpu=0):
        self._number += 1
        self._lines.write(json.dumps([self._number, gpu, work_s]).encode() + b"\n")

    def took(self):
        return json.loads(self._lines.readline())[1]

    def work(self, work_s, gpu=0):
        self.send(work_s, gpu)
        return self.took()

    def close(self):
        self._lines.close()
        self._socket.close()


@pytest.fixture
def client(daemon):
    made = Client(daemon)
    yield made
    made.close()


def test_pynvml_reads_everything_the_exporter_needs(gpu):
    assert pynvml.nvmlDeviceGetCount() == 2
    assert pynvml.nvmlDeviceGetName(gpu) == "Virtual GPU"
    uuid = pynvml.nvmlDeviceGetUUID(gpu)
    assert pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID(uuid)) == 0
    assert pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByIndex(1)) == 1
    assert pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM) == physics.MAX_MHZ
    assert pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM) == physics.MEMORY_MHZ
    assert 30_000 < pynvml.nvmlDeviceGetPowerUsage(gpu) < 350_000
    assert pynvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu) == [50_000, 350_000]
    assert 20 < pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU) < 100
    assert pynvml.nvmlDeviceGetSupportedClocksEventReasons(gpu) == physics.SUPPORTED
    assert pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu <= 100
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    assert memory.total == memory.free + memory.used == 16 << 30
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) > 0
    power = pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_POWER)
    assert power.referenceTime > 0 and power.violationTime >= 0
    assert pynvml.nvmlSystemGetDriverVersion().endswith("virtual")


def test_errors_are_those_of_the_library(gpu, daemon):
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetHandleByIndex(7)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceSetPowerManagementLimit(gpu, 1_000)
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetBrand(gpu)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_BOARD_LIMIT)
    nvml.use(daemon)  # as a user who is not root
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceSetGpuLockedClocks(gpu, 210, 400)
    assert pynvml.nvmlDeviceGetPowerUsage(gpu) > 0
    nvml.use(daemon, TOKEN)


def test_a_device_that_is_gone_is_lost_and_one_that_never_was_has_no_driver(tmp_path):
    with devices(tmp_path, gpus=1) as (where, process):
        nvml.use(where)
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        process.kill()
        process.wait()
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            pynvml.nvmlDeviceGetPowerUsage(handle)
        with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
            pynvml.nvmlInit()
    nvml.use(None)


def test_a_locked_clock_makes_work_slower_and_leaves_no_reason(gpu, client):
    assert client.work(0.003) == pytest.approx(0.003)
    pynvml.nvmlDeviceSetGpuLockedClocks(gpu, 198, 198)
    assert pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) == 198
    assert client.work(0.003) == pytest.approx(0.030)
    assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu) == 0
    pynvml.nvmlDeviceResetGpuLockedClocks(gpu)
    assert client.work(0.003) == pytest.approx(0.003)


def test_a_clock_that_is_locked_in_the_middle_of_work_slows_the_rest_of_it(gpu, client):
    client.send(0.5)
    time.sleep(0.1)  # any part of it will do
    pynvml.nvmlDeviceSetGpuLockedClocks(gpu, 990, 990)
    assert 0.55 < client.took() < 1.0


def test_a_power_limit_below_demand_lowers_the_clock_and_says_why(gpu, client):
    pynvml.nvmlDeviceSetPowerManagementLimit(gpu, 60_000)
    for _ in range(40):
        client.send(0.05)  # busy all the time
    first = client.took()
    took = [client.took() for _ in range(8)]
    assert first < 0.2 < max(took)
    reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    assert reasons & pynvml.nvmlClocksEventReasonSwPowerCap
    assert reasons == pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
    assert pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) < 0.5 * physics.MAX_MHZ
    violated = pynvml.nvmlDeviceGetViolationStatus(gpu, pynvml.NVML_PERF_POLICY_POWER)
    assert violated.violationTime > 1e8


def test_a_co_tenant_takes_its_share_and_gives_it_back_when_it_dies(gpu, client, daemon):
    tenants = [Client(daemon) for _ in range(3)]
    for tenant in tenants:
        tenant.send(30.0)
    eventually(lambda: client.work(0.001) == pytest.approx(0.004), "four share the device")
    assert pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) == physics.MAX_MHZ
    assert client.work(0.001, gpu=1) == pytest.approx(0.001)
    for tenant in tenants:
        tenant.close()
    eventually(lambda: client.work(0.001) == pytest.approx(0.001), "it is alone again")


def test_work_of_one_client_is_done_one_by_one_in_order(client):
    for number in range(1, 4):
        client.send(0.001 * number)
    assert [client.took() for _ in range(3)] == pytest.approx([0.001, 0.002, 0.003])


def settle(gpu, busy_share, for_s):
    """Let time pass with a share of it busy."""
    took = []
    end_s = gpu.now_s + for_s
    while gpu.now_s < end_s:
        gpu.submit("us", 0.02 * busy_share, gpu.now_s, took.append)
        gpu.advance(gpu.now_s + 0.02)
    return took


def test_physics_heat_slows_and_a_fan_cools():
    gpu = Gpu(0.0)
    settle(gpu, 1.0, 60)
    assert gpu.reasons == 0 and 55 < gpu.temperature_c < physics.TARGET_C
    gpu.fan = 0.3
    settle(gpu, 0.9, 60)
    assert gpu.reasons == physics.SW_THERMAL and gpu.sm_mhz < 0.9 * physics.MAX_MHZ
    assert gpu.thermal_violation_s > 1
    gpu.temperature_c = physics.SLOWDOWN_C + 3
    settle(gpu, 0.5, 0.1)
    assert gpu.reasons == physics.HW_THERMAL | physics.HW_SLOWDOWN
    gpu.fan = 1.0
    settle(gpu, 0.1, 200)
    assert gpu.reasons == 0 and gpu.sm_mhz == physics.MAX_MHZ


def test_physics_a_limit_that_demand_does_not_reach_changes_nothing():
    gpu = Gpu(0.0, limit_w=150.0)
    took = settle(gpu, 0.1, 10)
    assert gpu.reasons == 0 and max(took) == pytest.approx(0.002)


def test_physics_an_idle_device_says_so_and_works_at_once():
    gpu = Gpu(0.0)
    gpu.advance(60.0)
    assert gpu.reasons == physics.IDLE and gpu.sm_mhz == physics.IDLE_MHZ
    took = []
    gpu.submit("us", 0.01, 60.0, took.append)
    gpu.advance(61.0)
    assert took == pytest.approx([0.01]) and gpu.reasons == 0


def test_physics_how_late_it_is_looked_at_does_not_matter():
    seen = []
    for steps in (1, 1_000):
        gpu, took = Gpu(0.0, locked_mhz=990), []
        for client in ("a", "b"):
            for _ in range(5):
                gpu.submit(client, 0.01, 0.0, took.append)
        for step in range(steps):
            gpu.advance((step + 1) / steps)
        seen.append(took)
        assert gpu.next_s() is None and not math.isnan(sum(took))
    assert seen[0] == pytest.approx(seen[1])
    assert seen[0] == pytest.approx([0.04] * 10)


def metrics(where):
    """All samples of a service: value by (name, labels)."""
    from prometheus_client.parser import text_string_to_metric_families

    _, _, text = call("GET", where, "/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_pod(found, name, pod, **labels):
    """The one sample of a pod."""
    wanted = {"pod": pod, **labels}.items()
    (value,) = [v for (n, have), v in found.items() if n == name and wanted <= dict(have).items()]
    return value


def test_the_exporter_tells_what_nvml_does_under_the_names_of_dcgm(tmp_path, gpu, daemon):
    with rig(tmp_path) as running:
        where = running.service(
            "exporter",
            "device.exporter",
            virtual=daemon,
            pods={"replica-0": 0, "replica-1": 1},
        )
        running.ready("exporter")
        found = metrics(where)
        for name in (*exporter.GAUGES, *exporter.COUNTERS):
            for pod in ("replica-0", "replica-1"):
                assert of_pod(found, name, pod) >= 0, name
        ((_, labels),) = [
            key for key in found if key[0] == "DCGM_FI_DEV_GPU_TEMP" and ("gpu", "1") in key[1]
        ]
        assert dict(labels)["UUID"] == nvml.uuid_of(1) and dict(labels)["pod"] == "replica-1"
        pynvml.nvmlDeviceSetGpuLockedClocks(gpu, 495, 495)
        found = metrics(where)
        assert of_pod(found, "DCGM_FI_DEV_SM_CLOCK", "replica-0") <= 495
        assert of_pod(found, "DCGM_FI_DEV_MAX_SM_CLOCK", "replica-0") == physics.MAX_MHZ
        mask = int(of_pod(found, "DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "replica-1"))
        for reason, bit in exporter.REASONS.items():
            told = of_pod(found, "gpu_clocks_event", "replica-1", reason=reason)
            assert told == bool(mask & bit)


def test_an_exporter_without_a_driver_lives_and_tells_of_no_device(tmp_path):
    with rig(tmp_path) as running:
        where = running.service(
            "exporter", "device.exporter", virtual=free_address(), pods={"replica-0": 0}
        )
        eventually(lambda: call("GET", where, "/v2/health/live")[0] == 200, "it is live")
        assert call("GET", where, "/v2/health/ready")[0] == 503
        assert not [name for name, _ in metrics(where) if name.startswith("DCGM")]


@pytest.mark.stack  # it imports torch
def test_a_model_server_answers_when_its_device_is_done_and_knows_its_pace(tmp_path, gpu, daemon):
    row = {"name": "features", "datatype": "FP32", "shape": [1, 9], "data": [0.0] * 9}
    with rig(tmp_path) as running:
        where = running.service(
            "replica-0",
            "model_server",
            artefacts=str(trained()),
            device="virtual",
            virtual=daemon,
        )
        running.ready("replica-0")
        reference = metric(where, "model_server_device_reference_seconds", model="champion")
        assert reference == pytest.approx(backend.WORK_S["champion"])
        before = metric(where, "model_server_device_batches_total", model="champion")
        eventually(  # it checks its device by itself
            lambda: (
                metric(where, "model_server_device_batches_total", model="champion") > before + 1
            ),
            "batches without requests",
        )
        assert call("GET", where, "/v2/device")[2] == {"device": "virtual", "slowdown": 1.0}
        pynvml.nvmlDeviceSetGpuLockedClocks(gpu, 198, 198)
        began_s = time.monotonic()
        status, _, _ = call("POST", where, "/v2/models/champion/infer", {"inputs": [row]})
        assert status == 200 and time.monotonic() - began_s > 9 * reference
        eventually(
            lambda: call("GET", where, "/v2/device")[2]["slowdown"] > 9.5,
            "it knows that it is slow",
        )


@pytest.mark.stack  # it imports torch
def test_a_model_server_that_loses_its_device_says_so_and_finds_it_again(tmp_path):
    row = {"name": "features", "datatype": "FP32", "shape": [1, 9], "data": [0.0] * 9}
    with rig(tmp_path) as running:
        bound, at = listening()
        bound.close()
        host, _, port = at.rpartition(":")
        spot = {"host": host, "port": int(port)}

        def start():
            config = tmp_path / "gpus.json"
            config.write_text(json.dumps({"name": "gpus", "token": TOKEN, **spot}))
            argv = [sys.executable, "-m", "fixtures.serving.device.server", str(config)]
            running._start("gpus", argv)
            eventually(lambda: socket.create_connection((host, int(port))).close() or True, "up")

        def infer():
            return call("POST", where, "/v2/models/champion/infer", {"inputs": [row]})[0]

        start()
        where = running.service(
            *("replica-0", "model_server"),
            artefacts=str(trained()),
            device="virtual",
            virtual=at,
        )
        running.ready("replica-0")
        assert infer() == 200
        running.kill("gpus")
        eventually(lambda: infer() == 500, "no device, no answer")
        start()
        eventually(lambda: infer() == 200, "the device is used again")
