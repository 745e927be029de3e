"""Whatever is done, in whatever order, the views are what a reading of the whole log gives."""

from collections import defaultdict
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from cim_domain import NotFound, Rejected

PATHS = ["/srv/a", "/srv/b"]
NAMES = ["one", "two"]
INPUTS = ["nixpkgs", "home", "local"]
URLS = ["github:NixOS/nixpkgs", "path:/srv/a", "path:/srv/b"]
PACKAGES = [
    {"flake_ref": "path:/srv/a", "attribute": "packages.x86_64-linux.hello"},
    {"flake_ref": "path:/srv/b", "attribute": "hello"},
]
HOSTS = ["web1", "web2"]
DRV = "/nix/store/00000000000000000000000000000000-hello.drv"
OUT = "/nix/store/11111111111111111111111111111111-hello"
BUILT = {"drv_path": DRV, "outputs": {"out": OUT}}
FAILED = {"kind": "timeout", "message": "late", "log_tail": "..."}

path = st.fixed_dictionaries({"path": st.sampled_from(PATHS)})
name = st.fixed_dictionaries({"name": st.sampled_from(NAMES)})
package = st.sampled_from([PACKAGES[0], PACKAGES[0], PACKAGES[1]])


def command(type_, key, **fields):
    filled = st.fixed_dictionaries(fields)
    return st.builds(lambda key, rest: (type_, {**key, **rest}), key, filled)


content = {
    "options": st.just({}),
    "config": st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)),
}
configuration = st.fixed_dictionaries(
    {
        "system": st.sampled_from(["x86_64-linux", "aarch64-linux"]),
        "path": st.just("/srv/a"),
        "hostname": st.sampled_from(HOSTS),
    }
)
flake_commands = st.one_of(
    command("flake.create", path, description=st.sampled_from(["", "text"])),
    command("flake.update", path),
    command(
        "flake.add_input",
        path,
        name=st.sampled_from(INPUTS),
        url=st.sampled_from(URLS),
        follows=st.sampled_from([{}, {"nixpkgs": "nixpkgs"}]),
    ),
    command("flake.remove_input", path, name=st.sampled_from(INPUTS)),
)
module_commands = st.one_of(
    command("module.create", name, module=st.fixed_dictionaries(content)),
    command("module.update", name, module=st.fixed_dictionaries(content)),
    command("module.delete", name),
)
cache_url = st.sampled_from(["file:///a", "file:///b"])
package_commands = st.one_of(
    command("package.build", package),
    command("package.complete_build", package, duration_s=st.floats(0, 1e6)),
    command("package.fail_build", package),
    command("package.cache", package, cache_url=cache_url),
)
macro = st.sampled_from(
    [
        ["build", "complete_build", "cache"],
        ["build", "complete_build", "build", "cache"],
        ["build", "fail_build", "cache"],
    ]
)


def several(package, actions, duration_s, cache_url):
    fields = {"complete_build": {"duration_s": duration_s}, "cache": {"cache_url": cache_url}}
    return [(f"package.{one}", {**package, **fields.get(one, {})}) for one in actions]


package_steps = st.lists(
    st.builds(several, package, macro, st.floats(0, 1e6), cache_url)
    | package_commands.map(lambda one: [one]),
    min_size=3,
    max_size=12,
).map(lambda steps: [one for step in steps for one in step])
config_commands = st.one_of(
    command("config.update", name, configuration=configuration),
    command("config.activate", name, activation_type=st.just("switch")),
    command("config.activate", name, activation_type=st.sampled_from(["boot", "test"])),
    command("config.rollback", name, to_generation=st.none() | st.integers(1, 3)),
)
config_steps = st.builds(
    lambda created, steps: [*created, *steps],
    st.tuples(
        *(
            command("config.create", st.just({"name": one}), configuration=configuration)
            for one in NAMES
        )
    ),
    st.lists(config_commands, min_size=4, max_size=20),
)


async def done(nix, commands):
    """Send the commands, those that the rules refuse too; a report names the running build."""
    running = {}
    for type_, given_fields in commands:
        fields = dict(given_fields)
        if type_ in {"package.complete_build", "package.fail_build"}:
            build_id = running.get(fields["attribute"])
            if build_id is None:
                continue
            fields |= {"build_id": build_id} | (BUILT if "complete" in type_ else FAILED)
        with suppress(Rejected):
            for event in await nix.send(type_, **fields):
                if event.message_type == "package.build_requested":
                    running[event.attribute] = event.build_id


def histories(nix):
    """Type, fields and metadata of each event, by aggregate."""
    found = defaultdict(list)
    for one in nix.log:
        fields = one.event.model_dump(mode="json")
        found[one.metadata.aggregate_id].append((one.event.message_type, fields, one.metadata))
    return found


def json_time(metadata):
    return metadata.timestamp.isoformat().replace("+00:00", "Z")


def dates(history, first=0):
    last = history[-1][2]
    return {
        "created_at": json_time(history[first][2]),
        "updated_at": json_time(last),
        "version": last.aggregate_version,
    }


def of_types(history, *types):
    return [one for one in history if one[0] in types]


@settings(max_examples=60, deadline=None)
@given(commands=st.lists(flake_commands, max_size=25))
def test_flakes(new_read_side, run, commands):
    async def folded():
        nix = new_read_side()
        await done(nix, commands)
        return nix, await nix.pages("flake.list", limit=1), await nix.ask("dependency.graph")

    nix, flakes, graph = run(folded())

    expected = []
    for id_, history in histories(nix).items():
        inputs = []
        for input_name in sorted(INPUTS):
            told = [
                one
                for one in of_types(history, "flake.input_added", "flake.input_removed")
                if one[1]["name"] == input_name
            ]
            if told and told[-1][0] == "flake.input_added":
                inputs.append({key: told[-1][1][key] for key in ("name", "url", "follows")})
        created = history[0][1]
        expected.append({"flake_id": id_, **created, "inputs": inputs, **dates(history)})
    expected.sort(key=lambda flake: flake["path"])
    assert flakes == expected

    known = {flake["path"] for flake in expected}
    edges = set()
    for flake in expected:
        for one in flake["inputs"]:
            node = f"input:{flake['path']}#{one['name']}"
            edges.add(("input", f"flake:{flake['path']}", node, one["name"]))
            for inner, outer in one["follows"].items():
                edges.add(("follows", node, f"input:{flake['path']}#{outer}", inner))
            if one["url"].removeprefix("path:") in known:
                target = one["url"].replace("path:", "flake:")
                edges.add(("points_to", node, target, one["name"]))
    told = [
        (edge["kind"], edge["source"], edge["target"], edge["label"]) for edge in graph["edges"]
    ]
    assert len(told) == len(edges)
    assert set(told) == edges
    ids = [node["id"] for node in graph["nodes"]]
    assert ids == sorted(ids)
    assert len(ids) == len(expected) + sum(len(flake["inputs"]) for flake in expected)
    assert {end for _, *ends, _ in edges for end in ends} <= set(ids)


@settings(max_examples=60, deadline=None)
@given(commands=st.lists(module_commands, max_size=20))
def test_modules(new_read_side, run, commands):
    async def folded():
        nix = new_read_side()
        await done(nix, commands)
        return nix, await nix.pages("module.list", limit=1)

    nix, modules = run(folded())

    expected = []
    for id_, history in histories(nix).items():
        type_, fields, _ = history[-1]
        if type_ != "module.deleted":
            first = max(index for index, one in enumerate(history) if one[0] == "module.created")
            expected.append({"module_id": id_, **fields, **dates(history, first)})
    assert modules == sorted(expected, key=lambda module: module["name"])


@settings(max_examples=60, deadline=None)
@given(commands=package_steps)
def test_packages(new_read_side, run, commands):
    async def folded():
        nix = new_read_side()
        await done(nix, commands)
        return nix, {one["package_id"]: one for one in await nix.pages("package.list", limit=1)}

    nix, packages = run(folded())

    found = histories(nix)
    assert packages.keys() == found.keys()
    for id_, history in found.items():
        view = packages[id_]
        builds = of_types(
            history, "package.build_requested", "package.built", "package.build_failed"
        )
        requests = of_types(history, "package.build_requested")
        results = of_types(history, "package.built", "package.build_failed")
        is_running = builds[-1][0] == "package.build_requested"
        last_success = max(
            (index for index, one in enumerate(history) if one[0] == "package.built"),
            default=len(history),
        )
        caches = {}
        for _, fields, metadata in of_types(history[last_success:], "package.cached"):
            caches.pop(fields["cache_url"], None)
            caches[fields["cache_url"]] = json_time(metadata)
        built_and_cached = builds[-1][0] == "package.built" and history[-1][0] == "package.cached"
        assert view["status"] == (
            "building"
            if is_running
            else "failed"
            if builds[-1][0] == "package.build_failed"
            else "cached"
            if built_and_cached
            else "built"
        )
        assert view["builds"] == len(requests)
        assert (view["running"] and view["running"]["build_id"]) == (
            requests[-1][1]["build_id"] if is_running else None
        )
        assert (view["last_result"] and view["last_result"]["build_id"]) == (
            results[-1][1]["build_id"] if results else None
        )
        assert [(one["cache_url"], one["cached_at"]) for one in view["cached"]] == list(
            caches.items()
        )
        assert {key: view[key] for key in ("created_at", "updated_at", "version")} == dates(history)


@settings(max_examples=100, deadline=None)
@given(commands=config_steps)
def test_configurations(new_read_side, run, commands):
    async def folded():
        nix = new_read_side()
        await done(nix, commands)
        current = {}
        for host in HOSTS:
            with suppress(NotFound):
                current[host] = await nix.ask("config.get_current", hostname=host)
        configs = {one["config_id"]: one for one in await nix.pages("config.list", limit=1)}
        histories_by_id = {
            id_: await nix.pages("config.get_history", name=one["name"], limit=2)
            for id_, one in configs.items()
        }
        return nix, configs, current, histories_by_id

    nix, configs, current, entries = run(folded())

    found = histories(nix)
    assert configs.keys() == found.keys()
    active = {}
    for id_, history in found.items():
        view = configs[id_]
        written = of_types(history, "config.created", "config.updated")
        effects = of_types(history, "config.activated", "config.rolled_back")
        switches = [one for one in effects if one[1].get("activation_type") == "switch"]
        moves = [one for one in effects if one in switches or one[0] == "config.rolled_back"]
        others = [one for one in history if one[0] != "config.rolled_back"]
        if not effects:
            status = "created"
        elif others[-1][0] == "config.updated":
            status = "modified"
        elif history[-1][0] == "config.rolled_back":
            status = "activated"
        else:
            status = {"switch": "activated", "boot": "boot_ready", "test": "testing"}[
                history[-1][1]["activation_type"]
            ]
        generation = None
        if moves:
            generation = moves[-1][1].get("generation") or moves[-1][1].get("to_generation")
        assert view == {
            "config_id": id_,
            "name": history[0][1]["name"],
            "status": status,
            "system": written[-1][1]["configuration"]["system"],
            "configuration": written[-1][1]["configuration"],
            "generation": generation,
            "generations": len(switches),
            "activated_at": json_time(effects[-1][2]) if effects else None,
            **dates(history),
        }
        assert [entry["version"] for entry in entries[id_]] == [
            metadata.aggregate_version for _, _, metadata in reversed(effects)
        ]

        def hostname_at(version, written=written):
            return [
                fields["configuration"]["hostname"]
                for _, fields, metadata in written
                if metadata.aggregate_version < version
            ][-1]

        running = [one for one in effects if one[1].get("activation_type") != "boot"]
        if running:
            type_, fields, metadata = running[-1]
            made = metadata.aggregate_version
            if type_ == "config.rolled_back":
                made = switches[fields["to_generation"] - 1][2].aggregate_version
            host = hostname_at(made)
            newest = active.get(host)
            if newest is None or newest.sequence < metadata.sequence:
                active[host] = metadata
    assert {host: one["since"] for host, one in current.items()} == {
        host: json_time(metadata) for host, metadata in active.items()
    }
