"""Users and keys, and the account's secrets."""

from __future__ import annotations

from datetime import UTC, datetime

from client.calls.asking import Asking, segment
from client.exchange.effects import Flow, Request, Stream
from client.exchange.verbs import feed, verb
from client.reads.people import ApiKey, Secret, User


class PeopleCalls(Asking):
    """Verbs of an account, on who may do what."""

    @feed
    def users(self, *, limit: int | None = None) -> Stream[User]:
        """The account's users."""
        yield from self.each("/users", "users", User.of, limit=limit)

    @verb
    def create_user(self, email: str, *, admin: bool = False, display_name: str = "") -> Flow[User]:
        """Add a user, who has no key yet."""
        body = {"email": email, "role": "admin" if admin else "user", "displayName": display_name}
        return (yield from self.read(Request("POST", "/users", body=body, repeatable=False), User))

    @verb
    def delete_user(self, user_id: str) -> Flow[None]:
        """Remove a user; his keys end, his jobs stay."""
        yield from self.remove(f"/users/{segment(user_id)}")

    @feed
    def api_keys(self, *, limit: int | None = None) -> Stream[ApiKey]:
        """The account's keys for an admin, one's own for everyone else."""
        yield from self.each("/apiKeys", "apiKeys", ApiKey.of, limit=limit)

    @verb
    def create_key(
        self, display_name: str = "", *, user: str = "", expires: datetime | None = None
    ) -> Flow[ApiKey]:
        """A new key, one's own or of a user by id or e-mail. `key` of this answer is the secret, this once."""
        body = {"displayName": display_name, "user": user}
        if expires is not None:
            body["expireTime"] = expires.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return (yield from self.read(Request("POST", "/apiKeys", body=body, repeatable=False), ApiKey))

    @verb
    def revoke_key(self, key_id: str) -> Flow[None]:
        """End a key: within a second it opens nothing."""
        yield from self.remove(f"/apiKeys/{segment(key_id)}")

    @feed
    def secrets(self, *, limit: int | None = None) -> Stream[Secret]:
        """The account's secrets, without their values."""
        yield from self.each("/secrets", "secrets", Secret.of, limit=limit)

    @verb
    def create_secret(self, key_name: str, value: str, secret_id: str = "") -> Flow[Secret]:
        """Keep a value. Its id is made of the name where none is chosen (`DB_PASSWORD` → `db-password`)."""
        body = {"keyName": key_name, "value": value}
        request = Request("POST", "/secrets", {"secretId": secret_id}, body, repeatable=False)
        return (yield from self.read(request, Secret))

    @verb
    def change_secret(self, secret_id: str, value: str) -> Flow[Secret]:
        """Another value, which jobs get from their next launch on."""
        request = Request("PATCH", f"/secrets/{segment(secret_id)}", body={"value": value})
        return (yield from self.read(request, Secret))

    @verb
    def delete_secret(self, secret_id: str) -> Flow[None]:
        """Remove a secret; a job that names it and has not been launched will fail."""
        yield from self.remove(f"/secrets/{segment(secret_id)}")
