"""What a home's node offers, checked in the order in which a person would mend it.

`node.yaml` says what; keystore, price table and sharing policy say whether each source can keep
that. The same check holds at the start and for an edit while the node runs.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node import config as node_config
from ricochet_node.config import NodeConfig
from ricochet_node.key_limits import checked_limits
from ricochet_node.keystore import FILE_NAME as KEYS
from ricochet_node.keystore import KeyInfo, Keystore
from ricochet_node.offer import Offer, Source
from ricochet_node.owner import WALLET
from ricochet_node.sharing import (
    Owner,
    Standing,
    based,
    check_sharing,
    kept_private,
    private_notices,
    standings,
)
from ricochet_node.sharing_watch import Look, nothing_sold
from ricochet_node.upstreams import unsupported
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_settlement import deployment as deployments
from ricochet_settlement import wallet
from ricochet_settlement.deployment import Deployment

_FREE: Final = Units(0)


class Offering(msgspec.Struct, frozen=True):
    """A home folder with its network, its operator, and its keys as they were when it was read.

    `marks` tell their records in the keystore.
    """

    home: Path
    deployment: Deployment
    operator: Address
    keys: tuple[KeyInfo, ...]
    marks: dict[str, str]

    @classmethod
    def of(cls, home: Path) -> "Offering":
        """ConfigurationError when network, wallet or keystore cannot be used."""
        store = Keystore(home / KEYS)
        return cls(
            home=home,
            deployment=deployments.load(home),
            operator=wallet.address_of(home / WALLET),
            keys=store.list(),
            marks=store.marks(),
        )

    def check(self) -> NodeConfig:
        """The configuration as it is in the file now, complete; ConfigurationError."""
        config = node_config.load(self.home)
        for offer in config.offers:
            for source in offer.sources:
                self._check_source(offer, source)
        limits = checked_limits(config.limits, {key.id: key.provider for key in self.keys})
        config = msgspec.structs.replace(
            config,
            offers=tuple(self._known(offer, config) for offer in config.offers),
            limits=limits,
        )
        if config.guests.private:
            offers = kept_private(config.offers)
        else:
            found = self._look(config.keys, time.time())
            check_sharing(found)
            offers = based(config.offers, found)
        claim = config.claim
        if self.deployment.development:
            # Its ether is free, so no claim has to wait for company.
            claim = msgspec.structs.replace(claim, ether_price=_FREE)
        return msgspec.structs.replace(config, offers=offers, claim=claim)

    def look_of(self, config: NodeConfig) -> Look:
        """How what sells is looked at while the node runs."""
        if config.guests.private:
            return nothing_sold
        keys = config.keys

        def look(now: float) -> dict[str, Standing]:
            return self._look(keys, now)

        return look

    def notices(self, config: NodeConfig) -> tuple[str, ...]:
        """What the owner of a private node is told at its start."""
        if not config.guests.private:
            return ()
        keys = [key for key in self.keys if key.id in config.keys]
        return private_notices(standings(self.home, keys), len(config.guests.private))

    def _look(self, keys: Iterable[str], now: float) -> dict[str, Standing]:
        owner = Owner(self.home, self.operator, self.deployment.domain)
        infos = {info.id: info for info in self.keys}
        return owner.of_keys([infos[key] for key in keys], now)

    def _provider(self, key: str) -> str | None:
        return next((info.provider for info in self.keys if info.id == key), None)

    def _check_source(self, offer: Offer, source: Source) -> None:
        provider = self._provider(source.key)
        if provider is None:
            raise ConfigurationError(
                "no_key",
                f"the offer of {offer.model} needs a provider key {source.key!r}; it is missing",
                f"run `ricochet keys add PROVIDER --name {source.key}`, or correct `key` in "
                f"{node_config.FILE_NAME}",
            )
        if never := unsupported(provider, offer.shown.features):
            raise ConfigurationError(
                "unsupported",
                f"the offer of {offer.model} promises {', '.join(never)}, which cannot be asked "
                f"of {provider} here",
                f"take it out of `supports` in {node_config.FILE_NAME}",
            )

    def _known(self, offer: Offer, config: NodeConfig) -> Offer:
        """The offer with each source's provider and the owner's word on its price."""
        return msgspec.structs.replace(
            offer,
            sources=tuple(
                msgspec.structs.replace(
                    source,
                    provider=self._provider(source.key) or "",
                    price=config.limits[source.key].prices.get(source.upstream_model),
                )
                for source in offer.sources
            ),
        )
