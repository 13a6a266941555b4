"""What `submit` and its fellows refuse before anything is submitted, and what needs no cluster."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray
from ray_head import free_port
from test_front import DENSE, make_point
from test_sweep import call

import hoyer_search as hs
from hoyer_search import results
from hoyer_search.errors import ConnectionFailed
from hoyer_search.results import Progress, TrialResult, TrialSpec
from hoyer_search.search.failures import add_failure
from hoyer_search.search.jobs import Jobs, is_loopback
from hoyer_search.status import sweep_status
from hoyer_search.trial.journal import Journal

TESTS = Path(__file__).parent
NOWHERE = f"http://127.0.0.1:{free_port()}"


class OpenCluster(BaseHTTPRequestHandler):
    """Answers as a Ray head does that asks for no token; a real one would run anybody's code."""

    def do_GET(self) -> None:
        node = {"node_id": "1", "node_ip": self.server.node_ip, "is_head_node": True}
        node |= {"state": "ALIVE", "node_name": "", "resources_total": {}, "labels": {}}
        node |= {"state_message": None}
        listed = {"result": [node], "total": 1, "num_after_truncation": 1, "num_filtered": 1}
        listed |= {"partial_failure_warning": "", "warnings": []}
        answers = {
            "/api/version": {"ray_version": ray.__version__},
            "/api/authentication_mode": {"authentication_mode": "disabled"},
            "/api/v0/nodes": {"result": True, "msg": "", "data": {"result": listed}},
            "/api/jobs/": self.server.jobs,
        }
        self._answer(answers[self.path.partition("?")[0]])

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.jobs.append({"type": "SUBMISSION", "status": "PENDING", **job})
        self._answer({"job_id": job["submission_id"], "submission_id": job["submission_id"]})

    def _answer(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def open_cluster():
    with ThreadingHTTPServer(("127.0.0.1", 0), OpenCluster) as server:
        server.node_ip, server.jobs = "127.0.0.1", []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_cluster_that_anybody_can_use_is_refused(open_cluster, monkeypatch, capsys, tmp_path):
    address = f"http://127.0.0.1:{open_cluster.server_port}"
    Jobs(address).check_closed()  # nobody else reaches it
    open_cluster.node_ip = "192.0.2.7"
    with pytest.raises(ConnectionFailed, match=r"whoever reaches 192\.0\.2\.7 can run code"):
        Jobs(address).check_closed()
    submit = ("submit", "quickstart", "--name", "q", "--address", address, "--storage", tmp_path)
    code, _, error = call(monkeypatch, capsys, *submit)
    assert code == 2
    assert "--insecure" in error
    assert (list(tmp_path.iterdir()), open_cluster.jobs) == ([], [])

    code, _, error = call(monkeypatch, capsys, *submit, "--insecure")
    assert code == 0, error
    (job,) = open_cluster.jobs
    assert job["submission_id"] == "q"
    assert job["entrypoint"].startswith(f"python -m hoyer_search drive q --storage {tmp_path}")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.3", True), ("::1", True), ("10.0.0.1", False), ("a", False)],
)
def test_loopback(host, expected):
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstarts"], "did you mean 'quickstart'"),
        (["quickstart", "--set", "budget.trails=3"], "did you mean 'trials'"),
        (["quickstart", "--name", "../out"], "got '../out'"),
        (["quickstart", "--set", "model.arguments.wide=3"], "unexpected keyword argument 'wide'"),
        (["TOY", "--working-dir", "/dev/null"], "must be a folder with your code"),
        (["TOY", "--working-dir", "."], "No module named 'toys'"),
        (["TOY", "--runtime-env", "TOY"], "unknown fields"),
        (["TOY", "--runtime-env", "/dev/null"], "must be a mapping"),
        (["TOY", "--storage", "runs"], "absolute path, e.g. /shared/runs; got 'runs'"),
        (["TOY", "--tracking-uri", "http://me:secret@host:5000"], "may hold no password"),
        (["TOY", "--address", "head:6379"], "e.g. http://head:8265; got 'head:6379'"),
        (["TOY", "--retries", "-1"], "-1 is not in the range"),
        (["TOY"], "Give the address of its dashboard"),
    ],
)
def test_bad_input_is_refused(monkeypatch, capsys, toy_file, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if Path(p) != TESTS])
    monkeypatch.delitem(sys.modules, "toys", raising=False)
    given = [str(toy_file) if a == "TOY" else a for a in arguments]
    if "--address" not in given:
        given += ["--address", NOWHERE]
    if "--storage" not in given:
        given += ["--storage", str(tmp_path / "runs")]
    code, out, error = call(monkeypatch, capsys, "submit", *given)
    assert code == 2, out + error
    assert message in " ".join(error.split())
    assert "secret" not in error
    assert not (tmp_path / "runs").exists()


def test_a_taken_name_is_refused(monkeypatch, capsys, toy_config, make_sweep):
    folder = make_sweep(toy_config())
    where = ("--storage", folder.path.parent, "--address", NOWHERE)
    code, _, error = call(monkeypatch, capsys, "submit", "quickstart", "--name", "sweep", *where)
    assert code == 2
    assert "exists already" in error
    code, _, error = call(monkeypatch, capsys, "resume", "sweep", "--set", "seed=2", *where)
    assert code == 2
    assert "only budget.*, resources.*, confirm may change" in error
    code, _, error = call(monkeypatch, capsys, "resume", "sweep", "--working-dir", ".")
    assert code == 2
    assert "give --address http://HEAD:8265" in error


@pytest.fixture
def half_done(toy_config, make_sweep):
    """A sweep of 5 trials: one ended, one under way, the rest not begun."""
    folder = make_sweep(toy_config(budget__trials=5))
    folder.pretrained("x").mkdir()
    results.save(folder.pretrained("x") / "dense.json", DENSE)
    for number in range(2):
        spec = {"number": number, "uid": f"00{number}-abcdef", "params": {"decay": 1e-4}}
        folder.add_trial(TrialSpec(**spec, config={}))
        journal = Journal(folder.trial(spec["uid"]) / "metrics.jsonl")
        for epoch in (1, 2):
            journal.add(
                Progress(
                    stage="regularize",
                    epoch=epoch,
                    epochs=4,
                    time=100.0 + epoch,
                    metrics={"val_accuracy": 0.5},
                    wall_seconds=900.0 * epoch,
                )
            )
    point = make_point(0, 0.98, 400)
    ended = TrialResult(
        number=0, uid="000-abcdef", params={"decay": 1e-4}, state="complete", dense=DENSE,
        points=[point], wall_seconds={"regularize": 3600.0},
    )  # fmt: skip
    results.save(folder.trial("000-abcdef") / "result.json", ended)
    add_failure(folder, folder.spec("001-abcdef"), "ValueError: no luck\n")
    return folder


def test_status_counts_trials_and_the_time_left(half_done, monkeypatch, capsys):
    where = ("--storage", half_done.path.parent)
    counts = {"complete": 1, "stopped": 0, "failed": 0, "left": 3}
    with half_done.lock():
        status = sweep_status(half_done)
    assert status["trials"] == {"running": 1, "interrupted": 0, **counts}
    (step,) = status["running"]
    assert (step["number"], step["stage"], step["epoch"]) == (1, "regularize", 2)
    # Three trials of an hour and half of one, one after the other.
    assert status["hours_left"] == pytest.approx(3.5)

    code, out, _ = call(monkeypatch, capsys, "status", "sweep", "--json", *where)
    status = json.loads(out)
    assert code == 0
    assert status["trials"] == {"running": 0, "interrupted": 1, **counts}
    assert (status["state"], status["hours_left"], status["job"]) == ("interrupted", None, None)
    code, out, _ = call(monkeypatch, capsys, "status", "sweep", *where)
    assert "sweep sweep: interrupted; 1 interrupted, 1 complete, 3 left" in out
    assert "trial 1: regularize 2/4, val 50.00%" in out
    assert "operating points" in out

    code, out, _ = call(monkeypatch, capsys, "list", "--json", *where)
    (row,) = json.loads(out)
    assert (row["sweep"], row["state"], row["job"]) == ("sweep", "interrupted", None)
    code, out, _ = call(monkeypatch, capsys, "list", *where)
    assert "1 interrupted, 1 complete, 3 left" in out


def test_the_status_of_a_sweep_that_is_no_job_of_the_cluster(
    half_done, open_cluster, monkeypatch, capsys
):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{open_cluster.server_port}")
    where = ("--json", "--storage", half_done.path.parent)
    code, out, error = call(monkeypatch, capsys, "status", "sweep", *where)
    assert code == 0, error
    assert (json.loads(out)["state"], json.loads(out)["job"]) == ("interrupted", None)
    code, _, error = call(monkeypatch, capsys, "status", "other", *where)
    assert (code, "knows no job of sweep 'other'" in error) == (2, True)


def test_the_log_of_a_trial(half_done, monkeypatch, capsys):
    where = ("--storage", half_done.path.parent)
    curve = Progress(stage="curve", epoch=3, epochs=3, time=103.0, metrics={})
    Journal(half_done.trial("000-abcdef") / "metrics.jsonl").add(curve)
    code, out, _ = call(monkeypatch, capsys, "logs", "sweep", "--trial", 0, "--follow", *where)
    assert code == 0
    assert out.splitlines() == [
        "regularize 1/4: val_accuracy 0.5",
        "regularize 2/4: val_accuracy 0.5",
        "curve 3/3",
        "complete: 000-abcdef-0",
    ]
    code, out, _ = call(monkeypatch, capsys, "logs", "sweep", "--trial", 1, "--json", *where)
    entries = [json.loads(line) for line in out.splitlines()]
    assert [e.get("epoch") for e in entries] == [1, 2, None]
    assert "no luck" in entries[2]["error"]
    code, _, error = call(monkeypatch, capsys, "logs", "sweep", "--trial", 7, *where)
    assert code == 2
    assert "its trials are 0 to 1" in error
    code, _, error = call(monkeypatch, capsys, "logs", "sweep", *where)
    assert code == 2
    assert "give --address" in error


def test_names_stay_in_their_folder():
    with pytest.raises(hs.HoyerSearchError, match=r"got '\.\./x'"):
        hs.open_job("../x", address=NOWHERE)
