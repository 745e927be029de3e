import pytest
from pydantic import ValidationError

from cim_domain import NotFound

WEB = {"system": "x86_64-linux", "path": "/srv/web", "hostname": "web1"}
MOVED = WEB | {"hostname": "web2"}


async def create(nix, name="web", configuration=WEB, **fields):
    await nix.send("config.create", name=name, configuration=configuration, **fields)


async def activate(nix, activation_type="switch", name="web", **fields):
    await nix.send("config.activate", name=name, activation_type=activation_type, **fields)


async def test_what_was_switched_to_is_active_on_its_host(nix, at):
    await create(nix)
    await activate(nix)

    assert await nix.ask("config.get_current", hostname="web1") == {
        "config_id": nix.id_of("config", "web"),
        "name": "web",
        "hostname": "web1",
        "generation": 1,
        "activation_type": "switch",
        "since": at(2),
        "correlation_id": nix.log[-1].metadata.correlation_id,
    }


async def test_current_is_asked_for_under_both_names(nix):
    await create(nix)
    await activate(nix)

    current = await nix.ask("config.current", hostname="web1")

    assert current == await nix.ask("config.get_current", hostname="web1")


async def test_of_several_configurations_of_a_host_the_last_activated_is_active(nix):
    await create(nix, "a")
    await create(nix, "b")
    await activate(nix, name="b")
    await activate(nix, name="a")
    assert (await nix.ask("config.current", hostname="web1"))["name"] == "a"

    await activate(nix, name="b")

    assert (await nix.ask("config.current", hostname="web1"))["name"] == "b"


async def test_without_a_host_the_last_activated_of_all_is_given(nix):
    await create(nix, "a")
    await create(nix, "b", MOVED)
    await activate(nix, name="b")
    await activate(nix, name="a")

    assert (await nix.ask("config.current"))["name"] == "a"
    assert (await nix.ask("config.current", hostname=None))["name"] == "a"
    assert (await nix.ask("config.current", hostname="web2"))["name"] == "b"


async def test_a_test_is_active_and_has_no_generation(nix, at):
    await create(nix)
    await activate(nix)
    await activate(nix, "test")

    current = await nix.ask("config.current", hostname="web1")

    assert (current["activation_type"], current["generation"]) == ("test", None)
    assert current["since"] == at(3)


async def test_what_is_ready_to_boot_is_not_active_yet(nix):
    await create(nix)
    await activate(nix, "boot")
    with pytest.raises(NotFound):
        await nix.ask("config.current", hostname="web1")

    await activate(nix)
    before = await nix.ask("config.current", hostname="web1")
    await activate(nix, "boot")

    assert await nix.ask("config.current", hostname="web1") == before


async def test_a_rollback_makes_an_earlier_generation_active(nix, at):
    await create(nix)
    await activate(nix)
    await activate(nix)
    await nix.send("config.rollback", name="web")

    current = await nix.ask("config.current", hostname="web1")

    assert (current["generation"], current["activation_type"]) == (1, "switch")
    assert current["since"] == at(4)


async def test_a_rollback_from_a_test_returns_to_what_was_active(nix):
    await create(nix)
    await activate(nix)
    await activate(nix, "test")
    await nix.send("config.rollback", name="web")

    current = await nix.ask("config.current", hostname="web1")

    assert (current["generation"], current["activation_type"]) == (1, "switch")


async def test_a_new_hostname_counts_from_the_next_activation(nix):
    await create(nix)
    await activate(nix)
    await nix.send("config.update", name="web", configuration=MOVED)
    assert (await nix.ask("config.current"))["hostname"] == "web1"

    await activate(nix)

    assert (await nix.ask("config.current", hostname="web2"))["generation"] == 2
    with pytest.raises(NotFound):
        await nix.ask("config.current", hostname="web1")


async def test_a_rollback_goes_to_the_host_that_the_generation_was_for(nix):
    await create(nix)
    await activate(nix)
    await nix.send("config.update", name="web", configuration=MOVED)
    await activate(nix)

    await nix.send("config.rollback", name="web", to_generation=1)

    assert (await nix.ask("config.current"))["hostname"] == "web1"


@pytest.mark.parametrize("asked", [{}, {"hostname": "web1"}])
async def test_where_nothing_is_active_nothing_is_found(nix, asked):
    await create(nix)

    with pytest.raises(NotFound) as error:
        await nix.ask("config.get_current", **asked)

    assert error.value.code == "not_found"


async def test_what_is_no_hostname_is_refused(nix):
    with pytest.raises(ValidationError, match="hostname"):
        await nix.ask("config.current", hostname="-web")


async def test_the_history_has_activations_and_rollbacks_newest_first(nix, at):
    await create(nix)
    await activate(nix)
    await activate(nix, "boot")
    await nix.send("config.update", name="web", configuration=MOVED)
    await activate(nix)
    await activate(nix, "test")
    await nix.send("config.rollback", name="web", to_generation=1)
    await create(nix, "other")
    await activate(nix, name="other")

    history = await nix.ask("config.get_history", name="web")

    assert history["next"] is None
    shown = ("version", "time", "type", "generation", "from_generation")
    assert [tuple(entry[name] for name in shown) for entry in history["items"]] == [
        (7, at(7), "rollback", 1, None),
        (6, at(6), "test", None, None),
        (5, at(5), "switch", 2, None),
        (3, at(3), "boot", None, None),
        (2, at(2), "switch", 1, None),
    ]


async def test_an_entry_of_the_history_tells_what_caused_it(nix, at):
    await create(nix)
    await activate(nix)
    await activate(nix)
    await nix.send("config.rollback", name="web")

    newest = (await nix.ask("config.get_history", name="web"))["items"][0]

    assert newest == {
        "config_id": nix.id_of("config", "web"),
        "version": 4,
        "time": at(4),
        "type": "rollback",
        "generation": 1,
        "from_generation": 2,
        "correlation_id": nix.log[-1].metadata.correlation_id,
    }


async def test_a_long_history_is_handed_out_in_pages(nix):
    await create(nix)
    for _ in range(12):
        await activate(nix)

    history = await nix.pages("config.get_history", name="web", limit=5)

    assert [entry["generation"] for entry in history] == list(range(12, 0, -1))


async def test_a_configuration_that_was_never_activated_has_an_empty_history(nix):
    await create(nix)

    assert await nix.ask("config.get_history", name="web") == {"items": [], "next": None}


async def test_the_history_of_an_unknown_configuration_is_not_found(nix):
    with pytest.raises(NotFound, match="there is no configuration with name 'web'") as error:
        await nix.ask("config.get_history", name="web")

    assert error.value.code == "not_found"


async def test_an_organization_sees_its_own_activations_only(nix):
    await create(nix, organization="acme")
    await activate(nix, organization="acme")

    for organization in (None, "umbrella"):
        with pytest.raises(NotFound):
            await nix.ask("config.current", organization=organization)
        with pytest.raises(NotFound):
            await nix.ask("config.get_history", name="web", organization=organization)
    history = await nix.ask("config.get_history", name="web", organization="acme")
    assert len(history["items"]) == 1
