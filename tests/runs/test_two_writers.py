"""Two processes and one folder: one writes at a time, the other waits or says what to do; a claim ends with its holder."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest

import bench
from bench.engines.native_engine import NativeEngine
from bench.machine.child import environment
from bench.report import style
from bench.report.build import build
from bench.store import claims
from bench.store.claims import Claimed, claim
from bench.store.folder import held, held_for_report
from bench.store.parts import Store

CELLS = bench.expand(depth=1, width=4, n_samples=[4, 8], tau=0.5, max_epochs=20)


@contextmanager
def holder(folder, name):
    """Another process that holds a claim until it is killed."""
    code = f"""
import time
from pathlib import Path
from bench.store.claims import claim
with claim(Path({str(folder)!r}), {name!r}):
    print(flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_run_of_a_folder_says_since_when_another_writes_there_and_how_to_take_it_over(memcap, tmp_path):
    (tmp_path / "mine").mkdir()
    run = ("grid=smoke", "run_dir=mine", "max_epochs=5", "grid.n_samples=[4]", "grid.width=[4]", "grid.depth=[1]")
    with holder(tmp_path / "mine", "run") as other:
        status, out, err = memcap(*run, "fresh=true")
        assert (status, out) == (75, "")
        assert re.fullmatch(
            r"memcap: mine: another run has written into it since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; wait for its end, or stop"
            r" it; should it hang, rm mine/\.run\.claim takes the folder over\n",
            err,
        )
        other.kill()
        other.wait()
        # What it left is no claim any more, at once.
        assert memcap(*run)[0] == 0
    assert not list((tmp_path / "mine").glob(".*"))


def test_a_folder_that_is_taken_over_is_written_to_no_more(tmp_path):
    with held(tmp_path, fresh=False) as own:
        store = Store(tmp_path, own.check)
        store.write_plan(CELLS[:1])
        (tmp_path / ".run.claim").unlink()
        with held(tmp_path, fresh=False):
            with pytest.raises(Claimed) as error:
                store.write_plan(CELLS)
            assert str(error.value) == f"{tmp_path}: was taken over by another process, so this one has stopped"
        assert not own.holds()
    assert len(Store(tmp_path).read_cells()) == 1


def test_a_folder_that_is_removed_while_training_is_one_line_and_is_not_made_again(tmp_path, monkeypatch):
    import shutil

    train = NativeEngine.train

    def remove(self, pack, **options):
        shutil.rmtree(tmp_path / "mine")
        yield from train(self, pack, **options)

    monkeypatch.setattr(NativeEngine, "train", remove)
    with pytest.raises(Claimed) as error:
        bench.run(CELLS, run_dir=tmp_path / "mine", engine="native", device="cpu")
    rule = "was removed while this process wrote into it, so this one has stopped"
    assert str(error.value) == f"{tmp_path / 'mine'}: {rule}"
    assert not (tmp_path / "mine").exists()


def test_a_second_report_waits_for_the_first_and_a_run_waits_for_neither(tmp_path, capsys):
    bench.run(CELLS, run_dir=tmp_path)
    ended: list[float] = []

    def first(holds: threading.Event) -> None:
        with held_for_report(tmp_path):
            holds.set()
            bench.run(CELLS, run_dir=tmp_path)
            time.sleep(0.3)
            ended.append(time.monotonic())

    holds = threading.Event()
    thread = threading.Thread(target=first, args=(holds,))
    thread.start()
    holds.wait()
    build(tmp_path)
    thread.join()
    assert ended and "another report of" in capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_mtime > 0 and not list(tmp_path.glob(".*"))


@pytest.fixture
def other_machine(monkeypatch, tmp_path):
    """Claims that are made under it are of another machine, whose locks this one does not see; claims expire soon."""
    monkeypatch.setattr(claims, "BEAT_S", 0.05)
    monkeypatch.setattr(claims, "EXPIRY_S", 0.5)
    monkeypatch.setattr(claims, "LOOK_EVERY_S", 0.05)
    boot = tmp_path / "boot_id"
    boot.write_text("another")

    @contextmanager
    def there():
        with monkeypatch.context() as patched:
            patched.setattr(claims, "BOOT_ID", boot)
            yield

    return there


def test_a_claim_of_another_machine_holds_as_long_as_it_is_touched(other_machine, tmp_path, capsys):
    with other_machine():
        theirs = claim(tmp_path, "run")
        own = theirs.__enter__()
    began = time.monotonic()
    with pytest.raises(Claimed, match="another run has written into it since"), claim(tmp_path, "run"):
        pass
    # A touch is seen well before a claim would expire.
    assert time.monotonic() - began < claims.EXPIRY_S
    assert "or for 0.5 s without a sign of life from it" in capsys.readouterr().out
    # The other machine stops.
    own._ended.set()
    own._beats.join()
    with claim(tmp_path, "run") as taken:
        assert taken.holds() and not own.holds()
        with pytest.raises(Claimed):
            own.check()
        # And comes back: what it gives up is not the claim of the one that took over.
        theirs.__exit__(None, None, None)
        assert taken.holds()


def test_without_hard_links_one_at_a_time_has_a_claim_too(monkeypatch, tmp_path):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(claims.os, "link", refuse)
    with claim(tmp_path, "run") as own:
        assert own.holds() and [path.name for path in tmp_path.iterdir()] == [".run.claim"]
        with pytest.raises(Claimed, match=r"another run has written into it since \d{4}-"), claim(tmp_path, "run"):
            pass
    with holder(tmp_path, "run") as other:
        other.kill()
        other.wait()
        with claim(tmp_path, "run") as own:
            assert own.holds()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_of_another_user_is_refused_in_words_and_ends_with_its_holder(monkeypatch, tmp_path):
    """What others have made can be read, not written to; as root a mode would not tell."""
    opened = os.open

    def refuse(path, flags, *rest):
        if flags == os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *rest)

    with holder(tmp_path, "run") as other:
        monkeypatch.setattr(claims.os, "open", refuse)
        with pytest.raises(Claimed, match="another run has written into it since"), claim(tmp_path, "run"):
            pass
        other.kill()
        other.wait()
        with claim(tmp_path, "run") as own:
            assert own.holds()


def test_of_two_that_watch_a_claim_the_second_leaves_that_of_the_first_alone(other_machine, monkeypatch, tmp_path):
    path = tmp_path / ".run.claim"
    with other_machine(), claim(tmp_path, "run") as own:
        times = iter([0.0, 0.0, claims.EXPIRY_S])
        first: list[claims.Claim] = []

        def now():
            """At the end of the watch the first removes the claim and makes its own."""
            at = next(times)
            if at:
                path.unlink()
                made = claims._make(path)
                assert made is not None
                first.append(made)
            return at

        renamed = os.rename

        def rename(source, target):
            renamed(source, target)
            assert first[0].holds()

        monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=now, sleep=lambda _: None))
        monkeypatch.setattr(claims.os, "rename", rename)
        own._ended.set()
        own._beats.join()
        other = claims._read(path)
        assert other is not None
        claims._expired(path, other)
        assert first[0].holds()
        first[0].release()
    assert list(tmp_path.glob(".*")) == []


def test_a_claim_that_was_half_made_goes_with_the_next_one_and_a_young_one_stays(tmp_path):
    old, young = (tmp_path / f".run.claim.{digit * 8}.partial" for digit in "ab")
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    with claim(tmp_path, "run"):
        assert young.exists() and not old.exists()


def test_a_claim_that_may_not_be_read_is_watched(other_machine, monkeypatch, tmp_path):
    opened = Path.open

    def refuse(path, *rest, **named):
        if path.name == ".run.claim":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *rest, **named)

    with claim(tmp_path, "run") as own:
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(Claimed, match="since an unknown time"), claim(tmp_path, "run"):
            pass
        own._ended.set()
        own._beats.join()
        with claim(tmp_path, "run") as taken:
            assert taken.holds() and not own.holds()


def test_a_claim_names_no_host(tmp_path):
    with claim(tmp_path, "run") as own:
        text = own.path.read_text()
    assert set(re.findall(r'"(\w+)":', text)) == {"id", "boot", "since"}
    assert claims.BOOT_ID.read_text().strip() not in text and os.uname().nodename not in re.sub(r'"id": "\w+"', "", text)


def test_of_many_processes_that_want_a_claim_one_at_a_time_has_it(tmp_path):
    """Also where holders are killed with it in their hands."""
    code = f"""
import os, random, signal, sys, time
from pathlib import Path
from bench.store import claims
claims.LOOK_EVERY_S = 0.001
folder = Path({str(tmp_path)!r})
chance = random.Random(int(sys.argv[1]))
for _ in range(20):
    with claims.claim(folder, "run", waits=True) as own:
        inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)
        time.sleep(chance.random() / 1000)
        own.check()
        os.unlink(folder / "inside")
        if chance.random() < 0.05:
            os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen([*command, str(seed)], env=environment(), stdout=subprocess.DEVNULL) for seed in range(4)]
    assert {process.wait() for process in running} <= {0, -9}


def test_a_figure_is_whole_or_the_former_one(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    figure, _ = plt.subplots()
    style.save(figure, path)
    before = path.read_bytes()

    def half(partial, **options):
        partial.write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(figure, "savefig", half)
        with pytest.raises(OSError, match="No space left on device"):
            style.save(figure, path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["figure.png"]
