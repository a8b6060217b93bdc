"""What the screen shows while a run goes on, when it has ended, and when it is loaded again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jupyter_lossacc.causes.cause import window
from jupyter_lossacc.causes.fluctuation import _much_higher
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import find_episodes, settled
from jupyter_lossacc.views.words import episode_title
from tests.diagnosis.test_episodes import curves, noisy
from tests.studies import simulated
from tests.studies.live import watch
from tests.studies.simulated import part, planted

T = np.arange(60)


def both_rise():
    return curves(noisy(1 + T / 200, 0.01), noisy(0.8 + T / 600, 0.002, 1))


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("sd", [0.001, 0.003])
def test_a_burst_of_three_epochs_or_fewer_is_never_shown(width, sd):
    burst = np.isin(T, np.arange(30, 30 + width)) * 0.1
    recording = curves(noisy(0.4 + 3 * burst, 3 * sd), noisy(0.7 + burst, sd, 1), 2000)
    for _, episodes in watch(recording):
        assert not [e for e in episodes if e.harmful]


@pytest.mark.parametrize("length", [1, 6])
def test_a_step_is_shown_where_it_is_and_not_over_the_plateaus_beside_it(length):
    step = np.clip((T - 29) / length, 0, 1) * 0.1
    (episode,) = find_episodes(curves(noisy(0.4 + 3 * step, 0.009), noisy(0.7 + step, 0.003, 1), 2000))
    assert episode.kind == "both_rise"
    assert episode.end_epoch - episode.start_epoch + 1 <= 12
    assert episode.start_epoch <= 30 <= 30 + length <= episode.end_epoch + 1


@pytest.mark.parametrize("slower", [False, True])
@pytest.mark.parametrize("bend", [(0.001, 0.04, 0.0003, 0.008), (0.002, 0.06, 0.0005, 0.016)])
def test_a_rise_that_becomes_steeper_or_slower_is_one_episode(bend, slower):
    slow, fast, slowly, quickly = bend
    loss = np.where(T < 45, slow * T, slow * 45 + fast * (T - 45))
    accuracy = np.where(T < 45, slowly * T, slowly * 45 + quickly * (T - 45))
    if slower:
        loss, accuracy = loss[-1] - loss[::-1], accuracy[-1] - accuracy[::-1]
    noise = np.random.default_rng(0).normal(size=(2, 60))
    recording = curves(0.4 + loss + 0.002 * noise[0], 0.6 + accuracy + 0.0008 * noise[1], 5000)
    (episode,) = [e for e in find_episodes(recording) if e.kind == "both_rise"]
    assert episode.end_epoch >= 58


def test_a_slow_rise_of_accuracy_under_a_high_loss_is_not_stuck():
    for seed in range(3):
        loss, accuracy = noisy(1.5 + 0 * T, 0.02, seed), noisy(0.6 + T / 600, 0.004, 100 + seed)
        recording = curves(loss, accuracy, 1000)
        for _, episodes in watch(recording):
            assert "accuracy_stuck_loss_high" not in {e.kind for e in episodes}


def test_a_run_that_has_ended_shows_what_is_found_at_once_and_withdrawn_alarms_in_grey():
    recording = both_rise()
    (found,) = find_episodes(recording)
    elsewhere = replace(found, kind="both_fall", start_epoch=2, end_epoch=12)
    benign = replace(found, kind="loss_falls_accuracy_flat", start_epoch=2, end_epoch=12)
    ended = replace(recording, shown=(elsewhere, benign, found), status="cut off")
    assert set(settled(ended)) == {replace(elsewhere, retracted=True), found}


def test_an_alarm_that_is_said_more_exactly_now_is_not_withdrawn():
    recording = both_rise()
    (found,) = find_episodes(recording)
    vague = replace(found, kind="loss_rises_accuracy_flat", start_epoch=20, end_epoch=40)
    assert settled(replace(recording, shown=(vague,))) == (found,)
    assert find_episodes(recording, (vague,)) == (found,)


def test_an_alarm_beside_which_another_begins_is_withdrawn():
    recording = curves(
        noisy(0.4 + np.maximum(T - 25, 0) / 100, 0.01), noisy(0.8 + np.maximum(T - 25, 0) / 300, 0.002, 1)
    )
    (found,) = find_episodes(recording)
    vague = replace(found, kind="loss_rises_accuracy_flat", start_epoch=2, end_epoch=found.start_epoch + 3)
    assert replace(vague, retracted=True) in settled(replace(recording, shown=(vague,)))


def test_while_a_run_goes_on_the_next_update_is_shown():
    recording = replace(both_rise(), status="running")
    (found,) = find_episodes(recording)
    weak = curves(noisy(1 + T / 200, 0.01), noisy(0.8 + 0.012 * T / 60, 0.008, 7))
    assert [e.kind for e in settled(replace(weak, status="running", shown=(found,)))] == ["both_rise"]
    assert "both_rise" not in {e.kind for e in settled(replace(weak, shown=(found,))) if not e.retracted}


@pytest.mark.parametrize(("seed", "kind"), [(29, "both_rise"), (35, "loss_rises_accuracy_flat")])
def test_what_sixty_epochs_show_is_not_withdrawn_because_ten_more_were_trained(seed, kind):
    t = np.minimum(np.arange(70), 60)
    longer = curves(noisy(1 + t / 300, 0.02, seed), noisy(0.8 + t / 1700, 0.009, 1000 + seed))
    sixty = replace(longer, summaries=longer.summaries[:60])
    assert [e.kind for e in settled(sixty)] == [e.kind for e in find_episodes(sixty)] == [kind]
    assert find_episodes(longer) == ()  # looked at for the first time after seventy epochs
    (episode,) = settled(longer)
    assert (episode.kind, episode.retracted) == (kind, False)


def test_a_movement_that_turns_is_withdrawn_however_long_it_was_shown():
    t = np.arange(90)
    risen, fallen = t / 200, np.maximum(t - 60, 0) / 60
    longer = curves(noisy(1 + risen - fallen, 0.01), noisy(0.8 + risen / 3 - fallen / 3, 0.002, 1))
    sixty = replace(longer, summaries=longer.summaries[:60])
    assert [e.kind for e in settled(sixty)] == ["both_rise"]
    rises = [e for e in settled(longer) if e.kind == "both_rise"]
    assert all(e.end_epoch <= 63 for e in rises)


@pytest.mark.parametrize(("n", "rise"), [(1000, 0.05), (3000, 0.02)])
def test_a_rising_loss_stays_on_the_screen_while_accuracy_begins_to_rise(n, rise):
    """Between flat and surely rising accuracy lies a zone in which neither kind would be shown anew."""

    def load(key):
        raise KeyError(key)

    run = planted(n_samples=n, accuracy_rise=rise, before=20, epochs=130, seed=5000)
    run = replace(run, summaries=run.summaries[:72], load=load)
    assert not [e for e in find_episodes(run) if e.harmful]
    shown = [any(e.harmful and not e.retracted for e in episodes) for _, episodes in watch(run)]
    assert all(shown[shown.index(True) :])


def test_what_stands_at_the_end_of_a_real_run_is_what_is_found_at_once():
    from tests.diagnosis.test_episodes import digits

    recording = part(digits(), 700, 3)
    *_, (_, last) = watch(recording)
    ended = settled(replace(recording, shown=last))
    assert [e for e in ended if not e.retracted] == list(find_episodes(recording))


@pytest.mark.parametrize("seed", range(4))
def test_a_large_rise_beside_a_very_noisy_accuracy_is_marked_or_at_least_said(seed, monkeypatch):
    monkeypatch.setattr(simulated, "_COMMON", 0.15)  # accuracy wobbles by three to five points
    run = simulated.planted(n_samples=200, accuracy_rise=0.0, loss_rise=1.04, before=15, epochs=15, seed=seed)
    marked = [e for e in find_episodes(run) if e.harmful]
    if marked:
        assert [(e.kind, e.accuracy_open) for e in marked] == [("loss_rises_accuracy_flat", True)]
        assert "accuracy moves within its noise" in diagnose(run, marked)[0].headline
        assert "accuracy within its noise" in episode_title(marked[0])
    else:
        headline = diagnose(run, ())[-1].headline
        assert headline.startswith(("Validation loss rises", "Validation loss has risen"))
    level = simulated.planted(
        n_samples=200, accuracy_rise=0.0, loss_rise=0.0, before=15, epochs=15, seed=seed
    )
    assert not [e for e in find_episodes(level) if e.harmful]
    since_lowest = window(level, None)
    assert since_lowest is not None
    assert not _much_higher(since_lowest)


def test_a_loss_that_doubles_beside_a_noisy_accuracy_is_marked(monkeypatch):
    monkeypatch.setattr(simulated, "_COMMON", 0.05)  # accuracy wobbles by one to three points
    for seed in range(4):
        run = simulated.planted(
            n_samples=200, accuracy_rise=0.0, loss_rise=1.04, before=20, epochs=20, seed=seed
        )
        assert {e.kind for e in find_episodes(run) if e.harmful} == {"loss_rises_accuracy_flat"}


def test_accuracy_that_is_known_to_stay_is_said_to_stay():
    (episode,) = find_episodes(curves(noisy(1 + T / 200, 0.01), noisy(0.8 + 0 * T, 0.002, 1)))
    assert episode.kind == "loss_rises_accuracy_flat"
    assert not episode.accuracy_open
    assert "accuracy stays" in episode_title(episode)
