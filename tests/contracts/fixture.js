// One deployed contract with funded actors, and the few verbs every suite needs. Each test gets a fresh
// copy: `loadFixture` rolls the chain back to the moment after `fixture` ran.
import { network } from "hardhat";

export const { ethers, networkHelpers, provider } = await network.create();
export const { loadFixture, time } = networkHelpers;

export const DAY = 86_400n;
export const PERIOD = 30n * DAY;
export const WINDOW = 7n * DAY;
export const LEAD = 3n * DAY;
export const GRACE = DAY;
export const DELAY = 2n * DAY;
export const MIN_FEE = 5_000_000n;
export const MAX_FEE = 10_000_000n;
export const FEE = 8_000_000n;
export const UINT128_MAX = 2n ** 128n - 1n;

// In the order of the contract's enum.
export const SKIP = {
  NoPeriod: 0n,
  PeriodEnded: 1n,
  WindowEnded: 2n,
  BadSignature: 3n,
  NotRaised: 4n,
  BudgetExceeded: 5n,
  NodeUnknown: 6n,
  NothingPayable: 7n,
};

export const TYPES = {
  Reservation: [
    { name: "subscriber", type: "address" },
    { name: "node", type: "address" },
    { name: "period", type: "uint32" },
    { name: "total", type: "uint128" },
  ],
  Voucher: [
    { name: "subscriber", type: "address" },
    { name: "node", type: "address" },
    { name: "period", type: "uint32" },
    { name: "cumulative", type: "uint128" },
  ],
};

/** A new contract over a new token of that name; `deployer` and its nonce decide their addresses. */
export async function over(token, deployer) {
  const [treasury, alice, delegate, node, other, payout, relayer] = await ethers.getSigners();
  const usd = await ethers.deployContract(token, deployer);
  const ricochet = await ethers.deployContract("Ricochet", [usd, treasury, MIN_FEE, MAX_FEE], deployer ?? relayer);
  await usd.mint(alice, 1_000_000_000n);
  await usd.connect(alice).approve(ricochet, ethers.MaxUint256);
  const { chainId } = await ethers.provider.getNetwork();
  const domain = { name: "Ricochet", version: "1", chainId, verifyingContract: await ricochet.getAddress() };
  return { treasury, alice, delegate, node, other, payout, relayer, usd, ricochet, domain };
}

export function fixture() {
  return over("TestUSD");
}

export async function subscribed() {
  return subscribe(await fixture());
}

/** The same world, with alice subscribed in period 1 and both nodes registered to `payout`. */
export async function subscribe(world) {
  const { ricochet, alice, delegate, node, other, payout } = world;
  await ricochet.connect(alice).subscribe(FEE, delegate, false);
  await ricochet.connect(node).registerNode("12D3KooWNode", [], payout);
  await ricochet.connect(other).registerNode("12D3KooWOther", [], payout);
  const { end } = await ricochet.periodOf(alice, 1);
  return { ...world, end };
}

/** As `subscribed`, one second before alice's period can be renewed, with her consent. */
export async function renewable() {
  const world = await subscribed();
  await world.ricochet.connect(world.alice).setAutoRenew(true);
  await time.increaseTo(world.end - LEAD - 1n);
  return world;
}

/** As `subscribed`, with the owner pausing. */
export async function paused() {
  const world = await subscribed();
  await world.ricochet.connect(world.treasury).pause();
  return world;
}

/** Alice's permit of `value` for the contract, as the trailing arguments of `subscribeWithPermit`. */
export async function permit({ usd, alice, ricochet, domain }, value = FEE, deadline = UINT128_MAX) {
  const types = {
    Permit: [
      { name: "owner", type: "address" },
      { name: "spender", type: "address" },
      { name: "value", type: "uint256" },
      { name: "nonce", type: "uint256" },
      { name: "deadline", type: "uint256" },
    ],
  };
  const spender = await ricochet.getAddress();
  const message = { owner: alice.address, spender, value, nonce: await usd.nonces(alice), deadline };
  const token = { ...domain, name: "Ricochet Test USD", verifyingContract: await usd.getAddress() };
  const { v, r, s } = ethers.Signature.from(await alice.signTypedData(token, types, message));
  return [deadline, v, r, s];
}

/** A reservation to `node` by alice, signed by `signer` (her delegate unless told). */
export async function reservation(world, total, { node = world.node, signer = world.delegate, period = 1n } = {}) {
  const entry = { subscriber: world.alice.address, node: node.address, period, total };
  return { entry, signature: await signer.signTypedData(world.domain, { Reservation: TYPES.Reservation }, entry) };
}

/** A voucher to `node` by alice, signed by `signer` (her delegate unless told). */
export async function voucher(world, cumulative, { node = world.node, signer = world.delegate, period = 1n } = {}) {
  const entry = { subscriber: world.alice.address, node: node.address, period, cumulative };
  return { entry, signature: await signer.signTypedData(world.domain, { Voucher: TYPES.Voucher }, entry) };
}

/** Relays signed reservations in one batch. */
export function reserve(world, ...signed) {
  return world.ricochet.connect(world.relayer).reserve(...columns(signed));
}

/** Relays signed vouchers in one batch. */
export function claim(world, ...signed) {
  return world.ricochet.connect(world.relayer).claim(...columns(signed));
}

function columns(signed) {
  return [signed.map(({ entry }) => entry), signed.map(({ signature }) => signature)];
}

/** The next transaction is mined in exactly this second. */
export function at(timestamp) {
  return time.setNextBlockTimestamp(timestamp);
}
