"""The networks, and own ones."""

import hashlib
import io
import itertools
import os
import py_compile
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
import utils
from models import OWN, ModelSpec, Net, count_parameters
from runner import machine
from runner.errors import UsageError
from tests.helpers import internals
from tests.helpers.paths import PROJECT

PARAMETERS = {
    "Q1_1": 62_006, "Q1_2": 37_406, "Q1_3": 81_302, "Q1_4": 6_194, "Q1_5": 61_694, "Q1_6": 44_028, "Q1_7": 52_202,
    "Q1_8": 75_762, "Q1_9": 89_918, "Q1_10": 102_922, "Q1_11": 429_330, "Q1_12": 44_912, "Q1_13": 36_798,
    "Q1_14": 43_100, "Q1_15": 49_402, "Q1_16": 55_704, "Q1_17": 30_044, "Q1_18": 26_943, "Q1_19": 550_570,
    "Q1_20": 356_810, "Q1_21": 164_234, "Q1_22": 105_258, "Q1_23": 960_298, "Q1_24": 960_298, "Q1_25": 2_141_610,
    "Q2_1": 1_119_926, "Q2_2": 2_618_562,
}  # fmt: skip
REBUILT = {"Q1_4", "Q1_5", "Q1_6", "Q1_12", "Q1_17", "Q1_18", *(f"Q1_{i}" for i in range(20, 26)), "Q2_2"}

ROWS = {
    "Q1_19": [
        ("Conv2d-1", "[-1, 32, 32, 32]", "896"), ("Conv2d-2", "[-1, 32, 32, 32]", "9,248"),
        ("MaxPool2d-3", "[-1, 32, 16, 16]", "0"), ("Conv2d-4", "[-1, 64, 16, 16]", "18,496"),
        ("Conv2d-5", "[-1, 64, 16, 16]", "36,928"), ("MaxPool2d-6", "[-1, 64, 8, 8]", "0"),
        ("Conv2d-7", "[-1, 128, 8, 8]", "73,856"), ("Conv2d-8", "[-1, 128, 8, 8]", "147,584"),
        ("MaxPool2d-9", "[-1, 128, 4, 4]", "0"), ("Linear-10", "[-1, 128]", "262,272"),
        ("Linear-11", "[-1, 10]", "1,290"),
    ],
    "Q1_11": [
        ("Conv2d-1", "[-1, 10, 28, 28]", "760"), ("MaxPool2d-2", "[-1, 10, 14, 14]", "0"),
        ("Conv2d-3", "[-1, 36, 10, 10]", "9,036"), ("MaxPool2d-4", "[-1, 36, 5, 5]", "0"),
        ("Linear-5", "[-1, 400]", "360,400"), ("Linear-6", "[-1, 120]", "48,120"), ("Linear-7", "[-1, 84]", "10,164"),
        ("Linear-8", "[-1, 10]", "850"),
    ],
}  # fmt: skip


def test_table_holds_the_27_models_in_natural_order():
    assert [model.name for model in models.TABLE] == list(PARAMETERS)
    assert {model.name for model in models.TABLE if model.known_from == models.REBUILT} == REBUILT
    assert all(model.change for model in models.TABLE)
    assert {model.question for model in models.TABLE} == {"Q1", "Q2"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_exact(name):
    network = models.build(name)
    assert count_parameters(network) == models.find(name).parameters == PARAMETERS[name]
    assert sum(layer.parameters for layer in models.find(name).layers()) == PARAMETERS[name]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", ROWS)
def test_torchsummary_prints_exactly_these_rows(name):
    from torchsummary import summary

    text = io.StringIO()
    with redirect_stdout(text):
        summary(models.build(name), (3, 32, 32), device="cpu")
    table = text.getvalue().split("=" * 64)[1].strip().splitlines()
    rows = [tuple(line.replace(", ", ",").split()) for line in table]
    assert [(a, b.replace(",", ", "), c) for a, b, c in rows] == ROWS[name]


def test_q1_1_computes_what_the_textbook_network_computes():
    network = models.build("Q1_1")
    c1, _, c2, _, l1, l2, l3 = network.layers
    x = torch.randn(5, 3, 32, 32)
    h = F.max_pool2d(F.relu(F.conv2d(x, c1.weight, c1.bias)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, c2.weight, c2.bias)), 2).flatten(1)
    expected = l3(F.relu(l2(F.relu(l1(h)))))
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("name", ["Q1_1", "Q1_4", "Q1_19", "Q2_1"])
def test_relu_after_pool_trains_bitwise_as_before_it(name):
    torch.manual_seed(0)
    network = models.build(name)
    images = torch.randn(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)

    def textbook(x):
        *hidden, last = network.layers
        for layer in hidden:
            x = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
            if not name.startswith("Q2") and isinstance(layer, (nn.Conv2d, nn.Linear)):
                x = torch.relu(x)
        return last(x.flatten(1))

    gradients = [
        torch.autograd.grad(forward(images).square().sum(), list(network.parameters()))
        for forward in (network, textbook)
    ]
    assert torch.equal(network(images), textbook(images))
    assert all(map(torch.equal, *gradients))


def test_pool_before_any_convolution_gets_no_relu():
    network = Net(ModelSpec("Own", "P 4k3", "", None, OWN, ""))
    seen = []
    network.layers[1].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].min()))
    network(-torch.ones(1, 3, 32, 32))
    assert seen == [-1]


@pytest.mark.parametrize(("name", "affine"), [("Q2_1", True), ("Q2_2", True), ("Q1_1", False)])
def test_question_2_is_affine_in_the_image(name, affine):
    torch.manual_seed(0)
    network = models.build(name).double()
    a, b = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        error = (network(a + b) - network(a) - network(b) + network(torch.zeros_like(a))).abs().max().item()
    assert (error < 1e-12) == affine
    assert affine or error > 1e-3


def test_q1_24_is_q1_23_with_dropout_before_the_head():
    plain, dropped = models.build("Q1_23").eval(), models.build("Q1_24")
    rename = dict(zip(plain.state_dict(), dropped.state_dict()))
    dropped.load_state_dict({rename[key]: value for key, value in plain.state_dict().items()})
    x = torch.randn(2, 3, 32, 32)
    seen = []
    next(m for m in dropped.modules() if isinstance(m, nn.Dropout)).register_forward_hook(
        lambda m, i, o: seen.append((i[0], o))
    )
    assert not torch.equal(dropped.train()(x), plain(x))
    before, after = seen[0]
    assert before.shape == (2, 256 * 4 * 4)
    assert 0.4 < ((after == 0) & (before != 0)).sum() / (before != 0).sum() < 0.6
    torch.testing.assert_close(dropped.eval()(x), plain(x))


@pytest.mark.parametrize("spelling", ["Q1_4", "q1_4", "Q1-4", "q1-4", " Q1_4 "])
def test_names_may_be_spelled_loosely(spelling):
    assert models.find(spelling).name == "Q1_4"


def test_find_of_unknown_name_brings_the_nearest():
    with pytest.raises(models.UnknownModel, match=r"Q1_19.*--list-models"):
        models.find("Q1_199")


def test_listing_shows_count_structure_and_reason():
    for width in (80, 300):
        text = models.listing(width)
        for model in models.TABLE:
            assert f"{model.parameters:,}" in text
            assert f"{model.name} " in text
            assert model.features in text
            assert model.change in text
        assert width > 100 or max(map(len, text.splitlines())) <= 84
        assert "not\nnecessarily the original" in text


def test_row_with_a_wrong_count_is_refused(registry):
    registry["q1_1"] = replace(models.find("Q1_1"), parameters=62_007)
    with pytest.raises(UsageError, match=r"62,006 parameters, its row says 62,007"):
        models.build("Q1_1")


@pytest.mark.parametrize(
    ("features", "head"),
    [("6k5 Q", "120"), ("6k5", "x"), ("6k33", "120"), ("6k4p", "1"), ("6k0", "1"), ("6k5 P P P P P", "1")],
)
def test_row_that_cannot_be_built_says_why(features, head):
    with pytest.raises(ValueError, match="Mine: "):
        models.ModelSpec("Mine", features, head, None).layers()


@pytest.mark.parametrize("classes", [2, 100, 1000])
@pytest.mark.parametrize("name", ["Q1_1", "Q1_24", "Q2_1"])
def test_last_layer_gives_a_logit_for_each_class(name, classes):
    *_, last = models.find(name).layers()
    network = models.build(name, classes).eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, classes)
    assert count_parameters(network) == models.find(name).parameters + (classes - 10) * (last.inputs + 1)


def test_registry_row_makes_a_model(registry):
    registry["tiny"] = models.ModelSpec("Tiny", "4k3 P", "", None)
    assert count_parameters(models.build("tiny")) == 4 * 28 + 10 * (4 * 15 * 15 + 1)


def test_register_adds_own_module(registry):
    @models.register("Own", change="nothing but pixels")
    class Own(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(3072, 10))

    assert isinstance(models.build("own"), Own)
    assert "nothing but pixels" in models.listing()
    with pytest.raises(ValueError, match="Own exists"):
        models.register("OWN")(Own)
    with pytest.raises(ValueError, match="can't name"):
        models.register("a/b")(Own)
    with pytest.raises(ValueError, match="can't name a model, as it names a folder: use at most 140 letters"):
        models.register("x" * 141)(Own)


def test_own_modules_that_do_not_work_say_why(registry):
    models.register("Narrow")(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)))
    models.register("Broken")(lambda: nn.Sequential(nn.Linear(3072, 10)))
    models.register("Greedy")(lambda size: None)
    for name, reason in (
        ("Narrow", r"makes \(2, 5\) of 2 images"),
        ("Broken", "RuntimeError"),
        ("Greedy", "TypeError"),
    ):
        with pytest.raises(UsageError, match=f"{name} .*{reason}"):
            models.build(name)
    with pytest.raises(ValueError, match=r'@register\("Name"\)'):
        models.register(nn.Linear)


def test_own_module_trial_leaves_it_and_random_numbers_alone(registry):
    models.register("Norm")(lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(3072, 10)))
    torch.manual_seed(0)
    network = models.build("Norm")
    after = torch.rand(1)
    torch.manual_seed(0)
    nn.Linear(3072, 10)
    assert torch.equal(after, torch.rand(1))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert "BatchNorm2d-1" in utils.parameter_summary(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_summary_says_why_its_sums_differ():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.last = nn.Parameter(torch.ones(3)), nn.Linear(3072, 10)

        def forward(self, x):
            return self.last(x.flatten(1)) * self.scale.sum()

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.same, self.last = nn.Linear(32, 32), nn.Linear(3072, 10)

        def forward(self, x):
            return self.last(self.same(self.same(x)).flatten(1))

    for network, counted, why in (
        (Scaled(), 30_730, "counts the weight and"),
        (Twice(), 32_842, "counts a layer each time"),
    ):
        line = utils.parameter_summary(network).splitlines()[-1]
        assert line.startswith(f"Trainable parameters: {utils.count_parameters(network):,} (")
        assert f"adds up to {counted:,}: it {why}" in line
    assert utils.parameter_summary(models.build("Q1_1")).endswith("Trainable parameters: 62,006\n")


def test_summary_falls_back_where_torchsummary_fails():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.last = nn.LSTM(96, 8, batch_first=True), nn.Linear(8, 10)

        def forward(self, x):
            return self.last(self.lstm(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])

    summary = utils.parameter_summary(Recurrent())
    assert "can't make a table of this network" in summary
    assert "(lstm): LSTM(96, 8" in summary
    assert re.search(r"^lstm.weight_ih_l0 +\[32, 96\] +3,072$", summary, re.MULTILINE)
    assert summary.endswith("Trainable parameters: 3,482\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = = 1", r"mine\.py: SyntaxError"),
        ("\nimport no_such_module", r"mine\.py, line 2: ModuleNotFoundError"),
        (
            "from models import register\n@register\nclass A: pass",
            r"mine\.py, line 2: ValueError: give the model a name",
        ),
    ],
)
def test_file_of_models_with_a_mistake_is_told_with_its_line(tmp_path, text, reason):
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        models.load_file(tmp_path / "mine.py")
    with pytest.raises(UsageError, match="ends in .py"):
        models.load_file(tmp_path / "README.md")


@pytest.fixture
def zoo(tmp_path, registry):
    """Makes files in a folder, and loads one of them as the file of own models."""
    modules, path = dict(sys.modules), list(sys.path)

    def load(name, **others):
        for file, text in others.items():
            target = tmp_path / f"{file.replace('__', '/').replace('init', '__init__')}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        models.load_file(tmp_path / name)
        assert sys.path == path
        assert sys.modules["models"] is models
        assert sys.modules["utils"] is utils

    yield load
    for name in sys.modules.keys() - modules:
        del sys.modules[name]


NEIGHBOUR = "from torch import nn\nWIDTH = 3072\nclass Flat(nn.Flatten):\n    pass\n"
LAZY = """
from torch import nn
from cifar10_runner import register
{imports}

@register("Zoo")
class Zoo(nn.Sequential):
    def __init__(self):
        from models.flat import WIDTH
        super().__init__(Flat(), nn.Linear(WIDTH, 10))

    def forward(self, images):
        from utils import factor
        return factor * super().forward(images)
"""


@pytest.mark.parametrize(
    "imports", ["from models.flat import Flat", "from models import Flat; import utils; utils.factor"]
)
def test_own_file_finds_what_lies_beside_it_where_it_bears_our_names(zoo, imports):
    text = LAZY.format(imports=imports)
    zoo("mine.py", mine=text, models__flat=NEIGHBOUR, models__init="from .flat import *\n", utils="factor = 2\n")
    models.build("Zoo")
    with models.find("Zoo").beside, models.find("Zoo").beside:
        assert models.build("Zoo")(torch.zeros(3, 3, 32, 32)).shape == (3, 10)
        assert sys.modules["utils"].factor == 2
    assert sys.modules["utils"] is utils


def test_own_file_finds_a_package_without_init(zoo):
    text = LAZY.format(imports="from models.flat import Flat")
    zoo("mine.py", mine=text, models__flat=NEIGHBOUR, utils="factor = 2\n")
    models.build("Zoo")


def test_own_file_finds_its_neighbours_as_a_script_does(zoo):
    zoo("flatter.py", flat=NEIGHBOUR, flatter="import models, flat\nmodels.register('Flatter')(flat.Flat)\n")
    with pytest.raises(UsageError, match=r"makes \(2, 3072\)"):
        models.build("Flatter")


def test_own_file_may_bear_our_name_and_lie_beside_a_folder_of_data(zoo, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "utils").mkdir()
    text = "import torch, data, utils\nfrom models import register\nutils.EvalMetrics, data.Loader\n"
    zoo("models.py", models=text + "register('Linear')(lambda: torch.nn.Linear(1, 1))\n")
    assert models.find("Linear").known_from == OWN


def test_own_file_in_the_programs_folder_finds_the_program():
    assert not models.Neighbours(PROJECT / "mine.py").names


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("from .flat import Flat", "mine.py is in no package, as a script is in none: write from flat import Flat"),
        ("from . import flat", "write import flat"),
        ("from ..models.flat import Flat  # so", "write from models.flat import Flat"),
        ("import dotted", "have it beside the folder NAME, and import from NAME.NAME"),
        ("from models import register", "write from cifar10_runner import register"),
    ],
)
def test_import_that_cannot_work_is_told_how_it_can(zoo, tmp_path, text, remedy):
    with pytest.raises(UsageError) as told:
        zoo("mine.py", mine=text, dotted="from .flat import Flat", flat=NEIGHBOUR, models__init="")
    assert "mine.py, line 1: ImportError" in str(told.value)
    assert remedy in str(told.value).replace(tmp_path.name, "NAME")
    assert sys.modules["models"] is models


def test_readmes_own_models_work(registry):
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r'^    (ModelSpec\("Tiny".*\)),$', readme, re.MULTILINE)
    models._add(eval(line, vars(models)))
    assert models.build("Tiny")(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    ((path, block),) = re.findall(r"```python\n# (docs/.*?\.py)\n(.*?)```", readme, re.DOTALL)
    assert (PROJECT / path).read_text(encoding="utf-8").endswith(f"\n{block}")
    models.load_file(PROJECT / path)
    assert count_parameters(models.build("NoConv")) == 3073 * 120 + 121 * 84 + 85 * 10


def test_register_takes_a_name_once(registry):
    with pytest.raises(ValueError, match="Q1_1 exists already"):
        models._add(replace(models.find("Q1_2"), name="q1-1"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("q1-19", ["Q1_19"]),
        ("Q1_19,Q2_1,Q1_19", ["Q1_19", "Q2_1"]),
        ("Q1_2?", ["Q1_20", "Q1_21", "Q1_22", "Q1_23", "Q1_24", "Q1_25"]),
        ("q2-*", ["Q2_1", "Q2_2"]),
        ("Q1_[12]", ["Q1_1", "Q1_2"]),
        ("all", [model.name for model in models.TABLE]),
    ],
)
def test_select_finds_models_of_a_list(names, expected):
    assert [model.name for model in models.select(names)] == expected


@pytest.mark.parametrize("names", ["", ",", "Q1_1,", "Q9_*", "Q1_1,Q1_99", "?"])
def test_select_rejects_unknown_name(names):
    with pytest.raises(models.UnknownModel):
        models.select(names)


@pytest.mark.parametrize("name", [model.name for model in models.TABLE])
def test_macs_of_the_table_are_those_of_the_network(name):
    assert sum(layer.macs for layer in models.find(name).layers()) == machine.count_macs(models.build(name))


MINE = "from cifar10_runner import register\nfrom torch import nn\n{}\nregister('Mine')(nn.Identity)\n"
BESIDE = {
    "blocks.py": "import torch\n",
    "lazy.py": "",
    "package/deep/inner.py": "from ..sibling import x\nfrom . import near\n",
    "package/deep/near.py": "",
    "package/sibling.py": "x = 1\n",
    "unused.py": "",
    "package/unused.py": "",
}
IMPORTS = "import blocks, random\nfrom package.deep import inner\ndef late():\n    import lazy\n"


@pytest.fixture
def sha256_of(tmp_path, monkeypatch):
    """Loads a file ``mine.py`` with these imports and files beside it, and tells the SHA-256 of its model."""
    numbers = itertools.count()

    def load(imports, beside):
        folder = tmp_path / str(next(numbers))
        for file, text in {**beside, "mine.py": MINE.format(imports)}.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        before = set(sys.modules)
        with monkeypatch.context() as patch:
            internals.copy_registry(patch.setattr)
            models.load_file(folder / "mine.py")
            found = models.find("Mine").sha256
        for name in sys.modules.keys() - before:
            del sys.modules[name]
        return found

    return load


@pytest.mark.parametrize("changed", BESIDE)
def test_hash_of_own_model_is_of_all_that_its_file_imports_beside_it(sha256_of, changed):
    first, same = (sha256_of(IMPORTS, BESIDE) for _ in range(2))
    other = sha256_of(IMPORTS, BESIDE | {changed: BESIDE[changed] + "# changed\n"})
    assert first == same
    assert (other != first) == ("unused" not in changed)


def test_hash_of_own_model_that_imports_nothing_beside_it_is_its_files(sha256_of):
    expected = hashlib.sha256(MINE.format("import random").encode()).hexdigest()
    assert sha256_of("import random", BESIDE) == expected
    assert sha256_of("import blocks", BESIDE) != hashlib.sha256(MINE.format("import blocks").encode()).hexdigest()


def test_star_stands_for_every_module_of_a_package(sha256_of):
    package = {"nets/__init__.py": "__all__ = ['size']\n", "nets/size.py": "N = 60\n"}
    star, named = "from nets import *", "import nets"
    assert sha256_of(star, package) != sha256_of(star, package | {"nets/size.py": "N = 100\n"})
    assert sha256_of(named, package) == sha256_of(named, package | {"nets/size.py": "N = 100\n"})
    assert sha256_of("from torch import *", {}) == sha256_of("from torch import *", {})


@pytest.mark.parametrize("changed", ["mine.py", "size.py", "nets/inner.py"])
def test_module_whose_text_changed_within_its_time_and_size_is_run_as_it_is(tmp_path, changed):
    """Python would take the cache of the text before, as rsync and tar keep times."""
    texts = {
        "mine.py": "from cifar10_runner import register\nfrom torch import nn\nimport size\nfrom nets import inner\n"
        "A = 11\nregister('Mine')(lambda: nn.Linear(A, size.B * inner.C))\n",
        "size.py": "B = 11\n",
        "nets/inner.py": "C = 11\n",
    }
    ask = "import models; models.load_file('mine.py'); print(models.find('Mine').module())"

    def shapes():
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PROJECT)!r}); {ask}"],
            cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""}, capture_output=True, encoding="utf-8",
        )  # fmt: skip
        return done.stdout.strip() or done.stderr

    def write():
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
            os.utime(tmp_path / name, (10**9, 10**9))

    write()
    for name in texts:
        py_compile.compile(str(tmp_path / name))  # as another program may have done
    assert shapes() == "Linear(in_features=11, out_features=121, bias=True)"
    texts[changed] = texts[changed].replace("11", "22")
    write()
    expected = (22, 121) if changed == "mine.py" else (11, 242)
    assert shapes() == "Linear(in_features={}, out_features={}, bias=True)".format(*expected)


def test_module_without_its_source_is_not_found(tmp_path):
    (tmp_path / "size.py").write_text("B = 11\n", encoding="utf-8")
    py_compile.compile(str(tmp_path / "size.py"), cfile=str(tmp_path / "size.pyc"))
    (tmp_path / "size.py").unlink()
    (tmp_path / "mine.py").write_text("import size\n", encoding="utf-8")
    with pytest.raises(UsageError, match="No module named 'size'"):
        models.load_file(tmp_path / "mine.py")


def test_hash_leaves_out_the_program(tmp_path):
    """A file of models in the program's own folder imports the program, which has a commit."""
    path = PROJECT / "mine.py"  # need not be there
    neighbours = models.Neighbours(path)
    content = b"import models, report.stats\nfrom runner import rng\n"
    with pytest.MonkeyPatch.context() as patch:
        read = Path.read_bytes
        patch.setattr(Path, "read_bytes", lambda self: content if self == path else read(self))
        assert neighbours.sources(path) == {"mine.py": content}


def test_row_of_ones_own_is_told_by_what_it_says():
    rows = [ModelSpec("Tiny", features, head, None) for features, head in (("8k3 P", "64"), ("8k3 P", "D 64"))]
    assert rows[0].sha256 != rows[1].sha256
    assert {spec.sha256 for spec in models.TABLE} == {None}
