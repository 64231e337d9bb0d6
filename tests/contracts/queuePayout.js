import { expect } from "chai";
import { DELAY, at, claim, ethers, fixture, loadFixture, subscribed, time, voucher } from "./fixture.js";

describe("queuePayout", () => {
  it("announces another payout and leaves the current one in force", async () => {
    const world = await loadFixture(subscribed);
    const { ricochet, usd, node, payout, relayer } = world;
    const now = BigInt(await time.latest()) + 10n;
    await at(now);
    await expect(ricochet.connect(node).queuePayout(relayer))
      .to.emit(ricochet, "PayoutQueued")
      .withArgs(node.address, relayer.address, now + DELAY);
    const entry = await ricochet.nodeOf(node);
    expect([entry.payout, entry.queuedPayout, entry.payoutDue]).to.deep.equal([
      payout.address, relayer.address, now + DELAY,
    ]);
    await claim(world, await voucher(world, 10n));
    await expect(ricochet.withdraw(node)).to.changeTokenBalances(ethers, usd, [payout, relayer], [7n, 0n]);
  });

  it("replaces what was queued, and starts the delay again", async () => {
    const { ricochet, node, other, relayer } = await loadFixture(subscribed);
    await ricochet.connect(node).queuePayout(relayer);
    await time.increase(DELAY - 10n);
    const now = BigInt(await time.latest()) + 5n;
    await at(now);
    await ricochet.connect(node).queuePayout(other);
    const entry = await ricochet.nodeOf(node);
    expect([entry.queuedPayout, entry.payoutDue]).to.deep.equal([other.address, now + DELAY]);
  });

  it("refuses an empty payout", async () => {
    const { ricochet, node } = await loadFixture(subscribed);
    await expect(ricochet.connect(node).queuePayout(ethers.ZeroAddress)).to.be.revertedWithCustomError(
      ricochet, "ZeroAddress",
    );
  });

  it("needs a registration, so that nobody else can queue for a node", async () => {
    const { ricochet, payout, relayer } = await loadFixture(subscribed);
    await expect(ricochet.connect(payout).queuePayout(relayer))
      .to.be.revertedWithCustomError(ricochet, "NotRegistered")
      .withArgs(payout.address);
    const fresh = await loadFixture(fixture);
    await expect(fresh.ricochet.connect(fresh.node).queuePayout(relayer)).to.be.revertedWithCustomError(
      fresh.ricochet, "NotRegistered",
    );
  });
});
