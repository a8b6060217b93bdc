"""A cell under ``%%lossacc`` behaves as it does without, in real kernels of two generations."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.magic.kernels import FAKE_SESSION, OLD, Kernel, old_ipykernel, plain

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module", params=["newest", OLD])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Start a kernel with the extension loaded."""
    started = Kernel(tmp_path_factory.mktemp("kernel"), old_ipykernel() if request.param == OLD else "")
    assert started.run("%load_ext jupyter_lossacc\n" + FAKE_SESSION).status == "ok"
    started.run("import jupyter_lossacc.magic.interrupt as i; i.SoftInterrupt.__init__.__defaults__ = (0.5,)")
    yield started
    started.close()


@pytest.fixture(autouse=True)
def no_events(request: pytest.FixtureRequest) -> None:
    """Forget what earlier tests made the session note."""
    if "kernel" in request.fixturenames:
        request.getfixturevalue("kernel").run("EVENTS.clear()")


def test_it_is_the_kernel_it_should_be(kernel: Kernel, request: pytest.FixtureRequest) -> None:
    version = kernel.value("__import__('ipykernel').__version__").strip("'")
    assert (version == OLD) == (OLD in request.node.name)


def test_names_stay_in_the_namespace(kernel: Kernel) -> None:
    kernel.run("%%lossacc\na = 41\ndef add(x):\n    return x + a")
    assert kernel.value("add(1)") == "42"
    assert kernel.value("EVENTS") == "['start', 'NoneType']"


def test_the_last_expression_is_shown_and_becomes_out(kernel: Kernel) -> None:
    reply = kernel.run("%%lossacc\nb = 6\nb * 7")
    assert reply.result == "42"
    assert kernel.value("Out[max(Out)]") == "42"


def test_a_semicolon_silences_it(kernel: Kernel) -> None:
    assert kernel.run("%%lossacc\n6 * 7;").result is None


def test_prints_and_displays_stay_in_order(kernel: Kernel) -> None:
    reply = kernel.run("%%lossacc\nprint('one')\ndisplay(2)\nprint('three')")
    assert (reply.stdout, len(reply.shown)) == ("one\nthree\n", 1)


FAILING = "%%lossacc\n\nx = 1\n\ndef inner():\n    return x / 0\n\ninner()"


def test_the_traceback_is_the_one_without_us(kernel: Kernel) -> None:
    """Same frames, same line numbers, one traceback: only the cell's number differs."""
    ours = kernel.run(FAILING)
    without = kernel.run(FAILING.replace("%%lossacc", "pass"))
    number = re.compile(r"In\s?\[\d+\]|Cell In\[\d+\]|<ipython-input-\S+>|ipykernel_\d+/\d+\.py")
    assert number.sub("In[n]", ours.traceback) == number.sub("In[n]", without.traceback)
    assert ours.errors == ["ZeroDivisionError"]
    assert re.search(r"line 8\b|----> 8", ours.traceback)
    assert kernel.value("EVENTS") == "['start', 'ZeroDivisionError']"


def test_run_all_stops_at_an_error(kernel: Kernel) -> None:
    reply = kernel.run("%%lossacc\n1 / 0", then="ran_on = True")
    assert (reply.status, reply.follow) == ("error", "aborted")
    assert kernel.value("'ran_on' in globals()") == "False"


def test_await_works_at_top_level(kernel: Kernel) -> None:
    reply = kernel.run(
        "%%lossacc\nimport asyncio\nawait asyncio.sleep(0.01)\nasync def f():\n    return 5\nawait f()"
    )
    assert (reply.status, reply.result) == ("ok", "5")
    assert kernel.value("EVENTS") == "['start', 'NoneType']"


@pytest.mark.parametrize(
    "head", ["%%lossacc\n%%time", "%%time\n%%lossacc", "%%lossacc wide --view none\n%%time"]
)
def test_time_above_and_below(kernel: Kernel, head: str) -> None:
    reply = kernel.run(f"{head}\nq = 7")
    assert "Wall time" in reply.stdout
    assert kernel.value("EVENTS") == "['start', 'NoneType']"
    assert kernel.value("q") == "7"


def test_capture_above(kernel: Kernel) -> None:
    reply = kernel.run("%%capture caught\n%%lossacc\nprint('hidden')")
    assert reply.stdout == ""
    assert kernel.value("(caught.stdout, EVENTS)") == r"('hidden\n', ['start', 'NoneType'])"


def test_a_cell_that_is_not_python_is_left_alone(kernel: Kernel) -> None:
    kernel.run("%%writefile note.txt\n%%lossacc\nx")
    assert kernel.value("open('note.txt').read()") == r"'%%lossacc\nx\n'"
    assert kernel.value("EVENTS") == "[]"


def test_line_magics_inside(kernel: Kernel) -> None:
    reply = kernel.run("%%lossacc\n%time q = 9\nw = !echo shell\nprint(q, w[0])")
    assert reply.stdout.endswith("9 shell\n")


def test_future_imports_and_decorated_definitions(kernel: Kernel) -> None:
    reply = kernel.run(
        "%%lossacc\nfrom __future__ import annotations\ndef f(x: Undefined): ...\nprint(f.__annotations__)"
    )
    assert reply.stdout == "{'x': 'Undefined'}\n"


def test_a_syntax_error_is_python_s_own(kernel: Kernel) -> None:
    reply = kernel.run("%%lossacc\nok = 1\nz = (1,\n  2", then="1")
    bare = kernel.run("ok = 1\nz = (1,\n  2", then="1")  # from Python 3.13 on it has a name of its own
    assert (reply.status, reply.follow, reply.errors) == ("error", "aborted", bare.errors)
    assert "line 4" in reply.traceback
    assert kernel.value("EVENTS") == "[]"


@pytest.mark.parametrize("line", ["--nope", "--view fig", "--split val=nope", "show"])
def test_a_bad_option_is_said_and_stops_the_cell(kernel: Kernel, line: str) -> None:
    reply = kernel.run(f"%%lossacc {line}\nran = True", then="1")
    assert (reply.status, reply.follow) == ("error", "aborted")
    shown = plain(reply.stderr) + reply.traceback
    assert "The cell was not run; %%lossacc? shows every option." in shown
    assert "File" not in shown
    assert kernel.value("('ran' in globals(), EVENTS)") == "(False, [])"


def test_an_interrupt_without_steps_is_an_ordinary_one(kernel: Kernel) -> None:
    """Nobody heeds the first one, so it becomes a KeyboardInterrupt like any other."""
    body = "\nimport time\nkept = 5\nprint('go')\n\n\ntime.sleep(30)"
    ours = kernel.run("%%lossacc" + body, interrupt=1, then="1")
    without = kernel.run("pass" + body, interrupt=1, then="1")
    assert ours.errors == without.errors == ["KeyboardInterrupt"]
    assert (ours.status, ours.follow) == (without.status, without.follow) == ("error", "aborted")
    number = re.compile(r"In\s?\[\d+\]|Cell In\[\d+\]|ipykernel_\d+/\d+\.py")
    assert number.sub("", ours.traceback) == number.sub("", without.traceback)
    assert kernel.value("(kept, EVENTS)") == "(5, ['start', 'KeyboardInterrupt'])"


def test_a_second_interrupt_does_not_wait(kernel: Kernel) -> None:
    kernel.run("i.SoftInterrupt.__init__.__defaults__ = (60,)")
    reply = kernel.run("%%lossacc\nimport time\nprint('go')\ntime.sleep(30)", interrupt=2, timeout=20)
    kernel.run("i.SoftInterrupt.__init__.__defaults__ = (0.5,)")
    assert reply.errors == ["KeyboardInterrupt"]


def test_an_interrupt_ends_an_awaiting_cell(kernel: Kernel) -> None:
    body = "\nimport asyncio\nprint('go')\nfor _ in range(600):\n    await asyncio.sleep(0.05)"
    ours = kernel.run("%%lossacc" + body, interrupt=1, timeout=20)
    without = kernel.run("pass" + body, interrupt=1, timeout=20)
    assert (ours.status, ours.errors) == (without.status, without.errors)
    assert kernel.run("1 + 1").result == "2"


def test_the_first_interrupt_stops_at_a_step(kernel: Kernel) -> None:
    reply = kernel.run(
        "%%lossacc\nimport time\nfrom jupyter_lossacc import StopTraining\nstop = FakeRecorder.last.stop\n"
        "print('go')\nfor step in range(10_000):\n    time.sleep(0.01)\n    if stop.is_set():\n"
        "        stop.clear()\n        raise StopTraining(step)",
        interrupt=1,
        then="ran_on = True",
    )
    assert (reply.status, reply.follow, reply.errors) == ("error", "aborted", ["StopTraining"])
    assert len(reply.traceback.strip().splitlines()) == 1
    assert "Variables keep their values" in reply.traceback
    assert kernel.value("EVENTS") == "['start', 'StopTraining']"


def test_sigint_is_back_afterwards(kernel: Kernel) -> None:
    kernel.run("%%lossacc\n1")
    assert kernel.value("__import__('signal').getsignal(2).__name__") == "'default_int_handler'"


@pytest.mark.parametrize("code", ["%%lossacc?", "%lossacc?", "?%%lossacc"])
def test_help_shows_the_options(kernel: Kernel, code: str) -> None:
    text = plain(kernel.run(code).payload)
    assert "--keep-weights best|none" in text
    assert "%lossacc explain [CAUSE]" in text
    assert kernel.value("EVENTS") == "[]"


@pytest.mark.parametrize("code", ["%%lossacc", "%lossacc"])
def test_hovering_shows_help(kernel: Kernel, code: str) -> None:
    assert kernel.ask("inspect", code, 5)["found"]


@pytest.mark.parametrize("start", ["%%lossa", "%lossa"])
def test_completion(kernel: Kernel, start: str) -> None:
    assert start + "cc" in kernel.ask("complete", start, len(start))["matches"]


def test_completion_of_names_inside_the_cell(kernel: Kernel) -> None:
    kernel.run("%%lossacc\nlong_name_of_mine = 1")
    cell = "%%lossacc\nlong_name_o"
    assert kernel.ask("complete", cell, len(cell))["matches"] == ["long_name_of_mine"]


def test_whether_a_cell_is_complete(kernel: Kernel) -> None:
    assert kernel.ask("is_complete", "%%lossacc\nfor i in x:\n    pass\n\n")["status"] == "complete"
    assert kernel.ask("is_complete", "%%lossacc\nfor i in x:\n")["status"] == "incomplete"


def test_the_history_keeps_the_cell_as_typed(kernel: Kernel) -> None:
    kernel.run("%%lossacc wide\nr = 1")
    raw = "get_ipython().history_manager.input_hist_raw"
    assert kernel.value(f"{raw}[-2]") == r"'%%lossacc wide\nr = 1'"


def test_lossacc_alone_helps(kernel: Kernel) -> None:
    reply = kernel.run("%lossacc")
    assert "--keep-weights best|none" in reply.stdout
    assert "No run in this session yet." in reply.stdout


def test_loading_again_reloading_and_unloading(kernel: Kernel) -> None:
    for line in ("%load_ext jupyter_lossacc", "%reload_ext jupyter_lossacc", "import jupyter_lossacc as la"):
        assert kernel.run(line).status == "ok"
    kernel.run("la.load_ipython_extension(get_ipython())\nEVENTS.clear()")
    kernel.run("%%lossacc\nonce = 1")
    assert kernel.value("EVENTS") == "['start', 'NoneType']"
    kernel.run("%unload_ext jupyter_lossacc\nEVENTS.clear()")
    reply = kernel.run("%%lossacc\n1")
    assert "not found" in plain(reply.stderr) + reply.traceback
    assert kernel.run("%load_ext jupyter_lossacc").status == "ok"
    kernel.run("%%lossacc\n1")
    assert kernel.value("EVENTS") == "['start', 'NoneType']"


def test_the_session_is_not_loaded_before_it_is_needed(kernel: Kernel) -> None:
    loaded = kernel.value(
        "sorted({'torch', 'pandas', 'matplotlib', 'pyarrow'} & set(__import__('sys').modules))"
    )
    assert loaded == "[]"


def test_a_notebook_run_as_a_whole_stops_at_the_failing_cell(tmp_path: Path) -> None:
    """As nbclient, papermill and "Run All" do it."""
    cells = [f"%load_ext jupyter_lossacc\n{FAKE_SESSION}", FAILING, "print('ran on')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()
    failed, after = notebook.cells[1:]
    assert [output["output_type"] for output in failed.outputs] == ["error"]
    assert after.outputs == []
