"""The machines that other tests lose: what a link that is cut and a power cut do to them."""

import subprocess

import pytest
from machines import Machine, machines, wait_until

SERVER = "import socket; s = socket.create_server(('', 5555)); print('on', flush=True); input()"


def reaches(machine: Machine, host: str) -> bool:
    """Returns whether a machine gets through to a server on another."""
    told = machine.run(
        "timeout", "1", "bash", "-c", f"echo > /dev/tcp/{host}/5555 && echo reached", check=False
    )
    return "reached" in told


@pytest.mark.cluster
def test_machines_know_each_other_until_a_link_or_their_power_is_cut():
    with machines("head", "one") as network:
        head, one = network["head"], network["one"]
        assert one.run("hostname") == "one\n"
        server = head.launch(
            "python", "-c", SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout.readline() == "on\n"
        assert reaches(one, "head")
        one.cut_link()
        assert not reaches(one, "head")
        one.heal_link()
        wait_until(lambda: reaches(one, "head"), seconds=10)
        assert len(head.processes("create_server")) == 1

        one.power_cut()
        one.start()
        assert reaches(one, "head")
        head.power_cut()
        assert server.wait(10) != 0
        server.communicate()
        folder, link = network.folder, network.link
    assert not folder.exists()
    assert link not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


@pytest.mark.cluster
def test_nothing_stays_after_a_failure():
    started = []

    def fail():
        with machines("head") as network:
            started.extend([network, network["head"].launch("sleep", "600")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    network, sleeper = started
    assert sleeper.wait(10) != 0
    assert not network.folder.exists()
