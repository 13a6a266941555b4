"""What of a sweep waits for MLflow, counted from its folder."""

from conftest import Builder

from hoyer_search.tracking import default_uri, sync
from hoyer_search.tracking.waiting import num_waiting


def test_rows_wait_until_mlflow_has_them(stored: Builder) -> None:
    uri = default_uri(stored.folder.path.parent)
    stored.pretrain()
    assert num_waiting(stored.folder, uri) == 0
    spec = stored.start(0)
    stored.epochs(spec, 3)
    assert num_waiting(stored.folder, uri) == 3
    sync(stored.folder, uri, running=True)
    assert num_waiting(stored.folder, uri) == 0

    stored.epochs(spec, 2, first=4)
    assert num_waiting(stored.folder, uri) == 2
    stored.end(spec)  # with three finetunings of two epochs
    assert num_waiting(stored.folder, uri) == 2 + 6 + 1
    with (stored.folder.trial(spec.uid) / "metrics.jsonl").open("a") as file:
        file.write('{"half a line')
    assert num_waiting(stored.folder, "sqlite:////tmp/another.db") == 5 + 6 + 1
    sync(stored.folder, uri, running=True)
    assert num_waiting(stored.folder, uri) == 0
