"""What a key can do, found out with one cheap call through a vault: `ricochet keys test`.

The list of models is free everywhere; one token of one model is what shows whether the account has
money, and that the key is looked at at all: some providers list their models to anybody. Both go
through a vault of their own, with the owner's limits, and are counted and audited like any call.
What a provider said of the key then holds as if the node had asked it (`key_states`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from ricochet_node import key_state, key_states
from ricochet_node.faults import ProviderFault, Reason, fault_of_status
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import FILE_NAME, KeyInfo, Keystore
from ricochet_node.providers import Dialect, provider_of
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.errors import BudgetError, ConfigurationError, LocalFault, RicochetError

_MOST_BYTES: Final = 4 * 1024 * 1024
_SECONDS: Final = 60
_LISTS: Final = {
    Dialect.OPENAI: "/models",
    Dialect.ANTHROPIC: "/v1/models?limit=1000",
    Dialect.GOOGLE: "/v1beta/models?pageSize=1000",
}


class Report(msgspec.Struct, frozen=True):
    """What was found: models the key sees, the provider's limits as it tells them, model tried."""

    models: tuple[str, ...]
    limits: dict[str, str]
    tried: str | None


class _Named(msgspec.Struct, frozen=True):
    id: str = ""
    name: str = ""


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Named, ...] = ()
    models: tuple[_Named, ...] = ()


_TELLING: Final = {"key_refused": Reason.KEY_REFUSED, "out_of_quota": Reason.QUOTA}
"""Errors that hold for the next call too."""


async def probe_key(
    home: Path, passphrase: str, info: KeyInfo, rules: KeyRules, model: str | None, now: float
) -> Report:
    """Ask the provider for its models, and `model`, if given, for one token; keep what it said.

    `now` is Unix seconds. ConfigurationError `key_refused`, `wrong_origin`, `model_refused` or
    `key_limited`; BudgetError `out_of_quota`; LocalFault `rate_limited`, `provider_unreachable`
    or `provider_failed`.
    """
    keystore = home / FILE_NAME
    mark = Keystore(keystore).marks()[info.id]
    vault = await VaultProcess.start(keystore, passphrase, [info.id], {info.id: rules})
    try:
        async with ClientSession(
            vault.base_url,
            headers={"Authorization": f"Bearer {vault.token}"},
            timeout=ClientTimeout(total=_SECONDS),
            trust_env=False,
        ) as client:
            report = await probe(client, info, model)
        key_states.forget(home, info.id)
        return report
    except (ConfigurationError, BudgetError) as error:
        if reason := _TELLING.get(error.code):
            standing = key_state.after_fault(key_state.READY, ProviderFault(reason), now, now)
            key_states.keep(home, info.id, mark, standing)
        raise
    except (ClientError, TimeoutError):
        raise LocalFault(
            "provider_unreachable", f"{info.origin} broke off", "try again in a minute"
        ) from None
    finally:
        await vault.stop()


async def probe(client: ClientSession, info: KeyInfo, model: str | None) -> Report:
    """The same through a vault that runs already; `client` knows its address and token."""
    dialect = provider_of(info.provider).dialect
    models: tuple[str, ...] = ()
    async with client.get(f"/{info.id}{_LISTS[dialect]}") as answer:
        limits = _told(answer.headers)
        # Small servers of one model have no list: then the model shows if the address is right.
        listed = answer.status != 404 or model is None
        if listed:
            models = _models(await _body(answer, info), info)
    if model is not None:
        path, body = _smallest(dialect, model)
        async with client.post(f"/{info.id}{path}", json=body) as answer:
            if answer.status == 404 and not listed:
                raise _wrong_origin(info, "it knows neither a list of models nor this one")
            await _body(answer, info)
            limits |= _told(answer.headers)
    return Report(models, limits, model)


def _smallest(dialect: Dialect, model: str) -> tuple[str, dict[str, object]]:
    said = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    match dialect:
        case Dialect.OPENAI:
            return "/chat/completions", said
        case Dialect.ANTHROPIC:
            return "/v1/messages", said
        case Dialect.GOOGLE:
            return f"/v1beta/models/{model}:generateContent", {
                "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
                "generationConfig": {"maxOutputTokens": 1},
            }


def _models(body: bytes, info: KeyInfo) -> tuple[str, ...]:
    try:
        told = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _wrong_origin(info, "it answers with something that is no list of models") from None
    names = (each.id or each.name.removeprefix("models/") for each in (*told.data, *told.models))
    return tuple(name for name in names if name.isprintable() and 0 < len(name) < 200)


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): text for name, text in headers.items() if "-ratelimit-" in name.lower()}


async def _body(answer: ClientResponse, info: KeyInfo) -> bytes:
    """The whole of a good answer; otherwise the error that says what is wrong with the key."""
    body = bytearray()
    async for data in answer.content.iter_any():
        body += data
        if len(body) > _MOST_BYTES:
            raise _wrong_origin(info, "its answer has no end")
    if answer.status != 200:
        raise _diagnosis(answer, bytes(body), info)
    return bytes(body)


def _diagnosis(answer: ClientResponse, body: bytes, info: KeyInfo) -> RicochetError:
    if refusal := answer.headers.get(REFUSAL):
        return _refused(refusal, info)
    match fault_of_status(answer.status, body).reason:
        case Reason.QUOTA:
            return BudgetError(
                "out_of_quota",
                f"key {info.id!r} is valid, but its account at {info.provider} has no money left",
                "add credit in the provider's console",
            )
        case Reason.KEY_REFUSED:
            return ConfigurationError(
                "key_refused",
                f"{info.origin} refuses key {info.id!r} (status {answer.status})",
                f"create a new one there, then run `ricochet keys rotate {info.id}`",
            )
        case Reason.RATE:
            wait = answer.headers.get("Retry-After")
            return LocalFault(
                "rate_limited",
                f"key {info.id!r} is valid, but its rate is exhausted now",
                f"try again in {wait} seconds" if wait else "try again in a minute",
            )
        case Reason.FAILED | Reason.OVERLOADED | Reason.SILENT:
            return LocalFault(
                "provider_failed",
                f"{info.origin} fails with status {answer.status}",
                "try again later, or look at the provider's status page",
            )
    if answer.method == "GET":
        return _wrong_origin(info, f"status {answer.status} for the list of models")
    return ConfigurationError(
        "model_refused",
        f"key {info.id!r} is valid, but {info.origin} does not serve this model to it "
        f"(status {answer.status})",
        "choose one of those that the provider lists, with --model",
    )


def _refused(refusal: str, info: KeyInfo) -> RicochetError:
    if refusal in ("unreachable", "timeout", "cut"):
        return LocalFault(
            "provider_unreachable",
            f"{info.origin} does not answer ({refusal})",
            "check the network, and the address in `ricochet keys list`",
        )
    if refusal in ("redirect", "encoding"):
        return _wrong_origin(info, f"it answers with {refusal}")
    mend = "`ricochet keys enable`" if refusal == "disabled" else "`keys:` in node.yaml"
    return ConfigurationError(
        "key_limited", f"your own limits of key {info.id!r} refuse it ({refusal})", f"see {mend}"
    )


def _wrong_origin(info: KeyInfo, why: str) -> ConfigurationError:
    return ConfigurationError(
        "wrong_origin",
        f"{info.origin} does not answer as {info.provider} would: {why}",
        f"run `ricochet keys remove {info.id}`, then add it with the right --url",
    )
