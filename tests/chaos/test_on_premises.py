"""The way of cluster/README.md onto machines of one's own, followed to the letter on two of them.

Other than there: what the lock pins is that of the tests, not downloaded again; the token is copied
without ssh; Ray's files are not in /tmp/ray, which the two would share; ``/sweeps`` is another
folder, and the sweep is a short one.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from machines import ROOT, Machine, machines, wait_until

from hoyer_search.store import SweepFolder

README = (ROOT / "cluster" / "README.md").read_text()
PATH = f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHORT = (
    "--set budget.trials=2 --set pipeline.pretrain.epochs=1 --set pipeline.regularize.epochs=4 "
    "--set pipeline.finetune.epochs=1 --set pipeline.finetune.max_points=1"
)


def section(heading: str) -> str:
    """Returns what is below a heading of the README."""
    after = README.split(f"\n{heading}\n", 1)[1]
    return re.split(r"^#{2,3} ", after, flags=re.MULTILINE)[0]


def blocks(heading: str) -> list[str]:
    """Returns the shell code below a heading, a block each, without indentation."""
    found = re.findall(r"^( *)```sh\n(.*?)^\1```", section(heading), re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@pytest.fixture
def two():
    """Two machines, each with the home of a user and nothing in it."""
    with machines("head", "worker") as network:
        network.variables = {"OMP_NUM_THREADS": "1"}
        yield network["head"], network["worker"]


def shell(machine: Machine, code: str, *, folder: Path | None = None) -> str:
    """Runs shell code in a new terminal on a machine, where it must not fail."""
    ours = {k: v for k, v in machine.environment.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        machine.command("bash", "-ec", f"cd {folder or machine.home}\n{code}"),
        env=ours | {"PATH": PATH},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (code, done.stdout)
    return done.stdout


def install(machine: Machine, code: str) -> None:
    """Follows the step that installs, but for the download of what the lock pins."""
    make, lock, package = code.splitlines()
    shell(machine, make, folder=ROOT)
    assert lock.endswith(" -r requirements.lock")
    environment = machine.home / "hoyer-search"
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "pinned.pth").write_text(sysconfig.get_path("purelib"))
    ray = Path(sysconfig.get_path("scripts")) / "ray"
    (environment / "bin" / "ray").write_text(
        f"#!{environment}/bin/python\n{ray.read_text().partition(chr(10))[2]}"
    )
    (environment / "bin" / "ray").chmod(0o755)
    shell(machine, package, folder=ROOT)


def check_alone(machine: Machine) -> None:
    """Checks that no other machine's processes, nor ours, can be seen on one, or be ended there."""
    assert shell(machine, "readlink /proc/self/ns/pid").strip() != os.readlink("/proc/self/ns/pid")
    seen = shell(machine, r"cat /proc/[0-9]*/cmdline | tr '\0' ' '")
    assert "raylet/raylet " in seen
    assert seen.count("raylet/raylet ") == 1
    assert "pytest" not in seen


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readme_leads_to_a_sweep_on_two_machines(two, capsys):
    head, worker = two
    sweeps = head.folder.parent / "shared"
    packages, token, start_head, start_worker, doctor, _ = blocks("### By hand")
    (sweep,) = blocks("## Start a sweep")

    def literally(code: str) -> str:
        return code.replace("HEAD", "head").replace("/sweeps", str(sweeps))

    # 1. The packages.
    for machine in two:
        install(machine, packages)

    # 2. The token: every machine gets the same file, readable by its user alone.
    shell(head, token)
    shutil.copytree(head.home / ".ray", worker.home / ".ray")
    assert (worker.home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0

    # 3. The nodes, and whether all is well.
    assert "Ray runtime started" in shell(head, literally(start_head))
    assert "Ray runtime started" in shell(worker, literally(start_worker))
    terminal = start_head.splitlines()[0] + "\n"
    said = shell(head, terminal + literally(doctor))
    assert "shared by 2 nodes" in " ".join(said.split())

    # 4. A sweep, from the head; each command in a terminal that is then closed.
    set_up, submit, listing, logs, stop, resume, wait = literally(sweep).splitlines()
    terminal += f"{set_up}\n"
    shell(head, f"{terminal}{submit} {SHORT}")
    assert "first" in shell(head, terminal + listing)
    following = head.launch(
        "bash", "-c", terminal + logs,
        env=head.environment | {"PATH": PATH},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    folder = SweepFolder(sweeps / "first")
    wait_until(lambda: list(folder.path.glob("trials/*/metrics.jsonl")), seconds=300)
    shell(head, terminal + stop)
    assert folder.state() == "interrupted"
    followed, _ = following.communicate(timeout=60)
    assert "stopped; nothing is lost" in followed
    shell(head, terminal + resume)
    shell(head, terminal + wait)
    assert folder.state() == "finished"
    assert [result.state for result in folder.results()] == ["complete"] * 2

    # 5. Down.
    assert "Take it down, on every machine: `ray stop`." in section("### By hand")
    for machine in two:
        check_alone(machine)
        shell(machine, f"{start_worker.splitlines()[0]}\nray stop")
        assert machine.processes("raylet/raylet ") == []
    with capsys.disabled():
        print(f"\nmachines of one's own by hand, what doctor said:\n{said}")
