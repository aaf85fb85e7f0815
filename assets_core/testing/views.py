"""Laws 12 to 14: what the outside sees, and the notes beside the data."""

from __future__ import annotations

import pickle

from assets_core.contracts import (
    ConcealingIOManager,
    InView,
    IOManager,
    NotingIOManager,
    RestrictingIOManager,
)
from assets_core.testing.making import publish, rows, target


class ViewLaws:
    """What is out of sight is not lost; what was noted is told."""

    def test_it_keeps_notes_for_each_environment(self, manager: IOManager) -> None:
        if not isinstance(manager, NotingIOManager):
            return  # what forgets all with its process is never ahead of a state store
        assert manager.noted("prod", "run") == ""
        for run in ("run1", "run2"):
            manager.note("prod", "run", run)
        manager.note("dev", "run", "run3")
        manager.note("prod", "views", "{}")
        again = pickle.loads(pickle.dumps(manager))
        assert (again.noted("prod", "run"), again.noted("dev", "run")) == ("run2", "run3")
        assert list(again.scan()) == []

    def test_the_view_is_restricted_and_nothing_is_lost(self, manager: IOManager) -> None:
        if not isinstance(manager, RestrictingIOManager):
            return  # a view that does not follow the definitions
        places = {key: target(key) for key in ("a", "b", "c")}
        receipts = {
            key: publish(manager, place, rows(n)) for n, (key, place) in enumerate(places.items())
        }
        for shown in (("a", "b", "c"), ("b",), (), ("a",), ("a", "c"), ("b", "c")):
            wanted = [InView(key, places[key].path_parts, receipts[key]) for key in shown]
            for _ in range(2):
                manager.restrict("prod", "orders", wanted)
                manager.flush()
            assert {found.partition for found in manager.scan() if found.visible} == set(shown)
            for n, key in enumerate(places):
                if key in shown:
                    assert manager.read([receipts[key]]).equals(rows(n))

    def test_what_was_out_of_sight_and_published_anew_is_not_doubled(
        self, manager: IOManager
    ) -> None:
        if not isinstance(manager, RestrictingIOManager):
            return
        publish(manager, target("a", 1), rows(1))
        for token in (2, 3):
            manager.restrict("prod", "orders", [])
            new = publish(manager, target("a", token), rows(token))
        manager.restrict("prod", "orders", [])
        manager.restrict("prod", "orders", [InView("a", target("a").path_parts, new)])
        assert manager.read([new]).equals(rows(3))

    def test_what_may_stay_is_not_shown_in_another_place(self, manager: IOManager) -> None:
        if not isinstance(manager, RestrictingIOManager):
            return
        publish(manager, target("a"), rows(1))
        manager.restrict("prod", "orders", [InView("a", target("a").path_parts, None)])
        assert [found.partition for found in manager.scan() if found.visible] == ["a"]
        assert manager.restrict("prod", "orders", [InView("a", ("week=a",), None)]) == 1
        assert [found for found in manager.scan() if found.visible] == []

    def test_what_is_concealed_leaves_the_view_and_comes_back(self, manager: IOManager) -> None:
        if not isinstance(manager, ConcealingIOManager):
            return  # a store without an outside view has nothing to conceal
        mine, other = publish(manager, target(), rows(1)), publish(manager, target("o"), rows(7))
        where = target()
        for _ in range(2):
            manager.conceal(where.environment, where.asset, where.path_parts)
        manager.flush()
        assert {found.partition for found in manager.scan() if found.visible} == {"o"}
        assert manager.read([mine, other]).num_rows == 2
        manager.expose(where.environment, where.asset, where.path_parts, mine)
        assert {found.partition for found in manager.scan() if found.visible} == {
            "o",
            where.partition,
        }
