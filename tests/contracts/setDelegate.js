import { expect } from "chai";
import {
  FEE, GRACE, SKIP, WINDOW, at, claim, ethers, fixture, loadFixture, renewable, reservation, reserve, subscribed, time,
  voucher,
} from "./fixture.js";

const SERVING = [2n ** 32n - 1n, 2n ** 64n - 1n];

/** As `subscribed`, with `other` named as delegate; `replacedAt` is the second in which that happened. */
async function replaced() {
  const world = await subscribed();
  const { ricochet, alice, delegate, other } = world;
  await reserve(world, await reservation(world, 1_000n));
  await ricochet.connect(alice).setDelegate(other);
  return { ...world, replacedAt: BigInt(await time.latest()), old: delegate, successor: other };
}

describe("setDelegate", () => {
  it("puts another in place of the one who served", async () => {
    const { ricochet, alice, delegate, other } = await loadFixture(subscribed);
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal(SERVING);
    expect(await ricochet.delegationOf(alice, other)).to.deep.equal([0n, 0n]);
    const now = BigInt(await time.latest()) + 10n;
    await at(now);
    await expect(ricochet.connect(alice).setDelegate(other))
      .to.emit(ricochet, "DelegateChanged")
      .withArgs(alice.address, delegate.address, other.address);
    expect(await ricochet.delegateOf(alice)).to.equal(other.address);
    expect(await ricochet.delegationOf(alice, other)).to.deep.equal(SERVING);
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal([1n, now + GRACE]);
  });

  it("lets the new one sign at once", async () => {
    const world = await loadFixture(replaced);
    await reserve(world, await reservation(world, 2_000n, { signer: world.successor }));
    await claim(world, await voucher(world, 3_000n, { signer: world.successor }));
    expect(await world.ricochet.accountOf(world.alice, 1, world.node)).to.deep.equal([3_000n, 3_000n]);
  });

  it("lets the replaced one raise commitments for a day, to the second", async () => {
    const world = await loadFixture(replaced);
    const { ricochet, alice, node, replacedAt } = world;
    const [held, paper] = [await reservation(world, 2_000n), await voucher(world, 3_000n)];
    const [lateHeld, latePaper] = [await reservation(world, 4_000n), await voucher(world, 5_000n)];
    await at(replacedAt + GRACE - 2n);
    await reserve(world, held);
    await at(replacedAt + GRACE - 1n);
    await claim(world, paper);
    await at(replacedAt + GRACE);
    await expect(reserve(world, lateHeld)).to.emit(ricochet, "ReservationSkipped")
      .withArgs(alice.address, node.address, 1n, SKIP.BadSignature);
    await expect(claim(world, latePaper)).to.emit(ricochet, "VoucherSkipped")
      .withArgs(alice.address, node.address, 1n, SKIP.NothingPayable);
    expect(await ricochet.accountOf(alice, 1, node)).to.deep.equal([3_000n, 3_000n]);
  });

  it("leaves the replaced one's vouchers payable within commitments until the window ends", async () => {
    const world = await loadFixture(replaced);
    const { ricochet, alice, node, end } = world;
    const [within, beyond] = [await voucher(world, 600n), await voucher(world, 1_500n)];
    await at(end + WINDOW - 2n);
    await claim(world, within);
    await at(end + WINDOW - 1n);
    await expect(claim(world, beyond)).not.to.emit(ricochet, "Reserved");
    expect(await ricochet.accountOf(alice, 1, node)).to.deep.equal([1_000n, 1_000n]);
  });

  it("gives the replaced one no power in the next period", async () => {
    const world = await loadFixture(replaced);
    const { ricochet, alice, node, end, successor } = world;
    await time.increaseTo(end);
    await ricochet.connect(alice).subscribe(FEE, successor, false);
    const [held, paper] = [await reservation(world, 9n, { period: 2n }), await voucher(world, 9n, { period: 2n })];
    await expect(reserve(world, held)).to.emit(ricochet, "ReservationSkipped")
      .withArgs(alice.address, node.address, 2n, SKIP.BadSignature);
    await reserve(world, await reservation(world, 9n, { period: 2n, signer: successor }));
    await expect(claim(world, paper)).to.emit(ricochet, "VoucherSkipped")
      .withArgs(alice.address, node.address, 2n, SKIP.BadSignature);
  });

  it("gives him none in a period that was renewed ahead, even within his day", async () => {
    const world = await loadFixture(renewable);
    const { ricochet, alice, delegate, node, other, end } = world;
    await ricochet.renew(alice);
    await at(end - 2n);
    await ricochet.connect(alice).setDelegate(other);
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal([1n, end - 2n + GRACE]);
    await at(end);
    await expect(reserve(world, await reservation(world, 9n, { period: 2n })))
      .to.emit(ricochet, "ReservationSkipped")
      .withArgs(alice.address, node.address, 2n, SKIP.BadSignature);
  });

  it("counts the period that has just begun as begun", async () => {
    const world = await loadFixture(renewable);
    const { ricochet, alice, delegate, other, end } = world;
    await ricochet.renew(alice);
    await at(end);
    await ricochet.connect(alice).setDelegate(other);
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal([2n, end + GRACE]);
  });

  it("restores one who served before", async () => {
    const { ricochet, alice, old, successor } = await loadFixture(replaced);
    await ricochet.connect(alice).setDelegate(old);
    expect(await ricochet.delegationOf(alice, old)).to.deep.equal(SERVING);
    expect((await ricochet.delegationOf(alice, successor)).lastPeriod).to.equal(1n);
  });

  it("changes nothing for the one who serves", async () => {
    const { ricochet, alice, delegate } = await loadFixture(subscribed);
    await expect(ricochet.connect(alice).setDelegate(delegate)).not.to.emit(ricochet, "DelegateChanged");
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal(SERVING);
  });

  it("can come before the first subscription", async () => {
    const { ricochet, alice, delegate, other } = await loadFixture(fixture);
    await expect(ricochet.connect(alice).setDelegate(delegate))
      .to.emit(ricochet, "DelegateChanged")
      .withArgs(alice.address, ethers.ZeroAddress, delegate.address);
    await ricochet.connect(alice).subscribe(FEE, other, false);
    expect((await ricochet.delegationOf(alice, delegate)).lastPeriod).to.equal(0n);
  });

  it("refuses an empty one", async () => {
    const { ricochet, alice } = await loadFixture(subscribed);
    await expect(ricochet.connect(alice).setDelegate(ethers.ZeroAddress)).to.be.revertedWithCustomError(
      ricochet, "ZeroAddress",
    );
  });

  it("touches no other subscriber", async () => {
    const { ricochet, delegate, other, relayer } = await loadFixture(subscribed);
    await ricochet.connect(other).setDelegate(delegate);
    await ricochet.connect(other).setDelegate(relayer);
    const [, alice] = await ethers.getSigners();
    expect(await ricochet.delegationOf(alice, delegate)).to.deep.equal(SERVING);
  });
});
