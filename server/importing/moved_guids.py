"""Items whose guid is a URL that moved from http to https, or back: they keep their stored id."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from server.parsing.urls import other_scheme
from shared.models import make_item_id, split_item_id
from shared.store import DeadLetter, StoredVersion, Stores
from shared.store.sources import MAX_ALIASES


@dataclass(slots=True)
class OnRecord:
    """What is known of some items: their dead letters, their documents, the ids in journals."""

    letters: dict[str, DeadLetter] = field(default_factory=dict)
    stored: dict[str, StoredVersion] = field(default_factory=dict)
    journaled_ids: Collection[str] = frozenset()

    def __contains__(self, item_id: str) -> bool:
        """Tell whether anything is known of an item."""
        return any(item_id in some for some in (self.letters, self.stored, self.journaled_ids))


class MovedGuids:
    """Follows the moved guids of one import.

    A guid has moved when nothing is known of it, while the same URL of the other scheme is on
    record and not listed by this import. What was found is to be stored with :meth:`remember`, so
    that it holds also when both are listed one day.
    """

    def __init__(
        self, stores: Stores, source: str, *, listed: Iterable[str], aliases: Mapping[str, str]
    ) -> None:
        """Begin an import that lists the items ``listed``; ``aliases`` are the source's."""
        self._stores = stores
        self._source = source
        self._listed = set(listed)
        self._aliases = aliases
        self._found: dict[str, str] = {}

    def follow(self, item_ids: Iterable[str], on_record: OnRecord) -> dict[str, str]:
        """Return, by the ids of moved items, those under which they are known.

        ``on_record`` is what was read of ``item_ids``; what is read of the known ones is added.
        One look-up more a hundred unknown URLs, none where all are known.
        """
        unknown = {item_id: self._other_id(item_id) for item_id in item_ids}
        wanted = {
            item_id: other
            for item_id, other in unknown.items()
            if other is not None and item_id not in on_record
        }
        self._read(list(wanted.values()), on_record)
        found = {item_id: other for item_id, other in wanted.items() if other in on_record}
        self._listed.update(found.values())
        for item_id, other in found.items():
            self._found[split_item_id(item_id)[1]] = split_item_id(other)[1]
        return found

    def look_up(self, item_ids: Iterable[str]) -> dict[str, str]:
        """Do as :meth:`follow` for items of which nothing was read yet."""
        urls = [item_id for item_id in item_ids if self._other_id(item_id) is not None]
        on_record = OnRecord()
        self._read(urls, on_record)
        return self.follow(urls, on_record)

    def rename_deaths(self, deaths: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Return deaths under the ids that their items are known by."""
        new_ids = self.look_up(death.item_id for death in deaths)
        return [
            replace(
                death,
                item_id=new_ids[death.item_id],
                guid=split_item_id(new_ids[death.item_id])[1],
            )
            if death.item_id in new_ids
            else death
            for death in deaths
        ]

    def remember(self) -> None:
        """Store with the source what was found, as far as there is room; the rest is found anew."""
        room = max(0, MAX_ALIASES - len(self._aliases))
        aliases = dict(sorted(self._found.items())[:room])
        if aliases:
            self._stores.sources.add_aliases(self._source, aliases)

    def _other_id(self, item_id: str) -> str | None:
        """Return the id of the other scheme's item, if this import does not list that."""
        guid = other_scheme(split_item_id(item_id)[1])
        if guid is None:
            return None
        other = make_item_id(self._source, self._aliases.get(guid, guid))
        return other if other not in self._listed else None

    def _read(self, item_ids: Collection[str], on_record: OnRecord) -> None:
        """Read dead letters, then documents, as everybody who decides by them."""
        if item_ids:
            on_record.letters.update(self._stores.dead_letters.read_many(item_ids))
            on_record.stored.update(self._stores.items.read_versions(item_ids))
