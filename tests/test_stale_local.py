"""An old model on the real stack: promoted, taken back; and a registry that is away, or forged."""

import asyncio
import contextlib

import pytest

from faults.serve_stale_model import ServeStaleModel
from fixtures.stacks._links import Links
from fixtures.stacks._registry import superseded
from fixtures.stacks.local import Local
from harness import Site

NODES = ("registry",)


@contextlib.asynccontextmanager
async def standing(folder, **settings):
    stack = Local(**settings)
    await stack.up(Site(folder=str(folder)))
    try:
        yield stack
    finally:
        await stack.down()


async def until(check, what, within_s=20.0):
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while not await check():
        assert loop.time() < until_s, what
        await asyncio.sleep(0.1)


async def reading(stack, probe, node):
    found = {(r.probe, r.node): r.value for r in await stack.probe()}
    return found.get((probe, node))


@pytest.mark.stack
@pytest.mark.slow
def test_what_was_promoted_is_taken_back_when_nobody_renews_it(tmp_path):
    async def abandoned():
        async with standing(tmp_path, runbooks=()) as stack:
            whole = await stack.fingerprint()
            fault = ServeStaleModel()
            undo = await fault.prepare(stack, NODES)
            await fault.inject(stack, NODES, undo)
            await until(lambda: fault.verify(stack, NODES), "in force")
            stack._standing.nodes.close()  # as if the harness had stopped: nobody renews

            async def mended():
                return await stack.fingerprint() == whole

            await until(mended, "the carrier takes it back")

    asyncio.run(abandoned())


@pytest.mark.stack
@pytest.mark.slow
def test_a_replica_that_starts_again_while_the_registry_is_away_serves_what_it_served(tmp_path):
    async def away():
        async with standing(tmp_path, runbooks=()) as stack:
            fault = ServeStaleModel()
            undo = await fault.prepare(stack, NODES)
            await fault.inject(stack, NODES, undo)

            async def both():
                found = [await reading(stack, "model_behind", f"replica-{n}") for n in (0, 1)]
                return found == [1.0, 1.0]

            await until(both, "both serve the old version")
            links = Links(stack.addresses()["links"])
            await asyncio.to_thread(links.disable, "replica-registry")
            permit = await stack.killable(("replica-0",))
            await stack.kill(("replica-0",), permit)
            await stack.start_again(("replica-0",))
            assert await reading(stack, "model_behind", "replica-0") == 1.0
            log = (tmp_path / "logs" / "replica-0.log").read_text()
            assert "which was good last" in log
            await asyncio.to_thread(links.enable, "replica-registry")
            await fault.heal(stack, NODES, undo)
            assert await reading(stack, "model_behind", "replica-0") == 0.0

    asyncio.run(away())


@pytest.mark.stack
@pytest.mark.slow
def test_a_forged_artefact_on_the_registrys_disk_is_not_served(tmp_path):
    """Whoever has the disk has no key: replicas go on with what they have, and say so."""

    async def forged():
        async with standing(tmp_path, runbooks=()) as stack:
            root = tmp_path / "registry" / "artefacts"
            fault = ServeStaleModel()
            undo = await fault.prepare(stack, NODES)
            champion, victim = undo["permit"]["champion"], superseded(stack._layout)[4]
            weights = root / victim / "weights.safetensors"
            weights.chmod(0o644)
            weights.write_bytes((root / champion / "weights.safetensors").read_bytes())
            await fault.inject(stack, NODES, undo)
            await asyncio.sleep(2)  # four times asked, four times refused
            for node in ("replica-0", "replica-1"):
                assert await reading(stack, "model_behind", node) == 0.0
            assert "is not served" in (tmp_path / "logs" / "replica-0.log").read_text()
            await fault.heal(stack, NODES, undo)

    asyncio.run(forged())
