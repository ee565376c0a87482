"""Which of the runs in a folder are the ones asked for."""

import pytest

from experiments import sweep
from runner.config import Config
from runner.files import read_json, write_json
from runner.run import find_runs
from tests.helpers.fake_runs import fake_run

DATA = {"slug": "cifar10", "sha256": "cifar10" * 3}  # as fake_run says


@pytest.mark.parametrize("saved", [False, True, None], ids=["plain", "compiled", "before there was the setting"])
def test_run_of_another_step_is_not_the_run_asked_for(tmp_path, saved):
    folder = fake_run(tmp_path, compile=bool(saved))
    if saved is None:
        content = read_json(folder / "config.json")
        del content["settings"]["compile"]
        write_json(folder / "config.json", content)
    for is_compiled in (False, True):
        asked = Config("Q1_1", compile=is_compiled, results_dir=str(tmp_path))
        [job] = sweep.plan([asked])
        is_asked_for = is_compiled == bool(saved)
        why = f"it has --compile {'on' if saved else 'off'}, not {'on' if is_compiled else 'off'}"
        changed = {} if is_asked_for else {folder: why}
        assert find_runs(asked, DATA, None) == ([folder] if is_asked_for else [], changed)
        # So a sweep takes its result, or trains it anew and says why.
        assert (sweep.result_of(job, DATA) is not None) == is_asked_for
        assert sweep.changed_runs([job], DATA) == changed
