"""Collections, client tokens, and the tickets and ids of WebSockets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vdbevents.emulator.request_checks import NAME, TEXT, read, whole
from vdbevents.emulator.store import EmulatedConnection, iso_time

if TYPE_CHECKING:
    from vdbevents.emulator.request_checks import Json, RestCall
    from vdbevents.emulator.store import EmulatedStore

_REMEMBERED: Final = 10_000
_CLOSED_CONNECTIONS_KEPT: Final = 1_000
_DAY_SECONDS: Final = 86_400


def add_collection(
    store: EmulatedStore, collection_id: str, name: str, description: str, **more: bool
) -> Json:
    """Add an empty collection."""
    collection = {
        "id": collection_id,
        "name": name,
        "description": description,
        "is_public": False,
        "owner": "u-emulator",
        "created_at": iso_time(store.clock()),
        **more,
    }
    store.collections[collection_id] = collection
    return collection


def create_collection(store: EmulatedStore, call: RestCall) -> Json:
    """Create an empty collection."""
    name, description = read(call.body, "name", NAME), read(call.body, "description", TEXT, "")
    return add_collection(
        store, store.new_id("c"), name, description, is_public=bool(call.body.get("is_public"))
    )


def create_token(store: EmulatedStore, call: RestCall) -> Json:
    """Create a client token; `expires_in` is in seconds."""
    seconds = read(call.body, "expires_in", whole(1), _DAY_SECONDS)
    token, expires_at = store.new_id("st"), store.clock() + seconds
    store.token_expiries[token] = expires_at
    _forget_oldest(store.token_expiries)
    return {"token": token, "expires_at": expires_at, "expires_in": seconds}


def is_token_valid(store: EmulatedStore, token: str) -> bool:
    """Return whether it is a client token that has not expired."""
    return store.clock() < store.token_expiries.get(token, 0.0)


def issue_ticket(store: EmulatedStore) -> str:
    """Return a ticket that opens one WebSocket."""
    ticket = store.new_id("tkt")
    store.tickets[ticket] = None
    _forget_oldest(store.tickets)
    return ticket


def redeem_ticket(store: EmulatedStore, ticket: str) -> bool:
    """Return whether a ticket is valid, and use it up."""
    return store.tickets.pop(ticket, "unknown") is None


def open_connection(store: EmulatedStore) -> EmulatedConnection:
    """Add a connection with a new id, and forget the oldest closed ones."""
    connection = EmulatedConnection(store.new_id("ws"), store.clock())
    store.connections[connection.id] = connection
    closed = [known.id for known in store.connections.values() if known.closed_at is not None]
    for connection_id in closed[: max(0, len(closed) - _CLOSED_CONNECTIONS_KEPT)]:
        del store.connections[connection_id]
    return connection


def close_connection(store: EmulatedStore, connection_id: str) -> None:
    """Mark a connection closed: nothing is pushed to it any more."""
    connection = store.connections.get(connection_id)
    if connection is not None and connection.closed_at is None:
        connection.closed_at = store.clock()


def _forget_oldest(known: dict[str, float] | dict[str, None]) -> None:
    while len(known) > _REMEMBERED:
        del known[next(iter(known))]
